//! A mixed workload that knows what it was promised, for tests that kill processes under it.
//!
//! Each worker has keys of its own and does one thing at a time: puts, overwrites, deletes, multipart uploads, copies,
//! conditional puts. For each key it remembers the last acknowledged state and the one change that was under way. After
//! a crash the object must be one of the two, whole. The checker knows nothing of how operations are chosen.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::ByteStream;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::eventually::eventually;
use crate::payload::payload;
use crate::s3::{code, delete, get, list, put, upload_parts};

/// The bucket of all objects.
pub const BUCKET: &str = "crash";
const PART_BYTES: usize = 5 << 20;

/// An object body by its seed and length; `None` is an absent object.
type State = Option<(u64, usize)>;

/// What one worker knows of one of its keys.
#[derive(Debug, Clone, Copy, Default)]
struct Known {
    acknowledged: State,
    under_way: Option<State>,
}

/// The keys of one worker.
#[derive(Debug, Default)]
pub struct Keys(BTreeMap<String, Known>);

/// What the workers and whoever kills tell each other.
#[derive(Debug, Default)]
pub struct Progress {
    acknowledged: AtomicUsize,
    is_over: AtomicBool,
}

impl Progress {
    /// How many operations were acknowledged so far.
    pub fn acknowledged(&self) -> usize {
        self.acknowledged.load(Ordering::SeqCst)
    }

    /// Has all workers end after what they are at.
    pub fn end(&self) {
        self.is_over.store(true, Ordering::SeqCst);
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    Put { seed: u64, size: usize },
    Multipart { seed: u64, size: usize },
    PutIfAbsent { seed: u64, size: usize },
    PutIfUnchanged { seed: u64, size: usize },
    CopyFrom { key: usize },
    Delete,
}

/// What came of an operation that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Acknowledged,
    /// Nothing was sent: as the keys are, there is nothing that it could do.
    NothingToDo,
}

impl Operation {
    fn draw(random: &mut SmallRng, key_count: usize) -> Self {
        let seed = random.random();
        let small = random.random_range(0..32 << 10);
        match random.random_range(0..14) {
            0..2 => Self::Delete,
            2 => Self::Multipart {
                seed,
                size: PART_BYTES + random.random_range(1..100_000),
            },
            3..5 => Self::Put {
                seed,
                size: random.random_range(32 << 10..6 << 20),
            },
            5..7 => Self::PutIfAbsent { seed, size: small },
            7..9 => Self::PutIfUnchanged { seed, size: small },
            9..11 => Self::CopyFrom {
                key: random.random_range(0..key_count),
            },
            _ => Self::Put { seed, size: small },
        }
    }
}

impl Keys {
    /// `count` keys under the worker's own prefix, none of them written yet.
    fn new(worker: usize, count: usize) -> Self {
        let names = (0..count).map(|key| (format!("{worker}/{key}"), Known::default()));
        Self(names.collect())
    }

    /// Works until told to end, or until something fails.
    pub async fn work(
        mut self,
        client: Client,
        mut random: SmallRng,
        progress: Arc<Progress>,
    ) -> Self {
        let names: Vec<String> = self.0.keys().cloned().collect();
        while !progress.is_over.load(Ordering::SeqCst) {
            let name = &names[random.random_range(0..names.len())];
            let operation = Operation::draw(&mut random, names.len());
            match self.run(&client, name, operation).await {
                Ok(Outcome::Acknowledged) => {
                    progress.acknowledged.fetch_add(1, Ordering::SeqCst);
                }
                Ok(Outcome::NothingToDo) => {}
                Err(_) => break,
            }
        }
        self
    }

    /// Does one thing to one key, remembering it as under way until it is acknowledged.
    async fn run(
        &mut self,
        client: &Client,
        name: &str,
        what: Operation,
    ) -> Result<Outcome, String> {
        let before = self.0[name].acknowledged;
        let after = match what {
            Operation::Delete => None,
            Operation::CopyFrom { key } => self.0.values().nth(key).unwrap().acknowledged,
            Operation::PutIfAbsent { .. } if before.is_some() => before,
            // There is no version to name.
            Operation::PutIfUnchanged { .. } if before.is_none() => {
                return Ok(Outcome::NothingToDo);
            }
            Operation::Put { seed, size }
            | Operation::Multipart { seed, size }
            | Operation::PutIfAbsent { seed, size }
            | Operation::PutIfUnchanged { seed, size } => Some((seed, size)),
        };
        let source = match what {
            // An absent source, or the object itself, is nothing to copy.
            Operation::CopyFrom { key } => match self.0.keys().nth(key) {
                Some(source) if after.is_some() && source != name => Some(source.clone()),
                _ => return Ok(Outcome::NothingToDo),
            },
            _ => None,
        };
        self.0.get_mut(name).unwrap().under_way = Some(after);
        match what {
            Operation::Put { seed, size } => {
                put(client, BUCKET, name, payload(size, seed)).await?;
            }
            Operation::Multipart { seed, size } => {
                multipart(client, name, payload(size, seed)).await?;
            }
            Operation::PutIfAbsent { seed, size } => {
                put_if_absent(client, name, payload(size, seed), before.is_none()).await?;
            }
            Operation::PutIfUnchanged { seed, size } => {
                put_if_unchanged(client, name, payload(size, seed)).await?;
            }
            Operation::CopyFrom { .. } => {
                let copy = client.copy_object().bucket(BUCKET).key(name);
                let source = format!("{BUCKET}/{}", source.unwrap_or_default());
                let copied = copy.copy_source(source).send().await;
                copied.map_err(|error| code(&error))?;
            }
            Operation::Delete => {
                delete(client, BUCKET, name).await?;
            }
        }
        let acknowledged = after;
        self.0.insert(
            name.to_owned(),
            Known {
                acknowledged,
                under_way: None,
            },
        );
        Ok(Outcome::Acknowledged)
    }

