//! The background tasks together: they find work by themselves, and stop when told.

use std::time::{Duration, Instant};

use cairn_storage_node::fault::Fault;

use super::cluster::{CHUNK, Cluster, pattern};
use crate::engine::BackgroundOptions;

fn eager(holder: &str) -> BackgroundOptions {
    const SOON: Duration = Duration::from_millis(20);
    BackgroundOptions {
        lease_duration: Duration::from_millis(400),
        refresh_every: SOON,
        delete_every: SOON,
        repair_every: SOON,
        leave_disks_every: SOON,
        collect_orphans_every: SOON,
        first_pass_after: SOON,
        scrub_every: SOON,
        purge_every: SOON,
        ..BackgroundOptions::new(holder)
    }
}

async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !holds().await {
        assert!(
            started.elapsed() < Duration::from_secs(10),
            "{what} did not happen"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn deletions_repairs_and_lost_disks_are_looked_after() {
    let cluster = Cluster::new(8).await;
    let background = cluster.engine.start_background(eager("a"));
    cluster.put("deleted", &pattern(CHUNK)).await.unwrap();
    cluster.put("kept", &pattern(2 * CHUNK)).await.unwrap();
    cluster.delete("deleted").await;
    eventually("the deletion", async || cluster.shard_count().await == 12).await;

    cluster.fail(&[0], Fault::Failed);
    eventually("the repair", async || {
        let record = cluster
            .meta
            .data(cluster.parts("kept").await[0].0)
            .await
            .unwrap()
            .unwrap();
        let lost = Some(cairn_meta::DiskId([0; 16]));
        record
            .chunks
            .iter()
            .all(|chunk| !chunk.shards.contains(&lost))
    })
    .await;
    background.shutdown().await;
    cluster.assert_full_redundancy().await;
}

#[tokio::test]
async fn an_uncommitted_write_is_cleaned_up() {
    let cluster = Cluster::new(6).await;
    let background = cluster.engine.start_background(eager("a"));
    drop(cluster.store("key", &pattern(CHUNK)).await.unwrap());
    eventually("the cleanup", async || cluster.shard_count().await == 0).await;
    background.shutdown().await;
}

#[tokio::test]
async fn paused_work_waits_and_another_process_takes_over_when_the_holder_is_gone() {
    let cluster = Cluster::new(6).await;
    let background = cluster.engine.start_background(eager("a"));
    background.pause();
    cluster.put("key", &pattern(CHUNK)).await.unwrap();
    cluster.delete("key").await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(cluster.shard_count().await, 6);
    background.shutdown().await;

    let successor = cluster.engine.start_background(eager("b"));
    eventually("the takeover", async || cluster.shard_count().await == 0).await;
    successor.shutdown().await;
}
