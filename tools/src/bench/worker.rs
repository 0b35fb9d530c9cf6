//! One worker: one connection, one request after the other.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rand::{RngExt, SeedableRng};

use super::args::Verify;
use super::measurement::Tally;
use super::operation::{KEYS_PER_DIRECTORY, Keyspace, Operation};
use super::payload::Payloads;
use crate::s3_client::{ClientError, Connection, Request};

/// With [`Verify::Sample`], every so many answers one is compared.
const SAMPLE_INTERVAL: u64 = 16;

/// What the workers of one measurement share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) operation: Operation,
    pub(super) keyspace: Keyspace,
    pub(super) payloads: Payloads,
    pub(super) size_bytes: u64,
    pub(super) verify: Verify,
    /// Number of the next object to put.
    pub(super) next_put: Arc<AtomicU64>,
    /// Number of the next object to delete.
    pub(super) next_delete: Arc<AtomicU64>,
    /// Requests that may still be started, where their number is bounded; drawn from by all workers.
    pub(super) budget: Option<AtomicU64>,
    /// When measuring begins; what was started before is not counted.
    pub(super) warm_until: Instant,
    /// When a worker that has measured a request starts no further one. (Large ones may take longer than all of this.)
    pub(super) until: Instant,
    /// Workers that still measure.
    pub(super) measuring_count: AtomicUsize,
    /// Requests done, for the progress display.
    pub(super) done: AtomicU64,
}

impl Shared {
    /// Takes one request from the budget.
    fn draw(&self) -> bool {
        self.budget.as_ref().is_none_or(|budget| {
            budget
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                    left.checked_sub(1)
                })
                .is_ok()
        })
    }

    /// Whether workers that have measured may send further requests, so that those which have not are measured beside as
    /// many as before.
    fn keeps_load(&self) -> bool {
        self.budget.is_none() && self.operation != Operation::Delete
    }

    /// The next object to delete, if one is left.
    fn next_to_delete(&self) -> Option<u64> {
        let put_count = self.next_put.load(Ordering::Relaxed);
        let next = |object: u64| (object < put_count).then_some(object + 1);
        self.next_delete
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, next)
            .ok()
    }
}

/// Measures until time, budget or objects are used up, and keeps the server as busy as it was until the last worker has.
pub(super) async fn run(shared: Arc<Shared>, connection: Connection, worker: u64) -> Tally {
    let mut worker = Worker {
        random: rand::rngs::SmallRng::seed_from_u64(worker),
        sequence: worker,
        shared,
        connection,
    };
    let tally = worker.measure().await;
    let measuring = Arc::clone(&worker.shared);
    measuring.measuring_count.fetch_sub(1, Ordering::Relaxed);
    while measuring.keeps_load() && measuring.measuring_count.load(Ordering::Relaxed) > 0 {
        // What is not counted may fail.
        let Ok(object) = worker.next_object() else {
            break;
        };
        drop(worker.request(object).await);
    }
    tally
}

/// Why a worker ends early.
enum NoObject {
    /// Others have done all there was to do.
    AllDone,
    NothingToRead,
}

struct Worker {
    shared: Arc<Shared>,
    connection: Connection,
    random: rand::rngs::SmallRng,
    sequence: u64,
}

impl Worker {
    async fn measure(&mut self) -> Tally {
        let mut tally = Tally::default();
        let mut measured_since = None;
        loop {
            let started = Instant::now();
            if started >= self.shared.until && measured_since.is_some() {
                break;
            }
            let is_warm = started >= self.shared.warm_until;
            if is_warm && !self.shared.draw() {
                break;
            }
            let object = match self.next_object() {
                Ok(object) => object,
                Err(NoObject::AllDone) => break,
                Err(NoObject::NothingToRead) => {
                    tally.failure("there are no objects to read: put some first");
                    break;
                }
            };
            if is_warm {
                measured_since.get_or_insert(started);
            }
            match self.request(object).await {
                Ok(payload_bytes) if is_warm => tally.success(started.elapsed(), payload_bytes),
                Ok(_) => {}
                Err(error) => tally.failure(error),
            }
        }
        match measured_since {
            Some(since) => tally.over(since.elapsed()),
            None => tally,
        }
    }

