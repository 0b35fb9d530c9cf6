//! What is stored comes back: every size around a border, every geometry, any range.

use std::convert::Infallible;

use bytes::Bytes;
use futures_util::stream;
use proptest::prelude::*;

use super::cluster::{CHUNK, Cluster, SMALL, options, pattern};
use crate::engine::descriptor::Descriptor;
use cairn_storage_node::ShardStore;

#[tokio::test]
async fn sizes_around_all_borders_come_back_for_every_geometry() {
    let sizes = [
        0,
        1,
        2,
        SMALL - 1,
        SMALL,
        SMALL + 1,
        776,
        777,
        778,
        CHUNK - 1,
        CHUNK,
        CHUNK + 1,
        CHUNK + SMALL,
        2 * CHUNK - 1,
        2 * CHUNK,
        5 * CHUNK + 13,
    ];
    for disk_count in 1..=8 {
        let cluster = Cluster::new(disk_count).await;
        for size in sizes {
            let bytes = pattern(size);
            let key = format!("size-{size}");
            cluster.put(&key, &bytes).await.unwrap();
            assert!(
                cluster.get(&key).await.unwrap() == bytes,
                "{size} bytes on {disk_count} disks"
            );
        }
        assert_eq!(cluster.queued_repairs().await, 0);
        cluster.assert_full_redundancy().await;
    }
}

#[tokio::test]
async fn small_objects_are_copies_and_large_ones_are_coded() {
    let cluster = Cluster::new(6).await;
    cluster.put("small", &pattern(SMALL)).await.unwrap();
    assert_eq!(cluster.shard_count().await, 3);
    cluster.put("large", &pattern(CHUNK)).await.unwrap();
    assert_eq!(cluster.shard_count().await, 3 + 6);
    cluster.put("tail", &pattern(CHUNK + 1)).await.unwrap();
    assert_eq!(cluster.shard_count().await, 9 + 6 + 3);
}

#[tokio::test]
async fn an_empty_object_stores_descriptors_and_reads_as_nothing() {
    let cluster = Cluster::new(6).await;
    cluster.put("empty", &[]).await.unwrap();
    let shards = cluster.shards().await;
    assert_eq!(shards.len(), 3);
    assert_eq!(cluster.get("empty").await.unwrap(), Vec::<u8>::new());
    for (id, disks) in shards {
        let stat = cluster.stores[disks[0]].stat(id).await.unwrap().unwrap();
        let descriptor = Descriptor::decode(&stat.descriptor.unwrap()).unwrap();
        assert_eq!((stat.size_bytes, descriptor.chunk_size_bytes), (0, 0));
        assert!(descriptor.last.is_some_and(|last| last.size_bytes == 0));
    }
}

/// Its last chunk is empty: those before it were written when more was expected.
#[tokio::test]
async fn an_object_that_is_shorter_than_expected_comes_back() {
    let cluster = Cluster::new(6).await;
    let bytes = pattern(2 * CHUNK);
    for (number, expected) in [2 * CHUNK + 1, 5 * CHUNK].into_iter().enumerate() {
        let key = format!("key-{number}");
        let source = stream::iter([Ok::<_, Infallible>(Bytes::from(bytes.clone()))]);
        let (owner, size_hint) = (cluster.owner(&key), Some(expected as u64));
        let stored = cluster.engine.store(source, owner, size_hint, Bytes::new);
        cluster.commit(&key, stored.await.unwrap()).await;
        assert!(cluster.get(&key).await.unwrap() == bytes);
        let tail = bytes.len() as u64 - 5..bytes.len() as u64;
        assert_eq!(
            cluster.get_range(&key, tail).await.unwrap(),
            bytes[bytes.len() - 5..]
        );
    }
    let (report, _) = cluster.engine.scrub_once(None, 10).await.unwrap();
    assert_eq!((report.whole_count, report.shard_count), (6, 0));
    cluster.assert_full_redundancy().await;
}

