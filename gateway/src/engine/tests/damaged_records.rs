//! A record or header that cannot be read holds up nothing behind it, and nothing is deleted because of it.
//!
//! Each test damages the first of two things that one pass works on: the second is worked off, the first keeps its
//! bytes and its shards.

use std::collections::BTreeMap;
use std::time::Duration;

use cairn_meta::DataId;
use cairn_storage_node::fault::{Fault, ShardCall};
use cairn_storage_node::{ShardId, ShardStore};

use super::cluster::{CHUNK, Cluster, SMALL, options, pattern};
use crate::clock::Clock as _;
use crate::engine::EngineOptions;

const DAY: Duration = Duration::from_hours(24);

/// Two objects, the first of which comes first in the order of data.
async fn put_two(cluster: &Cluster, size: usize) -> [DataId; 2] {
    cluster.put("front", &pattern(size)).await.unwrap();
    cluster.clock.advance(Duration::from_millis(5));
    cluster.put("behind", &pattern(size)).await.unwrap();
    let [front, behind] = [
        cluster.parts("front").await[0].0,
        cluster.parts("behind").await[0].0,
    ];
    assert!(front < behind);
    [front, behind]
}

/// Where the shards of a datum are.
async fn shards_of(cluster: &Cluster, id: DataId) -> BTreeMap<ShardId, Vec<usize>> {
    let mut shards = cluster.shards().await;
    shards.retain(|shard, _| shard.data_id.0 == id.0);
    shards
}

/// Deletes one shard of each chunk of a datum from its disk.
async fn lose_shards(cluster: &Cluster, id: DataId) {
    let shards = shards_of(cluster, id).await;
    for (shard, disks) in shards.iter().filter(|(shard, _)| shard.shard_index == 1) {
        cluster.stores[disks[0]].delete(&[*shard]).await.unwrap();
    }
}

#[tokio::test]
async fn staged_bytes_behind_a_damaged_record_get_their_shards() {
    for table in [b't', b'd'] {
        let staging = EngineOptions {
            staged_at_once_max: 4,
            ..options(6)
        };
        let cluster = Cluster::with(6, staging).await;
        let [front, behind] = put_two(&cluster, SMALL).await;
        let damaged = cluster.damage(table, &front.0).await;
        let staged = cluster.record(b't', &front.0).await;
        cluster.clock.advance(Duration::from_secs(61));

        let other = cluster.another_engine(options(6));
        other.unstage_abandoned_once(None, 100).await.unwrap();
        assert_eq!(cluster.meta.list_staged(None, 9).await.unwrap(), [front]);
        assert_eq!(shards_of(&cluster, behind).await.len(), 3);
        assert_eq!(cluster.record(table, &front.0).await, Some(damaged));
        assert_eq!(cluster.record(b't', &front.0).await, staged);
    }
}

#[tokio::test]
async fn deletions_behind_a_damaged_datum_are_done_and_it_does_not_stay_first() {
    let cluster = Cluster::new(6).await;
    let [front, behind] = put_two(&cluster, CHUNK).await;
    cluster.delete("front").await;
    cluster.clock.advance(Duration::from_millis(5));
    cluster.delete("behind").await;
    let damaged = cluster.damage(b'd', &front.0).await;
    let shards = shards_of(&cluster, front).await;

    let report = cluster.engine.delete_due_once(100).await.unwrap();
    assert_eq!((report.deleted_count, report.postponed_count), (1, 1));
    assert!(shards_of(&cluster, behind).await.is_empty());
    assert_eq!(shards_of(&cluster, front).await, shards);
    assert_eq!(cluster.record(b'd', &front.0).await, Some(damaged));
    let now_ms = cluster.clock.now_ms();
    let due = cluster.meta.due_deletions(now_ms, 100).await.unwrap();
    assert!(due.data.is_empty(), "{due:?}");
    assert_eq!(cluster.counter("damage_passed_over"), 1);
}

