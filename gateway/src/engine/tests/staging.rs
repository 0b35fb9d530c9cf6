//! Staged writes: readable at every moment, with full redundancy a moment later, and without leftovers.

use std::time::Duration;

use cairn_storage_node::fault::Fault;

use super::cluster::{CHUNK, Cluster, SMALL, options, pattern};
use crate::engine::{BackgroundOptions, EngineOptions};

/// What is staged longer than a minute is taken over by others.
const ABANDONED: Duration = Duration::from_secs(61);

async fn staging_cluster() -> Cluster {
    let staging = EngineOptions {
        staged_at_once_max: 4,
        ..options(6)
    };
    Cluster::with(6, staging).await
}

async fn staged_count(cluster: &Cluster) -> usize {
    cluster.meta.list_staged(None, 1000).await.unwrap().len()
}

#[tokio::test]
async fn a_small_write_is_readable_before_and_after_it_has_shards() {
    let cluster = staging_cluster().await;
    let bytes = pattern(SMALL);
    cluster.put("key", &bytes).await.unwrap();
    assert_eq!(
        (staged_count(&cluster).await, cluster.shard_count().await),
        (1, 0)
    );
    assert!(cluster.get("key").await.unwrap() == bytes);
    assert!(cluster.get_range("key", 7..90).await.unwrap() == bytes[7..90]);

    cluster.engine.run_errands().await;
    assert_eq!(
        (staged_count(&cluster).await, cluster.shard_count().await),
        (0, 3)
    );
    assert!(cluster.get("key").await.unwrap() == bytes);
    assert!(cluster.get_range("key", 7..90).await.unwrap() == bytes[7..90]);
    cluster.assert_full_redundancy().await;
    assert_eq!(cluster.engine.metrics().staged_bytes, 0);
    assert_eq!(cluster.counter("bytes_stored"), SMALL as u64);
}

#[tokio::test]
async fn the_shards_of_a_staged_write_describe_themselves_like_any_other() {
    let cluster = staging_cluster().await;
    let ordinary = Cluster::new(6).await;
    for cluster in [&cluster, &ordinary] {
        cluster.put("key", &pattern(SMALL)).await.unwrap();
        cluster.engine.run_errands().await;
    }
    let (staged, expected) = (cluster.descriptors().await, ordinary.descriptors().await);
    assert_eq!(staged.len(), 3);
    for (staged, expected) in staged.iter().zip(&expected) {
        assert_eq!((&staged.key, &staged.last), (&expected.key, &expected.last));
        assert_eq!(
            (staged.coding, staged.chunk_size_bytes),
            (expected.coding, expected.chunk_size_bytes)
        );
    }
}

#[tokio::test]
async fn larger_writes_are_never_staged() {
    let cluster = staging_cluster().await;
    cluster.put("one", &pattern(SMALL + 1)).await.unwrap();
    cluster.put("two", &pattern(CHUNK + 1)).await.unwrap();
    assert_eq!(staged_count(&cluster).await, 0);
    cluster.assert_full_redundancy().await;
}

#[tokio::test]
async fn past_a_bound_writes_go_the_ordinary_way() {
    let tight = EngineOptions {
        staged_at_once_max: 4,
        // One with its manifest, not two.
        staged_bytes_max: SMALL as u32 * 3 / 2,
        ..options(6)
    };
    let cluster = Cluster::with(6, tight).await;
    cluster.put("staged", &pattern(SMALL)).await.unwrap();
    cluster.put("ordinary", &pattern(SMALL)).await.unwrap();
    assert_eq!(
        (staged_count(&cluster).await, cluster.shard_count().await),
        (1, 3)
    );
    cluster.engine.run_errands().await;
    cluster.put("staged again", &pattern(SMALL)).await.unwrap();
    assert_eq!(staged_count(&cluster).await, 1);
}

#[tokio::test]
async fn what_a_process_staged_before_it_died_gets_its_shards_from_another() {
    let cluster = staging_cluster().await;
    let bytes = pattern(SMALL);
    cluster.put("key", &bytes).await.unwrap();
    let other = cluster.another_engine(options(6));

    assert_eq!(other.unstage_abandoned_once(None, 100).await.unwrap(), None);
    assert_eq!(staged_count(&cluster).await, 1, "it may be in good hands");
    cluster.clock.advance(ABANDONED);
    other.unstage_abandoned_once(None, 100).await.unwrap();
    assert_eq!(staged_count(&cluster).await, 0);
    assert!(cluster.get("key").await.unwrap() == bytes);
    cluster.assert_full_redundancy().await;

    // The first process was alive after all: its shards are the ones too many.
    cluster.engine.run_errands().await;
    assert!(cluster.get("key").await.unwrap() == bytes);
    cluster.assert_full_redundancy().await;
}

