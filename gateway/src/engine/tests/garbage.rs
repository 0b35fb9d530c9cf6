//! What is no longer needed leaves the disks, and nothing else does.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use cairn_storage_node::fault::{Fault, ShardCall};
use cairn_storage_node::{ShardId, ShardStore};
use futures_util::TryStreamExt;

use super::cluster::{CHUNK, Cluster, options, pattern};
use crate::clock::Clock as _;
use crate::engine::{EngineOptions, ReadError, ids};

const DAY: Duration = Duration::from_hours(24);

/// One pass over all disks.
async fn collect(cluster: &Cluster, age_min: Duration) -> usize {
    let mut deleted = 0;
    for disk in cluster.disks.map().disks() {
        let mut after = None;
        loop {
            let report = cluster
                .engine
                .collect_orphans_once(disk, after, 3, age_min)
                .await
                .unwrap();
            deleted += report.deleted_count;
            after = report.next;
            if after.is_none() {
                break;
            }
        }
    }
    deleted
}

#[tokio::test]
async fn deleted_and_overwritten_objects_leave_their_disks() {
    let cluster = Cluster::new(6).await;
    cluster.put("kept", &pattern(CHUNK)).await.unwrap();
    cluster.put("deleted", &pattern(2 * CHUNK)).await.unwrap();
    cluster.put("overwritten", &pattern(10)).await.unwrap();
    cluster.put("overwritten", &pattern(CHUNK)).await.unwrap();
    cluster.delete("deleted").await;
    let report = cluster.engine.delete_due_once(100).await.unwrap();
    assert_eq!((report.deleted_count, report.postponed_count), (2, 0));
    assert_eq!(cluster.shard_count().await, 6 + 6);
    assert!(cluster.get("kept").await.unwrap() == pattern(CHUNK));
    assert!(cluster.get("overwritten").await.unwrap() == pattern(CHUNK));
}

#[tokio::test]
async fn a_disk_that_is_away_delays_only_what_it_holds() {
    let patient = EngineOptions {
        disk_absence_max: DAY,
        ..options(6)
    };
    let cluster = Cluster::with(6, patient).await;
    cluster.put("everywhere", &pattern(CHUNK)).await.unwrap();
    cluster.put("elsewhere", &pattern(10)).await.unwrap();
    let placed = cluster
        .meta
        .data(cluster.parts("elsewhere").await[0].0)
        .await
        .unwrap()
        .unwrap();
    let away = (0..6).find(|disk| {
        let id = Some(cairn_meta::DiskId(cluster.stores[*disk].disk_id().0));
        !placed.chunks[0].shards.contains(&id)
    });
    let away = away.unwrap();
    cluster.delete("everywhere").await;
    cluster.delete("elsewhere").await;
    cluster.fail(&[away], Fault::Down);
    cluster.refresh().await;
    let report = cluster.engine.delete_due_once(100).await.unwrap();
    assert_eq!((report.deleted_count, report.postponed_count), (1, 1));

    cluster.recover().await;
    assert_eq!(
        cluster
            .engine
            .delete_due_once(100)
            .await
            .unwrap()
            .deleted_count,
        0,
        "it is not due yet"
    );
    assert_eq!(cluster.shard_count().await, 6, "nothing of it is gone");
    let (report, _) = cluster.engine.scrub_once(None, 100).await.unwrap();
    assert_eq!((report.whole_count, report.shard_count), (1, 0));
    cluster.clock.advance(Duration::from_mins(5));
    assert_eq!(
        cluster
            .engine
            .delete_due_once(100)
            .await
            .unwrap()
            .deleted_count,
        1
    );
    assert_eq!(cluster.shard_count().await, 0);
}

#[tokio::test]
async fn a_disk_that_does_not_answer_is_asked_once_for_all_that_is_to_be_deleted() {
    const SHORT_CHUNK: usize = 301;
    let cut_small = EngineOptions {
        chunk_size_bytes: SHORT_CHUNK,
        ..options(6)
    };
    let cluster = Cluster::with(6, cut_small).await;
    // More than fits in one call.
    cluster
        .put("key", &pattern(1001 * SHORT_CHUNK))
        .await
        .unwrap();
    cluster.delete("key").await;
    cluster.fail(&[2], Fault::Down);
    let report = cluster.engine.delete_due_once(100).await.unwrap();
    assert_eq!((report.deleted_count, report.postponed_count), (0, 1));
    let calls = |disk: usize| cluster.switches[disk].call_count(ShardCall::Delete);
    assert_eq!([calls(1), calls(2)], [2, 1]);

    cluster.recover().await;
    cluster.clock.advance(Duration::from_mins(5));
    let report = cluster.engine.delete_due_once(100).await.unwrap();
    assert_eq!((report.deleted_count, report.postponed_count), (1, 0));
    assert_eq!(cluster.shard_count().await, 0);
}

