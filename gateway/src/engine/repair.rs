//! Makes missing shards again: executes [`super::repair_plan`] for a chunk, a queue, or everything.
//!
//! The order that keeps a chunk readable throughout: new shards durable → placement committed → old shards deleted.

use bytes::Bytes;
use cairn_meta::{self as meta, ChunkRecord, MetaError};
use cairn_storage_node::{DataId, DiskId, Durability, ShardError, ShardId, ShardPut, ShardStat};
use futures_util::future::join_all;
use tokio::time::Instant;

use super::cleanup::{Leftover, LeftoverReason};
use super::core::{Core, Engine};
use super::disks::{Dependability, DiskMap, DiskRole};
use super::geometry::spare_count;
use super::ids;
use super::placement::{Candidate, choose};
use super::read::{ChunkRef, ReadError};
use super::repair_plan::{RepairPlan, ShardCondition, plan_repair};

/// What looking at a chunk costs at least, in bytes that could have been read meanwhile: a rate that counted only
/// the bytes of tiny objects would let them run at full speed.
const LOOK_COST_BYTES: u64 = 64 << 10;

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RepairReport {
    /// Chunks that have all their shards now, or had them.
    pub whole_count: usize,
    /// Shards that were made again.
    pub shard_count: usize,
    /// Chunks that could not be brought back to full redundancy now.
    pub postponed_count: usize,
    /// How many bytes were looked at: what a rate is measured by.
    pub bytes_read: u64,
}

/// What became of one chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ChunkOutcome {
    /// Nothing is missing that could be made now and here.
    Whole { made_count: usize },
    /// Some shards could not be made or placed.
    Postponed { made_count: usize },
    /// The datum was deleted.
    Gone,
}

/// The state of a chunk's shards on their disks.
struct Inspection {
    conditions: Vec<ShardCondition>,
    /// From a shard that is whole: what the new ones must carry too.
    descriptor: Option<Bytes>,
}

impl Engine {
    /// Works off up to `limit` chunks of the repair queue behind `after`, and returns where to go on, if there is more.
    ///
    /// # Errors
    /// Those of the metadata.
    pub async fn repair_queue_once(
        &self,
        after: Option<(meta::DataId, u32)>,
        limit: usize,
    ) -> Result<(RepairReport, Option<(meta::DataId, u32)>), MetaError> {
        let core = self.core();
        let repairs = core.meta.repairs(after, limit).await?;
        let next = repairs
            .last()
            .filter(|_| repairs.len() >= limit)
            .map(meta::Repair::position);
        let mut report = RepairReport::default();
        for repair in &repairs {
            let chunk = core
                .meta
                .data_chunks(repair.data_id, repair.chunk_index, 1)
                .await;
            let outcome = match chunk {
                Ok(chunks) => match chunks.into_iter().next() {
                    Some(record) => {
                        core.repair_chunk(
                            ids::data(repair.data_id),
                            repair.chunk_index,
                            &record,
                            &mut report,
                        )
                        .await?
                    }
                    None => ChunkOutcome::Gone,
                },
                Err(MetaError::NoSuchData) => ChunkOutcome::Gone,
                Err(error) => return Err(error),
            };
            if !matches!(outcome, ChunkOutcome::Postponed { .. }) {
                core.meta.finish_repair(repair).await?;
            }
        }
        Ok((report, next))
    }

    /// Looks at all shards of up to `limit` data behind `after`, repairs what is missing, corrupt, on lost disks or on
    /// disks being emptied, and returns where to go on, if there is more. `only` chooses the chunks.
    ///
    /// # Errors
    /// Those of the metadata.
    pub async fn repair_all_once(
        &self,
        after: Option<meta::DataId>,
        limit: usize,
        only: impl Fn(&ChunkRecord) -> bool,
    ) -> Result<(RepairReport, Option<meta::DataId>), MetaError> {
        let core = self.core();
        let page = core.meta.list_data(after, limit).await?;
        let mut report = RepairReport::default();
        for (data_id, record) in page.data {
            for (chunk_index, chunk) in (0..).zip(&record.chunks).filter(|(_, chunk)| only(chunk)) {
                let outcome = core
                    .repair_chunk(ids::data(data_id), chunk_index, chunk, &mut report)
                    .await?;
                if let ChunkOutcome::Postponed { .. } = outcome {
                    core.meta
                        .enqueue_repair(data_id, chunk_index, core.clock.now_ms())
                        .await?;
                }
            }
        }
        Ok((report, page.next))
    }
}

