//! Writes that are given up leave nothing behind, and memory stays within its bound.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use cairn_storage_node::fault::{Fault, ShardCall};
use cairn_storage_node::{Durability, ShardPut, ShardStore};
use futures_util::{Stream, StreamExt, stream};
use tokio::time::timeout;

use super::cluster::{CHUNK, Cluster, endless, options, pattern};
use crate::engine::leftovers::{Leftover, LeftoverReason};
use crate::engine::{EngineOptions, StoreError};

#[tokio::test]
async fn a_write_dropped_in_the_middle_leaves_no_shard() {
    let cluster = Cluster::new(6).await;
    let write = cluster.engine.store(
        endless(pattern(3 * CHUNK + 1)),
        cluster.owner("key"),
        None,
        Bytes::new,
    );
    assert!(timeout(Duration::from_millis(60), write).await.is_err());
    assert!(
        cluster.shard_count().await > 0,
        "chunks were stored before the drop"
    );
    cluster.engine.run_errands().await;
    assert_eq!(cluster.shard_count().await, 0);
}

#[tokio::test]
async fn a_source_that_fails_leaves_no_shard() {
    let cluster = Cluster::new(6).await;
    let frames = vec![
        Ok(Bytes::from(pattern(2 * CHUNK + 1))),
        Err("connection reset"),
    ];
    let stored = cluster
        .engine
        .store(stream::iter(frames), cluster.owner("key"), None, Bytes::new)
        .await;
    assert!(matches!(
        stored,
        Err(StoreError::Source("connection reset"))
    ));
    cluster.engine.run_errands().await;
    assert_eq!(cluster.shard_count().await, 0);
}

#[tokio::test]
async fn stored_data_that_is_not_committed_is_deleted_and_committed_data_never() {
    let cluster = Cluster::new(6).await;
    drop(cluster.store("dropped", &pattern(CHUNK)).await.unwrap());
    let (_, guard) = cluster
        .store("refused", &pattern(CHUNK))
        .await
        .unwrap()
        .begin_commit();
    guard.refused();
    cluster.engine.run_errands().await;
    assert_eq!(cluster.shard_count().await, 0);

    cluster.put("kept", &pattern(CHUNK)).await.unwrap();
    cluster.engine.run_errands().await;
    assert_eq!(cluster.shard_count().await, 6);
}

#[tokio::test]
async fn a_commit_of_unknown_outcome_keeps_its_shards() {
    let cluster = Cluster::new(6).await;
    let (_, guard) = cluster
        .store("key", &pattern(CHUNK))
        .await
        .unwrap()
        .begin_commit();
    drop(guard);
    cluster.engine.run_errands().await;
    assert_eq!(cluster.shard_count().await, 6);
}

#[tokio::test]
async fn shards_left_by_replaced_puts_are_deleted_after_the_commit() {
    let cluster = Cluster::new(8).await;
    // Done, but the answers are lost: the shard is there and is put elsewhere as well.
    cluster.fail(&[0, 1], Fault::LosesReplies);
    cluster.put("key", &pattern(CHUNK)).await.unwrap();
    cluster.recover().await;
    cluster.engine.run_errands().await;
    assert_eq!(cluster.shard_count().await, 6);
    cluster.assert_full_redundancy().await;
    assert_eq!(cleaned_up_and_left(&cluster), [0, 0], "it was committed");
}

#[tokio::test]
async fn leftovers_on_a_busy_disk_are_deleted_when_it_is_not() {
    let cluster = Cluster::new(6).await;
    drop(cluster.store("key", &pattern(CHUNK)).await.unwrap());
    cluster.fail(&[0], Fault::Busy);
    cluster.engine.run_errands().await;
    assert_eq!(cluster.shard_count().await, 1);
    cluster.switches[0].clear();
    cluster.engine.run_errands().await;
    assert_eq!(cluster.shard_count().await, 0);
    assert_eq!(cleaned_up_and_left(&cluster), [1, 0]);
}

