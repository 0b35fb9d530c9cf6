//! The tasks that run beside requests: one set of supervised loops per process.
//!
//! Every gateway watches its disks and runs its own errands. What concerns the whole cluster (repair, deletion,
//! orphans, scrub) is done by the one gateway that holds the lease; a lease saves duplicate work and is no fence, so
//! every step is also safe when two do it. All of it is done in small steps with pauses between them, can be paused
//! between any two chunks, and can be stopped anywhere, as it is by the end of a process.

mod backoff;
mod options;
mod round;
mod tour;
mod worker;

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use cairn_meta::{Lease, LeaseState};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

pub use options::BackgroundOptions;
use worker::{Loop, Worker};

use super::core::Engine;
use super::pace::Permission;

/// The lease of all work that only one gateway does. One for all: collection and repair of the same shards are then
/// never done by different processes.
const LEASE_NAME: &str = "engine-maintenance";
/// How often it is looked whether disks are back that hold leftovers.
const CLEAN_UP_AGAIN_AFTER: Duration = Duration::from_secs(30);
/// How long the end of a process waits for staged bytes to get their shards. They are safe without.
const UNSTAGE_AT_END_MAX: Duration = Duration::from_secs(5);
/// How much later than the one before each leased loop goes on when the lease was got, the first one than that.
const TURN: Duration = Duration::from_millis(2);
/// After a panic or an error a loop goes on this much later.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// The loops of leased work, and what they are called when they fail.
const LEASED_LOOPS: [(&str, Loop); 7] = [
    ("delete", Loop::Delete),
    ("repair", Loop::Repair),
    ("unstage-abandoned", Loop::UnstageAbandoned),
    ("leave-disks", Loop::LeaveDisks),
    ("collect-orphans", Loop::CollectOrphans),
    ("scrub", Loop::Scrub),
    ("purge", Loop::Purge),
];

/// The running tasks. Dropping it stops them where they are, which is safe; [`Background::shutdown`] also waits until
/// they have stopped.
#[derive(Debug)]
pub struct Background {
    engine: Engine,
    tasks: JoinSet<()>,
    stop: CancellationToken,
    is_paused: Arc<watch::Sender<bool>>,
}

impl Engine {
    /// Starts all background tasks in the current runtime.
    pub fn start_background(&self, options: BackgroundOptions) -> Background {
        let mut background = Background {
            engine: self.clone(),
            tasks: JoinSet::new(),
            stop: CancellationToken::new(),
            is_paused: Arc::new(watch::Sender::new(false)),
        };
        let options = Arc::new(options);
        for ((name, which), turn) in LEASED_LOOPS.into_iter().zip(1..) {
            let permission = Permission {
                is_held: self.core().is_maintainer.subscribe(),
                is_paused: background.is_paused.subscribe(),
                turn: TURN * turn,
            };
            let options = Arc::clone(&options);
            background.begin(name, move |engine| {
                Worker::new(which, engine, Arc::clone(&options), permission.clone()).run(which)
            });
        }
        let refresh_every = options.refresh_every;
        background.begin("refresh-disks", move |engine| {
            engine.refresh_disks(refresh_every)
        });
        background.begin("unstage", Engine::unstage_for_ever);
        background.begin("repair-notices", Engine::enqueue_notices_for_ever);
        background.begin("clean-up", Engine::clean_up_for_ever);
        background.begin("lease", move |engine| {
            engine.keep_lease(Arc::clone(&options))
        });
        background
    }

    async fn refresh_disks(self, every: Duration) {
        loop {
            self.disks().refresh(self.options().status_deadline).await;
            sleep(every).await;
        }
    }

    /// Apart from the cleanup, which may take long: a chunk that was found damaged is to be repaired soon.
    async fn enqueue_notices_for_ever(self) {
        let core = self.core();
        loop {
            core.enqueue_repair_notices().await;
            core.repair_notices.wait().await;
        }
    }

