//! Reads everything from time to time, so that silent damage is found while there is enough left to undo it.

use cairn_meta::{self as meta, MetaError};

use super::core::Engine;
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
}