#[tokio::test]
async fn repairs_behind_a_damaged_datum_are_done() {
    let cluster = Cluster::new(6).await;
    let [front, behind] = put_two(&cluster, CHUNK).await;
    for id in [front, behind] {
        lose_shards(&cluster, id).await;
        cluster.meta.enqueue_repair(id, 0, 1).await.unwrap();
    }
    let damaged = cluster.damage(b'd', &front.0).await;
    let shards = shards_of(&cluster, front).await;

    let (report, _) = cluster.engine.repair_queue_once(None, 100).await.unwrap();
    assert_eq!((report.whole_count, report.shard_count), (1, 1));
    assert_eq!(cluster.queued_repairs().await, 1, "it stays in the queue");
    assert_eq!(shards_of(&cluster, behind).await.len(), 6);
    assert_eq!(shards_of(&cluster, front).await, shards);
    assert_eq!(cluster.record(b'd', &front.0).await, Some(damaged));
}

#[tokio::test]
async fn the_scrub_gets_past_a_damaged_datum_and_lost_disks_are_refilled_behind_it() {
    let cluster = Cluster::new(7).await;
    let [front, behind] = put_two(&cluster, CHUNK).await;
    lose_shards(&cluster, behind).await;
    let damaged = cluster.damage(b'd', &front.0).await;
    let shards = shards_of(&cluster, front).await;

    let (report, next) = cluster.engine.scrub_once(None, 1).await.unwrap();
    assert_eq!(report.shard_count, 0);
    let (report, _) = cluster.engine.scrub_once(next, 1).await.unwrap();
    assert_eq!(report.shard_count, 1);

    let lost = shards_of(&cluster, behind).await.into_values().next();
    cluster.fail(&lost.unwrap(), Fault::Failed);
    cluster.refresh().await;
    let lost = cluster.engine.disks_to_leave(&[]);
    let (report, _) = cluster
        .engine
        .leave_disks_once(&lost, None, 100)
        .await
        .unwrap();
    assert_eq!(report.shard_count, 1);
    assert_eq!(shards_of(&cluster, front).await, shards);
    assert_eq!(cluster.record(b'd', &front.0).await, Some(damaged));
}

/// One page of every disk.
async fn collect(cluster: &Cluster) -> usize {
    let mut deleted = 0;
    for disk in cluster.disks.map().disks() {
        let report = cluster.engine.collect_orphans_once(disk, None, 100, DAY);
        deleted += report.await.unwrap().deleted_count;
    }
    deleted
}

/// Stores a chunk on all six disks that nothing names.
async fn forget(cluster: &Cluster) {
    let stored = cluster.store("forgotten", &pattern(CHUNK)).await.unwrap();
    drop(stored.begin_commit().1);
    cluster.clock.advance(Duration::from_millis(5));
}

#[tokio::test]
async fn an_orphan_with_a_damaged_header_stays_and_others_go() {
    let cluster = Cluster::new(6).await;
    forget(&cluster).await;
    forget(&cluster).await;
    cluster.clock.advance(2 * DAY);
    let front = *cluster.shards().await.keys().next().unwrap();
    for switch in &cluster.switches {
        switch.fail_nth(ShardCall::Stat, 0, Fault::CorruptHeaders);
    }
    assert_eq!(collect(&cluster).await, 6);
    let left = cluster.shards().await;
    assert_eq!(left.len(), 6);
    assert!(left.keys().all(|shard| shard.data_id == front.data_id));
    assert_eq!(collect(&cluster).await, 6, "now they can be read");
}

#[tokio::test]
async fn the_shards_of_a_damaged_datum_are_no_orphans() {
    let cluster = Cluster::new(6).await;
    cluster.put("front", &pattern(CHUNK)).await.unwrap();
    let front = cluster.parts("front").await[0].0;
    cluster.clock.advance(Duration::from_millis(5));
    forget(&cluster).await;
    let shards = shards_of(&cluster, front).await;
    cluster.damage(b'd', &front.0).await;
    cluster.clock.advance(2 * DAY);
    assert_eq!(collect(&cluster).await, 6);
    assert_eq!(cluster.shards().await, shards);
}