#[tokio::test]
async fn a_range_reads_only_the_shards_that_hold_it() {
    let cluster = Cluster::new(6).await;
    let bytes = pattern(CHUNK);
    cluster.put("key", &bytes).await.unwrap();
    let gets = async || {
        let mut gets = 0;
        for store in &cluster.stores {
            gets += store
                .status()
                .await
                .unwrap()
                .counters
                .get("get_count")
                .copied()
                .unwrap_or(0);
        }
        gets
    };
    let before = gets().await;
    assert_eq!(
        cluster.get_range("key", 1200..1300).await.unwrap(),
        bytes[1200..1300]
    );
    assert_eq!(gets().await, before + 1);
    assert_eq!(
        cluster.get_range("key", 1900..2100).await.unwrap(),
        bytes[1900..2100]
    );
    assert_eq!(gets().await, before + 3);
}

#[tokio::test]
async fn parts_are_read_as_one() {
    let cluster = Cluster::new(6).await;
    let bytes = pattern(3 * CHUNK);
    let (first, second) = bytes.split_at(CHUNK + 500);
    cluster.put("first", first).await.unwrap();
    cluster.put("second", second).await.unwrap();
    let parts = [cluster.parts("first").await, cluster.parts("second").await].concat();
    let stream = cluster
        .engine
        .open_read(&parts, 100..bytes.len() as u64 - 100)
        .await
        .unwrap();
    assert_eq!(stream.remaining_bytes() as usize, bytes.len() - 200);
    let pieces: Vec<Bytes> = futures_util::TryStreamExt::try_collect(stream)
        .await
        .unwrap();
    assert!(pieces.concat() == bytes[100..bytes.len() - 100]);
}

#[tokio::test]
async fn every_shard_says_what_it_belongs_to_and_the_last_chunk_carries_the_manifest() {
    let cluster = Cluster::new(6).await;
    cluster.put("some/key", &pattern(CHUNK + 1)).await.unwrap();
    let parts = cluster.parts("some/key").await;
    for (shard, disks) in cluster.shards().await {
        let stat = cluster.stores[disks[0]].stat(shard).await.unwrap().unwrap();
        let descriptor = Descriptor::decode(&stat.descriptor.unwrap()).unwrap();
        assert_eq!(descriptor.key, "some/key");
        assert_eq!(
            (descriptor.data_id, descriptor.chunk_index),
            (parts[0].0.0, shard.chunk_index)
        );
        let record = cluster.meta.data(parts[0].0).await.unwrap().unwrap();
        assert_eq!(
            descriptor.chunk_record(),
            record.chunks[shard.chunk_index as usize]
        );
        match descriptor.last {
            Some(last) => {
                assert_eq!(shard.chunk_index, 1);
                assert_eq!(
                    (last.size_bytes as usize, last.manifest.as_slice()),
                    (CHUNK + 1, &b"manifest"[..])
                );
            }
            None => assert_eq!(shard.chunk_index, 0),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn any_range_equals_that_of_a_plain_vector(
        disk_count in 1usize..=7,
        size in 1usize..4 * CHUNK,
        ranges in proptest::collection::vec((any::<u32>(), any::<u32>()), 8),
        lost: [usize; 2],
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let cluster = Cluster::with(disk_count, options(disk_count)).await;
            let bytes = pattern(size);
            cluster.put("key", &bytes).await.unwrap();
            // As many disks as may be lost, so that ranges are decoded too.
            let parity = usize::from(cluster.engine.options().geometry.parity_count());
            for lost in &lost[..parity] {
                cluster.fail(&[lost % disk_count], cairn_storage_node::fault::Fault::Down);
            }
            for (a, b) in ranges {
                let (a, b) = (a as usize % size, b as usize % size);
                let (start, end) = (a.min(b), a.max(b) + 1);
                let read = cluster.get_range("key", start as u64..end as u64).await.unwrap();
                assert!(read == bytes[start..end], "{start}..{end} of {size}");
            }
        });
    }
}
