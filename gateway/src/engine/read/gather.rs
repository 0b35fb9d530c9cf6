//! Fetches shards of one chunk until there are enough: executes the steps of [`super::gather_step`].

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use cairn_meta::ChunkRecord;
use cairn_storage_node::{DataId, ShardError};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::{Instant, sleep_until};

use super::gather_step::{Goal, ShardState, Step, next_step};
use crate::engine::core::Core;
use crate::engine::disks::Disk;
use crate::engine::hedge::read_hedge_after;
use crate::engine::ids;

/// A chunk to read from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ChunkRef<'a> {
    pub(crate) data_id: DataId,
    pub(crate) index: u32,
    pub(crate) record: &'a ChunkRecord,
}

/// What was fetched.
#[derive(Debug)]
pub(crate) struct Gathered {
    /// By shard index: the range that was asked for, if it came.
    pub(crate) shards: Vec<Option<Bytes>>,
    /// How the goal was reached; [`Step::Deliver`], [`Step::Decode`] or [`Step::GiveUp`].
    pub(crate) outcome: Step,
    /// Shards whose disk answered that it does not have them whole.
    pub(crate) bad_count: usize,
}

/// One shard while it is gathered.
struct Slot {
    disk: Option<Arc<Disk>>,
    state: ShardState,
    asked_at: Option<Instant>,
    bytes: Option<Bytes>,
}

impl Core {
    /// Fetches `range_of(shard index)` of shards of a chunk until `goal` is reached or out of reach.
    ///
    /// Shards found corrupt or missing are reported for repair; reading never waits for that.
    pub(crate) async fn gather(
        &self,
        chunk: ChunkRef<'_>,
        goal: &Goal,
        range_of: impl Fn(usize) -> Range<u32>,
    ) -> Gathered {
        let mut slots = self.slots(chunk.record);
        let mut answers = FuturesUnordered::new();
        let mut bad_count = 0;
        let latencies = self.disks.latencies();
        let hedge_after = read_hedge_after(latencies.get(largest_asked(goal, &range_of)).p95());
        let outcome = loop {
            let states: Vec<ShardState> = slots.iter().map(|slot| slot.state).collect();
            match next_step(&states, goal) {
                done @ (Step::Deliver | Step::Decode | Step::GiveUp) => break done,
                Step::Ask(indexes) => {
                    for index in indexes {
                        let Some(slot) = slots.get_mut(index) else {
                            continue;
                        };
                        let Some(disk) = slot.disk.clone() else {
                            continue;
                        };
                        slot.state = ShardState::Asked;
                        slot.asked_at = Some(Instant::now());
                        let id = ids::shard(chunk.data_id, chunk.index, index);
                        let (range, deadline) = (range_of(index), self.options.get_deadline);
                        answers.push(async move { (index, disk.get(id, range, deadline).await) });
                    }
                }
                Step::Wait => {
                    let late_at = slots
                        .iter()
                        .filter_map(|slot| slot.late_at(hedge_after))
                        .min();
                    tokio::select! {
                        biased;
                        Some((index, answer)) = answers.next() => {
                            if let Some(slot) = slots.get_mut(index) {
                                bad_count += usize::from(slot.settle(answer));
                            }
                        }
                        () = sleep_until(late_at.unwrap_or_else(Instant::now)), if late_at.is_some() => {
                            self.mark_late(&mut slots, hedge_after);
                        }
                        // Waiting without an open call would be a bug of the decision; never hang on it.
                        else => break Step::GiveUp,
                    }
                }
            }
        };
        if bad_count > 0 {
            self.counters.shards_found_bad.add(bad_count as u64);
            self.repair_notices.push(chunk.data_id, chunk.index);
        }
        Gathered {
            shards: slots.into_iter().map(|slot| slot.bytes).collect(),
            outcome,
            bad_count,
        }
    }

    fn slots(&self, record: &ChunkRecord) -> Vec<Slot> {
        let map = self.disks.map();
        let now = Instant::now();
        let slot = |placed: &Option<cairn_meta::DiskId>| {
            let disk = placed.and_then(|id| map.disk(ids::disk(id))).cloned();
            let state = disk.as_ref().map_or(ShardState::Lost, |disk| {
                ShardState::Idle(disk.read_rank(now))
            });
            Slot {
                disk,
                state,
                asked_at: None,
                bytes: None,
            }
        };
        record.shards.iter().map(slot).collect()
    }

    fn mark_late(&self, slots: &mut [Slot], hedge_after: std::time::Duration) {
        let now = Instant::now();
        for slot in slots {
            if slot
                .late_at(hedge_after)
                .is_some_and(|late_at| late_at <= now)
            {
                slot.state = ShardState::Slow;
                self.counters.reads_hedged.increment();
                if let Some(disk) = &slot.disk {
                    disk.note_slow_call();
                }
            }
        }
    }
}

/// The size of the largest answer that is waited for first.
fn largest_asked(goal: &Goal, range_of: impl Fn(usize) -> Range<u32>) -> usize {
    let asked = match goal {
        Goal::Exactly(wanted) => wanted.clone(),
        // All are asked for the same.
        Goal::OrAny { .. } | Goal::Any { .. } => 0..1,
    };
    let sizes = asked.map(|index| range_of(index).len());
    sizes.max().unwrap_or_default()
}

impl Slot {
    /// When it is late, if it is being waited for.
    fn late_at(&self, hedge_after: std::time::Duration) -> Option<Instant> {
        let asked_at = self.asked_at.filter(|_| self.state == ShardState::Asked)?;
        Some(asked_at + hedge_after)
    }

    /// Takes an answer; whether it says that the shard is bad (and not that its disk is).
    fn settle(&mut self, answer: Result<Bytes, ShardError>) -> bool {
        match answer {
            Ok(bytes) => {
                self.state = ShardState::Have;
                self.bytes = Some(bytes);
                false
            }
            Err(error) => {
                self.state = ShardState::Lost;
                let is_bad = matches!(
                    error,
                    ShardError::NotFound { .. }
                        | ShardError::Corrupt { .. }
                        | ShardError::OutOfRange { .. }
                );
                tracing::warn!(%error, is_bad, "a shard could not be read");
                is_bad
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::read::shard_ranges::ShardRanges;

    #[test]
    fn an_answer_is_late_by_the_size_of_what_was_asked() {
        // From the end of the second shard into the third one; nothing of the first.
        let ranges = ShardRanges::new(&(190..300), 400, 100).unwrap();
        let exactly = Goal::Exactly(ranges.shards());
        assert_eq!(largest_asked(&exactly, |index| ranges.asked(index)), 100);
        let any = Goal::Any { count: 4 };
        assert_eq!(largest_asked(&any, |_| 0..100), 100);
    }
}
