//! Clients that read or send slowly: they cost others no errors, and disks no reputation.

use std::time::Duration;

use bytes::Bytes;
use cairn_storage_node::fault::Fault;
use futures_util::{StreamExt, TryStreamExt};

use super::cluster::{CHUNK, Cluster, DEADLINE, options, pattern};
use crate::engine::EngineOptions;
use crate::engine::ReadStream;

async fn open(cluster: &Cluster, key: &str, size: usize) -> ReadStream {
    let parts = cluster.parts(key).await;
    cluster
        .engine
        .open_read(&parts, 0..size as u64)
        .await
        .unwrap()
}

#[tokio::test]
async fn a_reader_that_pauses_makes_no_disk_look_dead() {
    let cluster = Cluster::new(6).await;
    let bytes = pattern(4 * CHUNK);
    cluster.put("key", &bytes).await.unwrap();
    // Answers take a moment, so that the read-ahead is under way when the reader pauses.
    cluster.fail(&[0, 1, 2, 3, 4, 5], Fault::Slow(Duration::from_millis(5)));
    let mut stream = open(&cluster, "key", bytes.len()).await;
    let first = stream.next().await.unwrap().unwrap();
    tokio::time::sleep(DEADLINE * 2).await;
    let rest: Vec<Bytes> = stream.try_collect().await.unwrap();
    assert!([vec![first], rest].concat().concat() == bytes);
    for counter in ["reads_hedged", "chunks_read_degraded"] {
        assert_eq!(cluster.counter(counter), 0, "{counter}");
    }
}

#[tokio::test]
async fn readers_that_stop_cost_others_no_error() {
    let tight = EngineOptions {
        // A chunk at a time is read at once.
        read_memory_bytes: CHUNK + 1000,
        ..options(6)
    };
    let cluster = Cluster::with(6, tight).await;
    let bytes = pattern(3 * CHUNK + 17);
    cluster.put("key", &bytes).await.unwrap();
    let stopped = open(&cluster, "key", bytes.len()).await;
    assert!(cluster.engine.metrics().read_memory_used_bytes >= CHUNK as u64);

    assert!(cluster.get("key").await.unwrap() == bytes);
    // A whole chunk is a window for each of its shards but the last, which is no larger than one.
    assert_eq!(cluster.counter("reads_in_windows"), 9);
    cluster.fail(&[0, 1], Fault::Down);
    let range = cluster.get_range("key", 5..2 * CHUNK as u64 + 5).await;
    assert!(range.unwrap() == bytes[5..2 * CHUNK + 5]);

    let pieces: Vec<Bytes> = stopped.try_collect().await.unwrap();
    assert!(pieces.concat() == bytes, "and may go on");
    drop(pieces);
    assert_eq!(cluster.engine.metrics().read_memory_used_bytes, 0);
}

#[tokio::test]
async fn what_a_reader_has_taken_is_given_back() {
    let cluster = Cluster::new(6).await;
    let bytes = pattern(CHUNK);
    cluster.put("key", &bytes).await.unwrap();
    let used = || cluster.engine.metrics().read_memory_used_bytes;
    let mut stream = open(&cluster, "key", bytes.len()).await;
    let before = used();
    let first = stream.next().await.unwrap().unwrap();
    let rest: Vec<Bytes> = stream.try_collect().await.unwrap();
    assert_eq!(used(), before, "the stream is gone, and its bytes are not");
    drop(first);
    assert!(used() < before, "{} of {before}", used());
    drop(rest);
    assert_eq!(used(), 0);
}
