//! Makes missing shards again: executes [`super::repair_plan`] for a chunk, a queue, or everything.
//!
//! The order that keeps a chunk readable throughout: new shards durable → placement committed → old shards deleted.
//!
//! Where nothing can be made again, nothing is read: on a cluster that has just as many disks as shards, every chunk
//! lacks a shard from the loss of a disk to its replacement, and looking at all of them would keep the rest busy.

mod inspection;
mod remaking;

use cairn_meta::{self as meta, ChunkRecord, MetaError, RepairReason};
use cairn_storage_node::DataId;

use inspection::Sight;

use super::core::{Core, Engine};
use super::ids;
use super::pace::Pace;
use super::read::ChunkRef;
use super::repair_plan::{RepairPlan, plan_repair};

/// What a chunk costs at least, in bytes that could have been read meanwhile: a rate that counted only the bytes of
/// tiny objects would let them run at full speed.
const LOOK_COST_BYTES: u64 = 64 << 10;

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RepairReport {
    /// Chunks that have all their shards now, or had them.
    pub whole_count: usize,
    /// Chunks of which nothing is known to be missing, but some shards could not be looked at.
    pub unseen_count: usize,
    /// Shards that were made again.
    pub shard_count: usize,
    /// Chunks that could not be brought back to full redundancy now.
    pub postponed_count: usize,
    /// How many bytes of shards were read.
    pub bytes_read: u64,
}

/// What became of one chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ChunkOutcome {
    /// Nothing is missing that could be made now and here.
    Whole { made_count: usize },
    /// Some shards could not be made or placed. Which ones are missing is told by the chunk's record and the state of
    /// the disks, and nothing can be done before that changes.
    Waiting { made_count: usize },
    /// Some shards could not be made or placed; only a look at all of them tells which.
    Postponed { made_count: usize },
    /// The datum was deleted.
    Gone,
}

/// What work on one chunk came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Repaired {
    outcome: ChunkOutcome,
    sight: Sight,
}

impl Repaired {
    /// Without a look at anything that disks could have refused.
    fn unhindered(outcome: ChunkOutcome) -> Self {
        let sight = Sight::Full;
        Self { outcome, sight }
    }
}

/// Whether the shards of a chunk are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    /// Any of them may be bad.
    Always,
    /// Only if something can be made again of what is known to be missing.
    IfUseful,
}

/// A piece of the repair queue.
#[derive(Debug, Clone, Copy)]
pub(crate) struct QueueStep {
    /// It begins behind this chunk.
    pub(crate) after: Option<(meta::DataId, u32)>,
    /// At most this many chunks.
    pub(crate) limit: usize,
    /// What was enqueued earlier is left out.
    pub(crate) since_ms: u64,
}

impl Engine {
    /// Works off a piece of the repair queue, and returns where to go on, if there is more.
    ///
    /// # Errors
    /// Those of the metadata.
    pub(crate) async fn repair_queue_step(
        &self,
        step: QueueStep,
        pace: &mut Pace,
    ) -> Result<(RepairReport, Option<(meta::DataId, u32)>), MetaError> {
        let core = self.core();
        let waiting = core.meta.repairs(step.after, step.limit).await?;
        for damaged in &waiting.damaged {
            core.note_damage(&damaged.entry, &damaged.error);
        }
        let next = waiting
            .repairs
            .last()
            .filter(|_| waiting.repairs.len() >= step.limit)
            .map(meta::Repair::position);
        let mut report = RepairReport::default();
        let wanted = waiting
            .repairs
            .iter()
            .filter(|repair| repair.enqueued_at_ms >= step.since_ms);
        for repair in wanted {
            let done = core.repair_queued(repair, pace, &mut report).await;
            core.unless_damaged(format_args!("datum {}", repair.data_id), done)?;
        }
        Ok((report, next))
    }

    /// Looks at all shards of up to `limit` data behind `after`, repairs what is missing, corrupt, on lost disks or on
    /// disks being emptied, and returns where to go on, if there is more.
    ///
    /// # Errors
    /// Those of the metadata.
    pub(crate) async fn repair_all_step(
        &self,
        after: Option<meta::DataId>,
        limit: usize,
        pace: &mut Pace,
    ) -> Result<(RepairReport, Option<meta::DataId>), MetaError> {
        self.walk(after, limit, Look::Always, |_| true, pace).await
    }

