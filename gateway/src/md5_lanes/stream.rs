//! The running MD5 of one stream.

use super::{Block, State};

/// RFC 1321, section 3.3.
const INITIAL_STATE: State = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];

/// Where the length stands in the last block.
const LENGTH_OFFSET: usize = 56;

/// What follows the bytes: a one bit, and zeros up to the length.
const PADDING: Block = {
    let mut padding = [0; size_of::<Block>()];
    padding[0] = 0x80;
    padding
};

/// The running MD5 of one stream: bytes in, in any pieces, and a digest out.
///
/// Invariant: `state` holds all whole blocks; what came after the last of them is the beginning of `partial`.
#[derive(Debug, Clone)]
pub struct Md5Stream {
    state: State,
    partial: Block,
    size_bytes: u64,
}

impl Md5Stream {
    /// Of no bytes yet.
    pub fn new() -> Self {
        Self {
            state: INITIAL_STATE,
            partial: [0; size_of::<Block>()],
            size_bytes: 0,
        }
    }

    /// Adds bytes, alone, on this thread.
    pub fn update(&mut self, bytes: &[u8]) {
        let missing = size_of::<Block>() - self.partial_len();
        let (head, bytes) = match self.partial_len() {
            0 => (&[][..], bytes),
            _ => bytes.split_at(missing.min(bytes.len())),
        };
        self.fill_partial(head);
        let (blocks, tail) = bytes.as_chunks();
        md5::block_api::compress(self.take_blocks(blocks.len()), blocks);
        self.fill_partial(tail);
    }

    /// The digest of all bytes added.
    pub fn finish(mut self) -> [u8; 16] {
        let size_bits = self.size_bytes.wrapping_mul(8);
        let used = self.partial_len();
        let zeros_len = if used < LENGTH_OFFSET {
            LENGTH_OFFSET - used
        } else {
            size_of::<Block>() + LENGTH_OFFSET - used
        };
        self.update(PADDING.get(..zeros_len).unwrap_or(&PADDING));
        self.update(&size_bits.to_le_bytes());
        debug_assert_eq!(self.partial_len(), 0, "padding fills a block");
        let mut digest = [0; 16];
        for (bytes, word) in digest.as_chunks_mut().0.iter_mut().zip(self.state) {
            *bytes = word.to_le_bytes();
        }
        digest
    }

    /// How many bytes a partial block has.
    pub(super) fn partial_len(&self) -> usize {
        // Below 64.
        usize::try_from(self.size_bytes % size_of::<Block>() as u64).unwrap_or(0)
    }

    /// Counts blocks whose compression into the returned state is up to the caller. There must be no partial block.
    pub(super) fn take_blocks(&mut self, block_count: usize) -> &mut State {
        debug_assert!(
            block_count == 0 || self.partial_len() == 0,
            "blocks follow a partial one"
        );
        self.size_bytes += (block_count * size_of::<Block>()) as u64;
        &mut self.state
    }

    /// Adds bytes that fit into the partial block, and compresses it when it is full.
    fn fill_partial(&mut self, bytes: &[u8]) {
        let start = self.partial_len();
        for (to, from) in self.partial.iter_mut().skip(start).zip(bytes) {
            *to = *from;
        }
        self.size_bytes += bytes.len() as u64;
        if !bytes.is_empty() && self.partial_len() == 0 {
            md5::block_api::compress(&mut self.state, &[self.partial]);
        }
    }
}

impl Default for Md5Stream {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use md5::{Digest, Md5};
    use proptest::prelude::*;

    use super::*;

    /// RFC 1321, appendix A.5.
    #[test]
    fn the_examples_of_the_rfc() {
        let examples = [
            ("", "d41d8cd98f00b204e9800998ecf8427e"),
            ("a", "0cc175b9c0f1b6a831c399e269772661"),
            ("abc", "900150983cd24fb0d6963f7d28e17f72"),
            ("message digest", "f96b697d7cb7938d525a2f31aaf161d0"),
            (
                "abcdefghijklmnopqrstuvwxyz",
                "c3fcd3d76192e4007dfb496cca67e13b",
            ),
            (
                "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789",
                "d174ab98d277d9f5a5611c2c9f419d9f",
            ),
            (
                "12345678901234567890123456789012345678901234567890123456789012345678901234567890",
                "57edf4a22be3c955ac49da2e2107b67a",
            ),
        ];
        for (text, digest) in examples {
            let mut stream = Md5Stream::new();
            stream.update(text.as_bytes());
            assert_eq!(hex::encode(stream.finish()), digest, "of {text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_cut_gives_the_same_digest(pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 0..8)) {
            let mut stream = Md5Stream::new();
            for piece in &pieces {
                stream.update(piece);
            }
            prop_assert_eq!(stream.finish(), <[u8; 16]>::from(Md5::digest(pieces.concat())));
        }
    }
}
