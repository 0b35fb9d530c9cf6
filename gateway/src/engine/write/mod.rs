//! Writing: stream → chunks → shards on disks, all durable when it returns; or staged, to be durable with its commit.
//!
//! Invariants: at most a few chunks of one write are in memory; what is returned survives the loss of as many disks
//! as its coding promises, or says that it is reduced; a write that fails or is dropped leaves nothing that is named
//! anywhere, and its shards are deleted in the background.

mod chunk_write;
mod encode;
mod ledger;
mod seal;
mod shard_puts;
mod stage;
mod stored_data;
mod write_quorum;

use std::sync::Arc;

use bytes::Bytes;
use cairn_meta::{ChunkRecord, DataOwner, DataRecord};
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use tokio::time::timeout;

pub use stored_data::{CommitGuard, StoredData};

use chunk_write::WriteContext;
use ledger::Ledger;
use stored_data::WriteGuard;

use super::chunker::{Chunk, Chunker, ChunkerError};
use super::coding::CodeError;
use super::core::{Core, Engine};
use super::descriptor::{Describer, LastChunk, MANIFEST_SIZE_BYTES_MAX};
use cairn_storage_node::{DataId, Durability};

pub(crate) use chunk_write::WrittenChunk;

/// A sync every so many chunks bounds what the last sync of a long write has to wait for: 128 MiB.
const CHUNKS_PER_SYNC: u32 = 32;

/// Why bytes could not be stored; nothing of them is visible. One variant per thing a caller does differently.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError<E> {
    /// The source of the bytes failed.
    #[error("the source of the bytes failed")]
    Source(E),
    /// Buffer memory is used up; try again later.
    #[error("too many writes are in progress")]
    SlowDown,
    /// Too few disks can be written to for an acknowledgement that holds what it promises. Try again later.
    #[error("only {usable_count} disks can be written to, which is too few to store this durably")]
    TooFewDisks {
        /// How many can.
        usable_count: usize,
    },
    /// The write took longer than writes may.
    #[error("the write took too long")]
    TooSlow,
    /// The caller's bug: a manifest beyond the limit, or a chunk that cannot be coded.
    #[error("cannot be stored: {detail}")]
    Unstorable {
        /// Why.
        detail: String,
    },
}

/// Why a chunk could not be written.
#[derive(Debug)]
pub(crate) enum WriteError {
    TooFewDisks { usable_count: usize },
    OutOfBudget,
    Code(CodeError),
}

impl From<CodeError> for WriteError {
    fn from(error: CodeError) -> Self {
        Self::Code(error)
    }
}

impl<E> From<WriteError> for StoreError<E> {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::TooFewDisks { usable_count } => Self::TooFewDisks { usable_count },
            WriteError::OutOfBudget => Self::SlowDown,
            WriteError::Code(error) => Self::Unstorable {
                detail: error.to_string(),
            },
        }
    }
}

impl<E> From<ChunkerError<E>> for StoreError<E> {
    fn from(error: ChunkerError<E>) -> Self {
        match error {
            ChunkerError::Source(error) => Self::Source(error),
            ChunkerError::OutOfBudget => Self::SlowDown,
            ChunkerError::TooManyChunks => Self::Unstorable {
                detail: "too many chunks".to_owned(),
            },
        }
    }
}

impl Engine {
    /// Stores all bytes of `source`; they are durable on return, or staged, to be durable with their commit. Nothing names
    /// them until the caller commits what [`StoredData::begin_commit`] gives out.
    ///
    /// `size_hint` is how many bytes are expected: it sizes buffers, and a chunk does not wait for what it says will
    /// follow. It need not be right. `manifest` is called once, after the source ended, and what it returns (at most
    /// [`MANIFEST_SIZE_BYTES_MAX`] bytes) is kept with the last chunk's shards, for the day when the metadata has to be
    /// rebuilt from the disks. A source should end only when all its digests are verified: an error at its end is as
    /// good as one in its middle.
    ///
    /// Dropping the future is safe: what was stored is deleted in the background.
    ///
    /// # Errors
    /// [`StoreError`]; nothing is visible then.
    pub async fn store<S, E>(
        &self,
        source: S,
        owner: DataOwner,
        size_hint: Option<u64>,
        manifest: impl FnOnce() -> Bytes + Send,
    ) -> Result<StoredData, StoreError<E>>
    where
        S: Stream<Item = Result<Bytes, E>> + Send + Unpin,
        E: Send,
    {
        let core = self.core();
        let duration_max = core.options.store_duration_max;
        // Boxed: the future of a whole write is large, and callers' futures contain it.
        let work = Box::pin(core.store(source, owner, size_hint, manifest));
        let stored = timeout(duration_max, work)
            .await
            .map_err(|_| StoreError::TooSlow)?;
        match &stored {
            Ok(stored) => core.counters.bytes_stored.add(stored.size_bytes()),
            Err(StoreError::SlowDown) => core.counters.memory_refusals.increment(),
            Err(_) => {}
        }
        stored
    }
}

