//! Ordinary use: what is put can be read, listed, replaced and deleted, now and after reopening.

use super::*;
use crate::DiskHealth;

const SIZES: [usize; 8] = [0, 1, 4096, 65_536, 65_537, 200_000, 1 << 20, 4 << 20];

#[tokio::test]
async fn shards_of_all_sizes_are_read_back_before_and_after_reopening() {
    let dir = TestDisk::new();
    let disk = dir.open();
    for (number, len) in (0..).zip(SIZES) {
        put(&disk, number, len).await;
        assert_eq!(
            read_whole(&disk, number).await.unwrap(),
            payload(number, 0, len)
        );
    }
    disk.close().await.unwrap();
    drop(disk);
    let disk = dir.open();
    assert_eq!(
        counter(&disk, "recovered_count").await,
        0,
        "after a clean end there is nothing to replay"
    );
    for (number, len) in (0..).zip(SIZES) {
        assert_eq!(
            read_whole(&disk, number).await.unwrap(),
            payload(number, 0, len)
        );
        let stat = disk.verify(id(number)).await.unwrap();
        assert_eq!(
            stat.descriptor.unwrap(),
            format!("shard {number} version 0")
        );
    }
}

#[tokio::test]
async fn ranges_are_cut_out_exactly_and_outside_ones_refused() {
    let dir = TestDisk::new();
    let disk = dir.open();
    let len = 300_000_u32;
    put(&disk, 1, len as usize).await;
    let whole = payload(1, 0, len as usize);
    for range in [
        0..0,
        0..1,
        65_535..65_537,
        65_536..131_072,
        299_999..300_000,
        200_000..200_000,
        0..len,
    ] {
        let got = disk.get(id(1), range.clone()).await.unwrap();
        assert_eq!(
            &got[..],
            &whole[range.start as usize..range.end as usize],
            "{range:?}"
        );
    }
    for range in [0..len + 1, len + 1..len + 1] {
        assert!(matches!(
            disk.get(id(1), range).await,
            Err(ShardError::OutOfRange {
                size_bytes: 300_000,
                ..
            })
        ));
    }
}

