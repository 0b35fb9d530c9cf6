//! What clients do: each one thing after the other, drawn from the seed. What they are told goes into the history; an
//! answer that no fault explains ends the run.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use cairn_gateway::testing::{self, Answer, ROOT_ACCESS_KEY, ROOT_SECRET_KEY, RequestBuilder};
use cairn_rpc::clock::Clock;
use cairn_tests::linearizability::{Event, State};
use rand::RngExt;
use rand::rngs::SmallRng;
use tokio::time::{sleep, timeout};

use crate::values::Value;
use crate::world::World;

/// The bucket of all objects.
pub(crate) const BUCKET: &str = "/bucket";
/// Few, so that clients meet.
const KEY_COUNT: usize = 5;
/// After this long a client has lost its patience, and does not know.
const PATIENCE: Duration = Duration::from_mins(3);

/// One client.
#[derive(Debug)]
pub(crate) struct Client {
    world: Arc<World>,
    number: usize,
    signer: testing::Client,
    random: SmallRng,
    /// The ETags that were last seen.
    seen: BTreeMap<String, String>,
}

/// All keys.
pub(crate) fn keys() -> impl Iterator<Item = String> {
    (0..KEY_COUNT).map(|key| format!("{BUCKET}/{key}"))
}

impl Client {
    pub(crate) fn new(world: Arc<World>, number: usize, random: SmallRng) -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], 80));
        let signer = testing::Client::new(address, "us-east-1", ROOT_ACCESS_KEY, ROOT_SECRET_KEY);
        Self {
            world,
            number,
            signer,
            random,
            seen: BTreeMap::new(),
        }
    }

    /// Does so many things, with pauses.
    pub(crate) async fn work(mut self, operation_count: usize) {
        for _ in 0..operation_count {
            let longest_ms = [10, 10, 1000, 60_000, 900_000][self.random.random_range(0..5)];
            sleep(Duration::from_millis(
                self.random.random_range(1..=longest_ms),
            ))
            .await;
            let key = self.draw_key();
            match self.random.random_range(0..16) {
                0..3 => self.put(&key).await,
                3..5 => self.put_if(&key).await,
                5..7 => self.delete(&key).await,
                7..9 => self.copy(&key).await,
                9..11 => self.upload(&key).await,
                11..14 => self.read(&key).await,
                _ => self.read_range(&key).await,
            }
        }
    }

    fn draw_key(&mut self) -> String {
        let number = self.random.random_range(0..KEY_COUNT);
        format!("{BUCKET}/{number}")
    }

    /// `None`: the connection broke, the process ended, or the client gave up, as it does early at times.
    async fn send(&mut self, request: RequestBuilder) -> Option<Answer> {
        let patience = match self.random.random_range(0..60) {
            0 => Duration::from_millis(self.random.random_range(1..50)),
            _ => PATIENCE,
        };
        self.send_within(request, patience).await
    }

    async fn send_within(&mut self, request: RequestBuilder, patience: Duration) -> Option<Answer> {
        let now = UNIX_EPOCH + Duration::from_millis(self.world.stores.clock.now_ms());
        let place = self.random.random_range(0..self.world.place_count());
        let (gateway, life) = self.world.gateway(place).await;
        let asked = timeout(patience, testing::ask(&gateway, request.at(now).signed()));
        tokio::select! {
            biased;
            () = life.ended() => None,
            answer = asked => answer.ok()?.ok(),
        }
    }

    async fn put(&mut self, key: &str) {
        let Value { number, body } = self.world.values.draw(&mut self.random);
        let called = self.world.history.now();
        let answer = self.send(self.signer.put(key, body)).await;
        let event = written(answer.as_ref(), "200", Some(number));
        self.note(key, called, "PUT", event, answer.as_ref());
    }

    /// On condition that nothing changed since this client last saw the key.
    async fn put_if(&mut self, key: &str) {
        let Value { number, body } = self.world.values.draw(&mut self.random);
        let (name, condition, expected) = match self.seen(key) {
            Some((etag, value)) => ("if-match", etag, Some(value.number)),
            None => ("if-none-match", "*".to_owned(), None),
        };
        let called = self.world.history.now();
        let request = self.signer.put(key, body).header(name, condition);
        let answer = self.send(request).await;
        let new = Some(number);
        let event = match outcome(answer.as_ref()).as_str() {
            "200" => Event::WriteIf { expected, new },
            "412 PreconditionFailed" => {
                self.seen.remove(key);
                Event::Refused { expected }
            }
            "404 NoSuchKey" => {
                self.seen.remove(key);
                Event::Read(None)
            }
            other => {
                assert_unknown(other);
                Event::MaybeIf { expected, new }
            }
        };
        self.note(key, called, "PUT if", event, answer.as_ref());
    }

    async fn delete(&mut self, key: &str) {
        let called = self.world.history.now();
        let answer = self.send(self.signer.delete(key)).await;
        let event = written(answer.as_ref(), "204", None);
        self.seen.remove(key);
        self.note(key, called, "DELETE", event, answer.as_ref());
    }

    /// Copies what this client last saw of another key, if it is still there.
    async fn copy(&mut self, key: &str) {
        let source = self.draw_key();
        let Some((etag, value)) = self.seen(&source).filter(|_| source != key) else {
            return;
        };
        let called = self.world.history.now();
        let request = self
            .signer
            .put(key, "")
            .header("x-amz-copy-source", &source)
            .header("x-amz-copy-source-if-match", etag);
        let answer = self.send(request).await;
        let new = Some(value.number);
        let event = match late_outcome(answer.as_ref()).as_str() {
            "200" => {
                self.world.history.add(&source, called, Event::Read(new));
                Event::Write(new)
            }
            "412 PreconditionFailed" | "404 NoSuchKey" => {
                self.seen.remove(&source);
                return;
            }
            other => {
                assert_unknown(other);
                Event::Maybe(new)
            }
        };
        self.seen.remove(key);
        self.note(key, called, "copy", event, answer.as_ref());
    }

    /// An upload of one part, which may be sent twice; completed, aborted or forgotten.
    async fn upload(&mut self, key: &str) {
        let begun = self
            .send(self.signer.post(&format!("{key}?uploads"), ""))
            .await;
        let Some(begun) = certain(begun, "200") else {
            return;
        };
        let upload = begun.element("UploadId");
        let mut last = None;
        for _ in 0..self.random.random_range(1..3) {
            let value = self.world.values.draw(&mut self.random);
            let part = format!("{key}?partNumber=1&uploadId={upload}");
            let sent = self.send(self.signer.put(&part, value.body)).await;
            let Some(sent) = certain(sent, "200") else {
                return;
            };
            last = Some((value.number, sent.header("etag").to_owned()));
        }
        let Some((number, etag)) = last else { return };
        let this = format!("{key}?uploadId={upload}");
        match self.random.random_range(0..6) {
            0 => return,
            1 => {
                let aborted = self.send(self.signer.delete(&this)).await;
                drop(certain(aborted, "204"));
                return;
            }
            _ => {}
        }
        let document = format!(
            "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part></CompleteMultipartUpload>"
        );
        let called = self.world.history.now();
        let answer = self.send(self.signer.post(&this, document)).await;
        let event = match late_outcome(answer.as_ref()).as_str() {
            "200" => Event::Write(Some(number)),
            other => {
                assert_unknown(other);
                Event::Maybe(Some(number))
            }
        };
        self.seen.remove(key);
        self.note(key, called, "complete", event, answer.as_ref());
    }

    async fn read(&mut self, key: &str) {
        let called = self.world.history.now();
        let answer = self.send(self.signer.get(key)).await;
        self.note_read(key, called, answer.as_ref(), |body| body);
    }

    async fn read_range(&mut self, key: &str) {
        let size = self.seen(key).map_or(5000, |(_, value)| value.body.len());
        let start = self.random.random_range(0..size);
        let end = self.random.random_range(start..size) + 1;
        let called = self.world.history.now();
        let request = self.signer.get(key);
        let answer = self
            .send(request.header("range", format!("bytes={start}-{}", end - 1)))
            .await;
        self.note_read(key, called, answer.as_ref(), |body| {
            &body[start.min(body.len())..end.min(body.len())]
        });
    }

    /// Reads a key when nothing goes wrong any more.
    pub(crate) async fn must_read(&mut self, key: &str) {
        let called = self.world.history.now();
        let request = self.signer.get(key).header("range", "bytes=0-");
        let answer = self.send_within(request, PATIENCE).await;
        let answer = answer.expect("nothing goes wrong");
        let outcome = answer.outcome();
        assert!(
            outcome == "206" || outcome == "404 NoSuchKey",
            "{key} cannot be read though nothing goes wrong: {outcome}"
        );
        self.note_read(key, called, Some(&answer), |body| body);
    }

    /// Deletes all objects, and aborts all uploads that were forgotten.
    pub(crate) async fn delete_all(&mut self) {
        for key in keys() {
            let request = self.signer.delete(&key);
            self.insist(request, "204").await;
        }
        let request = self.signer.get(&format!("{BUCKET}?uploads"));
        let listed = self.insist(request, "200").await;
        let uploads = listed.elements("UploadId");
        for (key, upload) in listed.elements("Key").iter().zip(uploads) {
            let request = format!("{BUCKET}/{key}?uploadId={upload}");
            let request = self.signer.delete(&request);
            self.insist(request, "204").await;
        }
    }

    /// Makes the bucket.
    pub(crate) async fn begin(&mut self) {
        let request = self.signer.put(BUCKET, "");
        self.insist(request, "200").await;
    }

    /// Asks when nothing goes wrong.
    async fn insist(&mut self, request: RequestBuilder, expected: &str) -> Answer {
        let answer = self.send_within(request, PATIENCE).await;
        let answer = answer.expect("nothing goes wrong");
        assert_eq!(answer.outcome(), expected, "{}", answer.text());
        answer
    }

    /// What a read saw, if it saw anything: bytes that were written under the ETag that it was told, and no others.
    fn note_read(
        &mut self,
        key: &str,
        called: u64,
        answer: Option<&Answer>,
        wanted: impl Fn(&[u8]) -> &[u8],
    ) {
        let event = match outcome(answer).as_str() {
            "200" | "206" => {
                let answer = answer.expect("it has an outcome");
                let etag = answer.header("etag");
                let value = self.world.values.of_etag(etag);
                let value = value.unwrap_or_else(|| panic!("{key} has {etag}, which nobody wrote"));
                assert!(
                    answer.body[..] == *wanted(&value.body),
                    "{key} has {etag}, and other bytes than were written"
                );
                self.seen.insert(key.to_owned(), etag.to_owned());
                Event::Read(Some(value.number))
            }
            "404 NoSuchKey" => {
                self.seen.remove(key);
                Event::Read(None)
            }
            // Of a range drawn for another size.
            "416 InvalidRange" => return,
            other => {
                assert_unknown(other);
                let number = self.number;
                self.world
                    .journal
                    .tell(format_args!("client {number} GET {key}: {other}"));
                return;
            }
        };
        self.note(key, called, "GET", event, answer);
    }

    fn seen(&self, key: &str) -> Option<(String, Value)> {
        let etag = self.seen.get(key)?;
        Some((etag.clone(), self.world.values.of_etag(etag)?))
    }

    fn note(&self, key: &str, called: u64, what: &str, event: Event, answer: Option<&Answer>) {
        let (number, outcome) = (self.number, late_outcome(answer));
        self.world.journal.tell(format_args!(
            "client {number} {what} {key}: {event:?}, {outcome}"
        ));
        self.world.history.add(key, called, event);
    }
}

