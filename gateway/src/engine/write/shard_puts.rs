//! Puts the shards of one chunk in parallel, and those that fail or hang on other disks.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cairn_storage_node::{DiskId, Durability, ShardError, ShardPut, WriteTicket};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::{Instant, sleep_until};

use super::chunk_write::{Slot, WriteContext};
use crate::engine::disks::{Disk, unknown_disk};
use crate::engine::hedge::write_replace_after;
use crate::engine::ids;
use crate::engine::placement::{Candidate, choose};

/// What became of the shards of a chunk.
#[derive(Debug)]
pub(super) struct PutOutcome {
    /// By shard index; `None` was stored nowhere.
    pub(super) slots: Vec<Option<Slot>>,
    /// Disks that did not do it, or of which it is not known: a put that is still open may arrive there at any time,
    /// and must not meet another shard of the same name.
    pub(super) failed: Vec<DiskId>,
}

/// The shards of a chunk on their way.
struct PutRace {
    slots: Vec<Option<Slot>>,
    /// Where puts of each shard are open.
    open: Vec<Vec<DiskId>>,
    /// Disks that were given a shard of this chunk, whatever became of it.
    taken: Vec<Candidate>,
    failed: Vec<DiskId>,
}

impl WriteContext<'_> {
    pub(super) fn shard_puts(
        &self,
        chunk_index: u32,
        payloads: &[Bytes],
        descriptor: &Bytes,
    ) -> Vec<ShardPut> {
        let put = |(index, payload): (usize, &Bytes)| ShardPut {
            id: ids::shard(self.data_id(), chunk_index, index),
            descriptor: descriptor.clone(),
            payload: payload.clone(),
        };
        payloads.iter().enumerate().map(put).collect()
    }

    /// Puts `shards` on the disks `chosen` (in the same order; there may be fewer), and on others of `candidates`
    /// what fails there. Once, long after all should be done, those that are still open are repeated on other disks
    /// too, as far as there are any, and whichever comes first counts.
    pub(super) async fn put_shards(
        &self,
        shards: Vec<ShardPut>,
        chosen: Vec<Candidate>,
        candidates: &[Candidate],
        spare_count: usize,
        durability: Durability,
    ) -> PutOutcome {
        let map = self.core.disks.map();
        let put = |index: usize, disk_id: DiskId| {
            let (disk, shard) = (map.disk(disk_id).cloned(), shards.get(index).cloned());
            let answer = self.put_shard(disk_id, disk, shard, durability);
            async move { (index, disk_id, answer.await) }
        };
        let mut puts = FuturesUnordered::new();
        let mut race = PutRace::new(shards.len());
        for (index, candidate) in chosen.into_iter().enumerate().take(shards.len()) {
            race.begin(index, candidate);
            puts.push(put(index, candidate.disk_id));
        }
        let late = sleep_until(Instant::now() + self.replace_after());
        tokio::pin!(late);
        let mut is_late = false;
        // The condition is looked at after replacements have begun: a failed put alone does not end the race.
        while !race.is_over() {
            let to_repeat = tokio::select! {
                biased;
                Some((index, disk_id, answer)) = puts.next() => race.settle(index, disk_id, answer),
                () = &mut late, if !is_late => {
                    is_late = true;
                    race.open_disks().filter_map(|id| map.disk(id)).for_each(|disk| disk.note_slow_call());
                    race.unfinished()
                }
                else => break,
            };
            for index in to_repeat {
                let Some(candidate) = self.replacement(candidates, &race.taken, spare_count) else {
                    continue;
                };
                self.core.counters.shards_replaced.increment();
                race.begin(index, candidate);
                puts.push(put(index, candidate.disk_id));
            }
        }
        race.end()
    }

    /// A put of one shard, which is in the ledger from now on, and begins when it is polled.
    fn put_shard(
        &self,
        disk_id: DiskId,
        disk: Option<Arc<Disk>>,
        shard: Option<ShardPut>,
        durability: Durability,
    ) -> impl Future<Output = Result<WriteTicket, ShardError>> + use<> {
        if let Some(shard) = &shard {
            self.guard.ledger().note(disk_id, shard.id);
        }
        let deadline = self.core.options.put_deadline;
        async move {
            let (Some(disk), Some(shard)) = (disk, shard) else {
                return Err(unknown_disk(disk_id));
            };
            disk.put(shard, durability, deadline).await
        }
    }

    /// After how long a put that is still open is repeated on another disk.
    fn replace_after(&self) -> Duration {
        let options = &self.core.options;
        let p95 = self.core.disks.latencies().put.p95();
        write_replace_after(p95, options.put_replace_after_min, options.put_deadline)
    }

    /// Another disk for a shard, beside those that are `taken`.
    fn replacement(
        &self,
        candidates: &[Candidate],
        taken: &[Candidate],
        spare_count: usize,
    ) -> Option<Candidate> {
        let seed = self.core.entropy.seed();
        let chosen = choose(candidates, taken, 1, spare_count, seed);
        chosen.first().copied()
    }
}

