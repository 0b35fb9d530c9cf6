//! A stream and the bytes that wait for it, and how several of those advance together.

use std::collections::VecDeque;

use bytes::{Buf, Bytes};

use super::compress::{Kernel, Share};
use super::{Block, Md5Stream};

/// A round ends after so many blocks of each stream (32 KiB, some 70 µs), so that those who came meanwhile are soon
/// taken along.
const ROUND_BLOCKS_MAX: usize = 512;

/// A stream and the bytes that wait for it.
#[derive(Debug)]
pub(super) struct Lane {
    stream: Md5Stream,
    pieces: VecDeque<Bytes>,
}

impl Lane {
    pub(super) fn new(stream: Md5Stream, pieces: Vec<Bytes>) -> Self {
        Self {
            stream,
            pieces: pieces.into(),
        }
    }

    /// Whether all bytes are in the stream.
    pub(super) fn is_done(&self) -> bool {
        self.pieces.iter().all(Bytes::is_empty)
    }

    pub(super) fn into_stream(self) -> Md5Stream {
        self.stream
    }

    /// Hashes the bytes before the next whole block within one piece: ends of pieces, which are never worth a lane.
    /// Returns the stream and the piece that begins with that block, if there is one.
    fn next_blocks(&mut self) -> Option<(&mut Md5Stream, &mut Bytes)> {
        while let Some(piece) = self.pieces.front_mut() {
            let partial_len = self.stream.partial_len();
            if partial_len == 0 && piece.len() >= size_of::<Block>() {
                break;
            }
            let scrap_len = piece.len().min(size_of::<Block>() - partial_len);
            self.stream.update(&piece.split_to(scrap_len));
            if piece.is_empty() {
                self.pieces.pop_front();
            }
        }
        self.pieces
            .front_mut()
            .map(|piece| (&mut self.stream, piece))
    }
}

/// Hashes some more of each lane, as much of all.
pub(super) fn advance<'a>(kernel: Kernel, lanes: impl Iterator<Item = &'a mut Lane>) {
    let mut ready: Vec<_> = lanes.filter_map(Lane::next_blocks).collect();
    let block_count = ready
        .iter()
        .map(|(_, piece)| piece.as_chunks::<{ size_of::<Block>() }>().0.len())
        .min()
        .unwrap_or(0)
        .min(ROUND_BLOCKS_MAX);
    let mut shares: Vec<Share<'_>> = ready
        .iter_mut()
        .map(|(stream, piece)| Share {
            state: stream.take_blocks(block_count),
            blocks: piece.as_chunks().0.get(..block_count).unwrap_or(&[]),
        })
        .collect();
    kernel.compress(&mut shares);
    for (_, piece) in ready {
        piece.advance(block_count * size_of::<Block>());
    }
}

#[cfg(test)]
mod tests {
    use md5::{Digest, Md5};
    use proptest::prelude::*;

    use super::*;

    fn advance_all(kernel: Kernel, lanes: &mut [Lane]) {
        while lanes.iter().any(|lane| !lane.is_done()) {
            advance(kernel, lanes.iter_mut());
        }
    }

    fn pieces() -> impl Strategy<Value = Vec<Bytes>> {
        let piece = (0_usize..400, any::<u8>()).prop_map(|(len, first)| {
            let bytes = (first..=u8::MAX).chain(0..first).cycle();
            bytes.take(len).collect::<Bytes>()
        });
        proptest::collection::vec(piece, 0..6)
    }

    proptest! {
        #[test]
        fn streams_side_by_side_get_their_own_digests(
            streams in proptest::collection::vec((pieces(), pieces()), 0..20),
        ) {
            for kernel in Kernel::available() {
                let mut lanes: Vec<Lane> =
                    streams.iter().map(|(first, _)| Lane::new(Md5Stream::new(), first.clone())).collect();
                advance_all(kernel, &mut lanes);
                // In the other order, so that each comes into another lane.
                let mut lanes: Vec<Lane> = lanes
                    .into_iter()
                    .zip(&streams)
                    .rev()
                    .map(|(lane, (_, second))| Lane::new(lane.into_stream(), second.clone()))
                    .collect();
                advance_all(kernel, &mut lanes);
                for (lane, (first, second)) in lanes.into_iter().rev().zip(&streams) {
                    let expected = Md5::digest([first.concat(), second.concat()].concat());
                    prop_assert_eq!(lane.into_stream().finish(), <[u8; 16]>::from(expected), "{:?}", kernel);
                }
            }
        }
    }

    #[test]
    fn a_round_is_bounded() {
        let piece = Bytes::from(vec![7; 2 * ROUND_BLOCKS_MAX * 64]);
        let mut lane = Lane::new(Md5Stream::new(), vec![piece]);
        advance(Kernel::Plain, std::iter::once(&mut lane));
        assert!(!lane.is_done());
        advance(Kernel::Plain, std::iter::once(&mut lane));
        assert!(lane.is_done());
    }
}