impl Core {
    async fn store<S, E>(
        &self,
        source: S,
        owner: DataOwner,
        size_hint: Option<u64>,
        manifest: impl FnOnce() -> Bytes + Send,
    ) -> Result<StoredData, StoreError<E>>
    where
        S: Stream<Item = Result<Bytes, E>> + Send + Unpin,
        E: Send,
    {
        let mut chunker = Chunker::new(source, size_hint, self.chunker_options());
        let created_at_ms = self.clock.now_ms();
        // No bytes are one chunk of none: its shards are nothing but descriptors, and without those an empty object
        // could not be rebuilt from the disks.
        let first = chunker.next().await?.unwrap_or_else(Chunk::empty);
        let data_id = self.entropy.data_id(created_at_ms);
        let describer = Describer {
            owner,
            data_id,
            created_at_ms,
        };

        let mut manifest = Some(manifest);
        let mut last_chunk = |size_bytes| {
            let manifest = manifest
                .take()
                .map(|manifest| manifest())
                .unwrap_or_default();
            if manifest.len() > MANIFEST_SIZE_BYTES_MAX {
                let detail = format!(
                    "a manifest of {} bytes exceeds {MANIFEST_SIZE_BYTES_MAX}",
                    manifest.len()
                );
                return Err(StoreError::Unstorable { detail });
            }
            Ok(LastChunk {
                size_bytes,
                manifest: manifest.to_vec(),
            })
        };
        if first.is_last {
            let last = last_chunk(u64::from(first.size_bytes))?;
            if let Some(staged) = self.stage(&describer, &first, &last) {
                return Ok(staged);
            }
            let _counted = self.staging.pass_by();
            return Ok(self.write_whole(describer, first, last).await?);
        }
        let guard = self.write_guard(data_id);
        let context = WriteContext::new(self, &describer, &guard);
        let chunks = self
            .store_chunks(&context, first, chunker, last_chunk)
            .await?;
        let record = self.data_record(describer, chunks);
        Ok(StoredData::new(record, guard))
    }

    /// Stores a datum that is one chunk.
    pub(crate) async fn write_whole(
        &self,
        describer: Describer,
        chunk: Chunk,
        last: LastChunk,
    ) -> Result<StoredData, WriteError> {
        let guard = self.write_guard(describer.data_id);
        let chunk = WriteContext::new(self, &describer, &guard)
            .write_chunk(chunk, Durability::Synced, Some(&last), &[])
            .await?;
        let record = self.data_record(describer, vec![chunk]);
        Ok(StoredData::new(record, guard))
    }

    fn write_guard(&self, data_id: DataId) -> WriteGuard {
        let pin = self.being_written.pin(vec![data_id]);
        WriteGuard::new(Ledger::new(data_id), Arc::clone(&self.leftovers), pin)
    }

    /// Stores the chunks of a longer stream, some at a time, and makes them durable together.
    async fn store_chunks<S, E>(
        &self,
        context: &WriteContext<'_>,
        first: Chunk,
        chunker: Chunker<S>,
        mut last_chunk: impl FnMut(u64) -> Result<LastChunk, StoreError<E>> + Send,
    ) -> Result<Vec<WrittenChunk>, StoreError<E>>
    where
        S: Stream<Item = Result<Bytes, E>> + Send + Unpin,
        E: Send,
    {
        let later = stream::try_unfold(chunker, |mut chunker| async move {
            Ok(chunker
                .next()
                .await
                .map_err(StoreError::from)?
                .map(|chunk| (chunk, chunker)))
        });
        let mut size_bytes = 0u64;
        let mut last = None;
        let jobs = stream::once(async move { Ok(first) })
            .chain(later)
            .and_then(|chunk| {
                size_bytes += u64::from(chunk.size_bytes);
                let described = if chunk.is_last {
                    last_chunk(size_bytes).map(Some)
                } else {
                    Ok(None)
                };
                if let Ok(Some(described)) = &described {
                    last = Some(described.clone());
                }
                async move { Ok((chunk, described?)) }
            });
        let mut chunks: Vec<WrittenChunk> = jobs
            .map_ok(|(chunk, last)| async move {
                let is_sync_point = chunk.index % CHUNKS_PER_SYNC == CHUNKS_PER_SYNC - 1;
                let durability = if is_sync_point {
                    Durability::Synced
                } else {
                    Durability::Buffered
                };
                context
                    .write_chunk(chunk, durability, last.as_ref(), &[])
                    .await
                    .map_err(StoreError::from)
            })
            .try_buffered(self.options.write_ahead_chunk_count)
            .try_collect()
            .await?;
        context.seal(&mut chunks, last.as_ref()).await?;
        Ok(chunks)
    }

    fn data_record(&self, describer: Describer, chunks: Vec<WrittenChunk>) -> DataRecord {
        let mut size_bytes = 0;
        let mut records = Vec::with_capacity(chunks.len());
        for chunk in chunks {
            size_bytes += u64::from(chunk.size_bytes);
            let record: ChunkRecord = chunk.record();
            let counters = &self.counters;
            if record.is_reduced() {
                counters.chunks_written_reduced.increment();
            } else {
                counters.chunks_written_whole.increment();
            }
            records.push(record);
        }
        let Describer {
            owner,
            created_at_ms,
            ..
        } = describer;
        DataRecord {
            size_bytes,
            owner,
            created_at_ms,
            chunks: records,
        }
    }
}