impl PutRace {
    fn new(shard_count: usize) -> Self {
        Self {
            slots: vec![None; shard_count],
            open: vec![Vec::new(); shard_count],
            taken: Vec::new(),
            failed: Vec::new(),
        }
    }

    fn begin(&mut self, index: usize, candidate: Candidate) {
        self.taken.push(candidate);
        if let Some(open) = self.open.get_mut(index) {
            open.push(candidate.disk_id);
        }
    }

    /// Takes an answer; the shards that are to be put elsewhere because of it.
    fn settle(
        &mut self,
        index: usize,
        disk_id: DiskId,
        answer: Result<WriteTicket, ShardError>,
    ) -> Vec<usize> {
        let (Some(open), Some(slot)) = (self.open.get_mut(index), self.slots.get_mut(index)) else {
            return Vec::new();
        };
        open.retain(|other| *other != disk_id);
        match answer {
            Ok(ticket) => {
                // A second one is a stray; the ledger knows it.
                slot.get_or_insert(Slot { disk_id, ticket });
                Vec::new()
            }
            Err(error) => {
                tracing::warn!(%error, shard_index = index, "a shard could not be written to its disk");
                self.failed.push(disk_id);
                if slot.is_none() && open.is_empty() {
                    vec![index]
                } else {
                    Vec::new()
                }
            }
        }
    }

    /// Whether nothing can come any more, or nothing more is needed.
    fn is_over(&self) -> bool {
        self.slots
            .iter()
            .zip(&self.open)
            .all(|(slot, open)| slot.is_some() || open.is_empty())
    }

    fn unfinished(&self) -> Vec<usize> {
        self.slots
            .iter()
            .enumerate()
            .filter(|(_, slot)| slot.is_none())
            .map(|(index, _)| index)
            .collect()
    }

    /// The disks that are waited for.
    fn open_disks(&self) -> impl Iterator<Item = DiskId> + '_ {
        let shards = self.slots.iter().zip(&self.open);
        let unfinished = shards.filter(|(slot, _)| slot.is_none());
        unfinished.flat_map(|(_, open)| open).copied()
    }

    fn end(self) -> PutOutcome {
        let mut failed = self.failed;
        failed.extend(self.open.into_iter().flatten());
        PutOutcome {
            slots: self.slots,
            failed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(number: u8) -> Candidate {
        Candidate {
            disk_id: DiskId([number; 16]),
            host: 0,
            zone: 0,
            free_bytes: 0,
        }
    }

    const TICKET: WriteTicket = WriteTicket {
        run: 1,
        position: 1,
    };

    #[test]
    fn a_failed_put_is_repeated_unless_another_of_the_same_shard_is_open() {
        let mut race = PutRace::new(1);
        race.begin(0, candidate(1));
        race.begin(0, candidate(2));
        assert_eq!(
            race.settle(0, DiskId([1; 16]), Err(unknown_disk(DiskId([1; 16])))),
            Vec::<usize>::new()
        );
        assert!(!race.is_over());
        assert_eq!(
            race.settle(0, DiskId([2; 16]), Err(unknown_disk(DiskId([2; 16])))),
            [0]
        );
        assert!(race.is_over(), "unless it is begun again, nothing can come");
    }

    #[test]
    fn the_first_of_two_answers_counts() {
        let mut race = PutRace::new(1);
        race.begin(0, candidate(1));
        race.begin(0, candidate(2));
        race.settle(0, DiskId([2; 16]), Ok(TICKET));
        assert!(race.is_over());
        assert_eq!(race.open_disks().count(), 0, "nobody waits for the other");
        race.settle(0, DiskId([1; 16]), Ok(TICKET));
        assert_eq!(
            race.slots[0].map(|slot| slot.disk_id),
            Some(DiskId([2; 16]))
        );
    }

    #[test]
    fn a_disk_with_an_open_put_is_not_used_again() {
        let mut race = PutRace::new(2);
        race.begin(0, candidate(1));
        race.begin(1, candidate(2));
        race.settle(1, DiskId([2; 16]), Ok(TICKET));
        assert_eq!(race.open_disks().collect::<Vec<_>>(), [DiskId([1; 16])]);
        assert_eq!(race.end().failed, [DiskId([1; 16])]);
    }
}
