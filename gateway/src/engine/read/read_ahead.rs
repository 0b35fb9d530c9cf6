//! Reads chunks in order, some of them ahead of the reader, and as much at once as there is memory for.
//!
//! Each read is a task of its own, ended when nobody wants it any more: a reader that pauses must not stop calls to
//! disks half-way, which would look like disks that do not answer.
//!
//! What is read at once is paid for from a budget. Where that is used up, a read goes on in windows: ranges so small
//! that the bound on requests bounds their memory too, and one at a time. So a read never waits for others that do not
//! end, and one that has begun never breaks off for want of memory.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use cairn_meta::Coding;
use futures_util::Stream;
use futures_util::stream::try_unfold;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

use super::ReadError;
use super::cursor::{ChunkRange, Cursor};
use super::shard_ranges::ShardRanges;
use super::stream::ReadChunk;
use crate::engine::coding::shard_size_bytes;
use crate::engine::core::Core;
use crate::engine::memory::Reservation;

/// Bytes of a window: a block of the shard stores, which is read and verified as a whole anyway.
const WINDOW_BYTES: u32 = 64 << 10;

/// How much of a range can be read now.
pub(super) enum Portion {
    /// All of it.
    Whole(Option<Reservation>),
    /// Only this window.
    Window(Range<u32>),
}

/// A read that goes on.
struct ReadAhead {
    core: Arc<Core>,
    /// Of which chunk to go on.
    next: Option<ChunkRange>,
    cursor: Cursor,
    under_way: VecDeque<AbortOnDropHandle<Result<ReadChunk, ReadError>>>,
}

/// The bytes of `first` and of what `cursor` has behind it.
pub(super) fn read_ahead(
    core: Arc<Core>,
    first: ChunkRange,
    cursor: Cursor,
) -> impl Stream<Item = Result<ReadChunk, ReadError>> + Send + 'static {
    let read = ReadAhead {
        core,
        next: Some(first),
        cursor,
        under_way: VecDeque::new(),
    };
    try_unfold(read, |mut read| async move {
        Ok(read.next().await?.map(|chunk| (chunk, read)))
    })
}

impl ReadAhead {
    async fn next(&mut self) -> Result<Option<ReadChunk>, ReadError> {
        self.begin_reads().await?;
        let Some(first) = self.under_way.pop_front() else {
            return Ok(None);
        };
        match first.await {
            Ok(read) => read.map(Some),
            Err(error) => Err(ReadError::Damaged {
                detail: format!("a read ended abnormally: {error}"),
            }),
        }
    }

    async fn begin_reads(&mut self) -> Result<(), ReadError> {
        while self.under_way.len() <= self.core.options.read_ahead_chunk_count {
            if self.next.is_none() {
                self.next = self.cursor.next().await?;
            }
            let Some(chunk) = self.next.take() else {
                return Ok(());
            };
            match self.core.portion(&chunk) {
                Portion::Whole(memory) => self.begin(chunk, memory),
                // Read when it is the next that is wanted.
                Portion::Window(_) if !self.under_way.is_empty() => {
                    self.next = Some(chunk);
                    return Ok(());
                }
                Portion::Window(window) => {
                    self.core.counters.reads_in_windows.increment();
                    self.next = Some(ChunkRange {
                        range: window.end..chunk.range.end,
                        ..chunk.clone()
                    });
                    let range = window;
                    self.begin(ChunkRange { range, ..chunk }, None);
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn begin(&mut self, chunk: ChunkRange, memory: Option<Reservation>) {
        let core = Arc::clone(&self.core);
        let read = async move { core.read_range(chunk, memory).await };
        let task = tokio::spawn(read.in_current_span());
        self.under_way.push_back(AbortOnDropHandle::new(task));
    }
}

impl Core {
    /// How much of a range there is memory for.
    pub(super) fn portion(&self, chunk: &ChunkRange) -> Portion {
        let window = window(chunk);
        if window == chunk.range {
            return Portion::Whole(None);
        }
        if let Some(memory) = self.read_budget.try_reserve(memory_bytes(chunk)) {
            return Portion::Whole(Some(memory));
        }
        Portion::Window(window)
    }
}

/// The first part of a range that needs no reservation: within one shard, so that decoding takes no more of the others.
fn window(ChunkRange { record, range, .. }: &ChunkRange) -> Range<u32> {
    let shard_end = match record.coding {
        Coding::Copies { .. } => record.size_bytes,
        Coding::Erasure { .. } => {
            let shard_size = shard_size_bytes(record.size_bytes, record.coding).max(1);
            (range.start / shard_size + 1).saturating_mul(shard_size)
        }
    };
    let block_end = (range.start / WINDOW_BYTES + 1).saturating_mul(WINDOW_BYTES);
    range.start..range.end.min(shard_end).min(block_end)
}

/// What reading a range may take: all shards that decoding needs, if one of those that hold it is lost.
fn memory_bytes(ChunkRange { record, range, .. }: &ChunkRange) -> usize {
    let plain = range.len();
    let Coding::Erasure { data, .. } = record.coding else {
        return plain;
    };
    let shard_size = shard_size_bytes(record.size_bytes, record.coding);
    let ranges = ShardRanges::new(range, record.size_bytes, shard_size);
    let decoded = ranges.map_or(plain, |ranges| ranges.union().len() * usize::from(data));
    decoded.max(plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use cairn_meta::ChunkRecord;
    use cairn_storage_node::DataId;
    use proptest::prelude::*;

    fn chunk(coding: Coding, size_bytes: u32, range: Range<u32>) -> ChunkRange {
        let record = ChunkRecord {
            size_bytes,
            coding,
            shards: Vec::new(),
        };
        ChunkRange {
            data_id: DataId([0; 16]),
            index: 0,
            record,
            range,
        }
    }

    #[test]
    fn windows_end_at_blocks_and_at_shards() {
        let coding = Coding::Erasure { data: 4, parity: 2 };
        let of = |range| window(&chunk(coding, 400_000, range));
        assert_eq!(of(0..400_000), 0..65_536);
        assert_eq!(of(65_536..400_000), 65_536..100_000);
        assert_eq!(of(99_999..400_000), 99_999..100_000);
        assert_eq!(of(10..20), 10..20);
    }

    #[test]
    fn a_range_over_a_border_pays_for_decoding_both_shards() {
        let coding = Coding::Erasure { data: 4, parity: 2 };
        let of = |range| memory_bytes(&chunk(coding, 4000, range));
        assert_eq!(of(0..4000), 4000);
        assert_eq!(of(0..100), 400);
        assert_eq!(of(990..1010), 4000);
        let copies = Coding::Copies { count: 3 };
        assert_eq!(memory_bytes(&chunk(copies, 4000, 990..1010)), 20);
    }

    proptest! {
        #[test]
        fn windows_are_the_range(data in 1u8..7, size_bytes in 1u32..2_000_000, a: u32, b: u32) {
            let (a, b) = (a % size_bytes, b % size_bytes);
            let mut rest = chunk(Coding::Erasure { data, parity: 2 }, size_bytes, a.min(b)..a.max(b) + 1);
            while !rest.range.is_empty() {
                let window = window(&rest);
                prop_assert_eq!(window.start, rest.range.start);
                prop_assert!(!window.is_empty() && window.end <= rest.range.end);
                let window = ChunkRange { range: window, ..rest.clone() };
                prop_assert!(memory_bytes(&window) <= WINDOW_BYTES as usize * usize::from(data));
                rest.range.start = window.range.end;
            }
        }
    }
}