    /// Reads every key back, and replaces what was known of it by what is there.
    ///
    /// # Panics
    /// If one is neither what was acknowledged nor what was under way, whole.
    pub async fn check(&mut self, client: &Client, context: &str) {
        for (name, known) in &mut self.0 {
            let found = read(client, name, context).await;
            let is = |state: State| found == state.map(|(seed, size)| payload(size, seed));
            let mut allowed = [Some(known.acknowledged), known.under_way]
                .into_iter()
                .flatten();
            let Some(acknowledged) = allowed.find(|state| is(*state)) else {
                let found = found.map(|body| body.len());
                panic!("{context}: {name} is neither old nor new; {known:?}, {found:?} bytes")
            };
            *known = Known {
                acknowledged,
                under_way: None,
            };
        }
    }

    /// The names of the objects that are there, in order.
    pub fn present(&self) -> impl Iterator<Item = &str> {
        let present = self
            .0
            .iter()
            .filter(|(_, known)| known.acknowledged.is_some());
        present.map(|(name, _)| name.as_str())
    }
}

/// Makes the bucket, and the keys of each worker, none of them written yet.
///
/// # Panics
/// If there is the bucket already.
pub async fn begin(client: &Client, worker_count: usize, keys_per_worker: usize) -> Vec<Keys> {
    client.create_bucket().bucket(BUCKET).send().await.unwrap();
    let workers = 0..worker_count;
    workers
        .map(|worker| Keys::new(worker, keys_per_worker))
        .collect()
}

/// As [`Keys::check`] for the keys of all workers, and that nothing else is listed.
///
/// # Panics
/// As there.
pub async fn check_all(client: &Client, workers: &mut [Keys], context: &str) {
    for keys in &mut *workers {
        keys.check(client, context).await;
    }
    let present: Vec<&str> = workers.iter().flat_map(Keys::present).collect();
    let listed = list(client, BUCKET).await.unwrap();
    assert_eq!(listed, present, "{context}: the listing");
}

/// Starts all workers, each on a client from `clients` in turn.
pub fn spawn_all(
    clients: &[Client],
    workers: &mut Vec<Keys>,
    random: &mut SmallRng,
    progress: &Arc<Progress>,
) -> Vec<tokio::task::JoinHandle<Keys>> {
    let started = workers
        .drain(..)
        .zip(clients.iter().cycle())
        .map(|(keys, client)| {
            let random = SmallRng::seed_from_u64(random.random());
            tokio::spawn(keys.work(client.clone(), random, Arc::clone(progress)))
        });
    started.collect()
}

/// What was just started is noticed within seconds.
async fn read(client: &Client, name: &str, context: &str) -> Option<Vec<u8>> {
    eventually(&format!("{context}: {name}"), async || {
        match get(client, BUCKET, name).await {
            Ok(body) => Ok(Some(body)),
            Err(code) if code == "NoSuchKey" => Ok(None),
            Err(error) => Err(error),
        }
    })
    .await
}

async fn put_if_absent(
    client: &Client,
    name: &str,
    body: Vec<u8>,
    is_absent: bool,
) -> Result<(), String> {
    let request = client.put_object().bucket(BUCKET).key(name);
    let answer = request
        .if_none_match("*")
        .body(ByteStream::from(body))
        .send()
        .await;
    match answer.map_err(|error| code(&error)) {
        Ok(_) => assert!(is_absent, "{name} was replaced although it was there"),
        Err(code) if code == "PreconditionFailed" => {
            assert!(!is_absent, "{name} was refused although it was not there");
        }
        Err(other) => return Err(other),
    }
    Ok(())
}

async fn put_if_unchanged(client: &Client, name: &str, body: Vec<u8>) -> Result<(), String> {
    let head = client.head_object().bucket(BUCKET).key(name).send().await;
    let etag = head.map_err(|error| code(&error))?.e_tag.unwrap();
    let request = client.put_object().bucket(BUCKET).key(name);
    let answer = request
        .if_match(etag)
        .body(ByteStream::from(body))
        .send()
        .await;
    match answer.map_err(|error| code(&error)) {
        Err(code) if code == "PreconditionFailed" => {
            panic!("{name} was refused although it is unchanged")
        }
        other => other.map(drop),
    }
}

async fn multipart(client: &Client, key: &str, mut body: Vec<u8>) -> Result<(), String> {
    let tail = body.split_off(PART_BYTES);
    let (upload, parts) = upload_parts(client, BUCKET, key, [body, tail]).await?;
    let request = client.complete_multipart_upload().bucket(BUCKET).key(key);
    let completed = request
        .upload_id(upload)
        .multipart_upload(parts)
        .send()
        .await;
    completed.map(drop).map_err(|error| code(&error))
}

/// Deletes all objects and aborts all uploads that were left in the middle.
///
/// # Panics
/// If one of the calls fails.
pub async fn delete_everything(client: &Client) {
    for key in list(client, BUCKET).await.unwrap() {
        delete(client, BUCKET, &key).await.unwrap();
    }
    let uploads = client.list_multipart_uploads().bucket(BUCKET).send().await;
    for upload in uploads.unwrap().uploads.unwrap_or_default() {
        let abort = client
            .abort_multipart_upload()
            .bucket(BUCKET)
            .set_key(upload.key)
            .set_upload_id(upload.upload_id);
        abort.send().await.unwrap();
    }
}