/// Between the deletion of its shards and the commit that forgets it, somebody reads it, and a scrub comes by.
#[tokio::test]
async fn data_that_are_just_being_deleted_are_gone_and_not_lost() {
    let cluster = Cluster::new(6).await;
    cluster.put("key", &pattern(CHUNK)).await.unwrap();
    let parts = cluster.parts("key").await;
    cluster.meta.enqueue_repair(parts[0].0, 0, 1).await.unwrap();
    cluster.delete("key").await;
    for (shard, disks) in cluster.shards().await {
        cluster.stores[disks[0]].delete(&[shard]).await.unwrap();
    }
    let engine = &cluster.engine;
    let read = engine.open_read(&parts, 0..CHUNK as u64).await;
    assert!(matches!(read, Err(ReadError::Gone { .. })), "{read:?}");
    assert_eq!(cluster.counter("reads_failed"), 0);
    let (report, _) = engine.scrub_once(None, 10).await.unwrap();
    assert_eq!((report.whole_count, report.postponed_count), (0, 0));
    engine.repair_queue_once(None, 10).await.unwrap();
    assert_eq!(cluster.queued_repairs().await, 0);
}

#[tokio::test]
async fn a_read_in_progress_keeps_its_data() {
    let cluster = Cluster::new(6).await;
    let bytes = pattern(9 * CHUNK);
    cluster.put("key", &bytes).await.unwrap();
    let stream = cluster
        .engine
        .open_read(&cluster.parts("key").await, 0..bytes.len() as u64)
        .await
        .unwrap();
    cluster.delete("key").await;
    assert_eq!(
        cluster
            .engine
            .delete_due_once(100)
            .await
            .unwrap()
            .postponed_count,
        1
    );
    let pieces: Vec<bytes::Bytes> = stream.try_collect().await.unwrap();
    assert!(pieces.concat() == bytes);
    cluster.clock.advance(Duration::from_mins(5));
    assert_eq!(
        cluster
            .engine
            .delete_due_once(100)
            .await
            .unwrap()
            .deleted_count,
        1
    );
}

#[tokio::test]
async fn old_shards_that_nothing_names_are_collected_and_others_are_not() {
    let cluster = Cluster::new(6).await;
    cluster.put("kept", &pattern(2 * CHUNK)).await.unwrap();
    let kept = cluster.shards().await;
    let (_, guard) = cluster
        .store("forgotten", &pattern(CHUNK))
        .await
        .unwrap()
        .begin_commit();
    drop(guard);
    assert_eq!(
        collect(&cluster, DAY).await,
        0,
        "a write in progress looks like this"
    );

    cluster.clock.advance(DAY + DAY);
    assert_eq!(collect(&cluster, DAY).await, 6);
    assert_eq!(cluster.shards().await, kept);
}

/// As when a machine was suspended for days while a client was sending.
#[tokio::test]
async fn a_write_in_progress_is_no_orphan_when_the_clock_steps() {
    let cluster = Cluster::new(6).await;
    let stored = cluster.store("key", &pattern(CHUNK)).await.unwrap();
    cluster.clock.advance(DAY + DAY);
    assert_eq!(collect(&cluster, DAY).await, 0);
    let (_, guard) = stored.begin_commit();
    assert_eq!(collect(&cluster, DAY).await, 0, "while it is committed");
    guard.refused();
    assert_eq!(collect(&cluster, DAY).await, 6, "and not for ever");

    drop(cluster.store("dropped", &pattern(CHUNK)).await.unwrap());
    cluster.clock.advance(DAY + DAY);
    assert_eq!(collect(&cluster, DAY).await, 6);
}

#[tokio::test]
async fn metadata_that_were_begun_anew_on_old_disks_delete_nothing() {
    let cluster = Cluster::new(6).await;
    cluster.put("old", &pattern(2 * CHUNK)).await.unwrap();
    let before = cluster.shards().await;
    cluster.clock.advance(DAY + DAY);

    let empty = cluster.with_empty_metadata().await;
    empty.clock.advance(DAY + DAY);
    assert_eq!(collect(&empty, DAY).await, 0);
    assert_eq!(empty.shards().await, before);
}

