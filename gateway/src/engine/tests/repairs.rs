//! Redundancy comes back: after corruption, losses, replacement and emptying of disks.

use cairn_storage_node::fault::{Fault, ShardCall};
use cairn_storage_node::{Durability, ShardPut, ShardStore};
use futures_util::{TryStreamExt, poll};

use super::cluster::{CHUNK, Cluster, options, pairs, pattern};
use crate::engine::RepairReport;
use crate::engine::entropy::named_at_ms;
use crate::engine::pace::Pace;
use crate::engine::repair::QueueStep;

fn objects() -> Vec<(String, Vec<u8>)> {
    [0, 9, 299, CHUNK, 2 * CHUNK + 5]
        .iter()
        .map(|size| (format!("size-{size}"), pattern(*size)))
        .collect()
}

async fn put_objects(cluster: &Cluster) {
    for (key, bytes) in objects() {
        cluster.put(&key, &bytes).await.unwrap();
    }
}

async fn assert_objects_survive_all_pairs(cluster: &Cluster) {
    for lost in pairs(cluster.switches.len()) {
        cluster.fail(&lost, Fault::Down);
        for (key, bytes) in objects() {
            assert!(
                cluster.get(&key).await.unwrap() == bytes,
                "{key} without {lost:?}"
            );
        }
        for disk in lost {
            cluster.switches[disk].clear();
        }
        cluster.refresh().await;
    }
}

#[tokio::test]
async fn a_missing_shard_is_made_again_in_its_place() {
    let cluster = Cluster::new(6).await;
    put_objects(&cluster).await;
    let before = cluster.shards().await;
    for (shard, disks) in before.iter().filter(|(shard, _)| shard.shard_index == 1) {
        cluster.stores[disks[0]].delete(&[*shard]).await.unwrap();
    }
    for (key, bytes) in objects() {
        assert!(cluster.get(&key).await.unwrap() == bytes);
        let range = 0..9.min(bytes.len() as u64);
        cluster.get_range(&key, range).await.unwrap();
    }
    // A read does not touch every shard; the scrub does.
    let (report, next) = cluster.engine.scrub_once(None, 100).await.unwrap();
    assert_eq!((report.postponed_count, next), (0, None));
    assert!(report.shard_count > 0);
    assert_eq!(cluster.shards().await, before);
}

#[tokio::test]
async fn a_lost_disk_is_made_up_for_on_the_others() {
    let cluster = Cluster::new(8).await;
    put_objects(&cluster).await;
    cluster.fail(&[0], Fault::Failed);
    cluster.refresh().await;
    let lost = cluster.engine.disks_to_leave(&[]);
    assert_eq!(lost.len(), 1);
    let (report, next) = cluster
        .engine
        .leave_disks_once(&lost, None, 100)
        .await
        .unwrap();
    assert_eq!((report.postponed_count, next), (0, None));
    cluster.assert_full_redundancy().await;
    // Now any two of the others may be lost as well.
    for pair in pairs(7) {
        let [a, b] = pair.map(|disk| disk + 1);
        cluster.fail(&[a, b], Fault::Down);
        for (key, bytes) in objects() {
            assert!(
                cluster.get(&key).await.unwrap() == bytes,
                "{key} without 0, {a}, {b}"
            );
        }
        cluster.switches[a].clear();
        cluster.switches[b].clear();
        cluster.refresh().await;
    }
}

/// A long read has the records of its beginning, and the disks that they name are lost one after the other.
#[tokio::test]
async fn a_read_in_progress_finds_shards_that_were_made_again_elsewhere() {
    let cluster = Cluster::with(12, options(6)).await;
    let bytes = pattern(9 * CHUNK);
    cluster.put("key", &bytes).await.unwrap();
    let parts = cluster.parts("key").await;
    let range = 0..bytes.len() as u64;
    let stream = cluster.engine.open_read(&parts, range).await.unwrap();
    let ninth = cluster.meta.data_chunks(parts[0].0, 8, 1).await.unwrap();
    let held: Vec<usize> = (0..12)
        .filter(|disk| {
            let id = cluster.stores[*disk].disk_id();
            ninth[0].shards.contains(&Some(cairn_meta::DiskId(id.0)))
        })
        .collect();
    assert_eq!(held.len(), 6);
    for disk in &held[..3] {
        cluster.fail(&[*disk], Fault::Failed);
        cluster.refresh().await;
        let lost = cluster.engine.disks_to_leave(&[]);
        let left = cluster.engine.leave_disks_once(&lost, None, 100).await;
        assert_eq!(left.unwrap().0.postponed_count, 0);
    }
    let pieces: Vec<bytes::Bytes> = stream.try_collect().await.unwrap();
    assert!(pieces.concat() == bytes);
    assert_eq!(cluster.counter("reads_failed"), 0);
}

