//! Reading: range → chunks → only the shards and blocks that hold it, verified, in order, with read-ahead.
//!
//! Invariants: only bytes that were verified are handed out, by the shard store or, where they are staged, by the hash that
//! stands with them in the metadata; what cannot be read is an error before the first byte or a stream that breaks off
//! with one, never other bytes; a read never waits for repair.

mod chunk_read;
mod cursor;
mod gather;
mod gather_step;
mod read_ahead;
mod shard_ranges;
mod staged;
mod stream;

use std::ops::Range;
use std::sync::Arc;

use cairn_meta::{self as meta, MetaError};
use cairn_storage_node::DataId;
use futures_util::{StreamExt, TryStreamExt};

pub use stream::ReadStream;

pub(crate) use chunk_read::INLINE_CODING_BYTES_MAX;
pub(crate) use gather::ChunkRef;
pub(crate) use gather_step::{Goal, Step};

use cursor::{ChunkRange, Cursor, part_ranges};
use read_ahead::{Portion, read_ahead};
use stream::ReadChunk;

use super::coding::CodeError;
use super::core::{Core, Engine};
use super::memory::Reservation;

/// Why bytes could not be read. One variant per thing a caller does differently.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The datum does not exist any more: its object was deleted or replaced since it was looked up. Look it up again.
    #[error("datum {data_id} was deleted meanwhile")]
    Gone {
        /// Which.
        data_id: DataId,
    },
    /// Too few disks answered. It can be read again when they are back.
    #[error(
        "chunk {chunk_index} of datum {data_id} needs {needed_count} shards and only {found_count} could be read now"
    )]
    Unavailable {
        /// Which datum.
        data_id: DataId,
        /// Which chunk of it.
        chunk_index: u32,
        /// How many shards came.
        found_count: usize,
        /// How many are needed.
        needed_count: usize,
    },
    /// Too few shards exist: so many are missing or corrupt that no disk coming back can help.
    #[error(
        "chunk {chunk_index} of datum {data_id} is lost: too many of its shards are missing or corrupt"
    )]
    Lost {
        /// Which datum.
        data_id: DataId,
        /// Which chunk of it.
        chunk_index: u32,
    },
    /// Records contradict each other or the shards; somebody must look.
    #[error("a record is damaged: {detail}")]
    Damaged {
        /// What does not fit.
        detail: String,
    },
    /// The metadata could not be read.
    #[error(transparent)]
    Meta(#[from] MetaError),
}

impl From<CodeError> for ReadError {
    fn from(error: CodeError) -> Self {
        Self::Damaged {
            detail: error.to_string(),
        }
    }
}

impl Engine {
    /// Opens a read of `range` of the concatenation of `parts` (each with its size), and returns when its first
    /// chunk is there and verified, so that most errors come before the first byte.
    ///
    /// # Errors
    /// [`ReadError`]; the stream may break off with one later.
    pub async fn open_read(
        &self,
        parts: &[(meta::DataId, u64)],
        range: Range<u64>,
    ) -> Result<ReadStream, ReadError> {
        let core = Arc::clone(self.core());
        let parts = part_ranges(parts, &range);
        let pin = core.pins.pin(
            parts
                .iter()
                .map(|part| super::ids::data(part.data_id))
                .collect(),
        );
        let size_bytes = parts
            .iter()
            .map(|part| part.range.end - part.range.start)
            .sum();
        if size_bytes < range.end.saturating_sub(range.start) {
            return Err(ReadError::Damaged {
                detail: format!("range {range:?} goes beyond the parts of the object"),
            });
        }
        let mut cursor = Cursor::new(Arc::clone(&core), parts);
        let Some(first) = cursor.next().await? else {
            let nothing = ReadChunk {
                pieces: Vec::new(),
                memory: None,
            };
            return Ok(ReadStream::new(nothing, None, 0, core, pin));
        };
        // One read is awaited by its request: it needs no task.
        if cursor.is_at_end()
            && let Portion::Whole(memory) = core.portion(&first)
        {
            let chunk = core.read_range(first, memory).await?;
            return Ok(ReadStream::new(chunk, None, size_bytes, core, pin));
        }
        let mut rest = read_ahead(Arc::clone(&core), first, cursor).boxed();
        let chunk = rest.try_next().await?.unwrap_or(ReadChunk {
            pieces: Vec::new(),
            memory: None,
        });
        Ok(ReadStream::new(chunk, Some(rest), size_bytes, core, pin))
    }
}

impl Core {
    async fn read_range(
        &self,
        chunk: ChunkRange,
        memory: Option<Reservation>,
    ) -> Result<ReadChunk, ReadError> {
        let ChunkRange {
            data_id,
            index,
            record,
            range,
        } = chunk;
        let chunk = ChunkRef {
            data_id,
            index,
            record: &record,
        };
        let pieces = if record.is_staged() {
            self.read_staged(chunk, range).await?
        } else {
            self.read_chunk(chunk, range).await?
        };
        Ok(ReadChunk { pieces, memory })
    }
}
