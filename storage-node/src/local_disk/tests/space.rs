//! Space is given back, and a full disk says so.

use super::*;
use crate::DiskHealth;
use std::os::unix::fs::MetadataExt;

/// What `du` says of the segments.
fn disk_usage(dir: &TestDisk) -> u64 {
    dir.segments()
        .iter()
        .map(|path| std::fs::metadata(path).unwrap().blocks() * 512)
        .sum()
}

#[tokio::test]
async fn deleting_large_shards_gives_their_space_back() {
    let dir = TestDisk::new();
    let disk = LocalDisk::open(LocalDiskOptions {
        segment_size_bytes: 64 << 20,
        ..dir.options()
    })
    .unwrap();
    for number in 0..20 {
        put(&disk, number, 1 << 20).await;
    }
    // Makes the segment for small records, where the tombstones will be.
    put(&disk, 20, 1).await;
    let before = disk_usage(&dir);
    assert!(before >= 20 << 20, "{before}");
    let most: Vec<ShardId> = (0..10).map(id).collect();
    disk.delete(&most).await.unwrap();
    disk.compact().await.unwrap();
    let freed = before - disk_usage(&dir);
    assert!(freed >= 9 << 20, "only {freed} bytes came back");
    for number in 10..20 {
        assert_eq!(
            read_whole(&disk, number).await.unwrap(),
            payload(number, 0, 1 << 20)
        );
    }
}

#[tokio::test]
async fn deleting_small_shards_gives_their_space_back_by_compaction() {
    let dir = TestDisk::new();
    let disk = dir.open();
    for number in 0..2000 {
        disk.put(shard(number, 0, 4096), Durability::Buffered)
            .await
            .unwrap();
    }
    let ticket = disk
        .put(shard(2000, 0, 1), Durability::Synced)
        .await
        .unwrap();
    disk.sync(ticket).await.unwrap();
    let before = disk_usage(&dir);
    let most: Vec<ShardId> = (0..2000)
        .filter(|number| number % 10 != 0)
        .map(id)
        .collect();
    disk.delete(&most).await.unwrap();
    disk.compact().await.unwrap();
    let after = disk_usage(&dir);
    assert!(after * 3 < before, "{before} bytes before, {after} after");
    assert!(counter(&disk, "compacted_bytes").await > 0);
    for number in (0..2000).step_by(10) {
        assert_eq!(
            read_whole(&disk, number).await.unwrap(),
            payload(number, 0, 4096)
        );
    }
    // Nothing that was deleted comes back when the index is lost.
    let listed = disk.list(None, 10_000).await.unwrap();
    assert_eq!(listed.shards.len(), 201);
    disk.close().await.unwrap();
    drop(disk);
    dir.drop_index();
    assert_eq!(dir.open().list(None, 10_000).await.unwrap(), listed);
}

#[tokio::test]
async fn a_full_disk_refuses_puts_serves_the_rest_and_recovers() {
    let dir = TestDisk::new();
    let options = LocalDiskOptions {
        capacity_bytes_max: Some(24 << 20),
        reserve_bytes: 4 << 20,
        ..dir.options()
    };
    let disk = LocalDisk::open(options).unwrap();
    let mut stored = 0;
    let refused = loop {
        match disk
            .put(shard(stored, 0, 1 << 20), Durability::Synced)
            .await
        {
            Ok(_) => stored += 1,
            Err(err) => break err,
        }
        assert!(stored < 40);
    };
    assert!(
        matches!(refused, ShardError::DiskFull { .. }),
        "{refused:?}"
    );
    assert!(stored >= 10, "{stored}");
    assert_eq!(disk.status().await.unwrap().health, DiskHealth::Full);
    assert_eq!(read_whole(&disk, 0).await.unwrap(), payload(0, 0, 1 << 20));
    disk.delete(&(0..stored / 2).map(id).collect::<Vec<_>>())
        .await
        .unwrap();
    disk.compact().await.unwrap();
    put(&disk, 100, 1 << 20).await;
    assert_eq!(disk.status().await.unwrap().health, DiskHealth::Healthy);
}