/// A repair puts a shard where an orphan of the same name is being deleted.
#[tokio::test]
async fn what_a_repair_puts_back_is_not_taken_for_an_orphan() {
    let cluster = Cluster::new(7).await;
    cluster.put("key", &pattern(CHUNK)).await.unwrap();
    let data_id = ids::data(cluster.parts("key").await[0].0);
    let on = |shards: &BTreeMap<ShardId, Vec<usize>>| {
        let disks = shards.values().flatten().copied();
        disks.collect::<BTreeSet<usize>>()
    };
    let before = on(&cluster.shards().await);
    let (first, spare) = (0..7).partition::<Vec<usize>, _>(|disk| before.contains(disk));
    let (first, spare) = (first[0], spare[0]);
    // Its shard moves to the spare disk, and is an orphan when it is back.
    cluster.fail(&[first], Fault::Failed);
    cluster.refresh().await;
    leave_lost_disks(&cluster).await;
    cluster.recover().await;
    cluster.clock.advance(DAY);
    // Now it has to move back.
    cluster.fail(&[spare], Fault::Failed);
    cluster.refresh().await;

    cluster.switches[first].fail_nth(ShardCall::Delete, 0, Fault::Hang);
    let repair_and_let_go = async {
        while cluster.call_count(ShardCall::Delete) == 0 {
            tokio::task::yield_now().await;
        }
        let mut repair = Box::pin(leave_lost_disks(&cluster));
        for _ in 0..100 {
            assert!(futures_util::poll!(&mut repair).is_pending());
            tokio::task::yield_now().await;
        }
        cluster.switches[first].clear();
        repair.await;
    };
    let map = cluster.disks.map();
    let disk = map.disk(cluster.stores[first].disk_id()).unwrap();
    let collecting = cluster
        .engine
        .collect_orphans_once(disk, None, 10, Duration::from_secs(1));
    let (report, ()) = tokio::join!(collecting, repair_and_let_go);
    assert_eq!(report.unwrap().deleted_count, 1);
    cluster.assert_full_redundancy().await;
    let record = cluster.meta.data(ids::meta_data(data_id)).await.unwrap();
    let back = ids::meta_disk(cluster.stores[first].disk_id());
    assert!(record.unwrap().chunks[0].shards.contains(&Some(back)));
}

async fn leave_lost_disks(cluster: &Cluster) {
    let lost = cluster.engine.disks_to_leave(&[]);
    cluster
        .engine
        .leave_disks_once(&lost, None, 100)
        .await
        .unwrap();
}

#[tokio::test]
async fn what_a_rebuild_does_not_name_stays_for_a_day_after_it() {
    let cluster = Cluster::new(6).await;
    drop(cluster.store("given up", &pattern(CHUNK)).await.unwrap());
    cluster.clock.advance(DAY + DAY);
    let rebuilt_at_ms = cluster.clock.now_ms();
    cluster.meta.note_rebuild(rebuilt_at_ms).await.unwrap();
    assert_eq!(collect(&cluster, DAY).await, 0);
    cluster.clock.advance(DAY);
    assert_eq!(collect(&cluster, DAY).await, 6);
}

#[tokio::test]
async fn a_disk_that_returns_after_it_was_given_up_is_cleaned() {
    let cluster = Cluster::new(8).await;
    cluster.put("moved", &pattern(3 * CHUNK)).await.unwrap();
    cluster.put("deleted", &pattern(3 * CHUNK)).await.unwrap();
    cluster.fail(&[0], Fault::Failed);
    cluster.refresh().await;
    let lost = cluster.engine.disks_to_leave(&[]);
    cluster
        .engine
        .leave_disks_once(&lost, None, 100)
        .await
        .unwrap();
    cluster.delete("deleted").await;
    assert_eq!(
        cluster
            .engine
            .delete_due_once(100)
            .await
            .unwrap()
            .deleted_count,
        1
    );

    cluster.engine.run_errands().await;
    cluster.recover().await;
    cluster.clock.advance(DAY);
    let on_it = cluster.stores[0].status().await.unwrap().shard_count;
    assert!(on_it > 0);
    assert_eq!(
        collect(&cluster, Duration::from_secs(1)).await as u64,
        on_it
    );
    cluster.assert_full_redundancy().await;
}
