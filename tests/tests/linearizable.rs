//! Requests that race on one key behave as if they came one after the other, whatever the gateways' clocks say.
//!
//! Method: two gateways over the same metadata and disks, one clock ten minutes fast, the other ten minutes slow.
//! Clients race PUTs, deletes, copies, multipart completions and reads on one key through both, half of the changes on
//! condition that the key is still as the client saw it; the time of each call and return and every answer are
//! recorded, and the checker (Wing and Gong) must find an order that explains them all. Many short rounds, each on a fresh key, keep the search small. The same is done over each
//! store of metadata, and over one that loses the answers of commits, so that clients do not learn what came of them.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test ends by panicking with the reason, after it has told the seed"
)]

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use cairn_gateway::testing::{
    Answer, Client, MovedClock, RequestBuilder, TestServer, TestServerOptions,
};
use cairn_meta::kv::remote::{RemoteKv, kv_service};
use cairn_meta::kv::rocks::{RocksKv, RocksKvOptions};
use cairn_meta::kv::{Batch, KvError, KvStore, MemoryKv, Scan, ScanPage};
use cairn_rpc::ClusterSecret;
use cairn_tests::eventually::eventually;
use cairn_tests::linearizability::{Event, Operation, State, is_linearizable};
use md5::{Digest, Md5};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::net::TcpListener;

const SEED: u64 = 0x11ea_4121;
/// Over metadata in memory.
const ROUNDS: u64 = 300;
/// Over metadata on a disk, which are slower.
const ROUNDS_ON_DISK: u64 = 100;
const CLIENTS: u64 = 5;
const OPERATIONS_PER_CLIENT: u64 = 8;

/// Loses the answers of some commits: those were made, or were not, or are made later.
#[derive(Debug)]
struct ForgetfulKv {
    inner: Arc<dyn KvStore>,
    random: Mutex<SmallRng>,
}

/// What becomes of a commit.
enum Fate {
    Answered,
    AnswerLost,
    NeverMade,
    MadeLater { yields: u32 },
}

impl ForgetfulKv {
    fn new(inner: Arc<dyn KvStore>) -> Self {
        Self {
            inner,
            random: Mutex::new(SmallRng::seed_from_u64(SEED)),
        }
    }

    fn draw_fate(&self) -> Fate {
        let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        match random.random_range(0..32) {
            0 => Fate::AnswerLost,
            1 => Fate::NeverMade,
            2 => Fate::MadeLater {
                yields: random.random_range(1..1000),
            },
            _ => Fate::Answered,
        }
    }
}

#[async_trait]
impl KvStore for ForgetfulKv {
    async fn get(&self, key: &[u8]) -> Result<Option<Bytes>, KvError> {
        self.inner.get(key).await
    }

    async fn scan(&self, scan: Scan) -> Result<ScanPage, KvError> {
        self.inner.scan(scan).await
    }

    async fn commit(&self, batch: Batch) -> Result<(), KvError> {
        match self.draw_fate() {
            Fate::Answered => return self.inner.commit(batch).await,
            Fate::AnswerLost => drop(self.inner.commit(batch).await),
            Fate::NeverMade => {}
            Fate::MadeLater { yields } => {
                let inner = Arc::clone(&self.inner);
                tokio::spawn(async move {
                    for _ in 0..yields {
                        tokio::task::yield_now().await;
                    }
                    inner.commit(batch).await
                });
            }
        }
        Err(KvError::UnknownOutcome {
            detail: "the answer was lost".to_owned(),
        })
    }
}

/// Makes others go on before a commit, as a store with a disk does: what was read for it may have changed by then.
#[derive(Debug)]
struct YieldingKv {
    inner: MemoryKv,
    random: Mutex<SmallRng>,
}

impl YieldingKv {
    fn new() -> Self {
        Self {
            inner: MemoryKv::new(),
            random: Mutex::new(SmallRng::seed_from_u64(SEED)),
        }
    }

    fn draw_yields(&self) -> u32 {
        let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        random.random_range(0..100)
    }
}

#[async_trait]
impl KvStore for YieldingKv {
    async fn get(&self, key: &[u8]) -> Result<Option<Bytes>, KvError> {
        self.inner.get(key).await
    }

    async fn scan(&self, scan: Scan) -> Result<ScanPage, KvError> {
        self.inner.scan(scan).await
    }

    async fn commit(&self, batch: Batch) -> Result<(), KvError> {
        for _ in 0..self.draw_yields() {
            tokio::task::yield_now().await;
        }
        self.inner.commit(batch).await
    }
}

fn skewed_by(minutes: i64) -> TestServerOptions {
    TestServerOptions {
        clock: Arc::new(MovedClock::by_minutes(minutes)),
        ..TestServerOptions::default()
    }
}

