//! Makes the shards of a chunk again that are missing, and names them in the metadata.

use bytes::Bytes;
use cairn_meta::{ChunkRecord, MetaError};
use cairn_storage_node::{DiskId, Durability, ShardPut};
use futures_util::future::join_all;
use tokio::time::Instant;

use super::inspection::Inspection;
use super::{ChunkOutcome, RepairReport};
use crate::engine::coding::shard_size_bytes;
use crate::engine::core::Core;
use crate::engine::disks::Dependability;
use crate::engine::geometry::spare_count;
use crate::engine::ids;
use crate::engine::leftovers::{Leftover, LeftoverReason};
use crate::engine::placement::{Candidate, choose};
use crate::engine::read::{ChunkRef, ReadError};
use crate::engine::repair_plan::ShardCondition;

impl Core {
    /// Makes `shards` again, as far as there are disks for them: chosen first, so that nothing is read in vain.
    pub(super) async fn make_again(
        &self,
        chunk: ChunkRef<'_>,
        shards: &[usize],
        inspection: &Inspection,
        report: &mut RepairReport,
    ) -> Result<ChunkOutcome, MetaError> {
        let targets = self.targets(chunk.record, shards, &inspection.conditions);
        if targets.is_empty() {
            return Ok(left_over(chunk.record, shards, inspection, &[]));
        }
        let payloads = match self.remake(chunk, &targets, inspection, report).await {
            Ok(payloads) => payloads,
            Err(ReadError::Gone { .. }) => return Ok(ChunkOutcome::Gone),
            Err(error) => {
                tracing::warn!(%error, "shards could not be made again now");
                return Ok(ChunkOutcome::Postponed { made_count: 0 });
            }
        };
        let made = self.put_remade(chunk, payloads, &targets, inspection).await;
        if let Some(outcome) = self.commit_placement(chunk, &made).await? {
            return Ok(outcome);
        }
        // Only now: the placement that names the new ones is committed.
        self.delete_moved(chunk, &made);
        self.counters.shards_repaired.add(made.len() as u64);
        Ok(left_over(chunk.record, shards, inspection, &made))
    }

    /// The payloads of the shards that have a target, from those that were seen to be whole.
    async fn remake(
        &self,
        chunk: ChunkRef<'_>,
        targets: &[(usize, DiskId)],
        inspection: &Inspection,
        report: &mut RepairReport,
    ) -> Result<Vec<(usize, Bytes)>, ReadError> {
        let readable = without(chunk.record, &bad_shards(inspection));
        let source = ChunkRef {
            record: &readable,
            ..chunk
        };
        let wanted: Vec<usize> = targets.iter().map(|(index, _)| *index).collect();
        let coding = chunk.record.coding;
        let size_bytes = u64::from(shard_size_bytes(chunk.record.size_bytes, coding));
        report.bytes_read += size_bytes * coding.shards_needed() as u64;
        self.rebuild(source, &wanted).await
    }

    /// Puts each new shard on its target, durably; those for which that succeeded.
    async fn put_remade(
        &self,
        chunk: ChunkRef<'_>,
        payloads: Vec<(usize, Bytes)>,
        targets: &[(usize, DiskId)],
        inspection: &Inspection,
    ) -> Vec<(usize, DiskId)> {
        // Verified shards always have a descriptor; without one they would be useless to a rebuild, but readable.
        let descriptor = inspection.descriptor.clone().unwrap_or_default();
        let map = self.disks.map();
        let puts =
            payloads
                .into_iter()
                .zip(targets)
                .map(|((shard_index, payload), (_, target))| {
                    let shard = ShardPut {
                        id: ids::shard(chunk.data_id, chunk.index, shard_index),
                        descriptor: descriptor.clone(),
                        payload,
                    };
                    let disk = map.disk(*target).cloned();
                    async move {
                        let disk = disk?;
                        let stored = disk
                            .put(shard, Durability::Synced, self.options.put_deadline)
                            .await;
                        stored.ok().map(|_| (shard_index, disk.id()))
                    }
                });
        join_all(puts).await.into_iter().flatten().collect()
    }

    /// Commits where the shards are now, which are durable there; an outcome if that cannot be.
    async fn commit_placement(
        &self,
        chunk: ChunkRef<'_>,
        made: &[(usize, DiskId)],
    ) -> Result<Option<ChunkOutcome>, MetaError> {
        let mut new = chunk.record.clone();
        for (shard_index, disk_id) in made {
            if let Some(shard) = new.shards.get_mut(*shard_index) {
                *shard = Some(ids::meta_disk(*disk_id));
            }
        }
        if new == *chunk.record {
            return Ok(None);
        }
        let data_id = ids::meta_data(chunk.data_id);
        match self
            .meta
            .replace_placement(data_id, chunk.index, chunk.record, new)
            .await
        {
            Ok(()) => Ok(None),
            // The new shards are orphans now, and are collected as such: another repair may have put the same ones
            // on the same disks, so that only a look at the metadata can tell.
            Err(MetaError::NoSuchData) => Ok(Some(ChunkOutcome::Gone)),
            Err(MetaError::PlacementChanged) => Ok(Some(ChunkOutcome::Postponed { made_count: 0 })),
            Err(error) => Err(error),
        }
    }