/// A file system that was made read-only, for one.
#[tokio::test]
async fn a_failed_disk_that_can_be_read_is_emptied() {
    let cluster = Cluster::new(8).await;
    put_objects(&cluster).await;
    cluster.fail(&[1], Fault::SaysHung);
    cluster.refresh().await;
    let failed = cluster.engine.disks_to_leave(&[]);
    assert_eq!(failed.len(), 1);
    let (report, next) = cluster
        .engine
        .leave_disks_once(&failed, None, 100)
        .await
        .unwrap();
    assert_eq!((report.postponed_count, next), (0, None));
    let gone = Some(cairn_meta::DiskId(cluster.stores[1].disk_id().0));
    for (_, record) in cluster.meta.list_data(None, 100).await.unwrap().data {
        let chunks = record.unwrap().chunks;
        assert!(chunks.iter().all(|chunk| !chunk.shards.contains(&gone)));
    }
    cluster.assert_full_redundancy().await;
}

#[tokio::test]
async fn a_replaced_disk_is_refilled() {
    let mut cluster = Cluster::new(6).await;
    put_objects(&cluster).await;
    let known: Vec<_> = cluster
        .stores
        .iter()
        .map(|store| cairn_meta::DiskId(store.disk_id().0))
        .collect();
    cluster.remove_disk(2);
    let new = cluster.add_disk().await;
    let lost = cluster.engine.disks_to_leave(&known);
    assert_eq!(
        lost.into_iter().collect::<Vec<_>>(),
        [cluster.stores[2].disk_id()]
    );
    let lost = cluster.engine.disks_to_leave(&known);
    cluster
        .engine
        .leave_disks_once(&lost, None, 100)
        .await
        .unwrap();
    cluster.assert_full_redundancy().await;
    assert!(cluster.stores[new].status().await.unwrap().shard_count > 0);
    assert_objects_survive_all_pairs(&cluster).await;
}

#[tokio::test]
async fn a_draining_disk_is_emptied() {
    let mut cluster = Cluster::new(8).await;
    put_objects(&cluster).await;
    cluster.drain_disk(1);
    let draining = cluster.engine.disks_to_leave(&[]);
    cluster
        .engine
        .leave_disks_once(&draining, None, 100)
        .await
        .unwrap();
    cluster.engine.run_errands().await;
    assert_eq!(cluster.stores[1].status().await.unwrap().shard_count, 0);
    cluster.assert_full_redundancy().await;
    assert_objects_survive_all_pairs(&cluster).await;
}

#[tokio::test]
async fn what_cannot_be_repaired_yet_stays_in_the_queue() {
    let cluster = Cluster::new(6).await;
    cluster.fail(&[0], Fault::Hang);
    cluster.put("key", &pattern(CHUNK)).await.unwrap();
    let (report, _) = cluster.engine.repair_queue_once(None, 10).await.unwrap();
    assert_eq!(
        (report.postponed_count, cluster.queued_repairs().await),
        (1, 1)
    );
    cluster.recover().await;
    let (report, _) = cluster.engine.repair_queue_once(None, 10).await.unwrap();
    assert_eq!((report.whole_count, cluster.queued_repairs().await), (1, 0));
    cluster.assert_full_redundancy().await;
}

/// A walk reads the records of a large datum long before it comes to its last chunks.
#[tokio::test]
async fn a_chunk_that_moved_while_a_walk_waited_is_looked_at_where_it_is() {
    let cluster = Cluster::new(8).await;
    cluster.put("key", &pattern(2 * CHUNK)).await.unwrap();
    let (data_id, _) = cluster.parts("key").await[0];
    let record = cluster.meta.data(data_id).await.unwrap().unwrap();
    // The second chunk waits for what the first has cost.
    let mut pace = Pace::limited(256 << 10);
    let walk = cluster.engine.scrub_step(None, 1, &mut pace);
    let move_the_second = async {
        while cluster.call_count(ShardCall::Verify) < 6 {
            tokio::task::yield_now().await;
        }
        let placed = record.chunks[1].shards[0].unwrap();
        let left = (0..8).find(|disk| cluster.stores[*disk].disk_id().0 == placed.0);
        let left = left.unwrap();
        cluster.fail(&[left], Fault::SaysHung);
        cluster.refresh().await;
        let failed = cluster.engine.disks_to_leave(&[]);
        let engine = &cluster.engine;
        engine.leave_disks_once(&failed, None, 10).await.unwrap();
        cluster.recover().await;
        cluster.engine.run_errands().await;
    };
    let (scrubbed, ()) = tokio::join!(walk, move_the_second);
    let (report, _) = scrubbed.unwrap();
    assert_eq!((report.whole_count, report.shard_count), (2, 0));
}