#[tokio::test]
async fn listing_walks_all_shards_by_cursor_saved_or_not() {
    let dir = TestDisk::new();
    let disk = dir.open();
    for number in (0..20).step_by(2) {
        put(&disk, number, 10).await;
    }
    for number in (1..20).step_by(2) {
        disk.put(shard(number, 0, 10), Durability::Buffered)
            .await
            .unwrap();
    }
    disk.delete(&[id(3), id(4), id(99)]).await.unwrap();
    let mut seen = Vec::new();
    let mut after = None;
    loop {
        let page = disk.list(after, 7).await.unwrap();
        assert!(page.shards.len() <= 7);
        seen.extend(page.shards.iter().map(|stat| stat.id.chunk_index));
        after = page.shards.last().map(|stat| stat.id);
        if !page.is_truncated {
            break;
        }
    }
    assert_eq!(
        seen,
        (0..20)
            .filter(|number| ![3, 4].contains(number))
            .collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn a_second_put_replaces_and_a_delete_removes_for_good() {
    let dir = TestDisk::new();
    let disk = dir.open();
    put(&disk, 1, 100).await;
    disk.put(shard(1, 1, 90_000), Durability::Synced)
        .await
        .unwrap();
    put(&disk, 2, 100_000).await;
    disk.delete(&[id(2)]).await.unwrap();
    for disk in [disk, dir.open_copy_without_index()] {
        assert_eq!(read_whole(&disk, 1).await.unwrap(), payload(1, 1, 90_000));
        assert!(matches!(
            disk.get(id(2), 0..1).await,
            Err(ShardError::NotFound { .. })
        ));
        let status = disk.status().await.unwrap();
        assert_eq!(
            (status.shard_count, status.shard_bytes, status.health),
            (1, 90_000, DiskHealth::Healthy)
        );
        drop(disk);
    }
}

#[tokio::test]
async fn tickets_of_an_earlier_run_are_refused() {
    let dir = TestDisk::new();
    let disk = dir.open();
    let ticket = disk
        .put(shard(1, 0, 10), Durability::Buffered)
        .await
        .unwrap();
    disk.sync(ticket).await.unwrap();
    disk.close().await.unwrap();
    assert!(matches!(
        disk.put(shard(2, 0, 10), Durability::Synced).await,
        Err(ShardError::DiskFailed { .. })
    ));
    drop(disk);
    let disk = dir.open();
    assert!(matches!(
        disk.sync(ticket).await,
        Err(ShardError::Restarted { .. })
    ));
}

#[tokio::test]
async fn waiting_puts_share_a_sync() {
    let dir = TestDisk::new();
    let disk = Arc::new(dir.open());
    put(&disk, 0, 10).await;
    let before = counter(&disk, "sync_count").await;
    let puts = (1..=200).map(|number| {
        let disk = Arc::clone(&disk);
        tokio::spawn(async move { put(&disk, number, 1000).await })
    });
    for put in puts.collect::<Vec<_>>() {
        put.await.unwrap();
    }
    let syncs = counter(&disk, "sync_count").await - before;
    assert!(syncs <= 50, "{syncs} syncs for 200 puts");
}

#[tokio::test]
async fn a_call_that_deletes_many_shards_lets_others_in_between() {
    let dir = TestDisk::in_memory();
    let disk = dir.open();
    for number in 0..4000 {
        let shard = shard(number, 0, 10);
        disk.put(shard, Durability::Buffered).await.unwrap();
    }
    disk.ask(Task::Sync).await.unwrap();
    let before = counter(&disk, "sync_count").await;
    disk.delete(&(0..4000).map(id).collect::<Vec<_>>())
        .await
        .unwrap();
    let syncs = counter(&disk, "sync_count").await - before;
    assert!(syncs >= 4, "{syncs} syncs");
    assert_eq!(disk.status().await.unwrap().shard_count, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_local_disk_keeps_the_contract_of_all_shard_stores() {
    crate::conformance::run(async || {
        let dir = TestDisk::in_memory();
        (Arc::new(dir.open()) as Arc<dyn ShardStore>, dir)
    })
    .await;
}

#[test]
fn a_disk_in_use_or_of_another_cluster_is_refused() {
    let dir = TestDisk::new();
    let disk = dir.open();
    assert!(matches!(
        LocalDisk::open(dir.options()),
        Err(OpenError::Identity(IdentityError::InUse { .. }))
    ));
    drop(disk);
    let other = LocalDiskOptions {
        cluster_id: ClusterId([9; 16]),
        ..dir.options()
    };
    assert!(matches!(
        LocalDisk::open(other),
        Err(OpenError::Identity(IdentityError::OtherCluster { .. }))
    ));
    let other = LocalDiskOptions {
        expected_disk_id: Some(DiskId([9; 16])),
        ..dir.options()
    };
    assert!(matches!(
        LocalDisk::open(other),
        Err(OpenError::Identity(IdentityError::OtherDisk { .. }))
    ));
    let empty = tempfile::tempdir().unwrap();
    let missing = LocalDisk::open(LocalDiskOptions::new(empty.path(), CLUSTER));
    assert!(matches!(
        missing,
        Err(OpenError::Identity(IdentityError::Missing { .. }))
    ));
}

#[tokio::test]
async fn a_removed_directory_fails_the_disk() {
    let dir = TestDisk::new();
    let disk = dir.open();
    put(&disk, 1, 10).await;
    std::fs::remove_dir_all(dir.path()).unwrap();
    let refused = disk.put(shard(2, 0, 10), Durability::Synced).await;
    assert!(
        matches!(refused, Err(ShardError::DiskFailed { .. })),
        "{refused:?}"
    );
    assert_eq!(disk.status().await.unwrap().health, DiskHealth::Failed);
    assert!(matches!(
        disk.get(id(1), 0..10).await,
        Err(ShardError::DiskFailed { .. })
    ));
}

impl TestDisk {
    /// A copy of the segments as they are, opened without an index.
    pub(super) fn open_copy_without_index(&self) -> LocalDisk {
        LocalDisk::open(self.copy_without_index()).unwrap()
    }

    /// A copy of the segments as they are.
    pub(super) fn copy_without_index(&self) -> LocalDiskOptions {
        let copy = self.path().join("copy");
        std::fs::create_dir_all(copy.join("segments")).unwrap();
        std::fs::copy(
            self.path().join("cairn-disk.json"),
            copy.join("cairn-disk.json"),
        )
        .unwrap();
        for segment in self.segments() {
            std::fs::copy(
                &segment,
                copy.join("segments").join(segment.file_name().unwrap()),
            )
            .unwrap();
        }
        LocalDiskOptions {
            path: copy,
            ..self.options()
        }
    }
}
