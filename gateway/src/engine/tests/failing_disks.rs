//! Disks that are down, full, slow, hang, forget or lie while objects are written and read.

use std::time::{Duration, Instant};

use cairn_storage_node::ShardStore;
use cairn_storage_node::fault::{Fault, ShardCall};

use super::cluster::{CHUNK, Cluster, DEADLINE, SMALL, pairs, pattern};
use crate::engine::{ReadError, StoreError};

#[tokio::test]
async fn with_any_two_of_six_disks_down_everything_is_read_and_new_writes_succeed() {
    let cluster = Cluster::new(6).await;
    let objects = [
        ("small", pattern(100)),
        ("one", pattern(CHUNK)),
        ("many", pattern(3 * CHUNK + 77)),
    ];
    for (key, bytes) in &objects {
        cluster.put(key, bytes).await.unwrap();
    }
    for lost in pairs(6) {
        cluster.fail(&lost, Fault::Down);
        for (key, bytes) in &objects {
            assert!(
                cluster.get(key).await.unwrap() == *bytes,
                "{key} without {lost:?}"
            );
            let new = format!("{key} without {lost:?}");
            cluster.put(&new, bytes).await.unwrap();
            assert!(cluster.get(&new).await.unwrap() == *bytes, "{new}");
        }
        cluster.recover().await;
    }
}

#[tokio::test]
async fn what_was_written_with_two_disks_down_survives_two_others() {
    let cluster = Cluster::new(6).await;
    cluster.fail(&[0, 1], Fault::Down);
    cluster.refresh().await;
    let bytes = pattern(2 * CHUNK);
    cluster.put("key", &bytes).await.unwrap();
    assert_eq!(
        cluster.queued_repairs().await,
        0,
        "2+2 on four disks lacks nothing"
    );
    for lost in pairs(6) {
        cluster.recover().await;
        cluster.fail(&lost, Fault::Down);
        assert!(
            cluster.get("key").await.unwrap() == bytes,
            "without {lost:?}"
        );
    }
}

#[tokio::test]
async fn with_three_disks_down_errors_are_clear_and_everything_is_back_when_they_are() {
    let cluster = Cluster::new(6).await;
    let bytes = pattern(2 * CHUNK);
    cluster.put("key", &bytes).await.unwrap();
    cluster.fail(&[0, 2, 4], Fault::Down);
    assert!(matches!(
        cluster.get("key").await,
        Err(ReadError::Unavailable {
            found_count: 3,
            needed_count: 4,
            ..
        })
    ));
    assert!(matches!(
        cluster.put("new", &bytes).await,
        Err(StoreError::TooFewDisks { .. })
    ));
    cluster.recover().await;
    assert!(cluster.get("key").await.unwrap() == bytes);
    cluster.put("new", &bytes).await.unwrap();
}

#[tokio::test]
async fn with_two_disks_one_lost_is_read_and_refuses_writes() {
    let cluster = Cluster::new(2).await;
    cluster.put("key", &pattern(CHUNK)).await.unwrap();
    cluster.fail(&[0], Fault::Down);
    assert!(cluster.get("key").await.unwrap() == pattern(CHUNK));
    assert!(matches!(
        cluster.put("new", &pattern(10)).await,
        Err(StoreError::TooFewDisks { usable_count: 1 })
    ));
}

#[tokio::test]
async fn a_shard_found_corrupt_is_read_around_and_noticed_for_repair() {
    let cluster = Cluster::new(6).await;
    for (key, bytes) in [("small", pattern(100)), ("large", pattern(CHUNK))] {
        cluster.put(key, &bytes).await.unwrap();
        for disk in 0..6 {
            cluster.fail(&[disk], Fault::CorruptReads);
            assert!(
                cluster.get(key).await.unwrap() == bytes,
                "{key}, disk {disk}"
            );
            cluster.recover().await;
        }
        cluster.engine.run_errands().await;
    }
    assert_eq!(
        cluster.queued_repairs().await,
        2,
        "each damaged chunk is enqueued once"
    );
}

#[tokio::test]
async fn too_many_corrupt_shards_are_an_error_and_never_bytes() {
    let cluster = Cluster::new(6).await;
    cluster.put("key", &pattern(CHUNK)).await.unwrap();
    cluster.fail(&[0, 1, 2], Fault::CorruptReads);
    assert!(matches!(
        cluster.get("key").await,
        Err(ReadError::Lost { .. })
    ));
}