/// The body that stands for a value; long enough to be erasure-coded now and then.
fn body(value: u64) -> String {
    let repetitions = if value.is_multiple_of(4) { 8_000 } else { 1 };
    format!("{value:08}").repeat(repetitions)
}

/// Values with this remainder by three are stored as multipart objects, whose ETag is a digest of digests.
fn is_multipart(value: u64) -> bool {
    value % 3 == 1
}

fn etag(value: u64) -> String {
    let digest = Md5::digest(body(value));
    if is_multipart(value) {
        format!("\"{}-1\"", hex::encode(Md5::digest(digest)))
    } else {
        format!("\"{}\"", hex::encode(digest))
    }
}

/// The value that a whole body stands for.
fn value_of(answer: &Answer) -> u64 {
    let text = answer.text();
    let value = text
        .get(..8)
        .and_then(|digits| digits.parse().ok())
        .unwrap_or_else(|| panic!("torn body: {text}"));
    assert_eq!(text, body(value), "a whole body");
    value
}

/// Whether the metadata did not answer, so that what was asked has happened, or has not, or will.
fn is_unknown(answer: &Answer) -> bool {
    answer.element("Code") == "ServiceUnavailable"
}

/// One client's view of one key.
struct Racer {
    client: Client,
    key: String,
    source: String,
    ticks: Arc<AtomicU64>,
}

impl Racer {
    fn tick(&self) -> u64 {
        self.ticks.fetch_add(1, Ordering::SeqCst)
    }

    /// Has `request` make `new` of the key: if that holds `expected` then, where it is to depend on that. Its outcome is
    /// `made` if it did.
    async fn change(
        &self,
        request: RequestBuilder,
        condition: Option<State>,
        made: &str,
        new: State,
    ) -> Event {
        let request = match condition {
            None => request,
            Some(None) => request.header("if-none-match", "*"),
            Some(Some(seen)) => request.header("if-match", etag(seen)),
        };
        let answer = request.send().await;
        match (condition, answer.outcome().as_str()) {
            (None, outcome) if outcome == made => Event::Write(new),
            (None, _) if is_unknown(&answer) => Event::Maybe(new),
            (Some(expected), outcome) if outcome == made => Event::WriteIf { expected, new },
            (Some(expected), _) if is_unknown(&answer) => Event::MaybeIf { expected, new },
            (Some(expected), "412 PreconditionFailed") => Event::Refused { expected },
            // A version was named, and there is none.
            (Some(Some(_)), "404 NoSuchKey") => Event::Read(None),
            (_, outcome) => panic!("{condition:?}: {outcome}: {}", answer.text()),
        }
    }

    async fn put(&self, value: u64, condition: Option<State>) -> Event {
        let request = self.client.put(&self.key, body(value));
        self.change(request, condition, "200", Some(value)).await
    }

    /// A delete can name the version that it is for, but not that there is none.
    async fn delete(&self, condition: Option<State>) -> Event {
        let condition = condition.filter(Option::is_some);
        let request = self.client.delete(&self.key);
        self.change(request, condition, "204", None).await
    }

    async fn read(&self) -> Event {
        let answer = self.client.get(&self.key).send().await;
        match answer.outcome().as_str() {
            "200" => Event::Read(Some(value_of(&answer))),
            "404 NoSuchKey" => Event::Read(None),
            other => panic!("GET: {other}"),
        }
    }

    /// `None` where there is no source, so that nothing was asked of the key.
    async fn copy(&self, value: u64, condition: Option<State>) -> Option<Event> {
        let source = format!("{}-{value}", self.source);
        let stored = self.client.put(&source, body(value)).send().await;
        if is_unknown(&stored) {
            return None;
        }
        assert_eq!(stored.outcome(), "200");
        let request = self
            .client
            .put(&self.key, "")
            .header("x-amz-copy-source", &source);
        Some(self.change(request, condition, "200", Some(value)).await)
    }

    /// `None` where there is no upload or part, so that nothing was asked of the key.
    async fn complete(&self, value: u64, condition: Option<State>) -> Option<Event> {
        let created = format!("{}?uploads", self.key);
        let created = self.client.post(&created, "").send().await;
        if is_unknown(&created) {
            return None;
        }
        let upload = created.element("UploadId");
        let part = format!("{}?partNumber=1&uploadId={upload}", self.key);
        let part = self.client.put(&part, body(value)).send().await;
        if is_unknown(&part) {
            return None;
        }
        let list = format!(
            "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{}</ETag></Part></CompleteMultipartUpload>",
            part.header("etag")
        );
        let complete = format!("{}?uploadId={upload}", self.key);
        let request = self.client.post(&complete, list);
        Some(self.change(request, condition, "200", Some(value)).await)
    }

