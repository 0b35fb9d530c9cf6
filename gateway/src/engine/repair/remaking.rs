//! Makes the shards of a chunk again that are missing, and names them in the metadata.

use cairn_meta::{ChunkRecord, MetaError};
use cairn_storage_node::{DiskId, Durability, ShardPut};
use futures_util::future::join_all;
use tokio::time::Instant;

use super::ChunkOutcome;
use super::inspection::Inspection;
use crate::engine::cleanup::{Leftover, LeftoverReason};
use crate::engine::core::Core;
use crate::engine::disks::Dependability;
use crate::engine::geometry::spare_count;
use crate::engine::ids;
use crate::engine::placement::{Candidate, choose};
use crate::engine::read::{ChunkRef, ReadError};
use crate::engine::repair_plan::ShardCondition;

impl Core {
    pub(super) async fn make_again(
        &self,
        chunk: ChunkRef<'_>,
        shards: &[usize],
        inspection: &Inspection,
    ) -> Result<ChunkOutcome, MetaError> {
        let postponed = Ok(ChunkOutcome::Postponed { made_count: 0 });
        let readable = without(chunk.record, &bad_shards(inspection));
        let source = ChunkRef {
            record: &readable,
            ..chunk
        };
        let payloads = match self.rebuild(source, shards).await {
            Ok(payloads) => payloads,
            Err(ReadError::Gone { .. }) => return Ok(ChunkOutcome::Gone),
            Err(error) => {
                tracing::warn!(%error, "shards could not be made again now");
                return postponed;
            }
        };
        let targets = self.targets(chunk.record, shards, &inspection.conditions);
        // Verified shards always have a descriptor; without one they would be useless to a rebuild, but readable.
        let descriptor = inspection.descriptor.clone().unwrap_or_default();
        let map = self.disks.map();
        let puts = payloads
            .into_iter()
            .zip(targets)
            .map(|((shard_index, payload), target)| {
                let shard = ShardPut {
                    id: ids::shard(chunk.data_id, chunk.index, shard_index),
                    descriptor: descriptor.clone(),
                    payload,
                };
                let disk = target.and_then(|target| map.disk(target).cloned());
                async move {
                    let disk = disk?;
                    let stored = disk
                        .put(shard, Durability::Synced, self.options.put_deadline)
                        .await;
                    stored.ok().map(|_| (shard_index, disk.id()))
                }
            });
        let made: Vec<(usize, DiskId)> = join_all(puts).await.into_iter().flatten().collect();
        let mut new = chunk.record.clone();
        for (shard_index, disk_id) in &made {
            if let Some(shard) = new.shards.get_mut(*shard_index) {
                *shard = Some(ids::meta_disk(*disk_id));
            }
        }
        if new != *chunk.record {
            match self.commit_placement(chunk, new).await? {
                Some(outcome) => return Ok(outcome),
                None => self.delete_moved(chunk, &made),
            }
        }
        self.counters.shards_repaired.add(made.len() as u64);
        let made_count = made.len();
        let outcome = if made_count == shards.len() {
            ChunkOutcome::Whole { made_count }
        } else {
            ChunkOutcome::Postponed { made_count }
        };
        Ok(outcome)
    }

    /// Commits where the shards are now; an outcome if that cannot be.
    async fn commit_placement(
        &self,
        chunk: ChunkRef<'_>,
        new: ChunkRecord,
    ) -> Result<Option<ChunkOutcome>, MetaError> {
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
        self.cleanup.push(Leftover {
            data_id: chunk.data_id,
            shards,
            reason: LeftoverReason::Replaced,
        });
    }

    /// Where each of `shards` goes: back to its own disk if that takes shards, otherwise to a disk that holds none
    /// of the chunk; `None` where there is none left.
    fn targets(
        &self,
        record: &ChunkRecord,
        shards: &[usize],
        conditions: &[ShardCondition],
    ) -> Vec<Option<DiskId>> {
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
        targets
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