#[tokio::test]
async fn a_disk_that_hangs_is_read_around_by_hedging() {
    let cluster = Cluster::new(6).await;
    let bytes = pattern(2 * CHUNK);
    cluster.put("large", &bytes).await.unwrap();
    cluster.put("small", &pattern(9)).await.unwrap();
    for disk in 0..6 {
        cluster.fail(&[disk], Fault::Hang);
        let started = Instant::now();
        assert!(cluster.get("large").await.unwrap() == bytes);
        assert!(cluster.get("small").await.unwrap() == pattern(9));
        assert!(
            started.elapsed() < 2 * DEADLINE,
            "waited {:?} for disk {disk}",
            started.elapsed()
        );
        cluster.recover().await;
    }
    assert!(cluster.counter("reads_hedged") > 0);
}

#[tokio::test]
async fn a_disk_that_hangs_is_replaced_while_writing() {
    let cluster = Cluster::new(8).await;
    for disk in 0..8 {
        cluster.fail(&[disk], Fault::Hang);
        let started = Instant::now();
        let key = format!("key-{disk}");
        cluster.put(&key, &pattern(CHUNK)).await.unwrap();
        assert!(
            started.elapsed() < DEADLINE,
            "waited {:?} for disk {disk}",
            started.elapsed()
        );
        cluster.recover().await;
    }
    assert!(cluster.counter("shards_replaced") > 0);
    assert_eq!(cluster.queued_repairs().await, 0);
    cluster.assert_full_redundancy().await;
}

#[tokio::test]
async fn where_no_disk_can_replace_it_a_hanging_one_is_left_out_and_repaired_later() {
    let cluster = Cluster::new(6).await;
    let bytes = pattern(CHUNK);
    cluster.fail(&[3], Fault::Hang);
    cluster.put("key", &bytes).await.unwrap();
    assert_eq!(cluster.queued_repairs().await, 1);
    assert_eq!(cluster.counter("chunks_written_reduced"), 1);
    assert_eq!(cluster.counter("chunks_written_whole"), 0);
    assert_eq!(cluster.shard_count().await, 5);
    for also_lost in [0, 1, 2, 4, 5] {
        cluster.fail(&[also_lost], Fault::Down);
        assert!(cluster.get("key").await.unwrap() == bytes);
        cluster.switches[also_lost].clear();
        cluster.refresh().await;
    }

    cluster.recover().await;
    cluster.engine.repair_queue_once(None, 10).await.unwrap();
    assert_eq!(cluster.queued_repairs().await, 0);
    assert_eq!(cluster.counter("shards_repaired"), 1);
    assert_eq!(cluster.shard_count().await, 6);
    cluster.assert_full_redundancy().await;
    for lost in pairs(6) {
        cluster.fail(&lost, Fault::Down);
        assert!(cluster.get("key").await.unwrap() == bytes, "{lost:?}");
        cluster.recover().await;
    }
}

/// What blocks in the kernel does not keep a disk from saying what it remembers of itself.
#[tokio::test]
async fn a_disk_that_hangs_and_says_that_it_is_healthy_is_away_until_it_answers_a_call() {
    let cluster = Cluster::new(6).await;
    let hung = cluster.stores[3].disk_id();
    cluster.fail(&[3], Fault::HangSilently);
    // The deadline is waited for once.
    cluster.put("first", &pattern(CHUNK)).await.unwrap();
    for number in 0..3 {
        cluster.refresh().await;
        let away = cluster.engine.disks_to_leave(&[]);
        assert_eq!(away.into_iter().collect::<Vec<_>>(), [hung]);
        let started = Instant::now();
        let key = format!("key-{number}");
        cluster.put(&key, &pattern(CHUNK)).await.unwrap();
        assert!(started.elapsed() < DEADLINE / 2);
    }
    let away_for = |cluster: &Cluster| cluster.engine.metrics().disks[3].away_for;
    assert!(away_for(&cluster) > Some(Duration::from_millis(100)));
    cluster.recover().await;
    assert_eq!(away_for(&cluster), None);
}

#[tokio::test]
async fn a_full_disk_is_passed_over() {
    let cluster = Cluster::new(7).await;
    cluster.fail(&[2], Fault::Full);
    for number in 0..5 {
        cluster
            .put(&format!("key-{number}"), &pattern(CHUNK))
            .await
            .unwrap();
    }
    assert_eq!(cluster.stores[2].status().await.unwrap().shard_count, 0);
    cluster.assert_full_redundancy().await;
}