    async fn run(self, mut random: SmallRng, first_value: u64) -> Vec<Operation> {
        let mut history = Vec::new();
        let mut seen: State = None;
        for value in first_value..first_value + OPERATIONS_PER_CLIENT {
            let called = self.tick();
            // On what was there last, which somebody else may have changed since.
            let condition = random.random_bool(0.5).then_some(seen);
            let event = match random.random_range(0..8) {
                0..6 if is_multipart(value) => self.complete(value, condition).await,
                0..4 => Some(self.put(value, condition).await),
                4 => Some(self.delete(condition).await),
                5 => self.copy(value, condition).await,
                _ => Some(self.read().await),
            };
            let Some(event) = event else { continue };
            // What has no known outcome may happen at any time from now on.
            let returned = if event.is_certain() {
                self.tick()
            } else {
                u64::MAX
            };
            if let Event::Read(state) | Event::Write(state) | Event::WriteIf { new: state, .. } =
                event
            {
                seen = state;
            }
            history.push(Operation {
                called,
                returned,
                event,
            });
        }
        history
    }
}

/// Races over this metadata, and says how many requests had no known outcome.
async fn race(kv: Arc<dyn KvStore>, round_count: u64) -> usize {
    println!("seed {SEED:#x}");
    let mut random = SmallRng::seed_from_u64(SEED);
    let fast = TestServer::start_with(TestServerOptions {
        kv,
        ..skewed_by(10)
    })
    .await;
    let slow = fast.start_beside(skewed_by(-10)).await;
    let clients = [fast.client(), slow.client()];
    eventually("a bucket", async || {
        match clients[0].put("/race", "").send().await.outcome().as_str() {
            "200" => Ok(()),
            other => Err(other.to_owned()),
        }
    })
    .await;

    let [mut uncertain_count, mut made_count, mut refused_count] = [0; 3];
    for round in 0..round_count {
        let ticks = Arc::new(AtomicU64::new(0));
        let racers = (0..CLIENTS).map(|index| {
            let racer = Racer {
                client: clients[usize::try_from(index % 2).unwrap()].clone(),
                key: format!("/race/round-{round}"),
                source: format!("/race/source-{round}"),
                ticks: Arc::clone(&ticks),
            };
            let random = SmallRng::seed_from_u64(random.random());
            tokio::spawn(racer.run(random, 1 + index * OPERATIONS_PER_CLIENT))
        });
        let mut history = Vec::new();
        for racer in racers.collect::<Vec<_>>() {
            history.extend(racer.await.unwrap());
        }
        assert!(is_linearizable(&history), "round {round}: {history:#?}");
        for done in history {
            match done.event {
                Event::WriteIf {
                    expected: Some(_), ..
                } => made_count += 1,
                Event::Refused { expected: Some(_) } => refused_count += 1,
                event => uncertain_count += usize::from(!event.is_certain()),
            }
        }
    }
    println!("of the changes of a named version {made_count} were made, {refused_count} refused");
    assert!(made_count.min(refused_count) > usize::try_from(round_count).unwrap());
    uncertain_count
}

fn rocksdb_in(directory: &tempfile::TempDir) -> Arc<dyn KvStore> {
    let options = RocksKvOptions::new(directory.path().join("meta"), [7; 16]);
    let (kv, _) = RocksKv::open(&options).unwrap();
    Arc::new(kv)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn racing_requests_through_two_gateways_with_skewed_clocks_are_linearizable() {
    assert_eq!(race(Arc::new(YieldingKv::new()), ROUNDS).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn racing_requests_over_rocksdb_are_linearizable() {
    let directory = tempfile::tempdir().unwrap();
    assert_eq!(race(rocksdb_in(&directory), ROUNDS_ON_DISK).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn racing_requests_over_a_metadata_service_are_linearizable() {
    let secret = || ClusterSecret::new("the secret of the cluster under test").unwrap();
    let directory = tempfile::tempdir().unwrap();
    let service = kv_service(rocksdb_in(&directory), secret());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, service).await });
    let kv = RemoteKv::connect(endpoint.parse().unwrap(), secret());
    assert_eq!(race(Arc::new(kv), ROUNDS_ON_DISK).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn racing_requests_are_linearizable_though_answers_of_commits_are_lost() {
    let kv = ForgetfulKv::new(Arc::new(MemoryKv::new()));
    let uncertain_count = race(Arc::new(kv), ROUNDS).await;
    assert!(uncertain_count > 100, "only {uncertain_count}");
}
