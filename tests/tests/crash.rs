//! `kill -9` at random instants loses nothing that was acknowledged and leaves nothing torn.
//!
//! Method: four workers put, overwrite, delete and multipart-upload objects, each on keys of its own, while the
//! server is killed after a number of acknowledgements drawn from a fixed seed. For each key the test remembers the
//! last acknowledged state and the one change that was under way. After the restart the object must be one of the
//! two, whole. The checker knows nothing of how the workload chose its operations.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test ends by panicking with the reason"
)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use cairn_tests::payload::payload;
use cairn_tests::s3::{client, get, list, put};
use cairn_tests::serve::Server;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

const BUCKET: &str = "crash";
const SEED: u64 = 0x00ca_1245;
const WORKERS: usize = 4;
const KEYS_PER_WORKER: usize = 6;
const ROUNDS: usize = 15;

/// An object body by its seed and length; `None` is an absent object.
type State = Option<(u64, usize)>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    Put { seed: u64, size: usize },
    Multipart { seed: u64, size: usize },
    Delete,
}

impl Operation {
    fn draw(random: &mut SmallRng) -> Self {
        let seed = random.random();
        match random.random_range(0..10) {
            0..2 => Self::Delete,
            2 => Self::Multipart {
                seed,
                size: (5 << 20) + random.random_range(1..100_000),
            },
            3..5 => Self::Put {
                seed,
                size: random.random_range(32 << 10..6 << 20),
            },
            _ => Self::Put {
                seed,
                size: random.random_range(0..32 << 10),
            },
        }
    }

    fn result(self) -> State {
        match self {
            Self::Put { seed, size } | Self::Multipart { seed, size } => Some((seed, size)),
            Self::Delete => None,
        }
    }

    async fn run(self, client: &Client, key: &str) -> Result<(), String> {
        match self {
            Self::Put { seed, size } => put(client, BUCKET, key, payload(size, seed))
                .await
                .map(drop),
            Self::Multipart { seed, size } => multipart(client, key, payload(size, seed)).await,
            Self::Delete => {
                let answer = client.delete_object().bucket(BUCKET).key(key).send().await;
                answer.map(drop).map_err(|error| format!("{error:?}"))
            }
        }
    }
}

async fn multipart(client: &Client, key: &str, mut body: Vec<u8>) -> Result<(), String> {
    let text = |error: &dyn std::fmt::Debug| format!("{error:?}");
    let upload = client
        .create_multipart_upload()
        .bucket(BUCKET)
        .key(key)
        .send()
        .await
        .map_err(|e| text(&e))?;
    let upload = upload.upload_id.unwrap();
    let tail = body.split_off(5 << 20);
    let mut parts = Vec::new();
    for (number, body) in (1..).zip([body, tail]) {
        let request = client
            .upload_part()
            .bucket(BUCKET)
            .key(key)
            .upload_id(&upload)
            .part_number(number);
        let part = request
            .body(ByteStream::from(body))
            .send()
            .await
            .map_err(|e| text(&e))?;
        let part = CompletedPart::builder()
            .part_number(number)
            .set_e_tag(part.e_tag)
            .set_checksum_crc32(part.checksum_crc32)
            .build();
        parts.push(part);
    }
    let parts = CompletedMultipartUpload::builder()
        .set_parts(Some(parts))
        .build();
    let request = client
        .complete_multipart_upload()
        .bucket(BUCKET)
        .key(key)
        .upload_id(upload);
    request
        .multipart_upload(parts)
        .send()
        .await
        .map(drop)
        .map_err(|e| text(&e))
}

/// What one worker knows of one of its keys.
#[derive(Debug, Clone, Copy, Default)]
struct Known {
    acknowledged: State,
    under_way: Option<Operation>,
}

/// Works until the server stops answering; every acknowledgement is counted in `acknowledged_total`.
async fn work(
    client: Client,
    mut random: SmallRng,
    mut keys: BTreeMap<String, Known>,
    acknowledged_total: Arc<AtomicUsize>,
) -> BTreeMap<String, Known> {
    let names: Vec<String> = keys.keys().cloned().collect();
    loop {
        let name = &names[random.random_range(0..names.len())];
        let operation = Operation::draw(&mut random);
        let known = keys.get_mut(name).unwrap();
        known.under_way = Some(operation);
        if operation.run(&client, name).await.is_err() {
            return keys;
        }
        *known = Known {
            acknowledged: operation.result(),
            under_way: None,
        };
        acknowledged_total.fetch_add(1, Ordering::SeqCst);
    }
}

/// Reads every key back and replaces what was known of it by what is there.
async fn check(client: &Client, keys: &mut BTreeMap<String, Known>, round: usize) {
    for (name, known) in keys.iter_mut() {
        let found = match get(client, BUCKET, name).await {
            Ok(body) => Some(body),
            Err(code) if code == "NoSuchKey" => None,
            Err(error) => panic!("round {round}: {name}: {error}; known {known:?}"),
        };
        let is = |state: State| found == state.map(|(seed, size)| payload(size, seed));
        let state = [
            Some(known.acknowledged),
            known.under_way.map(Operation::result),
        ]
        .into_iter()
        .flatten()
        .find(|state| is(*state))
        .unwrap_or_else(|| {
            panic!(
                "round {round}: {name} is neither old nor new; {known:?}, {:?}",
                found.map(|b| b.len())
            )
        });
        *known = Known {
            acknowledged: state,
            under_way: None,
        };
    }
    let present: Vec<String> = keys
        .iter()
        .filter(|(_, known)| known.acknowledged.is_some())
        .map(|(name, _)| name.clone())
        .collect();
    assert_eq!(
        list(client, BUCKET).await.unwrap(),
        present,
        "round {round}: the listing"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_writes_survive_kill_9_at_random_instants() {
    let mut random = SmallRng::seed_from_u64(SEED);
    println!("seed {SEED:#x}");
    let mut server = Server::start(6);
    client(server.endpoint())
        .create_bucket()
        .bucket(BUCKET)
        .send()
        .await
        .unwrap();
    let mut workers: Vec<BTreeMap<String, Known>> = (0..WORKERS)
        .map(|worker| {
            (0..KEYS_PER_WORKER)
                .map(|key| (format!("{worker}/{key}"), Known::default()))
                .collect()
        })
        .collect();

    for round in 0..ROUNDS {
        let acknowledged = Arc::new(AtomicUsize::new(0));
        let kill_after = random.random_range(1..60);
        let tasks: Vec<_> = workers
            .drain(..)
            .map(|keys| {
                let random = SmallRng::seed_from_u64(random.random());
                tokio::spawn(work(
                    client(server.endpoint()),
                    random,
                    keys,
                    Arc::clone(&acknowledged),
                ))
            })
            .collect();
        while acknowledged.load(Ordering::SeqCst) < kill_after
            && !tasks.iter().all(tokio::task::JoinHandle::is_finished)
        {
            tokio::task::yield_now().await;
        }
        server.kill();
        for task in tasks {
            workers.push(task.await.unwrap());
        }
        server.restart().unwrap();
        let mut all: BTreeMap<String, Known> = workers.iter().flat_map(Clone::clone).collect();
        check(&client(server.endpoint()), &mut all, round).await;
        for keys in &mut workers {
            for (name, known) in keys.iter_mut() {
                *known = all[name];
            }
        }
    }
    assert!(server.terminate().success());
}