/// Status and code; `unknown` where there was no answer.
fn outcome(answer: Option<&Answer>) -> String {
    answer.map_or_else(|| "unknown".to_owned(), Answer::outcome)
}

/// The outcome of what may fail after it was answered with 200.
fn late_outcome(answer: Option<&Answer>) -> String {
    match outcome(answer) {
        outcome if outcome.starts_with("200 ") => outcome.replacen("200", "503", 1),
        outcome => outcome,
    }
}

/// What an unconditional write was, by its answer.
fn written(answer: Option<&Answer>, expected: &str, new: State) -> Event {
    match outcome(answer).as_str() {
        done if done == expected => Event::Write(new),
        other => {
            assert_unknown(other);
            Event::Maybe(new)
        }
    }
}

/// The answer, if it says that what was asked is done.
fn certain(answer: Option<Answer>, expected: &str) -> Option<Answer> {
    let outcome = outcome(answer.as_ref());
    if outcome == expected {
        return answer;
    }
    assert_unknown(&outcome);
    None
}

/// Only what faults explain may be answered.
fn assert_unknown(outcome: &str) {
    let is_explained = [
        "unknown",
        "503 ServiceUnavailable",
        "503 SlowDown",
        "400 RequestTimeout",
    ]
    .contains(&outcome);
    assert!(is_explained, "no fault explains this answer: {outcome}");
}
