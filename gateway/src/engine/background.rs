//! The tasks that run beside requests: one set of supervised loops per process.
//!
//! Every gateway watches its disks and runs its own errands. What concerns the whole cluster (repair, deletion,
//! orphans, scrub) is done by the one gateway that holds the lease; a lease saves duplicate work and is no fence, so
//! every step is also safe when two do it. All of it is done in small steps with pauses between them, and can be
//! paused and stopped between any two.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use cairn_meta::{self as meta, Lease, LeaseState};
use cairn_storage_node::DiskId;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::core::Engine;
use super::repair::RepairReport;

/// The lease of all work that only one gateway does. One for all: collection and repair of the same shards are then
/// never done by different processes.
const LEASE_NAME: &str = "engine-maintenance";
/// How many queue entries or data one step takes: some hundred milliseconds of work.
const STEP_LEN: usize = 64;
/// How many shards of a disk one step of the orphan collector looks at.
const ORPHAN_STEP_LEN: usize = 1000;
/// How long the end of a process waits for staged bytes to get their shards. They are safe without.
const UNSTAGE_AT_END_MAX: Duration = Duration::from_secs(5);
/// After a panic or an error a loop goes on this much later.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// Settings of the background work.
#[derive(Debug, Clone)]
pub struct BackgroundOptions {
    /// What this process calls itself; unique among processes and starts.
    pub holder: String,
    /// How long others wait before they take over the work of a process that vanished.
    pub lease_duration: Duration,
    /// How often disks are asked for their status.
    pub refresh_every: Duration,
    /// How often the deletion queue is looked at when it was empty.
    pub delete_every: Duration,
    /// How often the repair queue is looked at.
    pub repair_every: Duration,
    /// How often it is looked for bytes that a process staged and could not give their shards.
    pub unstage_abandoned_every: Duration,
    /// How often it is looked for lost and draining disks.
    pub leave_disks_every: Duration,
    /// Pause between two passes of the orphan collector over all disks.
    pub collect_orphans_every: Duration,
    /// How long after its start a process begins with the passes over everything (orphans, scrub), so that restarts
    /// do not each begin with a burst of reading.
    pub first_pass_after: Duration,
    /// Pause between two passes of the scrub.
    pub scrub_every: Duration,
    /// How often remembered uploads that are no longer needed are purged.
    pub purge_every: Duration,
    /// What repair reads per second at most, so that requests are served meanwhile.
    pub repair_bytes_per_second_max: u64,
    /// What the scrub reads per second at most.
    pub scrub_bytes_per_second_max: u64,
}

impl BackgroundOptions {
    /// The defaults, for a process of this name.
    pub fn new(holder: impl Into<String>) -> Self {
        const HOUR: Duration = Duration::from_hours(1);
        Self {
            holder: holder.into(),
            lease_duration: Duration::from_secs(20),
            refresh_every: Duration::from_secs(2),
            delete_every: Duration::from_secs(5),
            repair_every: Duration::from_secs(5),
            unstage_abandoned_every: Duration::from_secs(20),
            leave_disks_every: Duration::from_mins(1),
            collect_orphans_every: 6 * HOUR,
            first_pass_after: Duration::from_mins(10),
            scrub_every: 7 * 24 * HOUR,
            purge_every: HOUR,
            repair_bytes_per_second_max: 128 << 20,
            scrub_bytes_per_second_max: 16 << 20,
        }
    }
}

/// The running tasks. Dropping it stops them where they are, which is safe; [`Background::shutdown`] lets running
/// steps finish.
#[derive(Debug)]
pub struct Background {
    engine: Engine,
    tasks: JoinSet<()>,
    stop: CancellationToken,
    is_paused: Arc<watch::Sender<bool>>,
}

/// When a loop of leased work may take its next step.
#[derive(Debug, Clone)]
struct Permission {
    is_held: watch::Receiver<bool>,
    is_paused: watch::Receiver<bool>,
}

