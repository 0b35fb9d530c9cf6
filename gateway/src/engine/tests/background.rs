//! The background tasks together: they find work by themselves, and stop when told.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use cairn_meta::kv::{Batch, KvError, KvStore, MemoryKv, Scan, ScanPage};
use cairn_meta::{
    CanonicalId, ManifestPart, MasterKey, Meta, NewObject, NewUpload, ObjectKey, PartNumber,
    PartRecord, SystemHeaders, UploadId,
};
use cairn_storage_node::fault::{Fault, ShardCall};
use tokio::sync::watch;
use tokio::time::timeout;

use super::cluster::{CHUNK, Cluster, options, pattern};
use crate::clock::Clock;
use crate::engine::{BackgroundOptions, Engine, EngineOptions};

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

/// What operators wait for before they take out the next disk.
#[tokio::test]
async fn a_removed_disk_is_missed_until_its_shards_are_elsewhere_and_then_forgotten() {
    let mut cluster = Cluster::new(8).await;
    cluster.register_disks().await;
    for key in ["one", "other"] {
        cluster.put(key, &pattern(2 * CHUNK)).await.unwrap();
    }
    assert_eq!(missed_disk_count(&cluster).await, Some(0));
    cluster.remove_disk(0);
    assert_eq!(
        missed_disk_count(&cluster).await,
        None,
        "before anybody looks"
    );
    assert_eq!(cluster.queued_repairs().await, 0);

    let background = cluster.engine.start_background(eager("a"));
    eventually("leaving it", async || {
        missed_disk_count(&cluster).await == Some(0)
    })
    .await;
    background.shutdown().await;
    cluster.assert_full_redundancy().await;
    let named = cluster.meta.list_data(None, 100).await.unwrap().data;
    let gone = Some(cairn_meta::DiskId([0; 16]));
    for (_, record) in named {
        let chunks = record.unwrap().chunks;
        assert!(chunks.iter().all(|chunk| !chunk.shards.contains(&gone)));
    }
    assert_eq!(cluster.meta.disks().await.unwrap().len(), 7);
}

#[tokio::test]
async fn a_disk_whose_shards_are_elsewhere_is_left_until_it_is_back_and_away_again() {
    let cluster = Cluster::new(8).await;
    cluster.put("key", &pattern(2 * CHUNK)).await.unwrap();
    for _ in 0..2 {
        cluster.fail(&[0], Fault::Failed);
        cluster.refresh().await;
        assert_eq!(missed_disk_count(&cluster).await, None);
        let background = cluster.engine.start_background(eager("a"));
        eventually("leaving it", async || {
            missed_disk_count(&cluster).await == Some(0)
        })
        .await;
        background.shutdown().await;
        // All data are walked over once.
        assert!(cluster.engine.disks_to_leave(&[]).is_empty());
        cluster.recover().await;
    }
}

async fn missed_disk_count(cluster: &Cluster) -> Option<usize> {
    let known = cluster.meta.supposed_disks().await.unwrap();
    cluster.engine.missed_disk_count(&known)
}

