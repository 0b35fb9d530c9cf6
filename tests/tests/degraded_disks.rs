//! Any two of six disks may be gone: all is read back whole, and new writes succeed.
//!
//! Method: a server on six disks (4+2) stores objects of all interesting sizes. For each of the fifteen pairs of
//! disks (the one with the metadata among them) the disks are copied, the pair is destroyed in one of three ways,
//! and a server on the copy must give back every object and take new ones. With three gone it must say so, and
//! must have everything back when the disks are.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test ends by panicking with the reason, and what it damages need not be durable"
)]

use std::collections::BTreeMap;
use std::path::Path;

use cairn_tests::payload::payload;
use cairn_tests::s3::{client, get, list, put};
use cairn_tests::serve::Server;

const BUCKET: &str = "degraded";
/// Empty, one copy block, the border of small objects, one chunk, the border of chunks, several chunks.
const SIZES: [usize; 7] = [
    0,
    1,
    32 << 10,
    (32 << 10) + 1,
    4 << 20,
    (4 << 20) + 1,
    9_000_000,
];

fn expected() -> BTreeMap<String, Vec<u8>> {
    (0..)
        .zip(SIZES)
        .map(|(seed, size)| (format!("object-{size}"), payload(size, seed)))
        .collect()
}

fn pairs() -> impl Iterator<Item = (usize, usize)> {
    (0..6).flat_map(|first| (first + 1..6).map(move |second| (first, second)))
}

/// A stopped server whose six disks hold [`expected`].
async fn filled_and_stopped() -> Server {
    let mut server = Server::start(6);
    let client = client(server.endpoint());
    client.create_bucket().bucket(BUCKET).send().await.unwrap();
    for (key, body) in expected() {
        put(&client, BUCKET, &key, body).await.unwrap();
    }
    assert!(server.terminate().success());
    server
}

async fn assert_all_readable(server: &Server, context: &str) {
    let client = client(server.endpoint());
    for (key, body) in expected() {
        let got = get(&client, BUCKET, &key).await;
        assert!(
            got.as_ref() == Ok(&body),
            "{context}: {key}: {:?}",
            got.map(|body| body.len())
        );
    }
    assert_eq!(
        list(&client, BUCKET).await.unwrap(),
        expected().into_keys().collect::<Vec<_>>(),
        "{context}"
    );
}

async fn assert_writable(server: &Server, context: &str) {
    let client = client(server.endpoint());
    for size in SIZES {
        let body = payload(size, 99);
        put(&client, BUCKET, "new", body.clone())
            .await
            .unwrap_or_else(|error| panic!("{context}: {error}"));
        assert!(
            get(&client, BUCKET, "new").await.unwrap() == body,
            "{context}: {size}"
        );
    }
    client
        .delete_object()
        .bucket(BUCKET)
        .key("new")
        .send()
        .await
        .unwrap();
}

#[tokio::test]
async fn any_two_disks_missing_at_start_cost_nothing() {
    let filled = filled_and_stopped().await;
    for (first, second) in pairs() {
        let context = format!("disks {first} and {second} missing at start");
        let mut server = filled.fork();
        // The copies are at paths of their own, which the store has to have seen before it can miss them.
        server.restart().unwrap();
        assert!(server.terminate().success());
        server.remove_disk(first);
        server.remove_disk(second);
        server
            .restart()
            .unwrap_or_else(|error| panic!("{context}: {error}"));
        assert_all_readable(&server, &context).await;
        assert_writable(&server, &context).await;
    }
}

#[tokio::test]
async fn any_two_disks_may_vanish_under_a_running_server() {
    let filled = filled_and_stopped().await;
    for (first, second) in pairs() {
        let context = format!("disks {first} and {second} removed while running");
        let mut server = filled.fork();
        server.restart().unwrap();
        server.remove_disk(first);
        server.remove_disk(second);
        wait_until_writable(&server, &context).await;
        assert_all_readable(&server, &context).await;
        assert_writable(&server, &context).await;
    }
}

/// The restoration of metadata may take seconds, in which requests fail cleanly.
async fn wait_until_writable(server: &Server, context: &str) {
    let client = client(server.endpoint());
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    loop {
        match put(&client, BUCKET, "probe", vec![1]).await {
            Ok(_) => break,
            Err(error) => assert!(std::time::Instant::now() < deadline, "{context}: {error}"),
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    client
        .delete_object()
        .bucket(BUCKET)
        .key("probe")
        .send()
        .await
        .unwrap();
}

#[tokio::test]
async fn flipped_bytes_on_any_two_disks_are_never_served() {
    let filled = filled_and_stopped().await;
    for (first, second) in pairs() {
        let context = format!("bytes flipped on disks {first} and {second}");
        let mut server = filled.fork();
        for index in [first, second] {
            flip_bytes_in_segments(&server.disk(index));
        }
        server
            .restart()
            .unwrap_or_else(|error| panic!("{context}: {error}"));
        assert_all_readable(&server, &context).await;
        assert_writable(&server, &context).await;
    }
}

/// Flips one byte in every 16 KiB of all segment files, the first 4 KiB of each file left alone.
fn flip_bytes_in_segments(disk: &Path) {
    let mut flipped = 0;
    for entry in std::fs::read_dir(disk.join("segments")).unwrap() {
        let path = entry.unwrap().path();
        let mut bytes = std::fs::read(&path).unwrap();
        for offset in (4096..bytes.len()).step_by(16 << 10) {
            bytes[offset] ^= 0x40;
            flipped += 1;
        }
        std::fs::write(&path, bytes).unwrap();
    }
    assert!(flipped > 0, "no segment bytes on {}", disk.display());
}

#[tokio::test]
async fn with_three_disks_gone_errors_are_clear_and_all_is_back_when_they_are() {
    let filled = filled_and_stopped().await;
    let mut server = filled.fork();
    let hidden = [1, 3, 5].map(|index| {
        (
            server.disk(index),
            server.disk(index).with_extension("hidden"),
        )
    });
    for (disk, elsewhere) in &hidden {
        std::fs::rename(disk, elsewhere).unwrap();
    }
    let refusal = server.restart().unwrap_err();
    assert!(
        refusal.contains("disk1"),
        "the message names the missing disks: {refusal}"
    );
    for (disk, elsewhere) in &hidden {
        std::fs::rename(elsewhere, disk).unwrap();
    }
    server.restart().unwrap();
    assert_all_readable(&server, "three disks are back").await;
    assert_writable(&server, "three disks are back").await;
}