#[tokio::test]
async fn what_a_write_left_on_a_lost_disk_is_left_to_collection() {
    let cluster = Cluster::new(6).await;
    let stored = cluster.store("key", &pattern(CHUNK)).await.unwrap();
    cluster.fail(&[0], Fault::Down);
    cluster.refresh().await;
    drop(stored);
    cluster.engine.run_errands().await;
    assert_eq!(cluster.shard_count().await, 1);
    assert_eq!(cleaned_up_and_left(&cluster), [0, 1]);
}

fn cleaned_up_and_left(cluster: &Cluster) -> [u64; 2] {
    ["writes_cleaned_up", "writes_left_to_collection"].map(|name| cluster.counter(name))
}

#[tokio::test]
async fn leftovers_on_a_disk_that_is_away_are_deleted_when_it_is_back() {
    let patient = EngineOptions {
        disk_absence_max: Duration::from_hours(1),
        ..options(6)
    };
    let cluster = Cluster::with(6, patient).await;
    let stored = cluster.store("key", &pattern(CHUNK)).await.unwrap();
    cluster.fail(&[0], Fault::Down);
    cluster.refresh().await;
    drop(stored);
    for _ in 0..2 {
        cluster.engine.run_errands().await;
        assert_eq!(cluster.shard_count().await, 1);
    }
    assert_eq!(
        cluster.switches[0].call_count(ShardCall::Delete),
        0,
        "it is not waited for"
    );
    cluster.recover().await;
    cluster.engine.run_errands().await;
    assert_eq!(cluster.shard_count().await, 0);
    assert_eq!(cleaned_up_and_left(&cluster), [1, 0]);
}

#[tokio::test]
async fn a_replaced_shard_that_was_put_back_is_not_deleted() {
    let cluster = Cluster::new(7).await;
    cluster.put("key", &pattern(CHUNK)).await.unwrap();
    let placed = cluster.shards().await;
    let (shard, disks) = placed.iter().next().unwrap();
    let elsewhere = (0..7).find(|disk| placed.values().all(|disks| disks[0] != *disk));
    let elsewhere = &cluster.stores[elsewhere.unwrap()];
    let stray = ShardPut {
        id: *shard,
        descriptor: Bytes::new(),
        payload: Bytes::from_static(b"stray"),
    };
    elsewhere.put(stray, Durability::Synced).await.unwrap();
    let here = cluster.stores[disks[0]].disk_id();
    let shards = vec![(here, *shard), (elsewhere.disk_id(), *shard)];
    let leftover = Leftover::new(shard.data_id, shards, LeftoverReason::Replaced);
    assert!(cluster.engine.core().leftovers.push(leftover));
    cluster.engine.run_errands().await;
    assert_eq!(cluster.shards().await, placed);
}

#[tokio::test]
async fn writes_past_the_memory_bound_wait_and_are_told_to_slow_down() {
    let small = EngineOptions {
        write_memory_bytes: 16 << 10,
        ..options(6)
    };
    let cluster = Cluster::with(6, small).await;
    // Each holds a chunk of 4,000 bytes and its parity, 6 KiB with rounding: two fit.
    let stuck: Vec<_> = (0..2)
        .map(|_| {
            let (engine, owner) = (cluster.engine.clone(), cluster.owner("stuck"));
            tokio::spawn(async move {
                engine
                    .store(endless(pattern(1000)), owner, None, Bytes::new)
                    .await
                    .is_ok()
            })
        })
        .collect();
    while cluster.engine.metrics().write_memory_used_bytes < 12 << 10 {
        tokio::task::yield_now().await;
    }
    assert!(matches!(
        cluster.store("key", &pattern(2 * CHUNK)).await,
        Err(StoreError::SlowDown)
    ));
    assert_eq!(cluster.counter("memory_refusals"), 1);
    for write in &stuck {
        write.abort();
    }
    for write in stuck {
        assert!(write.await.is_err());
    }
    assert_eq!(cluster.engine.metrics().write_memory_used_bytes, 0);
    cluster.put("key", &pattern(2 * CHUNK)).await.unwrap();
}

