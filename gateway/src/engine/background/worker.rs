//! The loops of leased work: each does its work step by step, for ever.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use cairn_meta as meta;
use cairn_storage_node::DiskId;
use tokio::time::{Instant, sleep};

use super::RETRY_AFTER;
use super::backoff::Backoff;
use super::options::BackgroundOptions;
use super::round::{Round, STEPS_PER_PASS_MAX};
use super::tour::Tour;
use crate::engine::core::Engine;
use crate::engine::disks::{Availability, Disk, DiskRole};
use crate::engine::pace::{Pace, Permission};
use crate::engine::repair::QueueStep;

/// How many queue entries or data one step takes.
const STEP_LEN: usize = 64;
/// How many shards of a disk one step of the orphan collector looks at.
const ORPHAN_STEP_LEN: usize = 1000;
/// How many data the orphan collector looks up per second at most: a pass over a million takes a quarter of an hour.
const LOOKUPS_PER_SECOND_MAX: u64 = 1000;

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

/// On which disks it depends what repair can do.
type DiskStates = Vec<(DiskId, DiskRole, Availability)>;

/// One loop of leased work.
#[derive(Debug)]
pub(super) struct Worker {
    engine: Engine,
    options: Arc<BackgroundOptions>,
    pace: Pace,
    /// Of passes over the whole repair queue.
    repair_backoff: Backoff<DiskStates>,
    /// Where it is in the repair queue.
    repair_round: Round,
    /// Of passes over all data, for disks that are to be left.
    leave_backoff: Backoff<(BTreeSet<DiskId>, DiskStates)>,
    /// Where the scrub is, if it is under way. It survives errors and a lost lease.
    scrub_tour: Option<Tour>,
}

impl Worker {
    pub(super) fn new(
        which: Loop,
        engine: Engine,
        options: Arc<BackgroundOptions>,
        permission: Permission,
    ) -> Self {
        let per_second_max = match which {
            Loop::Repair | Loop::LeaveDisks => options.repair_bytes_per_second_max,
            Loop::Scrub => options.scrub_bytes_per_second_max,
            Loop::CollectOrphans => LOOKUPS_PER_SECOND_MAX,
            // These spend nothing.
            Loop::Delete | Loop::UnstageAbandoned | Loop::Purge => u64::MAX,
        };
        Self {
            engine,
            options,
            pace: Pace::new(permission, per_second_max),
            repair_backoff: Backoff::new(),
            repair_round: Round::over_all(),
            leave_backoff: Backoff::new(),
            scrub_tour: None,
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
            self.pace.go_on().await;
            match self.engine.delete_due_once(STEP_LEN).await {
                Ok(report) if report.is_truncated => {}
                Ok(_) => return self.options.delete_every,
                Err(error) => return log_failure("delete", &error),
            }
        }
    }

    /// Over the whole queue when disks changed or enough time has passed, otherwise over what is new in a piece of it.
    async fn repair_pass(&mut self) -> Duration {
        self.pace.go_on().await;
        let disks = disk_states(&self.engine);
        let is_whole = self.repair_backoff.is_due(&disks, Instant::now());
        if is_whole {
            self.repair_round = Round::over_all();
        }
        let now_ms = self.engine.core().clock.now_ms();
        self.repair_round = self.repair_round.resumed(now_ms);
        let steps_max = if is_whole {
            usize::MAX
        } else {
            STEPS_PER_PASS_MAX
        };
        let mut left_behind_count = 0;
        for _ in 0..steps_max {
            let step = QueueStep {
                after: self.repair_round.after(),
                limit: STEP_LEN,
                since_ms: self.repair_round.since_ms(),
            };
            match self.engine.repair_queue_step(step, &mut self.pace).await {
                Ok((report, next)) => {
                    left_behind_count += report.postponed_count + report.unseen_count;
                    self.repair_round = self.repair_round.advanced(next);
                    if next.is_none() {
                        break;
                    }
                }
                Err(error) => return log_failure("repair", &error),
            }
        }
        if is_whole {
            self.repair_backoff
                .passed(disks, left_behind_count, Instant::now());
        }
        self.options.repair_every
    }

