//! `kill -9` of any process of several machines, and of all of them at once, at random instants, loses nothing that was
//! acknowledged, leaves nothing torn, and leaves no space behind.
//!
//! Method: two gateways, a metadata service and six storage nodes, all real processes, under a mixed workload
//! (`cairn_tests::workload`) through both gateways. In each round one process is killed, or all are, after a number of
//! acknowledgements drawn from a fixed seed (the kinds take turns, which one of its kind is drawn), and started again
//! after some more, or once nobody can go on without it. Then every key is read through both gateways. In the end
//! everything is deleted, and the storage nodes must not hold a single byte of a live shard.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cairn_tests::cluster::{Cluster, Process};
use cairn_tests::eventually::eventually_within;
use cairn_tests::faults;
use cairn_tests::metrics::Metrics;
use cairn_tests::s3::client;
use cairn_tests::workload::{Keys, Progress, begin, check_all, delete_everything, spawn_all};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::task::JoinHandle;

const SEED: u64 = 0x00c1_057e;
const WORKERS: usize = 4;
const KEYS_PER_WORKER: usize = 5;
const ROUNDS: usize = 9;
const GATEWAYS: usize = 2;
/// Longer than all rounds take on an idle machine, so that shards are deleted when all nodes are there again: a deletion
/// that finds a node away is tried again only after two minutes.
const DELETE_DELAY: &str = "--delete-delay=20s";
/// Larger than any wait here should take: on a busy machine, that of such a deletion.
const PATIENCE: Duration = Duration::from_mins(3);

/// What is killed in a round.
#[derive(Debug, Clone, Copy)]
enum Victim {
    One(Process),
    All,
}

impl Victim {
    fn draw(round: usize, random: &mut SmallRng) -> Self {
        Self::One(match round % 4 {
            0 => return Self::All,
            1 => Process::Gateway(random.random_range(0..GATEWAYS)),
            2 => Process::Meta,
            _ => Process::StorageNode(random.random_range(0..Cluster::NODE_COUNT)),
        })
    }

    fn kill(self, cluster: &mut Cluster) {
        match self {
            Self::One(process) => cluster.kill(process),
            Self::All => cluster.kill_all(),
        }
    }

    fn restart(self, cluster: &mut Cluster) {
        match self {
            Self::One(process) => cluster.restart(process),
            Self::All => cluster.restart_all(),
        }
    }
}

/// Waits until so much was acknowledged, or nobody works any more, or it takes too long: what is dead may be what
/// all wait for.
async fn until_acknowledged(count: usize, progress: &Progress, tasks: &[JoinHandle<Keys>]) {
    let deadline = Instant::now() + Duration::from_secs(1);
    while progress.acknowledged() < count
        && !tasks.iter().all(JoinHandle::is_finished)
        && Instant::now() < deadline
    {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_process_or_all_at_once_may_be_killed_at_any_instant() {
    let mut random = SmallRng::seed_from_u64(SEED);
    println!("seed {SEED:#x}");
    let mut cluster = Cluster::start_with(GATEWAYS, &[DELETE_DELAY, "--orphan-age=6s"]);
    cluster.expect(&[
        faults::SHARDS_ARE_AWAY,
        faults::METADATA_ARE_AWAY,
        faults::GATEWAY_IS_KILLED,
        faults::DISK_OWNER_IS_KILLED,
    ]);
    let mut workers = begin(&client(cluster.endpoint(0)), WORKERS, KEYS_PER_WORKER).await;
    let mut acknowledged = 0;

    for round in 0..ROUNDS {
        let victim = Victim::draw(round, &mut random);
        let context = format!("round {round}, {victim:?} killed");
        let kill_after = random.random_range(1..30);
        let restart_after = kill_after + random.random_range(0..15);
        let progress = Arc::new(Progress::default());
        let clients = [0, 1].map(|gateway| client(cluster.endpoint(gateway)));
        let tasks = spawn_all(&clients, &mut workers, &mut random, &progress);
        until_acknowledged(kill_after, &progress, &tasks).await;
        victim.kill(&mut cluster);
        until_acknowledged(restart_after, &progress, &tasks).await;
        victim.restart(&mut cluster);
        progress.end();
        for task in tasks {
            workers.push(task.await.unwrap());
        }
        for client in &clients {
            check_all(client, &mut workers, &context).await;
        }
        acknowledged += progress.acknowledged();
    }
    println!("{acknowledged} operations were acknowledged");
    assert!(
        acknowledged >= ROUNDS * 10,
        "only {acknowledged} operations"
    );

    delete_everything(&client(cluster.endpoint(0))).await;
    eventually_empty(&cluster).await;
}

/// Waits until no storage node holds a live shard, and all of them say so.
async fn eventually_empty(cluster: &Cluster) {
    eventually_within(PATIENCE, "space leaks", async || {
        let metrics = Metrics::of(cluster.endpoint(0)).await?;
        match metrics.live_bytes(Cluster::NODE_COUNT)? {
            0 => Ok(()),
            live => Err(format!("{live} bytes of live shards")),
        }
    })
    .await;
}
