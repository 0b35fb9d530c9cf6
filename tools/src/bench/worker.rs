//! One worker: one connection, one request after the other.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
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
    /// Requests that may still be started; drawn from by all workers.
    pub(super) budget: AtomicU64,
    /// When measuring begins; what ends before is not counted.
    pub(super) warm_until: Instant,
    /// When no further request is started.
    pub(super) until: Instant,
    /// Requests done, for the progress display.
    pub(super) done: AtomicU64,
}

impl Shared {
    /// Takes one request from the budget.
    fn draw(&self) -> bool {
        self.budget
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                left.checked_sub(1)
            })
            .is_ok()
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

/// Runs until time, budget or objects are used up.
pub(super) async fn run(shared: Arc<Shared>, mut connection: Connection, worker: u64) -> Tally {
    let mut random = rand::rngs::SmallRng::seed_from_u64(worker);
    let mut tally = Tally::default();
    let mut sequence = worker;
    loop {
        let started = Instant::now();
        if started >= shared.until {
            break;
        }
        let is_warm = started >= shared.warm_until;
        if is_warm && !shared.draw() {
            break;
        }
        let known = shared.next_put.load(Ordering::Relaxed);
        let object = match shared.operation {
            Operation::Put => shared.next_put.fetch_add(1, Ordering::Relaxed),
            Operation::Get if known > 0 => random.random_range(0..known),
            // Not among the last, so that pages are full where there are that many keys.
            Operation::List | Operation::ListDirectory if known > 0 => {
                random.random_range(0..known.saturating_sub(KEYS_PER_DIRECTORY).max(1))
            }
            Operation::ListDelimiter if known > 0 => 0,
            Operation::Delete => match shared.next_to_delete() {
                Some(object) => object,
                None => break,
            },
            Operation::Get
            | Operation::List
            | Operation::ListDirectory
            | Operation::ListDelimiter => {
                tally.failure("there are no objects to read: put some first");
                break;
            }
        };
        sequence += 1;
        let compare = shared.verify == Verify::Full || sequence.is_multiple_of(SAMPLE_INTERVAL);
        let outcome = one(&shared, &mut connection, object, compare).await;
        shared.done.fetch_add(1, Ordering::Relaxed);
        match outcome {
            Ok(payload_bytes) if is_warm => tally.success(started.elapsed(), payload_bytes),
            Ok(_) => {}
            Err(error) => {
                connection.close();
                tally.failure(error);
                // A server that is gone must not be asked a million times a second.
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }
    tally
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