#[tokio::test]
async fn whether_a_disk_is_left_is_known_to_the_holder_of_the_lease_alone() {
    let patient = EngineOptions {
        disk_absence_max: Duration::from_hours(1),
        ..options(8)
    };
    let cluster = Cluster::with(8, patient.clone()).await;
    cluster.fail(&[0], Fault::Failed);
    cluster.refresh().await;
    let other = cluster.another_engine(patient);
    let background = cluster.engine.start_background(eager("a"));
    eventually("the lease", async || {
        missed_disk_count(&cluster).await == Some(1)
    })
    .await;
    let idle = other.start_background(eager("b"));
    assert_eq!(other.missed_disk_count(&[]), None);
    cluster.recover().await;
    assert_eq!(other.missed_disk_count(&[]), Some(0));
    idle.shutdown().await;
    background.shutdown().await;
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
async fn a_damaged_chunk_is_enqueued_while_the_cleanup_waits_for_a_disk() {
    let endless = EngineOptions {
        get_deadline: Duration::from_hours(1),
        ..options(6)
    };
    let cluster = Cluster::with(6, endless).await;
    cluster.put("key", &pattern(CHUNK)).await.unwrap();
    let stored = cluster.store("dropped", &pattern(CHUNK)).await.unwrap();
    let background = cluster.engine.start_background(eager("a"));
    background.pause();
    cluster.switches[0].fail_nth(ShardCall::Delete, 0, Fault::Hang);
    drop(stored);
    let deleting = || cluster.switches[0].call_count(ShardCall::Delete) > 0;
    eventually("the cleanup", async || deleting()).await;

    let (data_id, _) = cluster.parts("key").await[0];
    let notices = &cluster.engine.core().repair_notices;
    notices.push(crate::engine::ids::data(data_id), 0);
    eventually("the enqueuing", async || {
        cluster.queued_repairs().await == 1
    })
    .await;
    background.shutdown().await;
}

async fn begin_upload(cluster: &Cluster, key: &ObjectKey) -> UploadId {
    let owner = CanonicalId([1; 32]);
    let upload = NewUpload {
        owner,
        initiator: owner,
        storage_class: "STANDARD".to_owned(),
        headers: SystemHeaders::default(),
        user_metadata: Vec::new(),
        tags: Vec::new(),
        checksum: None,
    };
    let begun = cluster
        .meta
        .create_upload(&cluster.bucket, key, upload, cluster.clock.now_ms())
        .await;
    begun.unwrap().id
}

/// Completes an upload of one part without bytes.
async fn complete_upload(cluster: &Cluster, key: &ObjectKey, id: UploadId) {
    let (meta, bucket, now_ms) = (&cluster.meta, &cluster.bucket, cluster.clock.now_ms());
    let part = PartRecord {
        part_number: PartNumber::new(1).unwrap(),
        size_bytes: 0,
        etag_md5: [7; 16],
        checksum: None,
        data_id: None,
        last_modified_ms: now_ms,
    };
    meta.put_part(bucket.id, key, id, &part, None, now_ms)
        .await
        .unwrap();
    let listed = ManifestPart {
        part_number: part.part_number,
        size_bytes: part.size_bytes,
        data_id: part.data_id,
        etag_md5: part.etag_md5,
        checksum: part.checksum,
    };
    let object = NewObject {
        modified_ms: None,
        size_bytes: 0,
        etag: String::new(),
        owner: CanonicalId([1; 32]),
        storage_class: "STANDARD".to_owned(),
        headers: SystemHeaders::default(),
        user_metadata: Vec::new(),
        tags: Vec::new(),
        checksum: None,
        data: None,
    };
    let any = |_: Option<&cairn_meta::ObjectRecord>| Ok::<(), Infallible>(());
    meta.complete_upload(bucket, key, id, &[listed], &object, now_ms, &any)
        .await
        .unwrap();
}

#[tokio::test]
async fn completed_uploads_are_forgotten_in_time_and_unfinished_ones_never() {
    let cluster = Cluster::new(6).await;
    let key = ObjectKey::parse("key").unwrap();
    let unfinished = begin_upload(&cluster, &key).await;
    let completed = begin_upload(&cluster, &key).await;
    complete_upload(&cluster, &key, completed).await;
    let remembered = async || {
        let found = cluster
            .meta
            .completed_upload(cluster.bucket.id, &key, completed)
            .await;
        found.unwrap().is_some()
    };
    assert!(remembered().await);

    let kept = Duration::from_millis(cairn_meta::COMPLETED_KEPT_MS);
    cluster.clock.advance(kept + Duration::from_secs(1));
    let background = cluster.engine.start_background(eager("a"));
    eventually("the purge", async || !remembered().await).await;
    background.shutdown().await;
    let still_there = cluster
        .meta
        .upload(cluster.bucket.id, &key, unfinished)
        .await;
    assert!(still_there.unwrap().is_some());
}

#[tokio::test]
async fn paused_work_waits_and_another_process_takes_over_when_the_holder_is_gone() {
    let cluster = Cluster::new(6).await;
    let background = cluster.engine.start_background(eager("a"));
    background.pause();
    cluster.put("key", &pattern(CHUNK)).await.unwrap();
    cluster.delete("key").await;
    // Meanwhile the same happens several times where nothing is paused.
    let control = Cluster::new(6).await;
    let unpaused = control.engine.start_background(eager("a"));
    for _ in 0..3 {
        control.put("key", &pattern(CHUNK)).await.unwrap();
        control.delete("key").await;
        eventually("the deletion", async || control.shard_count().await == 0).await;
    }
    unpaused.shutdown().await;
    assert_eq!(cluster.shard_count().await, 6);
    background.shutdown().await;

    let successor = cluster.engine.start_background(eager("b"));
    eventually("the takeover", async || cluster.shard_count().await == 0).await;
    successor.shutdown().await;
}

/// Metadata whose commits can be made to hang.
#[derive(Debug)]
struct Stallable {
    inner: MemoryKv,
    is_stalled: watch::Sender<bool>,
}

#[async_trait]
impl KvStore for Stallable {
    async fn get(&self, key: &[u8]) -> Result<Option<Bytes>, KvError> {
        self.inner.get(key).await
    }

    async fn scan(&self, scan: Scan) -> Result<ScanPage, KvError> {
        self.inner.scan(scan).await
    }

    async fn commit(&self, batch: Batch) -> Result<(), KvError> {
        let mut is_stalled = self.is_stalled.subscribe();
        is_stalled.wait_for(|is_stalled| !is_stalled).await.unwrap();
        self.inner.commit(batch).await
    }
}

#[tokio::test]
async fn the_lease_is_not_believed_beyond_its_time_while_a_poll_hangs() {
    let cluster = Cluster::new(6).await;
    let kv = Arc::new(Stallable {
        inner: cluster.kv.clone(),
        is_stalled: watch::Sender::new(false),
    });
    let meta = Meta::new(Arc::clone(&kv) as Arc<dyn KvStore>, MasterKey::random());
    let engine = Engine::new(
        options(6),
        meta,
        cluster.disks.clone(),
        Arc::clone(&cluster.clock) as Arc<dyn Clock>,
    );
    let background = engine.start_background(eager("a"));
    let mut is_maintainer = engine.core().is_maintainer.subscribe();
    for is_stalled in [false, true, false] {
        kv.is_stalled.send_replace(is_stalled);
        let expected = is_maintainer.wait_for(|held| *held != is_stalled);
        timeout(Duration::from_secs(10), expected)
            .await
            .unwrap()
            .unwrap();
    }
    background.shutdown().await;
    assert!(!*engine.core().is_maintainer.borrow());
}