#[tokio::test]
async fn space_that_was_given_back_counts_as_free_with_an_older_index_and_without_one() {
    let dir = TestDisk::in_memory();
    let options = LocalDiskOptions {
        segment_size_bytes: 4 << 20,
        capacity_bytes_max: Some(24 << 20),
        reserve_bytes: 1 << 20,
        ..dir.options()
    };
    let open = || LocalDisk::open(options.clone()).unwrap();
    let older = dir.path().join("older");
    let mut disk = open();
    let mut number = 0;
    // More than the disk holds at a time. A third of each segment stays.
    for round in 0..12 {
        for _ in 0..3 {
            put(&disk, number, 1 << 20).await;
            number += 1;
        }
        if round == 11 {
            disk.close().await.unwrap();
            drop(disk);
            damage::copy_all(&dir.path().join("index"), &older);
            disk = open();
        }
        disk.delete(&[id(number - 3), id(number - 2)])
            .await
            .unwrap();
        disk.compact().await.unwrap();
    }
    let free_bytes = async |disk: &LocalDisk| disk.status().await.unwrap().free_bytes;
    let before = free_bytes(&disk).await;
    assert!(before >= 9 << 20, "{before}");
    disk.close().await.unwrap();
    drop(disk);
    dir.drop_index();
    damage::copy_all(&older, &dir.path().join("index"));
    for has_index in [true, false] {
        if !has_index {
            dir.drop_index();
        }
        let disk = open();
        let free = free_bytes(&disk).await;
        assert!(free.abs_diff(before) < 100_000, "{free} and not {before}");
        disk.close().await.unwrap();
        drop(disk);
    }
    put(&open(), number, 1 << 20).await;
}

#[tokio::test]
async fn a_disk_whose_limit_was_lowered_below_what_it_holds_gives_space_back() {
    let dir = TestDisk::in_memory();
    let disk = dir.open();
    for number in 0..4000 {
        let put = disk.put(shard(number, 0, 4096), Durability::Buffered);
        put.await.unwrap();
    }
    disk.close().await.unwrap();
    drop(disk);
    let disk = LocalDisk::open(LocalDiskOptions {
        capacity_bytes_max: Some(16 << 20),
        reserve_bytes: 2 << 20,
        ..dir.options()
    });
    let disk = disk.unwrap();
    let refused = disk.put(shard(4000, 0, 10), Durability::Synced).await;
    assert!(
        matches!(refused, Err(ShardError::DiskFull { .. })),
        "{refused:?}"
    );
    let most = (0..4000).filter(|number| number % 4 != 0).map(id);
    disk.delete(&most.collect::<Vec<_>>()).await.unwrap();
    disk.compact().await.unwrap();
    put(&disk, 4000, 10).await;
}

#[tokio::test]
async fn compaction_keeps_rot_out_of_its_copies() {
    let dir = TestDisk::new();
    let disk = dir.open();
    for number in 0..4 {
        put(&disk, number, 400_000).await;
    }
    let first = dir
        .segments()
        .into_iter()
        .find(|path| std::fs::metadata(path).unwrap().len() > 600_000)
        .unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(first).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"rot", 500_000).unwrap();
    disk.delete(&[id(0)]).await.unwrap();
    for number in 4..8 {
        put(&disk, number, 400_000).await;
    }
    disk.compact().await.unwrap();
    let mut readable = 0;
    for number in 1..8 {
        match read_whole(&disk, number).await {
            Ok(bytes) => {
                assert_eq!(bytes, payload(number, 0, 400_000));
                readable += 1;
            }
            Err(err) => assert!(
                matches!(
                    err,
                    ShardError::NotFound { .. } | ShardError::Corrupt { .. }
                ),
                "{err}"
            ),
        }
    }
    assert_eq!(readable, 6);
}

#[tokio::test]
async fn a_full_disk_of_small_shards_gives_space_back_however_small_its_reserve() {
    for reserve_bytes in [0, 1 << 20] {
        let dir = TestDisk::in_memory();
        let disk = LocalDisk::open(LocalDiskOptions {
            capacity_bytes_max: Some(24 << 20),
            reserve_bytes,
            ..LocalDiskOptions::new(dir.path(), CLUSTER)
        });
        let disk = disk.unwrap();
        let put_buffered = async |number| {
            let put = disk.put(shard(number, 0, 16 << 10), Durability::Buffered);
            put.await
        };
        let mut stored = 0;
        while put_buffered(stored).await.is_ok() {
            stored += 1;
        }
        assert!((1000..1300).contains(&stored), "{stored}");
        assert_eq!(disk.status().await.unwrap().health, DiskHealth::Full);
        let some = (0..stored).filter(|number| number % 5 < 2).map(id);
        disk.delete(&some.collect::<Vec<_>>()).await.unwrap();
        disk.compact().await.unwrap();
        put_buffered(stored).await.unwrap();
    }
}