impl Core {
    async fn repair_chunk(
        &self,
        data_id: DataId,
        index: u32,
        record: &ChunkRecord,
        report: &mut RepairReport,
    ) -> Result<ChunkOutcome, MetaError> {
        if record.is_staged() {
            // Its bytes are as safe as its record; its shards are made in `staging`.
            return Ok(ChunkOutcome::Whole { made_count: 0 });
        }
        let inspection = self.inspect(data_id, index, record).await;
        report.bytes_read += u64::from(record.size_bytes).max(LOOK_COST_BYTES);
        let chunk = ChunkRef {
            data_id,
            index,
            record,
        };
        let outcome = match plan_repair(&inspection.conditions, record.coding) {
            RepairPlan::Nothing => ChunkOutcome::Whole { made_count: 0 },
            RepairPlan::Wait => ChunkOutcome::Postponed { made_count: 0 },
            RepairPlan::Hopeless => {
                let is_gone = self.is_unknown_to_metadata(data_id).await;
                if !is_gone {
                    tracing::error!(%data_id, chunk_index = index, "a chunk is lost: too many of its shards are bad");
                }
                if is_gone {
                    ChunkOutcome::Gone
                } else {
                    ChunkOutcome::Postponed { made_count: 0 }
                }
            }
            RepairPlan::Rebuild(shards) => self.make_again(chunk, &shards, &inspection).await?,
        };
        match outcome {
            ChunkOutcome::Whole { made_count } => {
                report.whole_count += 1;
                report.shard_count += made_count;
            }
            ChunkOutcome::Postponed { made_count } => {
                report.postponed_count += 1;
                report.shard_count += made_count;
                self.counters.repairs_postponed.increment();
            }
            ChunkOutcome::Gone => {}
        }
        Ok(outcome)
    }

    /// Verifies all shards of a chunk where they are.
    async fn inspect(&self, data_id: DataId, index: u32, record: &ChunkRecord) -> Inspection {
        let map = self.disks.map();
        let looks = record
            .shards
            .iter()
            .enumerate()
            .map(|(shard_index, placed)| {
                let disk_id = placed.map(ids::disk);
                self.look_at(ids::shard(data_id, index, shard_index), disk_id, &map)
            });
        let mut conditions = Vec::with_capacity(record.shards.len());
        let mut descriptor = None;
        for (condition, stat) in join_all(looks).await {
            conditions.push(condition);
            descriptor = descriptor.or(stat.and_then(|stat| stat.descriptor));
        }
        Inspection {
            conditions,
            descriptor,
        }
    }

    async fn look_at(
        &self,
        id: ShardId,
        disk_id: Option<DiskId>,
        map: &DiskMap,
    ) -> (ShardCondition, Option<ShardStat>) {
        let Some(disk_id) = disk_id else {
            return (ShardCondition::Bad, None);
        };
        let Some(disk) = map.disk(disk_id) else {
            return (self.away_or_lost(disk_id), None);
        };
        match disk.verify(id, self.options.get_deadline).await {
            Ok(stat) if disk.role() == DiskRole::Draining => (ShardCondition::Leaving, Some(stat)),
            Ok(stat) => (ShardCondition::Whole, Some(stat)),
            Err(ShardError::NotFound { .. } | ShardError::Corrupt { .. }) => {
                (ShardCondition::Bad, None)
            }
            // Busy, too: the disk is there, and another look is due later.
            Err(_) => (self.away_or_lost(disk_id), None),
        }
    }

    fn away_or_lost(&self, disk_id: DiskId) -> ShardCondition {
        let away_for = self.disks.away_for(disk_id, Instant::now());
        let is_lost = away_for.is_some_and(|away_for| away_for >= self.options.disk_absence_max);
        if is_lost {
            ShardCondition::Lost
        } else {
            ShardCondition::Away
        }
    }

    async fn make_again(
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
