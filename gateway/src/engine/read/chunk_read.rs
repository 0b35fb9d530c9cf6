//! Reads a range of one chunk: from the shards that hold it, or decoded from others.

use std::ops::Range;

use bytes::Bytes;
use cairn_meta::Coding;

use super::ReadError;
use super::gather::{ChunkRef, Gathered};
use super::gather_step::{Goal, Step};
use super::shard_ranges::ShardRanges;
use crate::engine::coding::{CodeError, Wanted, shard_size_bytes};
use crate::engine::core::Core;

/// Why a chunk is not read where its record says that it is.
enum PlacedError {
    /// Too few shards are there.
    TooFew {
        gathered: Gathered,
        needed_count: usize,
    },
    Other(ReadError),
}

impl<E: Into<ReadError>> From<E> for PlacedError {
    fn from(error: E) -> Self {
        Self::Other(error.into())
    }
}

/// Coding less than this takes no longer than handing it to another thread.
pub(crate) const INLINE_CODING_BYTES_MAX: usize = 256 << 10;

impl Core {
    /// The bytes of a range (not empty, inside the chunk) in order, in one or more pieces. Where too few shards are
    /// where the record says, they are looked for where it says by then: a long read has records from its beginning.
    pub(crate) async fn read_chunk(
        &self,
        chunk: ChunkRef<'_>,
        range: Range<u32>,
    ) -> Result<Vec<Bytes>, ReadError> {
        let mut moved = None;
        // Each time a repair has been committed meanwhile.
        loop {
            let record = moved.as_ref().unwrap_or(chunk.record);
            let placed = ChunkRef { record, ..chunk };
            let (gathered, needed_count) = match self.read_placed(placed, range.clone()).await {
                Ok(pieces) => return Ok(pieces),
                Err(PlacedError::Other(error)) => return Err(error),
                Err(PlacedError::TooFew {
                    gathered,
                    needed_count,
                }) => (gathered, needed_count),
            };
            match self.chunk_record(chunk.data_id, chunk.index).await {
                Ok(Some(now)) if now != *record && !now.is_staged() => moved = Some(now),
                _ => return Err(self.too_few(placed, &gathered, needed_count).await),
            }
        }
    }

    async fn read_placed(
        &self,
        chunk: ChunkRef<'_>,
        range: Range<u32>,
    ) -> Result<Vec<Bytes>, PlacedError> {
        match chunk.record.coding {
            Coding::Copies { .. } => self.read_copy(chunk, range).await,
            Coding::Erasure { data, parity } => {
                let shard_size = shard_size_bytes(chunk.record.size_bytes, chunk.record.coding);
                let ranges = ShardRanges::new(&range, chunk.record.size_bytes, shard_size)
                    .ok_or_else(|| ReadError::Damaged {
                        detail: format!(
                            "range {range:?} is outside a chunk of datum {}",
                            chunk.data_id
                        ),
                    })?;
                self.read_coded(chunk, &ranges, (data, parity)).await
            }
        }
    }

    async fn read_copy(
        &self,
        chunk: ChunkRef<'_>,
        range: Range<u32>,
    ) -> Result<Vec<Bytes>, PlacedError> {
        let gathered = self
            .gather(chunk, &Goal::Any { count: 1 }, |_| range.clone())
            .await;
        match gathered.shards.iter().flatten().next() {
            Some(bytes) => Ok(vec![bytes.clone()]),
            None => Err(PlacedError::TooFew {
                gathered,
                needed_count: 1,
            }),
        }
    }

    async fn read_coded(
        &self,
        chunk: ChunkRef<'_>,
        ranges: &ShardRanges,
        (data, parity): (u8, u8),
    ) -> Result<Vec<Bytes>, PlacedError> {
        if !ranges.is_uniform() {
            let gathered = self
                .gather(chunk, &Goal::Exactly(ranges.shards()), |index| {
                    ranges.asked(index)
                })
                .await;
            if gathered.outcome == Step::Deliver {
                return Ok(pieces(&gathered.shards, ranges, |index| {
                    ranges.asked(index)
                })?);
            }
        }
        let count = usize::from(data);
        let union = ranges.union();
        let goal = Goal::OrAny {
            preferred: ranges.shards(),
            count,
        };
        let gathered = self.gather(chunk, &goal, |_| union.clone()).await;
        let shards = match gathered.outcome {
            Step::Deliver => gathered.shards,
            Step::Decode => {
                self.counters.chunks_read_degraded.increment();
                self.reconstruct((data, parity), gathered.shards, Wanted::DataShards)
                    .await?
            }
            _ => {
                return Err(PlacedError::TooFew {
                    gathered,
                    needed_count: count,
                });
            }
        };
        Ok(pieces(&shards, ranges, |_| union.clone())?)
    }

    /// Decodes, on another thread if it takes long.
    pub(crate) async fn reconstruct(
        &self,
        (data, parity): (u8, u8),
        shards: Vec<Option<Bytes>>,
        wanted: Wanted,
    ) -> Result<Vec<Option<Bytes>>, CodeError> {
        let coder = self.coders.coder(data, parity)?;
        let total: usize = shards.iter().flatten().map(Bytes::len).sum();
        let work = move || coder.reconstruct(shards, wanted);
        if total <= INLINE_CODING_BYTES_MAX {
            work()
        } else {
            self.off_thread(work).await
        }
    }

    /// Why a chunk could not be read.
    pub(crate) async fn too_few(
        &self,
        chunk: ChunkRef<'_>,
        gathered: &Gathered,
        needed_count: usize,
    ) -> ReadError {
        let found_count = gathered.shards.iter().flatten().count();
        // A reader that was overtaken by a delete or replacement finds shards missing: that is no loss.
        if gathered.bad_count > 0 && self.is_deleted(chunk.data_id).await {
            return ReadError::Gone {
                data_id: chunk.data_id,
            };
        }
        self.counters.reads_failed.increment();
        let missing = chunk
            .record
            .shards
            .iter()
            .filter(|shard| shard.is_none())
            .count();
        let existing_at_most = chunk
            .record
            .shards
            .len()
            .saturating_sub(gathered.bad_count + missing);
        let (data_id, chunk_index) = (chunk.data_id, chunk.index);
        if existing_at_most < needed_count {
            tracing::error!(%data_id, chunk_index, found_count, needed_count, "a chunk is lost");
            return ReadError::Lost {
                data_id,
                chunk_index,
            };
        }
        ReadError::Unavailable {
            data_id,
            chunk_index,
            found_count,
            needed_count,
        }
    }
}

/// Cuts what was asked for down to what is wanted.
fn pieces(
    shards: &[Option<Bytes>],
    ranges: &ShardRanges,
    fetched: impl Fn(usize) -> Range<u32>,
) -> Result<Vec<Bytes>, ReadError> {
    ranges
        .shards()
        .map(|index| piece(shards, ranges, index, fetched(index).start))
        .collect()
}

fn piece(
    shards: &[Option<Bytes>],
    ranges: &ShardRanges,
    index: usize,
    fetched_from: u32,
) -> Result<Bytes, ReadError> {
    let wanted = ranges.wanted(index);
    let (start, end) = (
        (wanted.start - fetched_from) as usize,
        (wanted.end - fetched_from) as usize,
    );
    match shards.get(index) {
        Some(Some(bytes)) if end <= bytes.len() => Ok(bytes.slice(start..end)),
        _ => Err(ReadError::Damaged {
            detail: format!("shard {index} is shorter than its chunk says"),
        }),
    }
}
