//! Reads what is still staged: from the metadata, or from shards that it got meanwhile.

use std::ops::Range;

use bytes::Bytes;
use cairn_meta::MetaError;

use super::ReadError;
use super::gather::ChunkRef;
use crate::engine::core::Core;
use crate::engine::ids;

impl Core {
    /// The bytes of a range of a chunk that was staged when its record was read.
    pub(crate) async fn read_staged(
        &self,
        chunk: ChunkRef<'_>,
        range: Range<u32>,
    ) -> Result<Vec<Bytes>, ReadError> {
        let data_id = ids::meta_data(chunk.data_id);
        if let Some(staged) = self.meta.staged(data_id).await? {
            let (start, end) = (range.start as usize, range.end as usize);
            if start > end || end > staged.payload.len() {
                return Err(damaged(
                    chunk,
                    "fewer bytes are staged than its record says",
                ));
            }
            return Ok(vec![staged.payload.slice(start..end)]);
        }
        // Bytes leave in the commit that names the shards: a record read from now on has them.
        let gone = || ReadError::Gone {
            data_id: chunk.data_id,
        };
        let placed = match self.meta.data_chunks(data_id, chunk.index, 1).await {
            Ok(chunks) => chunks.into_iter().next().ok_or_else(gone)?,
            Err(MetaError::NoSuchData) => return Err(gone()),
            Err(error) => return Err(error.into()),
        };
        if placed.is_staged() {
            return Err(damaged(chunk, "its staged bytes are missing"));
        }
        let chunk = ChunkRef {
            record: &placed,
            ..chunk
        };
        self.read_chunk(chunk, range).await
    }
}

fn damaged(chunk: ChunkRef<'_>, detail: &str) -> ReadError {
    ReadError::Damaged {
        detail: format!("datum {}: {detail}", chunk.data_id),
    }
}
