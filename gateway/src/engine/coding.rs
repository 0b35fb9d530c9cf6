//! Reed–Solomon coding of chunks, the one place that knows the library.
//!
//! A chunk's `k` data shards are its bytes in order, each `ceil(size / k)` long, the last one zero-padded; `m`
//! parity shards follow. The true length is in the chunk's record, which is what cuts the padding off again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Bytes, BytesMut};
use cairn_meta::Coding;
use reed_solomon_erasure::galois_8::ReedSolomon;

/// So much of each shard is coded at a time: pieces of all six shards of 4+2 stay in a core's second-level cache while each
/// is gone over several times. Whole shards of 1 MiB take a third longer.
const PIECE_SIZE_BYTES: usize = 32 << 10;

/// Why shards could not be coded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodeError {
    /// The record names a coding that cannot exist.
    #[error("a coding of {data}+{parity} shards does not exist")]
    NoSuchCoding {
        /// Data shards.
        data: u8,
        /// Parity shards.
        parity: u8,
    },
    /// Shards are missing, or their lengths differ.
    #[error("shards cannot be coded: {detail}")]
    BadShards {
        /// What the library says.
        detail: String,
    },
    /// The process is ending.
    #[error("the process is shutting down")]
    Interrupted,
}

/// Length of each shard of a chunk of `chunk_size_bytes`.
pub(crate) fn shard_size_bytes(chunk_size_bytes: u32, coding: Coding) -> u32 {
    match coding {
        Coding::Erasure { data, .. } => chunk_size_bytes.div_ceil(u32::from(data.max(1))),
        Coding::Copies { .. } => chunk_size_bytes,
    }
}

/// What bytes of a chunk take in memory with those that coding adds. Copies share the chunk's own buffer.
pub(crate) fn coded_bytes(chunk_bytes: usize, coding: Coding) -> usize {
    match coding {
        Coding::Erasure { data, .. } => {
            chunk_bytes.saturating_mul(coding.shard_count()) / usize::from(data.max(1))
        }
        Coding::Copies { .. } => chunk_bytes,
    }
}

/// The coders in use, by geometry. A coder's matrices cost far more than coding one small chunk, so they are kept;
/// there are at most a handful of geometries in a cluster's life.
#[derive(Debug, Default)]
pub(crate) struct Coders {
    by_geometry: Mutex<HashMap<(u8, u8), Arc<Coder>>>,
}

/// Codes chunks of one geometry.
#[derive(Debug)]
pub(crate) struct Coder {
    reed_solomon: ReedSolomon,
}

/// Which missing shards to make again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// To read: parity is of no use.
    DataShards,
    /// To repair.
    AllShards,
}

impl Coders {
    /// The coder for `data + parity`.
    ///
    /// # Errors
    /// [`CodeError::NoSuchCoding`].
    pub(crate) fn coder(&self, data: u8, parity: u8) -> Result<Arc<Coder>, CodeError> {
        let mut coders = self
            .by_geometry
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(coder) = coders.get(&(data, parity)) {
            return Ok(Arc::clone(coder));
        }
        let reed_solomon = ReedSolomon::new(usize::from(data), usize::from(parity))
            .map_err(|_| CodeError::NoSuchCoding { data, parity })?;
        let coder = Arc::new(Coder { reed_solomon });
        coders.insert((data, parity), Arc::clone(&coder));
        Ok(coder)
    }
}

impl Coder {
    /// Fills `parity` (`m` shards back to back) from `data` (`k` shards back to back, padded).
    ///
    /// # Errors
    /// [`CodeError::BadShards`] if either is not a whole number of shards of the same length, or empty.
    ///
    /// Systematic Reed–Solomon over GF(2^8): Plank 1997, with the correction of Plank & Ding 2003.
    pub(crate) fn encode(&self, data: &[u8], parity: &mut [u8]) -> Result<(), CodeError> {
        let shard_len = data.len() / self.reed_solomon.data_shard_count();
        let data_fits =
            shard_len > 0 && shard_len * self.reed_solomon.data_shard_count() == data.len();
        if !data_fits || shard_len * self.reed_solomon.parity_shard_count() != parity.len() {
            return Err(CodeError::BadShards {
                detail: "lengths are not those of the geometry".to_owned(),
            });
        }
        let mut data: Vec<_> = data
            .chunks_exact(shard_len)
            .map(|shard| shard.chunks(PIECE_SIZE_BYTES))
            .collect();
        let mut parity: Vec<_> = parity
            .chunks_exact_mut(shard_len)
            .map(|shard| shard.chunks_mut(PIECE_SIZE_BYTES))
            .collect();
        for _ in 0..shard_len.div_ceil(PIECE_SIZE_BYTES) {
            let data: Vec<&[u8]> = data.iter_mut().filter_map(Iterator::next).collect();
            let mut parity: Vec<&mut [u8]> = parity.iter_mut().filter_map(Iterator::next).collect();
            self.reed_solomon
                .encode_sep(&data, &mut parity)
                .map_err(bad_shards)?;
        }
        Ok(())
    }

