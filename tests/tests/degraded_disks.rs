//! Any two of six disks may be gone: all is read back whole, and new writes succeed.
//!
//! Method: a server on six disks (4+2) stores objects of all interesting sizes. For each of the fifteen pairs of
//! disks (the one with the metadata among them) the disks are copied, the pair is destroyed in one of three ways,
//! and a server on the copy must give back every object and take new ones. With three gone, at the start or later, it must
//! say so, and must have everything back when the disks are. What was damaged is made again: then two other disks may be
//! gone.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test ends by panicking with the reason"
)]

use std::collections::BTreeMap;

use cairn_tests::damage::{flip_bytes_in_segments, pairs};
use cairn_tests::eventually::eventually;
use cairn_tests::faults::{self, Messages};
use cairn_tests::metrics::Metrics;
use cairn_tests::payload::payload;
use cairn_tests::s3::{client, client_with_bucket, delete, get, list, put, refusal};
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

/// A stopped server whose six disks hold [`expected`].
async fn filled_and_stopped() -> Server {
    let mut server = Server::start(6);
    let client = client_with_bucket(server.endpoint(), BUCKET).await;
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
    delete(&client, BUCKET, "new").await.unwrap();
}

#[tokio::test]
async fn any_two_disks_missing_at_start_cost_nothing() {
    damage_every_pair(Damage::MissingAtStart).await;
}

#[tokio::test]
async fn any_two_disks_may_vanish_under_a_running_server() {
    damage_every_pair(Damage::RemovedWhileRunning).await;
}

#[tokio::test]
async fn flipped_bytes_on_any_two_disks_are_never_served() {
    damage_every_pair(Damage::BytesFlipped).await;
}

/// What two disks suffer.
#[derive(Debug, Clone, Copy)]
enum Damage {
    MissingAtStart,
    RemovedWhileRunning,
    BytesFlipped,
}

impl Damage {
    fn expected(self) -> &'static [Messages] {
        match self {
            Self::MissingAtStart => &[
                faults::DISK_IS_MISSING,
                faults::METADATA_DIRECTORY_IS_MISSING,
            ],
            Self::RemovedWhileRunning => &[
                faults::DISK_FAILS,
                faults::METADATA_DIRECTORY_FAILS,
                faults::SHARDS_ARE_AWAY,
            ],
            Self::BytesFlipped => &[faults::BYTES_ARE_FLIPPED, faults::SHARDS_ARE_AWAY],
        }
    }
}

/// Damages each pair on a copy of all disks: a server on it must give back every object and take new ones.
async fn damage_every_pair(damage: Damage) {
    let filled = filled_and_stopped().await;
    for pair in pairs() {
        let context = format!("{damage:?}: disks {pair:?}");
        let mut server = filled.fork();
        server.expect(damage.expected());
        match damage {
            Damage::MissingAtStart => {
                // The copies are at paths of their own, which the store has to have seen before it can miss them.
                server.restart().unwrap();
                assert!(server.terminate().success());
                for disk in pair {
                    server.remove_disk(disk);
                }
                restart(&mut server, &context);
            }
            Damage::RemovedWhileRunning => {
                server.restart().unwrap();
                for disk in pair {
                    server.remove_disk(disk);
                }
                wait_until_writable(&server, &context).await;
            }
            Damage::BytesFlipped => {
                for disk in pair {
                    flip_bytes_in_segments(&server.disk(disk));
                }
                restart(&mut server, &context);
            }
        }
        assert_all_readable(&server, &context).await;
        assert_writable(&server, &context).await;
    }
}

fn restart(server: &mut Server, context: &str) {
    server
        .restart()
        .unwrap_or_else(|error| panic!("{context}: {error}"));
}

/// The restoration of metadata may take seconds, in which requests fail cleanly.
async fn wait_until_writable(server: &Server, context: &str) {
    let client = client(server.endpoint());
    eventually(context, async || {
        put(&client, BUCKET, "probe", vec![1]).await
    })
    .await;
    delete(&client, BUCKET, "probe").await.unwrap();
}

async fn wait_until_healthy(server: &Server, disk_count: usize) {
    eventually("healthy disks", async || {
        let metrics = Metrics::of(server.endpoint()).await?;
        match metrics.disk_count("healthy")? {
            found if found == disk_count => Ok(()),
            found => Err(format!("{found} instead of {disk_count}")),
        }
    })
    .await;
}

/// Three disks: one more than may be gone.
const TAKEN_AWAY: [usize; 3] = [1, 3, 5];