#[tokio::test]
async fn a_repair_of_deleted_data_is_forgotten() {
    let cluster = Cluster::new(6).await;
    cluster.put("key", &pattern(CHUNK)).await.unwrap();
    let (data_id, _) = cluster.parts("key").await[0];
    cluster.meta.enqueue_repair(data_id, 0, 1).await.unwrap();
    cluster.delete("key").await;
    cluster.engine.delete_due_once(10).await.unwrap();
    cluster.engine.repair_queue_once(None, 10).await.unwrap();
    assert_eq!(cluster.queued_repairs().await, 0);
}

/// How often the disks were asked for what is in shards.
fn read_count(cluster: &Cluster) -> usize {
    [ShardCall::Get, ShardCall::Verify, ShardCall::Stat]
        .map(|call| cluster.call_count(call))
        .iter()
        .sum()
}

/// One pass for lost disks, and one over the queue.
async fn look_for_lost_disks(cluster: &Cluster, known: &[cairn_meta::DiskId]) -> RepairReport {
    let engine = &cluster.engine;
    let lost = engine.disks_to_leave(known);
    let (report, next) = engine.leave_disks_once(&lost, None, 100).await.unwrap();
    assert_eq!(next, None);
    engine.repair_queue_once(None, 100).await.unwrap();
    report
}

#[tokio::test]
async fn with_as_many_disks_as_shards_a_lost_one_is_waited_for_without_reading() {
    let mut cluster = Cluster::new(6).await;
    cluster.put("key", &pattern(3 * CHUNK)).await.unwrap();
    let known = [cairn_meta::DiskId(cluster.stores[2].disk_id().0)];
    cluster.fail(&[2], Fault::Failed);
    cluster.refresh().await;

    for _ in 0..3 {
        let report = look_for_lost_disks(&cluster, &known).await;
        assert_eq!((report.postponed_count, report.bytes_read), (3, 0));
        assert_eq!(cluster.queued_repairs().await, 3, "operators see them");
    }
    assert_eq!(read_count(&cluster), 0);

    cluster.remove_disk(2);
    let new = cluster.add_disk().await;
    look_for_lost_disks(&cluster, &known).await;
    assert_eq!(cluster.queued_repairs().await, 0);
    assert_eq!(cluster.stores[new].status().await.unwrap().shard_count, 3);
    cluster.assert_full_redundancy().await;
}

#[tokio::test]
async fn a_bad_shard_is_made_again_where_a_lost_one_cannot_be() {
    let cluster = Cluster::new(6).await;
    cluster.put("key", &pattern(CHUNK)).await.unwrap();
    let (data_id, _) = cluster.parts("key").await[0];
    let before = cluster.shards().await;
    let mut shards = before.iter();
    let (lost, bad) = (shards.next().unwrap(), shards.next().unwrap());
    cluster.fail(lost.1, Fault::Failed);
    cluster.refresh().await;
    look_for_lost_disks(&cluster, &[]).await;
    cluster.stores[bad.1[0]].delete(&[*bad.0]).await.unwrap();
    // A read came across it.
    cluster.meta.enqueue_repair(data_id, 0, 1).await.unwrap();

    let (report, _) = cluster.engine.repair_queue_once(None, 10).await.unwrap();
    assert_eq!((report.shard_count, report.postponed_count), (1, 1));
    assert_eq!(cluster.shards().await, before);
    let reads = read_count(&cluster);
    look_for_lost_disks(&cluster, &[]).await;
    assert_eq!(read_count(&cluster), reads, "the rest is known");
    assert_eq!(cluster.queued_repairs().await, 1);
}

