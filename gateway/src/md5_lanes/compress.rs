//! Which way the blocks of some streams are hashed together.

#![cfg_attr(
    target_arch = "x86_64",
    expect(
        unsafe_code,
        reason = "functions for features of the machine are called where it has them"
    )
)]

use std::array::from_fn;

use super::{Block, State};

/// The most that are interleaved.
const INTERLEAVED_MAX: usize = 4;

/// One stream's share of a round.
#[derive(Debug)]
pub(super) struct Share<'a> {
    pub(super) state: &'a mut State,
    pub(super) blocks: &'a [Block],
}

/// A way of hashing streams together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kernel {
    /// Any machine: streams interleaved.
    Plain,
    /// Two streams interleaved, more in the lanes of a vector.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// Vectors always, of four lanes or of sixteen.
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Kernel {
    /// Those that this machine has, the best one first.
    pub(super) fn available() -> Vec<Kernel> {
        let mut kernels = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vl") {
                kernels.push(Kernel::Avx512);
            }
            if is_x86_feature_detected!("avx2") {
                kernels.push(Kernel::Avx2);
            }
        }
        kernels.push(Kernel::Plain);
        kernels
    }

    /// The best one that this machine has.
    pub(super) fn best() -> Kernel {
        Kernel::available()
            .first()
            .copied()
            .unwrap_or(Kernel::Plain)
    }

    /// How many streams are worth being hashed by one thread.
    pub(super) fn width(self) -> usize {
        match self {
            Kernel::Plain => INTERLEAVED_MAX,
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx2 => super::avx2::WIDTH,
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx512 => super::avx512::WIDTH,
        }
    }

    /// Adds the blocks of each share to its state. All shares have equally many.
    pub(super) fn compress(self, shares: &mut [Share<'_>]) {
        let mut rest = shares;
        while !rest.is_empty() {
            let (group, later) = rest.split_at_mut(self.width().min(rest.len()));
            self.compress_group(group);
            rest = later;
        }
    }

    fn compress_group(self, group: &mut [Share<'_>]) {
        match (self, group) {
            (_, []) => {}
            (_, [lone]) => md5::block_api::compress(lone.state, lone.blocks),
            #[cfg(target_arch = "x86_64")]
            (Kernel::Avx512, group) if group.len() <= super::avx512_four::WIDTH => {
                together(group, |states, blocks| {
                    // SAFETY: only `available` gives this kernel out, where the machine has AVX-512F and AVX-512VL.
                    unsafe { super::avx512_four::compress(states, blocks) }
                });
            }
            (_, group @ [_, _]) => together::<2>(group, super::interleaved::compress),
            (Kernel::Plain, group @ [_, _, _]) => {
                together::<3>(group, super::interleaved::compress);
            }
            (Kernel::Plain, group) => {
                together::<INTERLEAVED_MAX>(group, super::interleaved::compress);
            }
            #[cfg(target_arch = "x86_64")]
            (Kernel::Avx2, group) => together(group, |states, blocks| {
                // SAFETY: only `available` gives this kernel out, where the machine has AVX2.
                unsafe { super::avx2::compress(states, blocks) }
            }),
            #[cfg(target_arch = "x86_64")]
            (Kernel::Avx512, group) => together(group, |states, blocks| {
                // SAFETY: only `available` gives this kernel out, where the machine has AVX-512F.
                unsafe { super::avx512::compress(states, blocks) }
            }),
        }
    }
}

/// Hashes a group of at most `N` with a function for `N`: lanes that are left over repeat the first stream, and what
/// becomes of them is dropped.
fn together<const N: usize>(
    group: &mut [Share<'_>],
    compress: impl Fn(&mut [State; N], &[&[Block]; N]),
) {
    debug_assert!(group.len() <= N, "{} streams in {N} lanes", group.len());
    let Some(first) = group.first() else { return };
    let of_lane = |lane: usize| group.get(lane).unwrap_or(first);
    let mut states: [State; N] = from_fn(|lane| *of_lane(lane).state);
    let blocks: [&[Block]; N] = from_fn(|lane| of_lane(lane).blocks);
    compress(&mut states, &blocks);
    for (share, state) in group.iter_mut().zip(states) {
        *share.state = state;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_kernel_gives_what_each_stream_alone_would(
            states in proptest::collection::vec(any::<State>(), 1..40),
            block_count in 0_usize..4,
            bytes in proptest::collection::vec(any::<Block>(), 160),
        ) {
            let blocks = |stream: usize| &bytes[stream * block_count..(stream + 1) * block_count];
            let expected: Vec<State> = states.iter().enumerate().map(|(stream, state)| {
                let mut state = *state;
                md5::block_api::compress(&mut state, blocks(stream));
                state
            }).collect();
            for kernel in Kernel::available() {
                let mut computed = states.clone();
                let mut shares: Vec<_> = computed
                    .iter_mut()
                    .enumerate()
                    .map(|(stream, state)| Share { state, blocks: blocks(stream) })
                    .collect();
                kernel.compress(&mut shares);
                prop_assert_eq!(&computed, &expected, "{:?}", kernel);
            }
        }
    }
}
