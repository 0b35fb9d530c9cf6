//! Makes missing shards again: executes [`super::repair_plan`] for a chunk, a queue, or everything.
//!
//! The order that keeps a chunk readable throughout: new shards durable → placement committed → old shards deleted.

mod inspection;
mod remaking;

use cairn_meta::{self as meta, ChunkRecord, MetaError};
use cairn_storage_node::DataId;

use super::core::{Core, Engine};
use super::ids;
use super::read::ChunkRef;
use super::repair_plan::{RepairPlan, plan_repair};

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
}