#[tokio::test]
async fn disks_that_fail_in_the_middle_of_a_write_are_made_up_for() {
    let cluster = Cluster::new(6).await;
    let bytes = pattern(6 * CHUNK);
    // Two fail at the third chunk or so: too few of its shards are left, and it is coded anew for four disks.
    cluster.switches[1].fail_nth(ShardCall::Put, 2, Fault::Failed);
    cluster.switches[4].fail_nth(ShardCall::Put, 2, Fault::Failed);
    cluster.put("key", &bytes).await.unwrap();
    assert!(cluster.get("key").await.unwrap() == bytes);
    cluster.recover().await;
    cluster.assert_full_redundancy().await;
}

#[tokio::test]
async fn shards_of_a_disk_that_cannot_be_synced_at_the_end_are_written_elsewhere() {
    let cluster = Cluster::new(7).await;
    let bytes = pattern(5 * CHUNK);
    for (disk, fault) in [(0, Fault::Restarted), (1, Fault::Failed), (2, Fault::Hang)] {
        cluster.switches[disk].fail_nth(ShardCall::Sync, 0, fault);
        let key = format!("key-{disk}");
        cluster.put(&key, &bytes).await.unwrap();
        cluster.recover().await;
        // What the disk had not synced is gone.
        for store in &cluster.stores {
            store.lose_unsynced();
        }
        assert!(cluster.get(&key).await.unwrap() == bytes);
        cluster.assert_full_redundancy().await;
    }
}

#[tokio::test]
async fn a_sync_that_fails_with_no_disk_left_leaves_work_for_repair() {
    let cluster = Cluster::new(6).await;
    cluster.switches[5].fail_nth(ShardCall::Sync, 0, Fault::Failed);
    let bytes = pattern(2 * CHUNK);
    cluster.put("key", &bytes).await.unwrap();
    assert_eq!(cluster.queued_repairs().await, 2);
    assert_eq!(cluster.call_count(ShardCall::Get), 0, "read for nothing");
    cluster.recover().await;
    cluster.engine.repair_queue_once(None, 10).await.unwrap();
    cluster.assert_full_redundancy().await;
}

#[tokio::test]
async fn any_two_of_six_disks_may_be_lost_at_the_last_sync_of_a_write() {
    for [first, second] in pairs(6) {
        let cluster = Cluster::new(6).await;
        for disk in [first, second] {
            cluster.switches[disk].fail_nth(ShardCall::Sync, 0, Fault::Failed);
        }
        let bytes = pattern(3 * CHUNK + 1);
        cluster.put("key", &bytes).await.unwrap();
        // What is acknowledged bears the loss of two more, and of what was not synced.
        let mut others = (0..6).filter(|disk| ![first, second].contains(disk));
        cluster.fail(
            &[
                first,
                second,
                others.next().unwrap(),
                others.next().unwrap(),
            ],
            Fault::Down,
        );
        for store in &cluster.stores {
            store.lose_unsynced();
        }
        assert!(cluster.get("key").await.unwrap() == bytes);
    }
}

#[tokio::test]
async fn what_was_acknowledged_survives_the_restart_of_all_disks() {
    let cluster = Cluster::new(6).await;
    let objects = [
        ("small", pattern(100)),
        ("one", pattern(CHUNK)),
        ("many", pattern(3 * CHUNK)),
    ];
    for (key, bytes) in &objects {
        cluster.put(key, bytes).await.unwrap();
    }
    for store in &cluster.stores {
        store.lose_unsynced();
    }
    for (key, bytes) in &objects {
        assert!(cluster.get(key).await.unwrap() == *bytes, "{key}");
    }
}

#[tokio::test]
async fn a_disk_that_was_slow_is_avoided_for_a_while() {
    let cluster = Cluster::new(7).await;
    cluster.fail(&[0], Fault::Slow(Duration::from_millis(150)));
    for number in 0..12 {
        cluster
            .put(&format!("key-{number}"), &pattern(CHUNK))
            .await
            .unwrap();
    }
    assert!(cluster.engine.metrics().disks[0].is_avoided);
    let started = Instant::now();
    cluster.put("last", &pattern(CHUNK)).await.unwrap();
    assert!(started.elapsed() < Duration::from_millis(40));
}

#[tokio::test]
async fn disks_that_were_slow_are_used_rather_than_too_few() {
    let cluster = Cluster::new(6).await;
    let map = cluster.disks.map();
    for store in &cluster.stores[..4] {
        let disk = map.disk(store.disk_id()).unwrap();
        for _ in 0..3 {
            disk.note_slow_call();
        }
    }
    cluster.put("small", &pattern(SMALL)).await.unwrap();
    cluster.put("large", &pattern(CHUNK)).await.unwrap();
    cluster.assert_full_redundancy().await;
}
