//! A few streams step by step, in plain Rust: a core that waits for one stream's operation does another's.
//!
//! Past four streams the registers are used up, and nothing more is gained.

#![expect(
    clippy::indexing_slicing,
    reason = "lanes are below N, words below 16, and block indexes below the shortest stream's count"
)]

use std::array::from_fn;

use super::steps::md5_steps;
use super::{Block, State};

/// One word of each stream.
type Words<const N: usize> = [u32; N];

/// Adds the blocks of each stream to its state. All streams have equally many.
pub(super) fn compress<const N: usize>(states: &mut [State; N], blocks: &[&[Block]; N]) {
    let block_count = blocks.iter().map(|blocks| blocks.len()).min().unwrap_or(0);
    let mut state: [Words<N>; 4] = from_fn(|word| from_fn(|lane| states[lane][word]));
    for index in 0..block_count {
        state = compress_one(state, blocks.map(|of_lane| &of_lane[index]));
    }
    *states = from_fn(|lane| from_fn(|word| state[word][lane]));
}

#[inline]
fn compress_one<const N: usize>(state: [Words<N>; 4], blocks: [&Block; N]) -> [Words<N>; 4] {
    let words: [Words<N>; 16] = from_fn(|word| {
        from_fn(|lane| {
            let bytes = &blocks[lane].as_chunks::<4>().0[word];
            u32::from_le_bytes(*bytes)
        })
    });
    let [mut a, mut b, mut c, mut d] = state;
    macro_rules! step {
        ($function:ident, $a:ident $b:ident $c:ident $d:ident, $word:literal, $turn:literal, $constant:literal) => {
            $a = from_fn(|lane| {
                $a[lane]
                    .wrapping_add(words[$word][lane].wrapping_add($constant))
                    .wrapping_add($function($b[lane], $c[lane], $d[lane]))
                    .rotate_left($turn)
                    .wrapping_add($b[lane])
            });
        };
    }
    md5_steps!(step, a b c d);
    let sum = |old: Words<N>, new: Words<N>| from_fn(|lane| old[lane].wrapping_add(new[lane]));
    let [a0, b0, c0, d0] = state;
    [sum(a0, a), sum(b0, b), sum(c0, c), sum(d0, d)]
}

#[inline]
fn f(x: u32, y: u32, z: u32) -> u32 {
    (x & y) | (!x & z)
}

#[inline]
fn g(x: u32, y: u32, z: u32) -> u32 {
    (x & z) | (y & !z)
}

#[inline]
fn h(x: u32, y: u32, z: u32) -> u32 {
    x ^ y ^ z
}

#[inline]
fn i(x: u32, y: u32, z: u32) -> u32 {
    y ^ (x | !z)
}