#[tokio::test]
async fn many_abandoned_writes_are_taken_over_page_by_page() {
    let cluster = staging_cluster().await;
    for number in 0..7 {
        cluster
            .put(&format!("key-{number}"), &pattern(9))
            .await
            .unwrap();
    }
    cluster.clock.advance(ABANDONED);
    let other = cluster.another_engine(options(6));
    let (mut after, mut steps) = (None, 0);
    loop {
        steps += 1;
        after = other.unstage_abandoned_once(after, 3).await.unwrap();
        if after.is_none() {
            break;
        }
    }
    assert_eq!((staged_count(&cluster).await, steps), (0, 3));
}

#[tokio::test]
async fn without_disks_for_its_shards_nothing_new_is_staged_and_what_is_stays_readable() {
    let cluster = staging_cluster().await;
    let bytes = pattern(SMALL);
    cluster.put("key", &bytes).await.unwrap();
    cluster.fail(&[0, 1, 2, 3, 4], Fault::Down);
    cluster.refresh().await;
    cluster.engine.run_errands().await;
    assert!(cluster.get("key").await.unwrap() == bytes);
    assert!(cluster.put("refused", &bytes).await.is_err());
    assert_eq!(staged_count(&cluster).await, 1);

    cluster.recover().await;
    cluster.clock.advance(ABANDONED);
    cluster
        .engine
        .unstage_abandoned_once(None, 100)
        .await
        .unwrap();
    assert_eq!(staged_count(&cluster).await, 0);
    cluster.assert_full_redundancy().await;
}

#[tokio::test]
async fn a_process_that_ends_in_peace_leaves_nothing_staged() {
    let cluster = staging_cluster().await;
    let background = cluster
        .engine
        .start_background(BackgroundOptions::new("ends"));
    cluster.put("key", &pattern(SMALL)).await.unwrap();
    background.shutdown().await;
    assert_eq!(staged_count(&cluster).await, 0);
    cluster.assert_full_redundancy().await;
}

#[tokio::test]
async fn a_staged_write_that_is_not_committed_leaves_nothing() {
    let cluster = staging_cluster().await;
    drop(cluster.store("dropped", &pattern(9)).await.unwrap());
    let (_, guard) = cluster
        .store("refused", &pattern(9))
        .await
        .unwrap()
        .begin_commit();
    guard.refused();
    let (_, guard) = cluster
        .store("unknown", &pattern(9))
        .await
        .unwrap()
        .begin_commit();
    drop(guard);
    cluster.engine.run_errands().await;
    assert_eq!(
        (staged_count(&cluster).await, cluster.shard_count().await),
        (0, 0)
    );
    assert_eq!(cluster.engine.metrics().staged_bytes, 0);
}

#[tokio::test]
async fn a_staged_object_that_was_deleted_leaves_nothing() {
    let cluster = staging_cluster().await;
    cluster.put("early", &pattern(9)).await.unwrap();
    cluster.delete("early").await;
    cluster.engine.delete_due_once(100).await.unwrap();
    // Its shards are made, found to be garbage, and deleted.
    cluster.engine.run_errands().await;
    assert_eq!(
        (staged_count(&cluster).await, cluster.shard_count().await),
        (0, 0)
    );
    assert!(
        cluster
            .meta
            .list_data(None, 10)
            .await
            .unwrap()
            .data
            .is_empty()
    );
}

#[tokio::test]
async fn a_reader_that_was_overtaken_by_the_placement_reads_the_shards() {
    let cluster = staging_cluster().await;
    let bytes = pattern(SMALL);
    cluster.put("key", &bytes).await.unwrap();
    let (id, record) = cluster
        .meta
        .list_data(None, 1)
        .await
        .unwrap()
        .data
        .remove(0);
    let record = record.unwrap();
    cluster.engine.run_errands().await;
    let chunk = crate::engine::read::ChunkRef {
        data_id: crate::engine::ids::data(id),
        index: 0,
        record: &record.chunks[0],
    };
    let read = cluster
        .engine
        .core()
        .read_staged(chunk, 5..50)
        .await
        .unwrap();
    assert!(read.concat() == bytes[5..50]);
}
