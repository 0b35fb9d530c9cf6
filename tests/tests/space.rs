//! Space comes back: of what was deleted and overwritten, of what was interrupted, and redundancy after a disk was
//! replaced; a full disk refuses writes and nothing else.
//!
//! Method: real processes whose operators are in a hurry (deleted bytes are kept for no time, leftovers count as
//! such after seconds) on temporary disks. Two measures: what `du` would count below the data directories, which
//! includes everything the program keeps; and the bytes of live shards that the disks report, which are zero exactly
//! if no shard is left over. Both are waited for, with a bound, since the work is done in the background.
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test ends by panicking with the reason, and what it damages need not be durable"
)]

use std::collections::BTreeMap;
use std::future::Future;
use std::io::Write as _;
use std::net::TcpStream;
use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::presigning::PresigningConfig;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::CompletedMultipartUpload;
use cairn_tests::eventually::eventually;
use cairn_tests::faults;
use cairn_tests::metrics::Metrics;
use cairn_tests::payload::payload;
use cairn_tests::s3::{client, client_with_bucket, code, delete, get, list, put, upload_parts};
use cairn_tests::serve::{Server, occupied_bytes};

const BUCKET: &str = "space";
const MIB: usize = 1 << 20;
/// What the open segments of a disk have allocated but not used.
const ALLOCATED_AHEAD_BYTES: u64 = 10 << 20;
/// Dead small shards that an open segment may keep before it is given up, where that is three fifths of it.
const OPEN_GARBAGE_BYTES: u64 = 16 << 20;
/// How many requests run at a time.
const CONCURRENCY: usize = 16;

fn start(disk_count: usize, further: &[&str]) -> Server {
    let quick = [
        "--delete-delay=0s",
        "--orphan-age=4s",
        "--disk-lost-after=1s",
        "--disk-reserve=1MiB",
    ];
    let mut server = Server::stopped(disk_count);
    server
        .arguments
        .extend(quick.iter().chain(further).map(|flag| (*flag).to_owned()));
    server.restart().unwrap();
    server
}

async fn with_bucket(server: &Server) -> Client {
    client_with_bucket(server.endpoint(), BUCKET).await
}

/// Payload bytes of all shards that the disks hold, dead ones not counted.
async fn live_bytes(server: &Server) -> u64 {
    let metrics = Metrics::of(server.endpoint()).await.unwrap();
    metrics.live_bytes(server.disk_count()).unwrap()
}

/// How much waits in a background queue.
/// `None` while it is not known.
async fn queue_depth(server: &Server, queue: &str) -> Option<u64> {
    let metrics = Metrics::of(server.endpoint()).await.unwrap();
    metrics
        .value(&format!("cairn_engine_queue_depth{{queue=\"{queue}\"}}"))
        .ok()
}

async fn eventually_live(server: &Server, expected: u64) {
    eventually("live shards", async || {
        let found = live_bytes(server).await;
        (found == expected)
            .then_some(())
            .ok_or(format!("{found} bytes instead of {expected}"))
    })
    .await;
}

/// As `du` counts it: all that is on the disks but the metadata, whose journals take whole files at a time whatever
/// is stored.
fn occupied_by_shards(server: &Server) -> u64 {
    let metadata = (0..server.disk_count()).map(|index| server.disk(index).join("meta"));
    let by_metadata: u64 = metadata.map(|path| occupied_bytes(&path)).sum();
    server.occupied_bytes().saturating_sub(by_metadata)
}

async fn eventually_occupied_at_most(server: &Server, most: u64) {
    eventually("space on the disks", async || {
        let occupied = occupied_by_shards(server);
        (occupied <= most)
            .then_some(())
            .ok_or(format!("{occupied} bytes instead of {most}"))
    })
    .await;
}

/// Stores `count` objects named `prefix`NUMBER.
async fn put_many(client: &Client, prefix: &str, count: usize, size: usize) {
    for_each(count, |number| {
        let (client, key) = (client.clone(), format!("{prefix}{number}"));
        async move {
            put(&client, BUCKET, &key, payload(size, number as u64))
                .await
                .unwrap();
        }
    })
    .await;
}

async fn delete_many(client: &Client, keys: Vec<String>) {
    let keys = std::sync::Arc::new(keys);
    for_each(keys.len(), |number| {
        let (client, keys) = (client.clone(), std::sync::Arc::clone(&keys));
        async move {
            let key = keys.get(number).unwrap();
            delete(&client, BUCKET, key).await.unwrap();
        }
    })
    .await;
}

async fn for_each<F>(count: usize, task: impl Fn(usize) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut running = tokio::task::JoinSet::new();
    for number in 0..count {
        if running.len() >= CONCURRENCY {
            running.join_next().await.unwrap().unwrap();
        }
        running.spawn(task(number));
    }
    while let Some(done) = running.join_next().await {
        done.unwrap();
    }
}

/// Two parts of 5 MiB and a bit; the upload's identity, and what its completion lists.
async fn upload_two_parts(client: &Client, key: &str) -> (String, CompletedMultipartUpload) {
    let bodies = [1001, 1002].map(|seed| payload(5 * MIB + 77, seed));
    upload_parts(client, BUCKET, key, bodies).await.unwrap()
}