#[tokio::test]
async fn a_bad_shard_is_not_forgotten_when_its_disk_fails_meanwhile() {
    let cluster = Cluster::new(6).await;
    cluster.put("key", &pattern(CHUNK)).await.unwrap();
    let (data_id, _) = cluster.parts("key").await[0];
    let before = cluster.shards().await;
    let (shard, disks) = before.iter().next().unwrap();
    cluster.stores[disks[0]].delete(&[*shard]).await.unwrap();
    cluster.meta.enqueue_repair(data_id, 0, 1).await.unwrap();
    cluster.switches[disks[0]].fail_nth(ShardCall::Put, 0, Fault::Down);
    let (report, _) = cluster.engine.repair_queue_once(None, 10).await.unwrap();
    assert_eq!((report.shard_count, report.postponed_count), (0, 1));

    cluster.recover().await;
    cluster.engine.repair_queue_once(None, 10).await.unwrap();
    assert_eq!(cluster.shards().await, before);
    assert_eq!(cluster.queued_repairs().await, 0);
}

#[tokio::test]
async fn a_suspected_shard_is_not_forgotten_when_its_disk_cannot_be_asked() {
    let cluster = Cluster::new(6).await;
    cluster.put("key", &pattern(CHUNK)).await.unwrap();
    let (data_id, _) = cluster.parts("key").await[0];
    let before = cluster.shards().await;
    let mut shards = before.iter();
    let (bad, other) = (shards.next().unwrap(), shards.next().unwrap());
    cluster.stores[bad.1[0]].delete(&[*bad.0]).await.unwrap();
    cluster.meta.enqueue_repair(data_id, 0, 1).await.unwrap();
    cluster.fail(bad.1, Fault::Busy);
    // First with all others whole, then with another one that cannot be made again now.
    for other_fault in [None, Some(Fault::Failed)] {
        if let Some(fault) = other_fault {
            cluster.fail(other.1, fault);
        }
        cluster.engine.repair_queue_once(None, 10).await.unwrap();
        let (scrubbed, _) = cluster.engine.scrub_once(None, 10).await.unwrap();
        assert_eq!(scrubbed.whole_count, 0, "not all was verified");
    }
    assert_eq!(cluster.counter("chunks_scrubbed"), 0);

    cluster.recover().await;
    cluster.engine.repair_queue_once(None, 10).await.unwrap();
    assert_eq!(cluster.shards().await, before);
    assert_eq!(cluster.queued_repairs().await, 0);
}

/// A read comes across a shard that went bad after the repair had looked at it.
#[tokio::test]
async fn what_is_suspected_while_its_chunk_is_repaired_is_looked_into_afterwards() {
    let cluster = Cluster::new(6).await;
    cluster.put("key", &pattern(CHUNK)).await.unwrap();
    let (data_id, _) = cluster.parts("key").await[0];
    let before = cluster.shards().await;
    let mut shards = before.iter();
    let (first, second) = (shards.next().unwrap(), shards.next().unwrap());
    let store = |disks: &[usize]| &cluster.stores[disks[0]];
    store(first.1).delete(&[*first.0]).await.unwrap();
    cluster.meta.enqueue_repair(data_id, 0, 1).await.unwrap();

    let target = &cluster.switches[first.1[0]];
    target.fail_nth(ShardCall::Put, 0, Fault::Hang);
    let puts_before = target.call_count(ShardCall::Put);
    let read_meanwhile = async {
        while target.call_count(ShardCall::Put) == puts_before {
            tokio::task::yield_now().await;
        }
        store(second.1).delete(&[*second.0]).await.unwrap();
        cluster.get("key").await.unwrap();
        cluster.engine.run_errands().await;
        target.clear();
    };
    let (repaired, ()) = tokio::join!(cluster.engine.repair_queue_once(None, 10), read_meanwhile);
    assert_eq!(repaired.unwrap().0.shard_count, 1);
    assert_eq!(cluster.queued_repairs().await, 1);
    let (report, _) = cluster.engine.repair_queue_once(None, 10).await.unwrap();
    assert_eq!(report.shard_count, 1);
    assert_eq!(cluster.shards().await, before);
    assert_eq!(cluster.queued_repairs().await, 0);
}

#[tokio::test]
async fn a_scrub_enqueues_nothing_because_a_disk_cannot_be_asked() {
    let cluster = Cluster::new(6).await;
    cluster.put("key", &pattern(2 * CHUNK)).await.unwrap();
    cluster.fail(&[3], Fault::Busy);
    let (report, _) = cluster.engine.scrub_once(None, 10).await.unwrap();
    assert_eq!((report.whole_count, report.unseen_count), (0, 2));
    assert_eq!(cluster.queued_repairs().await, 0);
}