    async fn unstage_abandoned_pass(&mut self) -> Duration {
        let mut after = None;
        loop {
            self.pace.go_on().await;
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
        self.pace.go_on().await;
        let known = match self.engine.core().meta.supposed_disks().await {
            Ok(known) => known,
            Err(error) => return log_failure("leave-disks", &error),
        };
        let disks: BTreeSet<DiskId> = self.engine.disks_to_leave(&known);
        let absences = self.engine.absences(&disks);
        let state = (disks, disk_states(&self.engine));
        if state.0.is_empty() || !self.leave_backoff.is_due(&state, Instant::now()) {
            return self.options.leave_disks_every;
        }
        let (mut after, mut postponed_count) = (None, 0);
        loop {
            let step = self
                .engine
                .leave_disks_step(&state.0, after, STEP_LEN, &mut self.pace);
            match step.await {
                Ok((report, next)) => {
                    postponed_count += report.postponed_count;
                    after = next;
                }
                Err(error) => return log_failure("leave-disks", &error),
            }
            if after.is_none() {
                self.leave_backoff
                    .passed(state, postponed_count, Instant::now());
                if postponed_count == 0
                    && let Err(error) = self.engine.note_left(&absences).await
                {
                    return log_failure("leave-disks", &error);
                }
                return self.options.leave_disks_every;
            }
            self.pace.go_on().await;
        }
    }

    async fn collect_orphans_pass(&mut self) -> Duration {
        let map = self.engine.disks().map();
        for disk in map.disks() {
            self.collect_orphans_of(disk).await;
        }
        self.options.collect_orphans_every
    }

    async fn collect_orphans_of(&mut self, disk: &Disk) {
        let age_min = self.engine.options().orphan_age_min;
        let mut after = None;
        loop {
            self.pace.go_on().await;
            match self
                .engine
                .collect_orphans_once(disk, after, ORPHAN_STEP_LEN, age_min)
                .await
            {
                Ok(report) => {
                    self.pace.spend(report.looked_up_count as u64);
                    after = report.next;
                }
                Err(error) => {
                    tracing::info!(disk_id = %disk.id(), %error, "orphans of a disk are collected another time");
                    return;
                }
            }
            if after.is_none() {
                return;
            }
        }
    }

    async fn scrub_pass(&mut self) -> Duration {
        loop {
            self.pace.go_on().await;
            match self.scrub_step().await {
                Ok(Some(tour)) => self.scrub_tour = Some(tour),
                Ok(None) => {
                    self.scrub_tour = None;
                    return self.options.scrub_every;
                }
                Err(error) => return log_failure("scrub", &error),
            }
        }
    }

    async fn scrub_step(&mut self) -> Result<Option<Tour>, meta::MetaError> {
        let tour = match self.scrub_tour {
            Some(tour) => tour,
            None => Tour::beginning_behind(self.engine.scrub_start().await?),
        };
        let (_, next) = self
            .engine
            .scrub_step(tour.after(), 1, &mut self.pace)
            .await?;
        Ok(tour.advanced(next))
    }

    async fn purge_pass(&mut self) -> Duration {
        self.pace.go_on().await;
        let core = self.engine.core();
        match core.meta.purge_completed(core.clock.now_ms()).await {
            Ok(purged) => {
                for damaged in &purged.damaged {
                    core.note_damage(&damaged.entry, &damaged.error);
                }
                self.options.purge_every
            }
            Err(error) => log_failure("purge", &error),
        }
    }
}

fn disk_states(engine: &Engine) -> DiskStates {
    let now = Instant::now();
    let map = engine.disks().map();
    let views = map.disks().iter().map(|disk| disk.view(now));
    views
        .map(|view| (view.disk_id, view.role, view.availability))
        .collect()
}

fn log_failure(task: &'static str, error: &meta::MetaError) -> Duration {
    tracing::warn!(task, %error, "background work stopped for now");
    RETRY_AFTER
}
