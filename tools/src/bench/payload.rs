//! Payloads that are distinct, cheap to make and cheap to check.
//!
//! An object is a sequence of blocks of [`BLOCK_BYTES`], the last one shorter. Each block begins with a stamp
//! (seed, object, block: so that no two blocks of a run are equal, and a block in the wrong place is noticed) and
//! goes on with a piece of one random buffer that all objects share. Nothing is generated per object but the stamps.

use bytes::Bytes;
use rand::{Rng, SeedableRng};

use crate::s3_client::Body;

/// Size of a stamped block.
pub(crate) const BLOCK_BYTES: u64 = 1 << 20;
const STAMP_BYTES: usize = 24;
/// Twice a block, so that a block's piece may begin anywhere in the first half.
const BUFFER_BYTES: usize = 2 << 20;

/// Makes and checks the payloads of one run.
#[derive(Debug, Clone)]
pub(crate) struct Payloads {
    seed: u64,
    buffer: Bytes,
}

/// The payload of one object.
#[derive(Debug, Clone)]
pub(crate) struct Payload {
    seed: u64,
    object: u64,
    size_bytes: u64,
    buffer: Bytes,
}

impl Payloads {
    /// The same seed gives the same payloads.
    pub(crate) fn new(seed: u64) -> Self {
        let mut buffer = vec![0; BUFFER_BYTES];
        rand::rngs::SmallRng::seed_from_u64(seed).fill_bytes(&mut buffer);
        Self {
            seed,
            buffer: buffer.into(),
        }
    }

    /// The payload of the `object`-th object when it has `size_bytes`.
    pub(crate) fn of(&self, object: u64, size_bytes: u64) -> Payload {
        Payload {
            seed: self.seed,
            object,
            size_bytes,
            buffer: self.buffer.clone(),
        }
    }
}

impl Payload {
    /// The whole payload, for sending.
    pub(crate) fn body(&self) -> Body {
        (0..self.size_bytes.div_ceil(BLOCK_BYTES))
            .flat_map(|block| self.block(block))
            .collect()
    }

    /// Stamp and filling of one block.
    fn block(&self, block: u64) -> [Bytes; 2] {
        let len = self
            .size_bytes
            .saturating_sub(block * BLOCK_BYTES)
            .min(BLOCK_BYTES);
        let len = len as usize;
        let mut stamp = [0; STAMP_BYTES];
        let numbers = self
            .seed
            .to_be_bytes()
            .into_iter()
            .chain(self.object.to_be_bytes())
            .chain(block.to_be_bytes());
        stamp
            .iter_mut()
            .zip(numbers)
            .for_each(|(to, from)| *to = from);
        let stamp_len = len.min(STAMP_BYTES);
        // An odd multiplier spreads consecutive objects and blocks over the first half of the buffer.
        let mixed = (self.object.wrapping_mul(31).wrapping_add(block))
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            >> 44;
        let start = mixed as usize;
        [
            Bytes::copy_from_slice(&stamp).slice(..stamp_len),
            self.buffer.slice(start..start + len - stamp_len),
        ]
    }

    /// Begins to check a payload that arrives in pieces.
    pub(crate) fn check(self) -> Check {
        Check {
            payload: self,
            position: 0,
        }
    }
}

/// Compares arriving bytes with what was stored, without copying either.
#[derive(Debug)]
pub(crate) struct Check {
    payload: Payload,
    position: u64,
}

impl Check {
    /// Compares the next piece.
    ///
    /// # Errors
    /// Where the first wrong byte may be, in words.
    pub(crate) fn next(&mut self, mut piece: &[u8]) -> Result<(), String> {
        while !piece.is_empty() {
            if self.position >= self.payload.size_bytes {
                return Err(format!(
                    "more than {} bytes arrived",
                    self.payload.size_bytes
                ));
            }
            let [stamp, filling] = self.payload.block(self.position / BLOCK_BYTES);
            let offset = usize::try_from(self.position % BLOCK_BYTES).unwrap_or_default();
            let expected = match offset.checked_sub(stamp.len()) {
                Some(offset) => filling.slice(offset..),
                None => stamp.slice(offset..),
            };
            let len = expected.len().min(piece.len());
            let (now, later) = piece.split_at(len);
            if expected.slice(..len) != now {
                return Err(format!(
                    "object {} differs in the {len} bytes from {}",
                    self.payload.object, self.position
                ));
            }
            self.position += len as u64;
            piece = later;
        }
        Ok(())
    }

    /// Nothing is missing.
    ///
    /// # Errors
    /// How much arrived.
    pub(crate) fn finish(self) -> Result<(), String> {
        let size_bytes = self.payload.size_bytes;
        if self.position == size_bytes {
            Ok(())
        } else {
            Err(format!("{} of {size_bytes} bytes arrived", self.position))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt as _;
    use proptest::prelude::*;

    fn bytes(payload: &Payload) -> Vec<u8> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        runtime
            .block_on(payload.body().collect())
            .unwrap()
            .to_bytes()
            .to_vec()
    }

    #[test]
    fn sizes_are_exact_at_every_edge() {
        let payloads = Payloads::new(7);
        for size_bytes in [
            0,
            1,
            23,
            24,
            25,
            BLOCK_BYTES - 1,
            BLOCK_BYTES,
            BLOCK_BYTES + 1,
            3 * BLOCK_BYTES + 5,
        ] {
            assert_eq!(bytes(&payloads.of(3, size_bytes)).len() as u64, size_bytes);
        }
    }

    #[test]
    fn objects_and_blocks_are_distinct_and_seeds_repeat() {
        let payloads = Payloads::new(7);
        assert_ne!(bytes(&payloads.of(1, 4096)), bytes(&payloads.of(2, 4096)));
        let two_blocks = bytes(&payloads.of(1, 2 * BLOCK_BYTES));
        let (first, second) = two_blocks.split_at(two_blocks.len() / 2);
        assert_ne!(first, second);
        assert_eq!(
            bytes(&Payloads::new(7).of(1, 4096)),
            bytes(&payloads.of(1, 4096))
        );
    }

    proptest! {
        #[test]
        fn check_accepts_the_payload_in_any_pieces_and_nothing_else(
            size in 1u64..(2 * BLOCK_BYTES + 100), piece in 1usize..300_000, flip: prop::sample::Index,
        ) {
            let payload = Payloads::new(1).of(9, size);
            let mut stored = bytes(&payload);
            let check = |stored: &[u8]| {
                let mut check = payload.clone().check();
                stored.chunks(piece).try_for_each(|piece| check.next(piece)).and_then(|()| check.finish())
            };
            prop_assert_eq!(check(&stored), Ok(()));
            prop_assert!(check(&stored[1..]).is_err());
            stored.push(0);
            prop_assert!(check(&stored).is_err());
            stored.pop();
            let at = flip.index(stored.len());
            stored[at] ^= 1;
            prop_assert!(check(&stored).is_err());
        }
    }
}