#[tokio::test]
async fn with_three_disks_gone_errors_are_clear_and_all_is_back_when_they_are() {
    let filled = filled_and_stopped().await;
    let mut server = filled.fork();
    for disk in TAKEN_AWAY {
        server.hide_disk(disk);
    }
    let refusal = server.restart().unwrap_err();
    assert!(
        refusal.contains("disk1"),
        "the message names the missing disks: {refusal}"
    );
    for disk in TAKEN_AWAY {
        server.bring_disk_back(disk);
    }
    server.restart().unwrap();
    assert_all_readable(&server, "three disks are back").await;
    assert_writable(&server, "three disks are back").await;
}

#[tokio::test]
async fn three_disks_that_vanish_under_a_running_server_cost_nothing_once_they_are_back() {
    let filled = filled_and_stopped().await;
    let mut server = filled.fork();
    server.expect(&[
        faults::DISK_FAILS,
        faults::METADATA_DIRECTORY_FAILS,
        faults::SHARDS_ARE_AWAY,
        faults::TOO_MANY_SHARDS_ARE_AWAY,
    ]);
    server.restart().unwrap();
    for disk in TAKEN_AWAY {
        server.hide_disk(disk);
    }
    wait_until_healthy(&server, 3).await;
    let client = client(server.endpoint());
    let large = payload(9_000_000, 99);
    let written = client.put_object().bucket(BUCKET).key("refused");
    let written = written.body(large.into()).send().await.unwrap_err();
    let read = client.get_object().bucket(BUCKET).key("object-9000000");
    let read = read.send().await.unwrap_err();
    for refusal in [refusal(&written), refusal(&read)] {
        assert_eq!(refusal, "503 ServiceUnavailable");
    }

    for disk in TAKEN_AWAY {
        server.bring_disk_back(disk);
    }
    wait_until_healthy(&server, 6).await;
    // The refused object among what is not listed.
    assert_all_readable(&server, "three disks are back").await;
    assert_writable(&server, "three disks are back").await;
}

/// One chunk each, whose shards are so large that bytes are flipped in each of them.
const CODED_SIZES: [usize; 4] = [100_000, 1 << 20, 3_000_000, 4 << 20];

#[tokio::test]
async fn damaged_shards_are_made_again_so_that_two_other_disks_may_be_gone() {
    let mut server = Server::start(6);
    let objects: BTreeMap<String, Vec<u8>> = (0..)
        .zip(CODED_SIZES)
        .map(|(seed, size)| (size.to_string(), payload(size, seed)))
        .collect();
    let client_before = client_with_bucket(server.endpoint(), BUCKET).await;
    for (key, body) in &objects {
        let stored = put(&client_before, BUCKET, key, body.clone()).await;
        stored.unwrap();
    }
    assert!(server.terminate().success());
    server.expect(&[
        faults::BYTES_ARE_FLIPPED,
        faults::DISK_FAILS,
        faults::DISK_IS_MISSING,
        faults::METADATA_DIRECTORY_FAILS,
        faults::METADATA_DIRECTORY_IS_MISSING,
        faults::SHARDS_ARE_AWAY,
        faults::TOO_MANY_SHARDS_ARE_AWAY,
    ]);
    flip_bytes_in_segments(&server.disk(2));
    server.restart().unwrap();

    // Without two of the others every shard is asked for, be it one of parity.
    for disk in [4, 5] {
        server.hide_disk(disk);
    }
    wait_until_healthy(&server, 4).await;
    let before = client(server.endpoint());
    for key in objects.keys() {
        let read = get(&before, BUCKET, key).await.map(|body| body.len());
        assert_eq!(read, Err("ServiceUnavailable".to_owned()), "{key}");
    }
    for disk in [4, 5] {
        server.bring_disk_back(disk);
    }
    eventually("repairs", async || {
        let metrics = Metrics::of(server.endpoint()).await?;
        let repaired = metrics.value("cairn_engine_shards_repaired_total")?;
        let waiting = metrics.value("cairn_engine_queue_depth{queue=\"repairs\"}")?;
        if (repaired, waiting) == (objects.len() as u64, 0) {
            Ok(())
        } else {
            Err(format!("{repaired} shards repaired, {waiting} chunks wait"))
        }
    })
    .await;

    assert!(server.terminate().success());
    for disk in [0, 5] {
        server.remove_disk(disk);
    }
    server.restart().unwrap();
    let after = client(server.endpoint());
    for (key, body) in &objects {
        let read = get(&after, BUCKET, key).await;
        assert!(
            read.as_ref() == Ok(body),
            "{key}: {:?}",
            read.map(|b| b.len())
        );
    }
}
