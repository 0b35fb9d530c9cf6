//! The pool's invariants: right digests whatever happens to others, nobody held up by a stream that stalls or is
//! gone, and lanes filled before threads are.

use std::time::Duration;

use futures_util::future::join_all;
use md5::{Digest, Md5};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::watch;
use tokio::time::timeout;

use super::*;

/// Far longer than anything here takes; it turns a stream that waits for ever into a failure.
const PATIENCE: Duration = Duration::from_mins(1);

fn pools() -> impl Iterator<Item = Md5Pool> {
    Kernel::available()
        .into_iter()
        .flat_map(|kernel| [1, 3].map(|worker_count| Md5Pool::with(kernel, worker_count)))
}

fn random_pieces(random: &mut SmallRng) -> Vec<Bytes> {
    let len_max = [1, 70, 5_000, 100_000][random.random_range(0..4)];
    (0..random.random_range(0..8))
        .map(|_| {
            let mut bytes = vec![0; random.random_range(0..=len_max)];
            random.fill(&mut bytes[..]);
            Bytes::from(bytes)
        })
        .collect()
}

/// One request: batches of any size, with pauses, and sometimes an early end.
async fn upload(pool: Md5Pool, seed: u64) {
    let mut random = SmallRng::seed_from_u64(seed);
    let mut expected = Md5::new();
    let mut stream = Md5Stream::new();
    for _ in 0..random.random_range(1..12) {
        let pieces = random_pieces(&mut random);
        for piece in &pieces {
            expected.update(piece);
        }
        let receiver = pool.update(stream, pieces);
        if random.random_ratio(1, 20) {
            return;
        }
        stream = timeout(PATIENCE, receiver).await.unwrap().unwrap();
        for _ in 0..random.random_range(0..20) {
            tokio::task::yield_now().await;
        }
    }
    let expected = <[u8; 16]>::from(expected.finalize());
    assert_eq!(stream.finish(), expected, "seed {seed}");
}