#[tokio::test]
async fn a_narrower_coding_is_paid_for() {
    // 4+2 on all disks, 2+2 without two of them.
    for (lost, expected) in [(&[][..], 6 << 10), (&[1, 4][..], 8 << 10)] {
        let cluster = Cluster::new(6).await;
        cluster.fail(lost, Fault::Down);
        cluster.refresh().await;
        let used = || cluster.engine.metrics().write_memory_used_bytes;
        let (source, owner) = (endless(pattern(1000)), cluster.owner("key"));
        let write = cluster.engine.store(source, owner, None, Bytes::new);
        let paid = async {
            while used() == 0 {
                tokio::task::yield_now().await;
            }
            used()
        };
        let paid = tokio::select! {
            _ = write => None,
            paid = paid => Some(paid),
        };
        assert_eq!(paid, Some(expected));
    }
}

/// What is paid for when a write first waits for an answer to its `nth` put or a later one.
async fn paid_at_put<S>(cluster: &Cluster, source: S, nth: usize) -> Option<u64>
where
    S: Stream<Item = Result<Bytes, Infallible>> + Send + Unpin,
{
    let owner = cluster.owner("key");
    let write = cluster.engine.store(source, owner, None, Bytes::new);
    let paid = async {
        while cluster.call_count(ShardCall::Put) <= nth {
            tokio::task::yield_now().await;
        }
        cluster.engine.metrics().write_memory_used_bytes
    };
    tokio::select! {
        _ = write => None,
        paid = paid => Some(paid),
    }
}

#[tokio::test]
async fn a_coding_that_became_narrower_meanwhile_is_paid_for() {
    let cluster = Cluster::new(6).await;
    let bytes = Bytes::from(pattern(CHUNK));
    let second_half = async {
        let used = cluster.engine.metrics().write_memory_used_bytes;
        assert_eq!(used, 6 << 10);
        cluster.fail(&[1, 4], Fault::Down);
        cluster.refresh().await;
        cluster.fail(&[0, 2, 3, 5], Fault::Hang);
        Ok(bytes.slice(CHUNK / 2..))
    };
    let first_half = stream::iter([Ok(bytes.slice(..CHUNK / 2))]);
    let source = first_half.chain(stream::once(second_half)).boxed();
    assert_eq!(paid_at_put(&cluster, source, 0).await, Some(8 << 10));
}

#[tokio::test]
async fn a_chunk_that_is_coded_anew_after_its_last_sync_is_paid_for() {
    let cluster = Cluster::new(6).await;
    for disk in [1, 4] {
        cluster.switches[disk].fail_nth(ShardCall::Sync, 0, Fault::Failed);
    }
    for disk in [0, 2, 3, 5] {
        cluster.switches[disk].fail_nth(ShardCall::Put, 2, Fault::Hang);
    }
    let source = stream::iter([Ok(Bytes::from(pattern(2 * CHUNK)))]);
    assert_eq!(paid_at_put(&cluster, source, 12).await, Some(8 << 10));
}

#[tokio::test]
async fn concurrent_writes_share_the_memory_bound() {
    let small = EngineOptions {
        write_memory_bytes: 20 << 10,
        read_memory_bytes: 8 << 10,
        memory_wait_max: Duration::from_secs(10),
        ..options(6)
    };
    let cluster = std::sync::Arc::new(Cluster::with(6, small).await);
    let mut writes = tokio::task::JoinSet::new();
    for number in 0..12 {
        let cluster = std::sync::Arc::clone(&cluster);
        writes.spawn(async move {
            let (key, bytes) = (format!("key-{number}"), pattern(5 * CHUNK + number));
            cluster.put(&key, &bytes).await.unwrap();
            assert!(cluster.get(&key).await.unwrap() == bytes);
        });
    }
    while let Some(write) = writes.join_next().await {
        write.unwrap();
    }
    let metrics = cluster.engine.metrics();
    assert_eq!(
        (
            metrics.write_memory_used_bytes,
            metrics.read_memory_used_bytes
        ),
        (0, 0)
    );
}

#[tokio::test]
async fn a_write_that_takes_too_long_fails() {
    let short = EngineOptions {
        store_duration_max: Duration::from_millis(30),
        ..options(6)
    };
    let cluster = Cluster::with(6, short).await;
    let stored = cluster
        .engine
        .store(endless(pattern(10)), cluster.owner("key"), None, Bytes::new)
        .await;
    assert!(matches!(stored, Err(StoreError::TooSlow)));
}