#[tokio::test]
async fn a_step_leaves_out_what_was_enqueued_before() {
    let cluster = Cluster::new(6).await;
    for (key, enqueued_at_ms) in [("old", 1), ("new", 2)] {
        cluster.put(key, &pattern(CHUNK)).await.unwrap();
        let (data_id, _) = cluster.parts(key).await[0];
        let meta = &cluster.meta;
        meta.enqueue_repair(data_id, 0, enqueued_at_ms)
            .await
            .unwrap();
    }
    for (since_ms, left_count) in [(3, 2), (2, 1), (0, 0)] {
        let step = QueueStep {
            after: None,
            limit: 10,
            since_ms,
        };
        let mut pace = Pace::unlimited();
        cluster
            .engine
            .repair_queue_step(step, &mut pace)
            .await
            .unwrap();
        assert_eq!(cluster.queued_repairs().await, left_count);
    }
}

#[tokio::test]
async fn a_shard_of_the_wrong_size_is_made_again() {
    let cluster = Cluster::new(6).await;
    cluster.put("key", &pattern(CHUNK)).await.unwrap();
    for wrong_size in [0, 999, 1001] {
        let before = cluster.shards().await;
        let (shard, disks) = before.iter().next().unwrap();
        let store = &cluster.stores[disks[0]];
        let whole = store.stat(*shard).await.unwrap().unwrap();
        let wrong = ShardPut {
            id: *shard,
            descriptor: whole.descriptor.clone().unwrap(),
            payload: pattern(wrong_size).into(),
        };
        store.put(wrong, Durability::Synced).await.unwrap();

        let (report, _) = cluster.engine.scrub_once(None, 10).await.unwrap();
        assert_eq!((report.whole_count, report.shard_count), (1, 1));
        let again = store.stat(*shard).await.unwrap().unwrap();
        assert_eq!(
            (again.size_bytes, again.descriptor),
            (whole.size_bytes, whole.descriptor)
        );
        assert!(cluster.get("key").await.unwrap() == pattern(CHUNK));
    }
}

#[tokio::test]
async fn the_pace_is_kept_between_the_chunks_of_one_datum() {
    let cluster = Cluster::new(6).await;
    cluster.put("key", &pattern(5 * CHUNK)).await.unwrap();
    // One byte a second: what the first chunk costs is not paid off in this test's life.
    let mut pace = Pace::limited(1);
    let mut step = Box::pin(cluster.engine.scrub_step(None, 1, &mut pace));
    for _ in 0..100 {
        assert!(poll!(&mut step).is_pending());
        tokio::task::yield_now().await;
    }
    assert_eq!(cluster.call_count(ShardCall::Verify), 6);
}

#[tokio::test]
async fn what_disks_read_is_counted_and_not_what_clients_would() {
    let cluster = Cluster::new(6).await;
    cluster.put("key", &pattern(CHUNK)).await.unwrap();
    let (report, _) = cluster.engine.scrub_once(None, 10).await.unwrap();
    assert_eq!(report.bytes_read, 6 * 1000);
    let shards = cluster.shards().await;
    let (shard, disks) = shards.iter().next().unwrap();
    cluster.stores[disks[0]].delete(&[*shard]).await.unwrap();
    let (report, _) = cluster.engine.scrub_once(None, 10).await.unwrap();
    assert_eq!(report.bytes_read, (5 + 4) * 1000);
}

#[tokio::test]
async fn the_scrub_begins_anywhere_among_the_data() {
    const MONTH_MS: u64 = 30 * 24 * 3_600_000;
    let cluster = Cluster::new(6).await;
    cluster.put("first", &pattern(9)).await.unwrap();
    cluster
        .clock
        .advance(std::time::Duration::from_hours(24 * 365));
    cluster.put("last", &pattern(9)).await.unwrap();
    let mut months = std::collections::BTreeSet::new();
    let (first, _) = cluster.parts("first").await[0];
    for _ in 0..50 {
        let start = cluster.engine.scrub_start().await.unwrap();
        let [start, first] = [start, first].map(|id| named_at_ms(crate::engine::ids::data(id)));
        months.insert((start - first) / MONTH_MS);
    }
    assert!(months.len() > 9, "{months:?}");
}
