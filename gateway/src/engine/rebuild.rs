//! Makes missing shards of a chunk again from the others.

use bytes::Bytes;
use cairn_meta::Coding;

use super::coding::{Wanted, shard_size_bytes};
use super::core::Core;
use super::read::{ChunkRef, Goal, ReadError, Step};

impl Core {
    /// The payloads of the shards `missing`, by shard index, made from whichever others can be read. The record must
    /// not name a disk for those that are missing.
    ///
    /// # Errors
    /// As reads: too few shards can be read now, or at all.
    pub(crate) async fn rebuild(
        &self,
        chunk: ChunkRef<'_>,
        missing: &[usize],
    ) -> Result<Vec<(usize, Bytes)>, ReadError> {
        let coding = chunk.record.coding;
        let shard_size = shard_size_bytes(chunk.record.size_bytes, coding);
        let count = coding.shards_needed();
        let gathered = self
            .gather(chunk, &Goal::Any { count }, |_| 0..shard_size)
            .await;
        if gathered.outcome != Step::Decode {
            return Err(self.too_few(chunk, &gathered, count).await);
        }
        let shards = match coding {
            Coding::Copies { .. } => {
                let copy = gathered.shards.into_iter().flatten().next();
                vec![copy; chunk.record.shards.len()]
            }
            Coding::Erasure { data, parity } => {
                self.reconstruct((data, parity), gathered.shards, Wanted::AllShards)
                    .await?
            }
        };
        let rebuilt = |index: &usize| {
            let payload = shards.get(*index).cloned().flatten();
            let damaged = || ReadError::Damaged {
                detail: format!("shard {index} was not made again"),
            };
            payload.map(|payload| (*index, payload)).ok_or_else(damaged)
        };
        missing.iter().map(rebuilt).collect()
    }
}