async fn is_at_rest(pool: &Md5Pool) {
    let at_rest = async {
        loop {
            let (batch_count, worker_count) = {
                let queue = pool.shared.queue();
                assert!(queue.batch_count >= queue.waiting.len());
                (queue.batch_count, queue.worker_count)
            };
            if (batch_count, worker_count) == (0, 0) {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, at_rest).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_streams_get_their_own_digests_whatever_others_do() {
    for (pool, first_seed) in pools().zip((0..).step_by(1000)) {
        let uploads =
            (first_seed..first_seed + 40).map(|seed| tokio::spawn(upload(pool.clone(), seed)));
        for uploaded in join_all(uploads).await {
            uploaded.unwrap();
        }
        is_at_rest(&pool).await;
    }
}

/// Some streams stop after a batch until all others are through.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_stalled_stream_holds_nobody_up() {
    for pool in pools() {
        let (others_done, wait) = watch::channel(false);
        let stalled: Vec<_> = (0..20)
            .map(|_| {
                let (pool, mut wait) = (pool.clone(), wait.clone());
                tokio::spawn(async move {
                    let batch = || vec![Bytes::from_static(b"half a stream")];
                    let stream = pool.update(Md5Stream::new(), batch()).await.unwrap();
                    wait.wait_for(|is_done| *is_done).await.unwrap();
                    pool.update(stream, batch()).await.unwrap().finish()
                })
            })
            .collect();
        let others = (0..20).map(|seed| tokio::spawn(upload(pool.clone(), seed)));
        for uploaded in timeout(PATIENCE, join_all(others)).await.unwrap() {
            uploaded.unwrap();
        }
        others_done.send_replace(true);
        for digest in timeout(PATIENCE, join_all(stalled)).await.unwrap() {
            let expected = Md5::digest(b"half a streamhalf a stream");
            assert_eq!(digest.unwrap(), <[u8; 16]>::from(expected));
        }
    }
}

/// A pool without threads: the test is the workers.
struct Bench {
    pool: Md5Pool,
    receivers: Vec<oneshot::Receiver<Md5Stream>>,
}

impl Bench {
    /// Four lanes a worker.
    fn new(worker_count_max: usize) -> Self {
        Self {
            pool: Md5Pool::with(Kernel::Plain, worker_count_max),
            receivers: Vec::new(),
        }
    }

    fn enqueue(&mut self, len: usize) -> Option<Worker> {
        let (reply, receiver) = oneshot::channel();
        self.receivers.push(receiver);
        let lane = Lane::new(Md5Stream::new(), vec![Bytes::from(vec![0; len])]);
        let is_needed = self.pool.shared.enqueue(Batch { lane, reply });
        is_needed.then(|| self.worker())
    }

    fn worker(&self) -> Worker {
        Worker {
            shared: Arc::clone(&self.pool.shared),
            batches: Vec::new(),
            is_retired: false,
        }
    }
}

#[test]
fn a_thread_is_added_only_when_all_lanes_are_taken() {
    let mut bench = Bench::new(2);
    let workers: Vec<bool> = (0..12)
        .map(|_| bench.enqueue(64).map(std::mem::forget).is_some())
        .collect();
    let begun: Vec<usize> = (0..12).filter(|index| workers[*index]).collect();
    assert_eq!(begun, [0, 4], "four lanes each, two at most");
}

#[test]
fn who_comes_meanwhile_is_taken_along() {
    let mut bench = Bench::new(2);
    let mut worker = bench.enqueue(1 << 20).unwrap();
    assert!(worker.fill_lanes());
    assert!(bench.enqueue(64).is_none());
    assert!(worker.fill_lanes());
    assert_eq!(worker.batches.len(), 2);
    advance(
        Kernel::Plain,
        worker.batches.iter_mut().map(|batch| &mut batch.lane),
    );
    worker.empty_lanes();
    assert!(
        bench.receivers[0].try_recv().is_err(),
        "the long one goes on"
    );
    assert!(
        bench.receivers[1].try_recv().is_ok(),
        "the short one need not wait for it"
    );
}

#[test]
fn a_dropped_stream_frees_its_lane() {
    let mut bench = Bench::new(1);
    let mut worker = bench.enqueue(1 << 20).unwrap();
    for _ in 0..4 {
        assert!(bench.enqueue(1 << 20).is_none());
    }
    assert!(worker.fill_lanes());
    assert_eq!(worker.batches.len(), 4, "the fifth one waits");
    bench.receivers.drain(..2);
    advance(
        Kernel::Plain,
        worker.batches.iter_mut().map(|batch| &mut batch.lane),
    );
    worker.empty_lanes();
    assert_eq!(worker.batches.len(), 2);
    assert!(worker.fill_lanes());
    assert_eq!(worker.batches.len(), 3);
}

#[test]
fn streams_come_together_again_when_there_are_fewer() {
    let mut bench = Bench::new(2);
    let mut first = bench.enqueue(64).unwrap();
    for _ in 0..3 {
        assert!(bench.enqueue(64).is_none());
    }
    let mut second = bench.enqueue(64).unwrap();
    assert!(first.fill_lanes() && second.fill_lanes());
    assert_eq!((first.batches.len(), second.batches.len()), (4, 1));
    advance(
        Kernel::Plain,
        first.batches.iter_mut().map(|batch| &mut batch.lane),
    );
    first.empty_lanes();
    assert!(
        bench.enqueue(64).is_none(),
        "two workers are there for two batches"
    );
    assert!(
        second.fill_lanes() && second.is_retired,
        "it only finishes what it has"
    );
    assert!(first.fill_lanes());
    assert_eq!((first.batches.len(), second.batches.len()), (1, 1));
}

#[test]
fn a_worker_that_fails_leaves_nobody_waiting() {
    let mut bench = Bench::new(1);
    let mut worker = bench.enqueue(64).unwrap();
    assert!(worker.fill_lanes());
    for _ in 0..5 {
        assert!(bench.enqueue(64).is_none());
    }
    drop(worker);
    for mut receiver in bench.receivers.drain(..) {
        assert_eq!(
            receiver.try_recv().unwrap_err(),
            oneshot::error::TryRecvError::Closed
        );
    }
    assert!(
        bench.enqueue(64).is_some(),
        "the next one gets a new worker"
    );
}