    /// Makes missing shards from any `k` present ones; all present ones have one length, and may be the same
    /// range of each shard rather than whole shards, since the code works on each byte position alone.
    ///
    /// Bytes that nobody else holds are used in place, not copied.
    ///
    /// # Errors
    /// [`CodeError::BadShards`] if fewer than `k` are present or lengths differ.
    pub(crate) fn reconstruct(
        &self,
        shards: Vec<Option<Bytes>>,
        wanted: Wanted,
    ) -> Result<Vec<Option<Bytes>>, CodeError> {
        let mut shards: Vec<Option<BytesMut>> = shards
            .into_iter()
            .map(|shard| shard.map(into_mut))
            .collect();
        match wanted {
            Wanted::DataShards => self.reed_solomon.reconstruct_data(&mut shards),
            Wanted::AllShards => self.reed_solomon.reconstruct(&mut shards),
        }
        .map_err(bad_shards)?;
        Ok(shards
            .into_iter()
            .map(|shard| shard.map(BytesMut::freeze))
            .collect())
    }
}

fn into_mut(bytes: Bytes) -> BytesMut {
    bytes
        .try_into_mut()
        .unwrap_or_else(|shared| BytesMut::from(shared.as_ref()))
}

fn bad_shards(error: reed_solomon_erasure::Error) -> CodeError {
    CodeError::BadShards {
        detail: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    #![expect(
        clippy::cast_possible_truncation,
        reason = "test inputs are small numbers"
    )]

    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn any_k_shards_give_back_all(
            (data_count, parity_count) in (2u8..=6, 1u8..=3),
            bytes in proptest::collection::vec(any::<u8>(), 1..2000),
            lost_seed: u64,
        ) {
            let coding = Coding::Erasure { data: data_count, parity: parity_count };
            let shard_len = shard_size_bytes(bytes.len() as u32, coding) as usize;
            let coder = Coders::default().coder(data_count, parity_count).unwrap();
            let mut data = bytes;
            data.resize(shard_len * usize::from(data_count), 0);
            let mut parity = vec![0; shard_len * usize::from(parity_count)];
            coder.encode(&data, &mut parity).unwrap();
            let whole: Vec<Bytes> =
                data.chunks(shard_len).chain(parity.chunks(shard_len)).map(Bytes::copy_from_slice).collect();

            let mut damaged: Vec<Option<Bytes>> = whole.iter().cloned().map(Some).collect();
            for loss in 0..u64::from(parity_count) {
                let index = (lost_seed.rotate_left(7 * loss as u32) % damaged.len() as u64) as usize;
                damaged[index] = None;
            }
            let rebuilt = coder.reconstruct(damaged, Wanted::AllShards).unwrap();
            prop_assert_eq!(rebuilt, whole.into_iter().map(Some).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_long_shard_is_coded_as_its_pieces_are() {
        let coder = Coders::default().coder(4, 2).unwrap();
        let shard_len = 2 * PIECE_SIZE_BYTES + 5;
        let data: Vec<u8> = (0..4 * shard_len).map(|n| (n * n / 7) as u8).collect();
        let mut parity = vec![0; 2 * shard_len];
        coder.encode(&data, &mut parity).unwrap();
        let mut whole: Vec<&[u8]> = data.chunks(shard_len).collect();
        whole.extend(parity.chunks(shard_len));
        assert!(coder.reed_solomon.verify(&whole).unwrap());
    }

    #[test]
    fn too_few_shards_are_an_error() {
        let coder = Coders::default().coder(2, 1).unwrap();
        let shards = vec![Some(Bytes::from_static(b"ab")), None, None];
        assert!(matches!(
            coder.reconstruct(shards, Wanted::DataShards),
            Err(CodeError::BadShards { .. })
        ));
    }

    #[test]
    fn a_coding_without_parity_does_not_exist() {
        assert_eq!(
            Coders::default().coder(2, 0).unwrap_err(),
            CodeError::NoSuchCoding { data: 2, parity: 0 }
        );
    }
}
