//! The loops of leased work: each does its work step by step, for ever.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use cairn_meta as meta;
use cairn_storage_node::DiskId;
use tokio::time::{Instant, sleep};

use super::RETRY_AFTER;
use super::options::BackgroundOptions;
use super::permission::Permission;
use crate::engine::core::Engine;
use crate::engine::repair::RepairReport;

/// How many queue entries or data one step takes: some hundred milliseconds of work.
const STEP_LEN: usize = 64;
/// How many shards of a disk one step of the orphan collector looks at.
const ORPHAN_STEP_LEN: usize = 1000;

/// The loops of leased work.
#[derive(Debug, Clone, Copy)]
pub(super) enum Loop {
    Delete,
    Repair,
    UnstageAbandoned,
    LeaveDisks,
    CollectOrphans,
    Scrub,
    Purge,
}

/// One loop of leased work.
#[derive(Debug)]
pub(super) struct Worker {
    engine: Engine,
    options: Arc<BackgroundOptions>,
    permission: Permission,
}

impl Worker {
    pub(super) fn new(
        engine: Engine,
        options: Arc<BackgroundOptions>,
        permission: Permission,
    ) -> Self {
        Self {
            engine,
            options,
            permission,
        }
    }

    pub(super) async fn run(mut self, which: Loop) {
        if matches!(which, Loop::CollectOrphans | Loop::Scrub) {
            sleep(self.options.first_pass_after).await;
        }
        loop {
            let every = match which {
                Loop::Delete => self.delete_pass().await,
                Loop::Repair => self.repair_pass().await,
                Loop::UnstageAbandoned => self.unstage_abandoned_pass().await,
                Loop::LeaveDisks => self.leave_disks_pass().await,
                Loop::CollectOrphans => self.collect_orphans_pass().await,
                Loop::Scrub => self.scrub_pass().await,
                Loop::Purge => self.purge_pass().await,
            };
            sleep(every).await;
        }
    }

    async fn delete_pass(&mut self) -> Duration {
        loop {
            self.permission.granted().await;
            match self.engine.delete_due_once(STEP_LEN).await {
                Ok(report) if report.deleted_count + report.postponed_count >= STEP_LEN => {}
                Ok(_) => return self.options.delete_every,
                Err(error) => return log_failure("delete", &error),
            }
        }
    }

    async fn repair_pass(&mut self) -> Duration {
        let mut after = None;
        loop {
            self.permission.granted().await;
            let started = Instant::now();
            match self.engine.repair_queue_once(after, STEP_LEN).await {
                Ok((report, next)) => {
                    self.slow_down(started, &report, self.options.repair_bytes_per_second_max)
                        .await;
                    after = next;
                }
                Err(error) => return log_failure("repair", &error),
            }
            if after.is_none() {
                return self.options.repair_every;
            }
        }
    }

    async fn unstage_abandoned_pass(&mut self) -> Duration {
        let mut after = None;
        loop {
            self.permission.granted().await;
            match self.engine.unstage_abandoned_once(after, STEP_LEN).await {
                Ok(next) => after = next,
                Err(error) => return log_failure("unstage-abandoned", &error),
            }
            if after.is_none() {
                return self.options.unstage_abandoned_every;
            }
        }
    }

    async fn leave_disks_pass(&mut self) -> Duration {
        self.permission.granted().await;
        let known = match self.engine.core().meta.disks().await {
            Ok(known) => known,
            Err(error) => return log_failure("leave-disks", &error),
        };
        let supposed = known
            .iter()
            .filter(|disk| disk.state != meta::DiskState::Retired)
            .map(|disk| disk.id);
        let disks: BTreeSet<DiskId> = self.engine.disks_to_leave(&supposed.collect::<Vec<_>>());
        if disks.is_empty() {
            return self.options.leave_disks_every;
        }
        let mut after = None;
        loop {
            self.permission.granted().await;
            let started = Instant::now();
            match self.engine.leave_disks_once(&disks, after, STEP_LEN).await {
                Ok((report, next)) => {
                    self.slow_down(started, &report, self.options.repair_bytes_per_second_max)
                        .await;
                    after = next;
                }
                Err(error) => return log_failure("leave-disks", &error),
            }
            if after.is_none() {
                return self.options.leave_disks_every;
            }
        }
    }

    async fn collect_orphans_pass(&mut self) -> Duration {
        let map = self.engine.disks().map();
        let age_min = self.engine.options().orphan_age_min;
        for disk in map.disks() {
            let mut after = None;
            loop {
                self.permission.granted().await;
                match self
                    .engine
                    .collect_orphans_once(disk, after, ORPHAN_STEP_LEN, age_min)
                    .await
                {
                    Ok(report) => after = report.next,
                    Err(error) => {
                        tracing::info!(disk_id = %disk.id(), %error, "orphans of a disk are collected another time");
                        break;
                    }
                }
                if after.is_none() {
                    break;
                }
            }
        }
        self.options.collect_orphans_every
    }

    async fn scrub_pass(&mut self) -> Duration {
        let mut after = None;
        loop {
            self.permission.granted().await;
            let started = Instant::now();
            match self.engine.scrub_once(after, 1).await {
                Ok((report, next)) => {
                    self.slow_down(started, &report, self.options.scrub_bytes_per_second_max)
                        .await;
                    after = next;
                }
                Err(error) => return log_failure("scrub", &error),
            }
            if after.is_none() {
                return self.options.scrub_every;
            }
        }
    }

    async fn purge_pass(&mut self) -> Duration {
        self.permission.granted().await;
        let core = self.engine.core();
        match core.meta.purge_completed(core.clock.now_ms()).await {
            Ok(_) => self.options.purge_every,
            Err(error) => log_failure("purge", &error),
        }
    }

    /// Waits until what was read took as long as it may at this rate.
    async fn slow_down(&self, started: Instant, report: &RepairReport, bytes_per_second_max: u64) {
        let millis = report.bytes_read.saturating_mul(1000) / bytes_per_second_max.max(1);
        tokio::time::sleep_until(started + Duration::from_millis(millis)).await;
    }
}

fn log_failure(task: &'static str, error: &meta::MetaError) -> Duration {
    tracing::warn!(task, %error, "background work stopped for now");
    RETRY_AFTER
}
