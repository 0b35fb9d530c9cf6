//! Decides whether a small write is staged: see [`crate::engine::staging`].

use bytes::Bytes;
use cairn_meta::{ChunkRecord, DataRecord, StagedBytes};

use super::stored_data::StoredData;
use crate::engine::chunker::Chunk;
use crate::engine::core::Core;
use crate::engine::descriptor::{Describer, LastChunk};
use crate::engine::staging::StagedWrite;

impl Core {
    /// The datum as one that is staged; `None` if it is to be written the ordinary way: because it is not small, a
    /// bound is reached, or the disks that are there would not take its shards.
    pub(super) fn stage(
        &self,
        describer: &Describer,
        chunk: &Chunk,
        last: &LastChunk,
    ) -> Option<StoredData> {
        if !self.is_small(chunk.size_bytes) {
            return None;
        }
        let payload = chunk.padded.get(..chunk.size_bytes as usize)?;
        let manifest_len = u32::try_from(last.manifest.len()).ok()?;
        let admission = self
            .staging
            .admit(chunk.size_bytes.saturating_add(manifest_len))?;
        let (coding, _) = self.coding(chunk.size_bytes, &[]).ok()?;
        let record = DataRecord {
            size_bytes: last.size_bytes,
            owner: describer.owner.clone(),
            created_at_ms: describer.created_at_ms,
            chunks: vec![ChunkRecord {
                size_bytes: chunk.size_bytes,
                coding,
                shards: vec![None; coding.shard_count()],
            }],
        };
        self.counters.writes_staged.increment();
        let write = StagedWrite {
            data_id: describer.data_id,
            record,
            bytes: StagedBytes {
                // A copy: a slice would keep the whole buffer of the connection while it waits.
                payload: Bytes::copy_from_slice(payload),
                manifest: Bytes::copy_from_slice(&last.manifest),
            },
            admission,
        };
        Some(StoredData::staged(write, &self.staging))
    }
}
