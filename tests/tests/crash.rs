//! `kill -9` at random instants loses nothing that was acknowledged and leaves nothing torn.
//!
//! Method: workers with a mixed workload (`cairn_tests::workload`) on `cairn serve`, which is killed after a number of
//! acknowledgements drawn from a fixed seed, and started again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cairn_tests::faults;
use cairn_tests::s3::client;
use cairn_tests::serve::Server;
use cairn_tests::workload::{Progress, begin, check_all, spawn_all};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

const SEED: u64 = 0x00ca_1245;
const WORKERS: usize = 4;
const KEYS_PER_WORKER: usize = 6;
const ROUNDS: usize = 15;
/// What so many rounds get acknowledged at least, or the test would show nothing.
const ACKNOWLEDGED_MIN: usize = ROUNDS * 10;
/// Larger than a round takes on a busy machine: a server that answers nobody any more is killed all the same.
const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_writes_survive_kill_9_at_random_instants() {
    let mut random = SmallRng::seed_from_u64(SEED);
    println!("seed {SEED:#x}");
    let mut server = Server::start(6);
    server.expect(&[faults::DISK_OWNER_IS_KILLED]);
    let mut workers = begin(&client(server.endpoint()), WORKERS, KEYS_PER_WORKER).await;
    let mut acknowledged = 0;

    for round in 0..ROUNDS {
        let kill_after = random.random_range(1..60);
        let progress = Arc::new(Progress::default());
        let clients = [client(server.endpoint())];
        let tasks = spawn_all(&clients, &mut workers, &mut random, &progress);
        let deadline = Instant::now() + PATIENCE;
        while progress.acknowledged() < kill_after
            && Instant::now() < deadline
            && !tasks.iter().all(tokio::task::JoinHandle::is_finished)
        {
            tokio::task::yield_now().await;
        }
        server.kill();
        for task in tasks {
            workers.push(task.await.unwrap());
        }
        server.restart().unwrap();
        let client = client(server.endpoint());
        check_all(&client, &mut workers, &format!("round {round}")).await;
        acknowledged += progress.acknowledged();
    }
    println!("{acknowledged} operations were acknowledged");
    assert!(
        acknowledged >= ACKNOWLEDGED_MIN,
        "only {acknowledged} operations"
    );
    assert!(server.terminate().success());
}