    /// Deletes the shards that were made again elsewhere from where they were.
    fn delete_moved(&self, chunk: ChunkRef<'_>, made: &[(usize, DiskId)]) {
        let mut shards = Vec::new();
        for (shard_index, disk_id) in made {
            let before = chunk
                .record
                .shards
                .get(*shard_index)
                .copied()
                .flatten()
                .map(ids::disk);
            if let Some(before) = before.filter(|before| before != disk_id) {
                shards.push((before, ids::shard(chunk.data_id, chunk.index, *shard_index)));
            }
        }
        // A full queue leaves them to the orphan collector.
        let reason = LeftoverReason::Replaced;
        self.leftovers
            .push(Leftover::new(chunk.data_id, shards, reason));
    }

    /// Where each of `shards` goes: back to its own disk if that takes shards, otherwise to a disk that holds none
    /// of the chunk. Those for which there is none left are left out.
    pub(super) fn targets(
        &self,
        record: &ChunkRecord,
        shards: &[usize],
        conditions: &[ShardCondition],
    ) -> Vec<(usize, DiskId)> {
        let map = self.disks.map();
        let candidates = map.candidates(Dependability::InTime, Instant::now());
        let takes_shards = |disk_id: &DiskId| {
            candidates
                .iter()
                .any(|candidate| candidate.disk_id == *disk_id)
        };
        let own = |index: usize| record.shards.get(index).copied().flatten().map(ids::disk);
        let mut targets: Vec<Option<DiskId>> = shards
            .iter()
            .map(|index| own(*index).filter(takes_shards))
            .collect();

        // A disk that is away still counts for its domain, and must not get a second shard when it is back.
        let keeps = |condition: &ShardCondition| {
            matches!(condition, ShardCondition::Whole | ShardCondition::Away)
        };
        let kept = conditions
            .iter()
            .enumerate()
            .filter(|(_, condition)| keeps(condition));
        let used = kept
            .filter_map(|(index, _)| own(index))
            .chain(targets.iter().flatten().copied());
        let taken: Vec<Candidate> = used
            .filter_map(|id| map.disk(id))
            .map(|disk| disk.as_taken())
            .collect();
        let open_count = targets.iter().filter(|target| target.is_none()).count();
        let chosen = choose(
            &candidates,
            &taken,
            open_count,
            spare_count(record.coding),
            self.entropy.seed(),
        );
        let mut chosen = chosen.into_iter();
        for target in targets.iter_mut().filter(|target| target.is_none()) {
            *target = chosen.next().map(|candidate| candidate.disk_id);
        }
        let placed = shards.iter().copied().zip(targets);
        placed
            .filter_map(|(index, target)| Some((index, target?)))
            .collect()
    }
}

/// What became of a chunk of whose missing `shards` these were made.
fn left_over(
    record: &ChunkRecord,
    shards: &[usize],
    inspection: &Inspection,
    made: &[(usize, DiskId)],
) -> ChunkOutcome {
    // A shard that was seen to be bad is not known from its record: it must not be forgotten when its disk, should
    // that have failed now, is back.
    let is_known = |index: &usize| {
        let is_placed = record.shards.get(*index).is_some_and(Option::is_some);
        let condition = inspection.conditions.get(*index);
        !is_placed || condition != Some(&ShardCondition::Bad)
    };
    let made_count = made.len();
    let mut left = shards
        .iter()
        .filter(|index| made.iter().all(|(made, _)| made != *index))
        .peekable();
    if left.peek().is_none() {
        ChunkOutcome::Whole { made_count }
    } else if left.all(is_known) {
        ChunkOutcome::Waiting { made_count }
    } else {
        ChunkOutcome::Postponed { made_count }
    }
}

fn bad_shards(inspection: &Inspection) -> Vec<usize> {
    let readable = |condition: &ShardCondition| {
        matches!(condition, ShardCondition::Whole | ShardCondition::Leaving)
    };
    let indexed = inspection.conditions.iter().enumerate();
    indexed
        .filter(|(_, condition)| !readable(condition))
        .map(|(index, _)| index)
        .collect()
}

/// The record as if these shards were placed nowhere, so that they are not read.
fn without(record: &ChunkRecord, shards: &[usize]) -> ChunkRecord {
    let mut record = record.clone();
    for index in shards {
        if let Some(shard) = record.shards.get_mut(*index) {
            *shard = None;
        }
    }
    record
}
