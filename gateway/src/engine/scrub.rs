//! Reads everything from time to time, so that silent damage is found while there is enough left to undo it.

use std::collections::BTreeSet;

use cairn_meta::{self as meta, ChunkRecord, MetaError};
use cairn_storage_node::DiskId;
use tokio::time::Instant;

use super::core::Engine;
use super::disks::DiskRole;
use super::entropy::named_at_ms;
use super::ids;
use super::pace::Pace;
use super::repair::RepairReport;

impl Engine {
    /// Somewhere among the names of data: where a pass begins. It reads for weeks what fills large disks, and is
    /// begun anew by every process that takes it over: always from the first name, it would reach the last ones
    /// rarely or never.
    ///
    /// # Errors
    /// Those of the metadata.
    pub(crate) async fn scrub_start(&self) -> Result<meta::DataId, MetaError> {
        let core = self.core();
        let page = core.meta.list_data(None, 1).await?;
        let first_ms = page.data.first().map(|(id, _)| named_at_ms(ids::data(*id)));
        // Names begin with their time.
        let now_ms = core.clock.now_ms();
        let first_ms = first_ms.unwrap_or(now_ms);
        let span_ms = now_ms.saturating_sub(first_ms).max(1);
        let at_ms = first_ms.saturating_add(core.entropy.seed() % span_ms);
        Ok(ids::meta_data(core.entropy.data_id(at_ms)))
    }

    /// Verifies all shards of up to `limit` data behind `after`, and repairs what it finds bad.
    ///
    /// # Errors
    /// Those of the metadata.
    pub(crate) async fn scrub_step(
        &self,
        after: Option<meta::DataId>,
        limit: usize,
        pace: &mut Pace,
    ) -> Result<(RepairReport, Option<meta::DataId>), MetaError> {
        let (report, next) = self.repair_all_step(after, limit, pace).await?;
        self.core()
            .counters
            .chunks_scrubbed
            .add(report.whole_count as u64);
        Ok((report, next))
    }

    /// The disks whose shards have to be made again elsewhere: those that have been away for too long, and those
    /// being emptied. `known` are the disks that the cluster is supposed to have.
    pub fn disks_to_leave(&self, known: &[meta::DiskId]) -> BTreeSet<DiskId> {
        let core = self.core();
        let now = Instant::now();
        let map = core.disks.map();
        let draining = map
            .disks()
            .iter()
            .filter(|disk| disk.role() == DiskRole::Draining)
            .map(|disk| disk.id());
        let there = map.disks().iter().map(|disk| disk.id());
        let is_lost = |id: &DiskId| {
            core.disks
                .away_for(*id, now)
                .is_some_and(|away_for| away_for >= core.options.disk_absence_max)
        };
        there
            .chain(known.iter().map(|id| ids::disk(*id)))
            .filter(is_lost)
            .chain(draining)
            .collect()
    }

    /// Makes the shards that are on `disks` again elsewhere, for up to `limit` data behind `after`.
    ///
    /// # Errors
    /// Those of the metadata.
    pub(crate) async fn leave_disks_step(
        &self,
        disks: &BTreeSet<DiskId>,
        after: Option<meta::DataId>,
        limit: usize,
        pace: &mut Pace,
    ) -> Result<(RepairReport, Option<meta::DataId>), MetaError> {
        let names_one = |chunk: &ChunkRecord| {
            chunk
                .shards
                .iter()
                .flatten()
                .any(|id| disks.contains(&ids::disk(*id)))
        };
        self.repair_missing_step(after, limit, names_one, pace)
            .await
    }
}