/// A PUT that sends only the first `sent` bytes of a body of `size`, over a connection that is still open.
async fn half_put(client: &Client, key: &str, size: usize, sent: usize) -> TcpStream {
    let presigned = client
        .put_object()
        .bucket(BUCKET)
        .key(key)
        .presigned(PresigningConfig::expires_in(Duration::from_mins(5)).unwrap())
        .await
        .unwrap();
    let uri: http::Uri = presigned.uri().parse().unwrap();
    let authority = uri.authority().unwrap().as_str();
    let mut head = format!(
        "PUT {} HTTP/1.1\r\nhost: {authority}\r\ncontent-length: {size}\r\n",
        uri.path_and_query().unwrap()
    );
    for (name, value) in presigned.headers().filter(|(name, _)| *name != "host") {
        head = head + name + ": " + value + "\r\n";
    }
    head.push_str("\r\n");
    let mut stream = TcpStream::connect(authority).unwrap();
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&payload(sent, 7)).unwrap();
    stream
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn space_of_deleted_and_overwritten_objects_comes_back() {
    let server = start(3, &[]);
    let client = with_bucket(&server).await;
    put_many(&client, "kept-", 3, 3 * MIB).await;
    put_many(&client, "kept-small-", 3, 1000).await;
    let kept_live = 3 * (3 * MIB as u64 / 2 * 3) + 3 * 1000 * 2;
    eventually_live(&server, kept_live).await;
    let before = occupied_by_shards(&server);

    put_many(&client, "small-", 1500, 32 << 10).await;
    put_many(&client, "large-", 40, 4 * MIB).await;
    put_many(&client, "overwritten-", 20, 4 * MIB).await;
    let (upload, parts) = upload_two_parts(&client, "multipart").await;
    client
        .complete_multipart_upload()
        .bucket(BUCKET)
        .key("multipart")
        .upload_id(upload)
        .multipart_upload(parts)
        .send()
        .await
        .unwrap();
    let (aborted, _) = upload_two_parts(&client, "aborted").await;
    let full = occupied_by_shards(&server);
    // 2 copies of small objects, 2+1 shards of large ones.
    let stored = (1500 * (32 << 10) * 2 + (60 * 4 + 20) * MIB / 2 * 3) as u64;
    assert!(
        full >= before + stored - 3 * ALLOCATED_AHEAD_BYTES,
        "{full} bytes occupied by {stored}, and {before} before"
    );

    put_many(&client, "overwritten-", 20, 0).await;
    client
        .abort_multipart_upload()
        .bucket(BUCKET)
        .key("aborted")
        .upload_id(aborted)
        .send()
        .await
        .unwrap();
    let keys = list(&client, BUCKET).await.unwrap();
    let unwanted = keys.into_iter().filter(|key| !key.starts_with("kept-"));
    delete_many(&client, unwanted.collect()).await;

    eventually_live(&server, kept_live).await;
    // Of 500 MB: an open segment that is nearly all garbage is given up from 16 MiB of it on.
    eventually_occupied_at_most(
        &server,
        before + 3 * (OPEN_GARBAGE_BYTES + ALLOCATED_AHEAD_BYTES),
    )
    .await;
    for number in 0..3 {
        let large = get(&client, BUCKET, &format!("kept-{number}")).await;
        assert!(large.unwrap() == payload(3 * MIB, number));
        let small = get(&client, BUCKET, &format!("kept-small-{number}")).await;
        assert!(small.unwrap() == payload(1000, number));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_disappears_and_a_refused_digest_leave_nothing() {
    let server = start(6, &[]);
    let client = with_bucket(&server).await;
    // The first chunks are on the disks before the last bytes were to come.
    let connection = half_put(&client, "disappeared", 24 * MIB, 17 * MIB).await;
    eventually("chunks of a write that is under way", async || {
        let live = live_bytes(&server).await;
        (live > 0).then_some(()).ok_or("none".to_owned())
    })
    .await;
    drop(connection);
    let refused = client.put_object().bucket(BUCKET).key("refused");
    let refused = refused
        .content_md5("1B2M2Y8AsgTpgAmY7PhCfg==")
        .body(ByteStream::from(payload(9 * MIB, 1)))
        .send()
        .await
        .unwrap_err();
    assert_eq!(code(&refused), "BadDigest");

    eventually_live(&server, 0).await;
    assert_eq!(list(&client, BUCKET).await.unwrap(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_killed_processes_left_half_written_is_collected() {
    const ROUNDS: usize = 2;
    let mut server = start(6, &[]);
    server.expect(&[faults::DISK_OWNER_IS_KILLED]);
    with_bucket(&server).await;
    let before = occupied_by_shards(&server);
    for round in 0..ROUNDS {
        let client = client(server.endpoint());
        put(
            &client,
            BUCKET,
            &format!("kept-{round}"),
            payload(4 * MIB, 1),
        )
        .await
        .unwrap();
        let live = live_bytes(&server).await;
        let mut connections = Vec::new();
        for number in 0..3 {
            let key = format!("killed-{round}-{number}");
            connections.push(half_put(&client, &key, 24 * MIB, 17 * MIB).await);
        }
        eventually("chunks of writes that are under way", async || {
            let grown = live_bytes(&server).await - live;
            (grown > 6 * 4 * MIB as u64)
                .then_some(())
                .ok_or(format!("{grown} bytes"))
        })
        .await;
        server.kill();
        server.restart().unwrap();
    }
    // 4+2: each kept object has shards of 1.5 times its size, and nothing else is left.
    eventually_live(&server, (ROUNDS * 6 * MIB) as u64).await;
    let client = client(server.endpoint());
    assert_eq!(list(&client, BUCKET).await.unwrap(), ["kept-0", "kept-1"]);
    for key in list(&client, BUCKET).await.unwrap() {
        assert!(get(&client, BUCKET, &key).await.unwrap() == payload(4 * MIB, 1));
    }
    delete_many(&client, list(&client, BUCKET).await.unwrap()).await;
    eventually_live(&server, 0).await;
    eventually_occupied_at_most(&server, before + 6 * ALLOCATED_AHEAD_BYTES).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_disks_refuse_writes_cleanly_and_take_them_again_after_deletes() {
    const SIZE: usize = 2 * MIB;
    let mut server = start(3, &["--disk-capacity-max=48MiB"]);
    server.expect(&[faults::DISKS_ARE_FULL]);
    let client = with_bucket(&server).await;
    let mut stored = 0;
    let refusal = loop {
        let body = payload(SIZE, stored);
        let answer = client
            .put_object()
            .bucket(BUCKET)
            .key(format!("{stored:03}"))
            .body(ByteStream::from(body))
            .send()
            .await;
        match answer {
            Ok(_) => stored += 1,
            Err(error) => break error,
        }
        assert!(stored < 100, "the disks are larger than they were told");
    };
    assert!(stored > 20, "only {stored} objects fit");
    assert_eq!(code(&refusal), "ServiceUnavailable");
    assert_eq!(refusal.raw_response().unwrap().status().as_u16(), 503);

    // Everything else goes on, and the refused write left nothing.
    let keys = list(&client, BUCKET).await.unwrap();
    assert_eq!(keys.len() as u64, stored);
    for number in 0..stored {
        let body = get(&client, BUCKET, &format!("{number:03}")).await;
        assert!(body.unwrap() == payload(SIZE, number), "{number}");
    }
    eventually_live(&server, stored * SIZE as u64 / 2 * 3).await;
    delete_many(&client, keys.iter().skip(5).cloned().collect()).await;
    eventually("a write after the deletes", async || {
        put(&client, BUCKET, "again", payload(SIZE, 99))
            .await
            .map(drop)
    })
    .await;
    assert!(get(&client, BUCKET, "again").await.unwrap() == payload(SIZE, 99));
    for number in 0..5 {
        let body = get(&client, BUCKET, &format!("{number:03}")).await;
        assert!(body.unwrap() == payload(SIZE, number), "{number}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replaced_disk_is_refilled_so_that_two_others_may_be_lost() {
    let sizes = [1, 20_000, 32 << 10, 100_000, 4 * MIB, 9_000_000];
    let objects: BTreeMap<String, Vec<u8>> = (0..60)
        .zip(sizes.iter().cycle())
        .map(|(number, size)| (format!("{number:02}"), payload(*size, number)))
        .collect();
    let mut server = start(6, &[]);
    let client_before = with_bucket(&server).await;
    for (key, body) in &objects {
        put(&client_before, BUCKET, key, body.clone())
            .await
            .unwrap();
    }
    // A start asks all disks for their status before it serves.
    assert!(server.terminate().success());
    server.restart().unwrap();
    let whole = live_bytes(&server).await;
    assert!(server.terminate().success());

    server.expect(&[
        faults::DISK_IS_REPLACED,
        faults::DISK_IS_MISSING,
        faults::METADATA_DIRECTORY_IS_MISSING,
        faults::DISK_OWNER_IS_KILLED,
    ]);
    server.remove_disk(2);
    std::fs::create_dir(server.disk(2)).unwrap();
    server.restart().unwrap();
    let rest = live_bytes(&server).await;
    assert!(rest < whole, "nothing was on the disk: {rest} of {whole}");
    // What the manual says to wait for.
    assert_ne!(queue_depth(&server, "missed_disks").await, Some(0));
    eventually("redundancy", || async {
        let waiting = [
            queue_depth(&server, "missed_disks").await,
            queue_depth(&server, "repairs").await,
        ];
        (waiting == [Some(0), Some(0)])
            .then_some(())
            .ok_or(format!("{waiting:?} missed disks and repairs"))
    })
    .await;
    eventually_live(&server, whole).await;

    // The one with the metadata among them.
    server.kill();
    server.remove_disk(0);
    server.remove_disk(5);
    server.restart().unwrap();
    let client = client(server.endpoint());
    for (key, body) in &objects {
        let got = get(&client, BUCKET, key).await;
        assert!(
            got.as_ref() == Ok(body),
            "{key}: {:?}",
            got.map(|b| b.len())
        );
    }
}