    /// The same for the chunks that `only` chooses, and without a look at those for which nothing can be done.
    ///
    /// # Errors
    /// Those of the metadata.
    pub(crate) async fn repair_missing_step(
        &self,
        after: Option<meta::DataId>,
        limit: usize,
        only: impl Fn(&ChunkRecord) -> bool + Send,
        pace: &mut Pace,
    ) -> Result<(RepairReport, Option<meta::DataId>), MetaError> {
        self.walk(after, limit, Look::IfUseful, only, pace).await
    }

    async fn walk(
        &self,
        after: Option<meta::DataId>,
        limit: usize,
        look: Look,
        only: impl Fn(&ChunkRecord) -> bool + Send,
        pace: &mut Pace,
    ) -> Result<(RepairReport, Option<meta::DataId>), MetaError> {
        let core = self.core();
        let listed = core.meta.list_data(after, limit).await?;
        let mut report = RepairReport::default();
        for (data_id, record) in listed.data {
            let Some(record) = core.unless_damaged(format_args!("datum {data_id}"), record)? else {
                continue;
            };
            for (index, record) in (0..).zip(&record.chunks).filter(|(_, chunk)| only(chunk)) {
                let data_id = ids::data(data_id);
                let chunk = ChunkRef {
                    data_id,
                    index,
                    record,
                };
                let done = core.repair_or_enqueue(chunk, look, pace, &mut report).await;
                core.unless_damaged(format_args!("datum {data_id}"), done)?;
            }
        }
        Ok((report, listed.next))
    }
}

impl Core {
    /// Repairs a chunk of the queue, and takes it off when that is done; not if it is suspected anew meanwhile.
    async fn repair_queued(
        &self,
        repair: &meta::Repair,
        pace: &mut Pace,
        report: &mut RepairReport,
    ) -> Result<(), MetaError> {
        let (data_id, index) = repair.position();
        let data_id = ids::data(data_id);
        let Some(record) = self.chunk_record(data_id, index).await? else {
            return self.meta.finish_repair(repair).await;
        };
        let Some(repair) = &self.meta.begin_repair(repair).await? else {
            return Ok(());
        };
        let look = match repair.reason {
            RepairReason::Missing => Look::IfUseful,
            RepairReason::Suspected | RepairReason::LookedInto => Look::Always,
        };
        let chunk = ChunkRef {
            data_id,
            index,
            record: &record,
        };
        let is_suspected = look == Look::Always;
        let Repaired { outcome, sight } = self.repair_chunk(chunk, look, pace, report).await?;
        match outcome {
            // What could not be asked for may be the one that is bad.
            ChunkOutcome::Whole { .. } | ChunkOutcome::Waiting { .. }
                if is_suspected && sight == Sight::Partial =>
            {
                Ok(())
            }
            ChunkOutcome::Gone | ChunkOutcome::Whole { .. } => {
                self.meta.finish_repair(repair).await
            }
            ChunkOutcome::Waiting { .. } if is_suspected => {
                self.meta.dispel_suspicion(repair).await
            }
            ChunkOutcome::Waiting { .. } | ChunkOutcome::Postponed { .. } => Ok(()),
        }
    }

    /// Repairs a chunk, and enqueues it if that is not possible now: the queue's length tells operators what lacks
    /// redundancy. Shards that could not be looked at are nobody's suspicion: with a disk away, that is every chunk.
    async fn repair_or_enqueue(
        &self,
        chunk: ChunkRef<'_>,
        look: Look,
        pace: &mut Pace,
        report: &mut RepairReport,
    ) -> Result<(), MetaError> {
        let (data_id, now_ms) = (ids::meta_data(chunk.data_id), self.clock.now_ms());
        match self.repair_chunk(chunk, look, pace, report).await?.outcome {
            ChunkOutcome::Whole { .. } | ChunkOutcome::Gone => Ok(()),
            ChunkOutcome::Waiting { .. } => {
                self.meta
                    .enqueue_missing(data_id, chunk.index, now_ms)
                    .await
            }
            ChunkOutcome::Postponed { .. } => {
                self.meta.enqueue_repair(data_id, chunk.index, now_ms).await
            }
        }
    }