impl Permission {
    /// Waits until the lease is held and the work is not paused. Pends for ever when the process is ending.
    async fn granted(&mut self) {
        loop {
            let is_granted =
                *self.is_held.borrow_and_update() && !*self.is_paused.borrow_and_update();
            if is_granted {
                return;
            }
            let changed = tokio::select! {
                changed = self.is_held.changed() => changed,
                changed = self.is_paused.changed() => changed,
            };
            if changed.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}

impl Engine {
    /// Starts all background tasks in the current runtime.
    pub fn start_background(&self, options: BackgroundOptions) -> Background {
        let (held, is_held) = watch::channel(false);
        let is_paused = Arc::new(watch::Sender::new(false));
        let permission = Permission {
            is_held,
            is_paused: is_paused.subscribe(),
        };
        let held = Arc::new(held);
        let options = Arc::new(options);
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let mut spawn = |name: &'static str, work: Work| {
            tasks.spawn(supervise(name, stop.clone(), work));
        };

        let loops: [(&'static str, Loop); 7] = [
            ("delete", Loop::Delete),
            ("repair", Loop::Repair),
            ("unstage-abandoned", Loop::UnstageAbandoned),
            ("leave-disks", Loop::LeaveDisks),
            ("collect-orphans", Loop::CollectOrphans),
            ("scrub", Loop::Scrub),
            ("purge", Loop::Purge),
        ];
        for (name, which) in loops {
            let (engine, options, permission) =
                (self.clone(), Arc::clone(&options), permission.clone());
            spawn(
                name,
                Box::new(move || {
                    Box::pin(
                        Worker::new(engine.clone(), Arc::clone(&options), permission.clone())
                            .run(which),
                    )
                }),
            );
        }
        let (engine, every) = (self.clone(), options.refresh_every);
        spawn(
            "refresh-disks",
            Box::new(move || Box::pin(engine.clone().refresh_disks(every))),
        );
        let engine = self.clone();
        spawn(
            "unstage",
            Box::new(move || Box::pin(engine.clone().unstage_for_ever())),
        );
        let engine = self.clone();
        spawn(
            "errands",
            Box::new(move || Box::pin(engine.clone().run_errands_for_ever())),
        );
        let engine = self.clone();
        spawn(
            "lease",
            Box::new(move || {
                Box::pin(
                    engine
                        .clone()
                        .keep_lease(Arc::clone(&options), Arc::clone(&held)),
                )
            }),
        );
        Background {
            engine: self.clone(),
            tasks,
            stop,
            is_paused,
        }
    }

    async fn refresh_disks(self, every: Duration) {
        loop {
            self.disks().refresh(self.options().status_deadline).await;
            sleep(every).await;
        }
    }

    async fn run_errands_for_ever(self) {
        let core = self.core();
        loop {
            core.enqueue_repair_notices().await;
            core.clean_up().await;
            tokio::select! {
                () = core.cleanup.wait() => {}
                () = core.repair_notices.wait() => {}
            }
        }
    }

    /// Polls the lease and publishes whether it is held; between polls, also that it ran out.
    async fn keep_lease(self, options: Arc<BackgroundOptions>, held: Arc<watch::Sender<bool>>) {
        let started = Instant::now();
        let mut lease = Lease::new(
            self.core().meta.clone(),
            LEASE_NAME,
            &options.holder,
            options.lease_duration,
        );
        loop {
            match lease.poll(started.elapsed()).await {
                Ok(LeaseState::Held { .. } | LeaseState::Elsewhere) => {}
                Err(error) => tracing::warn!(%error, "the maintenance lease could not be polled"),
            }
            held.send_if_modified(|held| {
                std::mem::replace(held, lease.is_held(started.elapsed())) != *held
            });
            sleep(options.lease_duration / 8).await;
        }
    }
}

impl Background {
    /// Stops leased work between two steps until [`Background::resume`].
    pub fn pause(&self) {
        self.is_paused.send_replace(true);
    }

    /// Goes on after [`Background::pause`].
    pub fn resume(&self) {
        self.is_paused.send_replace(false);
    }

    /// Gives shards to what is still staged, if that takes no longer than a moment; then stops all tasks and waits
    /// until they have.
    pub async fn shutdown(mut self) {
        let unstaged = timeout(UNSTAGE_AT_END_MAX, self.engine.unstage_waiting()).await;
        if unstaged.is_err() {
            tracing::warn!("some staged bytes get their shards only after the next start");
        }
        self.stop.cancel();
        while self.tasks.join_next().await.is_some() {}
    }
}

type Work = Box<dyn FnMut() -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

/// Runs endless work until it is to stop. A panic is seen, logged, and the work begun anew.
async fn supervise(name: &'static str, stop: CancellationToken, mut work: Work) {
    loop {
        let mut task = JoinSet::new();
        task.spawn(work());
        tokio::select! {
            () = stop.cancelled() => return,
            ended = task.join_next() => {
                if let Some(Err(error)) = ended {
                    tracing::error!(task = name, %error, "a background task failed and is started again");
                }
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep(RETRY_AFTER) => {}
        }
    }
}

/// The loops of leased work.
#[derive(Debug, Clone, Copy)]
enum Loop {
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
struct Worker {
    engine: Engine,
    options: Arc<BackgroundOptions>,
    permission: Permission,
}

impl Worker {
    fn new(engine: Engine, options: Arc<BackgroundOptions>, permission: Permission) -> Self {
        Self {
            engine,
            options,
            permission,
        }
    }

    async fn run(mut self, which: Loop) {
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
