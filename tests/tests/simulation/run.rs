//! One run from one seed: clients work while things go wrong; then nothing does, and all has to be well.

use std::sync::Arc;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::checker;
use crate::fault_model::FaultModel;
use crate::fault_schedule::FaultSchedule;
use crate::journal::Journal;
use crate::workload::{self, Client};
use crate::world::World;

const CLIENT_COUNT: usize = 5;
const OPERATIONS_PER_CLIENT: usize = 30;
/// How often it is looked whether the background work is done.
const LOOK_EVERY: Duration = Duration::from_mins(10);
/// By then it has to be: orphans are an hour old before they are collected, and anything may take a second try.
const LOOK_COUNT_MAX: usize = 36;

/// How a run went.
#[derive(Debug)]
pub(crate) struct Report {
    /// Why it failed, if it did.
    pub(crate) failure: Option<String>,
    /// What happened.
    pub(crate) lines: Vec<String>,
    /// Stands for all that happened.
    pub(crate) digest: u64,
}

/// Runs in virtual time on this thread.
pub(crate) fn run(seed: u64, keeps_calls: bool) -> Report {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let journal = Arc::new(Journal::new(keeps_calls));
        let world = World::begin(seed, Arc::clone(&journal)).await;
        let ended = tokio::spawn(simulate(world)).await;
        let failure = ended.err().map(|error| match error.try_into_panic() {
            Ok(panic) => message(&*panic),
            Err(error) => error.to_string(),
        });
        Report {
            failure,
            lines: journal.lines(),
            digest: journal.digest(),
        }
    })
}

fn message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
    text.unwrap_or_else(|| "a panic".to_owned())
}

async fn simulate(world: Arc<World>) {
    let mut random = SmallRng::seed_from_u64(world.seed);
    let mut fork = move || SmallRng::seed_from_u64(random.random());
    let mut observer = Client::new(Arc::clone(&world), CLIENT_COUNT, fork());
    observer.begin().await;

    world.suffer(FaultModel::stormy(&mut fork()));
    let mut faults = JoinSet::new();
    faults.spawn(FaultSchedule::new(Arc::clone(&world), fork()).run());
    let mut clients = JoinSet::new();
    for number in 0..CLIENT_COUNT {
        let client = Client::new(Arc::clone(&world), number, fork());
        clients.spawn(client.work(OPERATIONS_PER_CLIENT));
    }
    while let Some(ended) = clients.join_next().await {
        resume_panic(ended);
    }
    faults.abort_all();
    while let Some(ended) = faults.join_next().await {
        resume_panic(ended);
    }

    world.heal().await;
    settle(&world).await;
    for key in workload::keys() {
        observer.must_read(&key).await;
    }
    world.history.check();

    observer.delete_all().await;
    settle(&world).await;
    let left = checker::data(&world.stores).await;
    assert!(left.is_empty(), "all was deleted, and there is {left:?}");
}

/// Waits until the background work is done.
async fn settle(world: &World) {
    let mut unsettled = None;
    for _ in 0..LOOK_COUNT_MAX {
        sleep(LOOK_EVERY).await;
        unsettled = checker::unsettled(&world.stores).await;
        if unsettled.is_none() {
            world.journal.tell("all is settled");
            return;
        }
    }
    let what = unsettled.unwrap_or_default();
    panic!("the background work does not come to its end: {what}");
}

fn resume_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && let Ok(panic) = error.try_into_panic()
    {
        std::panic::resume_unwind(panic);
    }
}
