//! Redundancy comes back: after corruption, losses, replacement and emptying of disks.

use cairn_storage_node::ShardStore;
use cairn_storage_node::fault::Fault;

use super::cluster::{CHUNK, Cluster, pairs, pattern};

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