    async fn repair_chunk(
        &self,
        chunk: ChunkRef<'_>,
        look: Look,
        pace: &mut Pace,
        report: &mut RepairReport,
    ) -> Result<Repaired, MetaError> {
        if chunk.record.is_staged() {
            // Its bytes are as safe as its record; its shards are made in `staging`.
            let outcome = ChunkOutcome::Whole { made_count: 0 };
            return Ok(Repaired::unhindered(outcome));
        }
        pace.go_on().await;
        let read_before = report.bytes_read;
        let repaired = match self.foresee(chunk.record) {
            Some(outcome) if look == Look::IfUseful => Repaired::unhindered(outcome),
            _ => {
                let _held = self.exclusion.hold(chunk.data_id).await;
                // What was read before the waits may name places that another repair has left.
                match self.chunk_record(chunk.data_id, chunk.index).await? {
                    Some(record) => {
                        let record = &record;
                        let chunk = ChunkRef { record, ..chunk };
                        self.look_and_repair(chunk, report).await?
                    }
                    None => Repaired::unhindered(ChunkOutcome::Gone),
                }
            }
        };
        pace.spend((report.bytes_read - read_before).max(LOOK_COST_BYTES));
        match repaired.outcome {
            ChunkOutcome::Whole { made_count } => {
                match repaired.sight {
                    Sight::Full => report.whole_count += 1,
                    Sight::Partial => report.unseen_count += 1,
                }
                report.shard_count += made_count;
            }
            ChunkOutcome::Waiting { made_count } | ChunkOutcome::Postponed { made_count } => {
                report.postponed_count += 1;
                report.shard_count += made_count;
                self.counters.repairs_postponed.increment();
            }
            ChunkOutcome::Gone => {}
        }
        Ok(repaired)
    }

    /// What the metadata say of a chunk; `None` if it does not exist any more.
    pub(crate) async fn chunk_record(
        &self,
        data_id: DataId,
        index: u32,
    ) -> Result<Option<ChunkRecord>, MetaError> {
        let chunks = self.meta.data_chunks(ids::meta_data(data_id), index, 1);
        match chunks.await {
            Ok(chunks) => Ok(chunks.into_iter().next()),
            Err(MetaError::NoSuchData) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What comes of a look at the shards, as far as that is known without one.
    fn foresee(&self, record: &ChunkRecord) -> Option<ChunkOutcome> {
        let presumed = self.presume(record);
        match plan_repair(&presumed, record.coding) {
            RepairPlan::Nothing => Some(ChunkOutcome::Whole { made_count: 0 }),
            RepairPlan::Wait => Some(ChunkOutcome::Waiting { made_count: 0 }),
            RepairPlan::Rebuild(shards) => self
                .targets(record, &shards, &presumed)
                .is_empty()
                .then_some(ChunkOutcome::Waiting { made_count: 0 }),
            RepairPlan::Hopeless => None,
        }
    }

    async fn look_and_repair(
        &self,
        chunk: ChunkRef<'_>,
        report: &mut RepairReport,
    ) -> Result<Repaired, MetaError> {
        let inspection = self.inspect(chunk).await;
        report.bytes_read += inspection.bytes_read;
        let outcome = match plan_repair(&inspection.conditions, chunk.record.coding) {
            RepairPlan::Nothing => ChunkOutcome::Whole { made_count: 0 },
            RepairPlan::Wait => ChunkOutcome::Postponed { made_count: 0 },
            RepairPlan::Hopeless => self.give_up(chunk.data_id, chunk.index).await,
            RepairPlan::Rebuild(shards) => {
                self.make_again(chunk, &shards, &inspection, report).await?
            }
        };
        let sight = inspection.sight();
        Ok(Repaired { outcome, sight })
    }

    async fn give_up(&self, data_id: DataId, chunk_index: u32) -> ChunkOutcome {
        if self.is_deleted(data_id).await {
            return ChunkOutcome::Gone;
        }
        tracing::error!(%data_id, chunk_index, "a chunk is lost: too many of its shards are bad");
        ChunkOutcome::Postponed { made_count: 0 }
    }
}