    fn next_object(&mut self) -> Result<u64, NoObject> {
        let shared = &self.shared;
        let known = shared.next_put.load(Ordering::Relaxed);
        match shared.operation {
            Operation::Put => Ok(shared.next_put.fetch_add(1, Ordering::Relaxed)),
            Operation::Delete => shared.next_to_delete().ok_or(NoObject::AllDone),
            _ if known == 0 => Err(NoObject::NothingToRead),
            Operation::Get => Ok(self.random.random_range(0..known)),
            // Not among the last, so that pages are full where there are that many keys.
            Operation::List | Operation::ListDirectory => {
                let first_count = known.saturating_sub(KEYS_PER_DIRECTORY).max(1);
                Ok(self.random.random_range(0..first_count))
            }
            Operation::ListDelimiter => Ok(0),
        }
    }

    async fn request(&mut self, object: u64) -> Result<u64, ClientError> {
        self.sequence += 1;
        let compare =
            self.shared.verify == Verify::Full || self.sequence.is_multiple_of(SAMPLE_INTERVAL);
        let outcome = one(&self.shared, &mut self.connection, object, compare).await;
        self.shared.done.fetch_add(1, Ordering::Relaxed);
        if outcome.is_err() {
            self.connection.close();
            // A server that is gone must not be asked a million times a second.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        outcome
    }
}

/// Sends one request; returns the payload bytes that were moved.
async fn one(
    shared: &Shared,
    connection: &mut Connection,
    object: u64,
    compare: bool,
) -> Result<u64, ClientError> {
    let keyspace = &shared.keyspace;
    match shared.operation {
        Operation::Put => {
            let payload = shared.payloads.of(object, shared.size_bytes);
            connection
                .call(keyspace.put(object, &payload))
                .await
                .map(|_| shared.size_bytes)
        }
        Operation::Get => get(shared, connection, object, compare).await,
        Operation::Delete => connection.call(keyspace.delete(object)).await.map(|_| 0),
        Operation::List => list(connection, keyspace.list(object)).await,
        Operation::ListDirectory => list(connection, keyspace.list_directory(object)).await,
        Operation::ListDelimiter => list(connection, keyspace.list_delimiter()).await,
    }
}

async fn get(
    shared: &Shared,
    connection: &mut Connection,
    object: u64,
    compare: bool,
) -> Result<u64, ClientError> {
    let answer = connection.send(shared.keyspace.get(object)).await?;
    if !answer.status().is_success() {
        let status = answer.status();
        let body = connection.collect(answer.into_body()).await?;
        return Err(ClientError::refused(status, &body));
    }
    let mut check = shared.payloads.of(object, shared.size_bytes).check();
    let mut body = answer.into_body();
    let mut received_bytes = 0;
    while let Some(piece) = connection.next_piece(&mut body).await? {
        received_bytes += piece.len() as u64;
        if compare {
            check.next(&piece).map_err(ClientError::Wrong)?;
        }
    }
    if compare {
        check.finish().map_err(ClientError::Wrong)?;
    } else if received_bytes != shared.size_bytes {
        return Err(ClientError::Wrong(format!(
            "{received_bytes} of {} bytes arrived",
            shared.size_bytes
        )));
    }
    Ok(received_bytes)
}

async fn list(connection: &mut Connection, request: Request) -> Result<u64, ClientError> {
    let page = connection.call(request).await?;
    if page.windows(b"</ListBucketResult>".len()).next_back() == Some(b"</ListBucketResult>") {
        Ok(0)
    } else {
        Err(ClientError::Wrong(
            "the answer is not a whole ListBucketResult".to_owned(),
        ))
    }
}