    async fn clean_up_for_ever(self) {
        let core = self.core();
        loop {
            core.clean_up().await;
            tokio::select! {
                () = core.leftovers.wait() => {}
                () = sleep(CLEAN_UP_AGAIN_AFTER) => {}
            }
        }
    }

    /// Polls the lease and publishes whether it is held; while a poll hangs, also that it ran out.
    async fn keep_lease(self, options: Arc<BackgroundOptions>) {
        let started = Instant::now();
        let publish = |is_held: bool| {
            self.core()
                .is_maintainer
                .send_if_modified(|held| std::mem::replace(held, is_held) != *held);
        };
        let mut lease = Lease::new(
            self.core().meta.clone(),
            LEASE_NAME,
            &options.holder,
            options.lease_duration,
        );
        let mut held_until = started;
        loop {
            let mut poll = pin!(lease.poll(|| started.elapsed()));
            let polled = if let Ok(polled) = timeout_at(held_until, &mut poll).await {
                polled
            } else {
                publish(false);
                poll.await
            };
            match polled {
                Ok(LeaseState::Held { until }) => held_until = started + until,
                Ok(LeaseState::Elsewhere) => held_until = started,
                // What was held stays so until its time.
                Err(error) => tracing::warn!(%error, "the maintenance lease could not be polled"),
            }
            publish(Instant::now() < held_until);
            sleep(options.lease_duration / 8).await;
        }
    }
}

impl Background {
    /// Begins endless work, under supervision; `work` is called anew for each time that it begins.
    fn begin<F>(&mut self, name: &'static str, mut work: impl FnMut(Engine) -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let engine = self.engine.clone();
        let work: Work = Box::new(move || Box::pin(work(engine.clone())));
        self.tasks.spawn(supervise(name, self.stop.clone(), work));
    }

    /// Stops leased work between two chunks until [`Background::resume`].
    pub fn pause(&self) {
        self.is_paused.send_replace(true);
    }

    /// Goes on after [`Background::pause`].
    pub fn resume(&self) {
        self.is_paused.send_replace(false);
    }

    /// Gives shards to what is still staged, if that takes no longer than a moment; then stops all tasks where they
    /// are, and waits until nothing of them runs. What a step had not finished is done by the next process that holds
    /// the lease.
    pub async fn shutdown(mut self) {
        let unstaged = timeout(UNSTAGE_AT_END_MAX, self.engine.unstage_waiting()).await;
        if unstaged.is_err() {
            tracing::warn!("some staged bytes get their shards only after the next start");
        }
        self.stop.cancel();
        while self.tasks.join_next().await.is_some() {}
        self.engine.core().is_maintainer.send_replace(false);
    }
}

type Work = Box<dyn FnMut() -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

/// Runs endless work until it is to stop. A panic is seen, logged, and the work begun anew.
async fn supervise(name: &'static str, stop: CancellationToken, mut work: Work) {
    loop {
        let mut task = JoinSet::new();
        task.spawn(work());
        tokio::select! {
            () = stop.cancelled() => return task.shutdown().await,
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

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::poll;

    #[tokio::test]
    async fn what_is_stopped_does_not_run_any_more() {
        let held = Arc::new(());
        let work: Work = Box::new({
            let held = Arc::clone(&held);
            move || {
                let held = Arc::clone(&held);
                Box::pin(async move {
                    std::future::pending::<()>().await;
                    drop(held);
                })
            }
        });
        let before = Arc::strong_count(&held);
        let stop = CancellationToken::new();
        let mut supervised = Box::pin(supervise("endless", stop.clone(), work));
        while Arc::strong_count(&held) == before {
            assert!(poll!(&mut supervised).is_pending());
        }
        tokio::task::yield_now().await;
        stop.cancel();
        supervised.await;
        assert_eq!(
            Arc::strong_count(&held),
            1,
            "the work is gone, and so is its maker"
        );
    }
}
