//! Requests that race on one key behave as if they came one after the other, whatever the gateways' clocks say.
//!
//! Method: two gateways over the same metadata and disks, one clock ten minutes fast, the other ten minutes slow.
//! Clients race PUTs, conditional PUTs, deletes, copies, multipart completions and reads on one key through both; the
//! time of each call and return and every answer are recorded, and the checker (Wing and Gong) must find an order
//! that explains them all. Many short rounds, each on a fresh key, keep the search small.
#![expect(clippy::panic, reason = "a test ends by panicking with the reason")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cairn_gateway::clock::{Clock, SystemClock};
use cairn_gateway::testing::{Answer, Client, TestServer, TestServerOptions};
use cairn_tests::linearizability::{Event, Operation, State, is_linearizable};
use http::Method;
use md5::{Digest, Md5};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

const SEED: u64 = 0x11ea_4121;
const ROUNDS: u64 = 300;
const CLIENTS: u64 = 5;
const OPERATIONS_PER_CLIENT: u64 = 8;

/// The machine's clock, moved.
#[derive(Debug)]
struct SkewedClock {
    offset_ms: i64,
}

impl Clock for SkewedClock {
    fn now_ms(&self) -> u64 {
        SystemClock.now_ms().saturating_add_signed(self.offset_ms)
    }
}

fn skewed_by(minutes: i64) -> TestServerOptions {
    TestServerOptions {
        clock: Arc::new(SkewedClock {
            offset_ms: minutes * 60_000,
        }),
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

    async fn put(&self, value: u64, condition: Option<(&str, String)>) -> Answer {
        let mut request = self.client.request(Method::PUT, &self.key);
        if let Some((name, value)) = condition {
            request = request.header(name, &value);
        }
        request.body(body(value)).send().await
    }

    async fn read(&self) -> Event {
        let answer = self.client.request(Method::GET, &self.key).send().await;
        match answer.outcome().as_str() {
            "200" => Event::Read(Some(value_of(&answer))),
            "404 NoSuchKey" => Event::Read(None),
            other => panic!("GET: {other}"),
        }
    }

    async fn copy(&self, value: u64) -> Event {
        let source = format!("{}-{value}", self.source);
        let stored = self
            .client
            .request(Method::PUT, &source)
            .body(body(value))
            .send()
            .await;
        assert_eq!(stored.outcome(), "200");
        let request = self
            .client
            .request(Method::PUT, &self.key)
            .header("x-amz-copy-source", &source);
        let answer = request.send().await;
        assert_eq!(answer.outcome(), "200", "copy: {}", answer.text());
        Event::Write(Some(value))
    }

    async fn complete(&self, value: u64) -> Event {
        let created = self
            .client
            .request(Method::POST, &format!("{}?uploads", self.key))
            .send()
            .await;
        let upload = created.element("UploadId");
        let part = format!("{}?partNumber=1&uploadId={upload}", self.key);
        let part = self
            .client
            .request(Method::PUT, &part)
            .body(body(value))
            .send()
            .await;
        let list = format!(
            "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{}</ETag></Part></CompleteMultipartUpload>",
            part.header("etag")
        );
        let complete = format!("{}?uploadId={upload}", self.key);
        let answer = self
            .client
            .request(Method::POST, &complete)
            .body(list)
            .send()
            .await;
        assert_eq!(answer.outcome(), "200", "complete: {}", answer.text());
        Event::Write(Some(value))
    }

    /// A conditional PUT on what a read just saw.
    async fn put_if(&self, value: u64, expected: State) -> Event {
        let condition = match expected {
            Some(seen) => ("if-match", etag(seen)),
            None => ("if-none-match", "*".to_owned()),
        };
        match self.put(value, Some(condition)).await.outcome().as_str() {
            "200" => Event::WriteIf {
                expected,
                new: Some(value),
            },
            // A condition on an absent key is 404; a lost race may also be reported as a conflict.
            "412 PreconditionFailed" | "404 NoSuchKey" | "409 ConditionalRequestConflict" => {
                Event::Refused { expected }
            }
            other => panic!("conditional PUT: {other}"),
        }
    }

    async fn run(self, mut random: SmallRng, first_value: u64) -> Vec<Operation> {
        let mut history = Vec::new();
        let mut seen: State = None;
        for value in first_value..first_value + OPERATIONS_PER_CLIENT {
            let called = self.tick();
            let event = match random.random_range(0..8) {
                0..6 if is_multipart(value) => self.complete(value).await,
                0..2 => {
                    assert_eq!(self.put(value, None).await.outcome(), "200");
                    Event::Write(Some(value))
                }
                2..4 => self.put_if(value, seen).await,
                4 => {
                    let answer = self.client.request(Method::DELETE, &self.key).send().await;
                    assert_eq!(answer.outcome(), "204");
                    Event::Write(None)
                }
                5 => self.copy(value).await,
                _ => self.read().await,
            };
            let returned = self.tick();
            if let Event::Read(state) | Event::Write(state) = event {
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn racing_requests_through_two_gateways_with_skewed_clocks_are_linearizable() {
    println!("seed {SEED:#x}");
    let mut random = SmallRng::seed_from_u64(SEED);
    let fast = TestServer::start_with(skewed_by(10)).await;
    let slow = fast.start_beside(skewed_by(-10)).await;
    let clients = [fast.client(), slow.client()];
    assert_eq!(
        clients[0]
            .request(Method::PUT, "/race")
            .send()
            .await
            .outcome(),
        "200"
    );

    for round in 0..ROUNDS {
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
    }
}
