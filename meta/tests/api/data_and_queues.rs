//! Data records of all sizes, their repair and their deletion.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::support::*;
use cairn_meta::kv::{Batch, KvError, KvStore, MemoryKv, Scan, ScanPage};
use cairn_meta::{
    BucketRecord, ChunkRecord, Coding, DataId, DataOwner, DataRecord, DiskId, ManifestPart,
    MasterKey, Meta, MetaError, NewData, NewObject, ObjectBody, PART_NUMBER_MAX, PartNumber,
    PartRecord, RepairReason,
};
use cairn_rpc::random::random_bytes;

/// A datum of `count` chunks with 4+2 shards spread over nine disks; chunk 600, if there is one, lacks a shard.
fn big(bucket: &BucketRecord, count: u32) -> NewData {
    let chunk = |index: u32| ChunkRecord {
        size_bytes: 4 << 20,
        coding: Coding::Erasure { data: 4, parity: 2 },
        shards: (0..6u8)
            .map(|shard| {
                let disk = DiskId([u8::try_from(index % 9).unwrap() + shard; 16]);
                (index != 600 || shard != 5).then_some(disk)
            })
            .collect(),
    };
    let chunks: Vec<_> = (0..count).map(chunk).collect();
    let record = DataRecord {
        size_bytes: u64::from(count) * (4 << 20),
        owner: DataOwner {
            bucket: bucket.id,
            key: key("big"),
            part: None,
        },
        created_at_ms: 1,
        chunks,
    };
    NewData::placed(DataId(random_bytes()), record)
}

async fn put_big(meta: &Meta, bucket: &BucketRecord, count: u32) -> (DataId, DataRecord) {
    let data = big(bucket, count);
    let (id, record) = (data.id, data.record.clone());
    let new = object("e", Some(data));
    meta.put_object(bucket, &key("big"), new, 1, &always)
        .await
        .unwrap();
    (id, record)
}

#[tokio::test]
async fn data_of_any_number_of_chunks_read_back_whole_and_in_pieces() {
    let meta = meta();
    let bucket = bucket(&meta, "data").await;
    for count in [1, 511, 512, 513, 1024, 1280] {
        let (id, record) = put_big(&meta, &bucket, count).await;
        assert_eq!(meta.data(id).await.unwrap().unwrap(), record);
        for (from, len) in [
            (0, 1),
            (0, 2000),
            (500, 40),
            (511, 1),
            (512, 1),
            (1023, 2),
            (1279, 5),
        ] {
            let expected: Vec<_> = record
                .chunks
                .iter()
                .skip(from as usize)
                .take(len)
                .cloned()
                .collect();
            assert_eq!(
                meta.data_chunks(id, from, len).await.unwrap(),
                expected,
                "{count} {from} {len}"
            );
        }
    }
    let gone = meta.data_chunks(DataId(random_bytes()), 0, 1).await;
    assert!(matches!(gone, Err(MetaError::NoSuchData)));
}

#[tokio::test]
async fn a_reduced_chunk_is_repaired_and_forgotten() {
    let meta = meta();
    let bucket = bucket(&meta, "data").await;
    let (id, record) = put_big(&meta, &bucket, 700).await;
    let waiting = meta.repairs(None, 10).await.unwrap().repairs;
    let [repair] = waiting.as_slice() else {
        panic!("{waiting:?}")
    };
    assert_eq!(repair.position(), (id, 600));

    let old = &record.chunks[600];
    let mut new = old.clone();
    new.shards[5] = Some(DiskId([77; 16]));
    let mistaken = meta
        .replace_placement(id, 600, &record.chunks[1], new.clone())
        .await;
    assert!(matches!(mistaken, Err(MetaError::PlacementChanged)));
    meta.replace_placement(id, 600, old, new.clone())
        .await
        .unwrap();
    assert_eq!(meta.data(id).await.unwrap().unwrap().chunks[600], new);
    meta.finish_repair(repair).await.unwrap();
    assert_eq!(meta.queue_depths().await.unwrap().repairs.count, 0);
}

#[tokio::test]
async fn finishing_a_repair_keeps_what_was_enqueued_again_meanwhile() {
    let meta = meta();
    let bucket = bucket(&meta, "data").await;
    let (id, _) = put_big(&meta, &bucket, 1).await;
    meta.enqueue_repair(id, 0, 1).await.unwrap();
    let first = meta.repairs(None, 1).await.unwrap().repairs.remove(0);
    meta.finish_repair(&first).await.unwrap();
    meta.enqueue_repair(id, 0, 1).await.unwrap();
    meta.finish_repair(&first).await.unwrap();
    assert_eq!(meta.repairs(None, 10).await.unwrap().repairs.len(), 1);
    // Of data that are gone, nothing is enqueued.
    meta.enqueue_repair(DataId(random_bytes()), 0, 1)
        .await
        .unwrap();
    assert_eq!(meta.repairs(None, 10).await.unwrap().repairs.len(), 1);
}

#[tokio::test]
async fn a_suspicion_outweighs_what_is_known_until_it_is_dispelled() {
    let meta = meta();
    let bucket = bucket(&meta, "data").await;
    let (id, _) = put_big(&meta, &bucket, 1).await;
    let queued = async || {
        let mut page = meta.repairs(None, 10).await.unwrap();
        assert_eq!(page.repairs.len(), 1);
        page.repairs.remove(0)
    };
    meta.enqueue_missing(id, 0, 1).await.unwrap();
    let missing = queued().await;
    meta.enqueue_repair(id, 0, 2).await.unwrap();
    let suspected = queued().await;
    assert_eq!(
        (suspected.reason, suspected.enqueued_at_ms),
        (RepairReason::Suspected, 2)
    );
    for _ in 0..2 {
        meta.enqueue_missing(id, 0, 3).await.unwrap();
        meta.enqueue_repair(id, 0, 3).await.unwrap();
        // Of an entry that was replaced meanwhile.
        meta.dispel_suspicion(&missing).await.unwrap();
        assert_eq!(queued().await, suspected);
    }
    meta.dispel_suspicion(&suspected).await.unwrap();
    let known = queued().await;
    assert_eq!(
        (known.reason, known.enqueued_at_ms),
        (RepairReason::Missing, 2)
    );
    meta.finish_repair(&suspected).await.unwrap();
    assert_eq!(queued().await, known);
}

#[tokio::test]
async fn what_is_suspected_while_a_chunk_is_looked_at_keeps_it_in_the_queue() {
    let meta = meta();
    let bucket = bucket(&meta, "data").await;
    let (id, _) = put_big(&meta, &bucket, 1).await;
    let queued = async || meta.repairs(None, 10).await.unwrap().repairs;
    meta.enqueue_repair(id, 0, 1).await.unwrap();
    let waiting = queued().await.remove(0);
    let begun = meta.begin_repair(&waiting).await.unwrap().unwrap();
    assert_eq!(
        (begun.reason, begun.enqueued_at_ms),
        (RepairReason::LookedInto, 1)
    );
    assert_eq!(queued().await, std::slice::from_ref(&begun));
    assert_eq!(meta.begin_repair(&waiting).await.unwrap(), None);
    // Begun already, by a process that did not end it.
    let again = meta.begin_repair(&begun).await.unwrap();
    assert_eq!(again.as_ref(), Some(&begun));

    meta.enqueue_missing(id, 0, 2).await.unwrap();
    assert_eq!(queued().await, std::slice::from_ref(&begun));
    meta.enqueue_repair(id, 0, 2).await.unwrap();
    meta.finish_repair(&begun).await.unwrap();
    meta.dispel_suspicion(&begun).await.unwrap();
    let anew = queued().await.remove(0);
    assert_eq!(
        (anew.reason, anew.enqueued_at_ms),
        (RepairReason::Suspected, 2)
    );
    let begun = meta.begin_repair(&anew).await.unwrap().unwrap();
    meta.finish_repair(&begun).await.unwrap();
    assert!(queued().await.is_empty());
}

#[tokio::test]
async fn finished_deletions_leave_no_records() {
    let meta = meta();
    let bucket = bucket(&meta, "data").await;
    let (id, _) = put_big(&meta, &bucket, 1280).await;
    delete(&meta, &bucket, &key("big"), None, 50).await;
    assert!(meta.due_deletions(49, 10).await.unwrap().data.is_empty());
    let due = meta.due_deletions(50, 10).await.unwrap().data;
    assert_eq!(
        due.iter()
            .map(|deletion| deletion.data_id)
            .collect::<Vec<_>>(),
        [id]
    );
    assert!(
        meta.data(id).await.unwrap().is_some(),
        "kept until the shards are gone"
    );
    assert!(meta.awaits_deletion(id).await.unwrap());
    meta.postpone_deletions(&due, 60).await.unwrap();
    assert!(meta.due_deletions(59, 10).await.unwrap().data.is_empty());
    meta.finish_deletions(&meta.due_deletions(60, 10).await.unwrap().data)
        .await
        .unwrap();
    assert_eq!(meta.data_exists(&[id]).await.unwrap(), [false]);
    assert!(!meta.awaits_deletion(id).await.unwrap());
    let depths = meta.queue_depths().await.unwrap();
    assert_eq!((depths.deletions.count, depths.repairs.count), (0, 0));
    assert!(meta.list_data(None, 10).await.unwrap().data.is_empty());
}

#[tokio::test]
async fn a_deletion_is_found_behind_however_many_others() {
    let kv = MemoryKv::new();
    let meta = meta_over(&kv);
    let mut others = Batch::default();
    for number in 0..12_345u128 {
        let (due_ms, id) = (1u64.to_be_bytes(), number.to_be_bytes());
        others.put([b"q", &due_ms[..], b"d", &id[..]].concat(), "other");
    }
    kv.commit(others).await.unwrap();
    let bucket = bucket(&meta, "data").await;
    let (id, _) = put_big(&meta, &bucket, 1).await;
    assert!(!meta.awaits_deletion(id).await.unwrap());
    delete(&meta, &bucket, &key("big"), None, 50).await;
    assert!(meta.awaits_deletion(id).await.unwrap());
}

/// Between the last byte and the commit the disks may take minutes.
#[tokio::test]
async fn what_a_write_sets_going_counts_from_its_commit_on() {
    const MINUTE_MS: u64 = 60_000;
    let meta = meta().with_delete_delay(Duration::from_mins(10));
    let bucket = bucket(&meta, "data").await;
    put(&meta, &bucket, &key("k"), "old", 1).await;
    let mut reduced = data(&bucket, &key("k"), 10);
    reduced.record.chunks[0].shards[1] = None;
    let new = NewObject {
        modified_ms: Some(2),
        ..object("new", Some(reduced))
    };
    let now_ms = 11 * MINUTE_MS;
    let record = meta
        .put_object(&bucket, &key("k"), new, now_ms, &always)
        .await
        .unwrap();
    assert_eq!(record.last_modified_ms, 2);
    let due_ms = now_ms + 10 * MINUTE_MS;
    let due_count = async |now_ms| meta.due_deletions(now_ms, 10).await.unwrap().data.len();
    assert_eq!(due_count(due_ms - 1).await, 0);
    assert_eq!(due_count(due_ms).await, 1);
    let repairs = meta.repairs(None, 10).await.unwrap().repairs;
    assert_eq!(repairs[0].enqueued_at_ms, now_ms);
}

#[tokio::test]
async fn all_data_are_walked_page_by_page() {
    let meta = meta();
    let bucket = bucket(&meta, "data").await;
    let mut expected = Vec::new();
    for (index, count) in [1, 600, 1, 1200, 1].into_iter().enumerate() {
        let data = big(&bucket, count);
        expected.push((data.id, data.record.clone()));
        let new = object("e", Some(data));
        meta.put_object(&bucket, &key(&index.to_string()), new, 1, &always)
            .await
            .unwrap();
    }
    expected.sort_by_key(|(id, _)| *id);
    for limit in 1..5 {
        let mut found = Vec::new();
        let mut after = None;
        loop {
            let page = meta.list_data(after, limit).await.unwrap();
            let whole = |(id, record): (_, Result<_, _>)| (id, record.unwrap());
            found.extend(page.data.into_iter().map(whole));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(found, expected, "{limit}");
    }
}

#[tokio::test]
async fn an_object_of_ten_thousand_parts_is_completed_at_once_and_deleted_in_steps() {
    let meta = meta();
    let bucket = bucket(&meta, "data").await;
    let id = meta
        .create_upload(&bucket, &key("big"), new_upload(), 1)
        .await
        .unwrap()
        .id;
    let mut parts = Vec::new();
    for number in 1..=PART_NUMBER_MAX {
        let data = data(&bucket, &key("big"), 5 << 20);
        let part = PartRecord {
            part_number: PartNumber::new(number).unwrap(),
            size_bytes: 5 << 20,
            etag_md5: [1; 16],
            checksum: Some(vec![2; 32]),
            data_id: Some(data.id),
            last_modified_ms: 1,
        };
        meta.put_part(bucket.id, &key("big"), id, &part, Some(&data), 1)
            .await
            .unwrap();
        parts.push(ManifestPart {
            part_number: part.part_number,
            size_bytes: part.size_bytes,
            data_id: part.data_id,
            etag_md5: part.etag_md5,
            checksum: part.checksum,
        });
    }
    let page = meta.list_parts(id, Some(9_998), 1).await.unwrap();
    assert_eq!(
        (page.parts[0].part_number.get(), page.is_truncated),
        (9_999, true)
    );
    let attestation = data(&bucket, &key("big"), 0);
    let record = meta
        .complete_upload(
            &bucket,
            &key("big"),
            id,
            &parts,
            &object("e-10000", Some(attestation)),
            2,
            &always,
        )
        .await
        .unwrap();
    let ObjectBody::Parts {
        manifest,
        part_count: 10_000,
    } = record.body
    else {
        panic!("{record:?}")
    };
    assert_eq!(meta.manifest(manifest).await.unwrap().unwrap(), parts);

    delete(&meta, &bucket, &key("big"), None, 3).await;
    let mut deleted = 0;
    while meta.queue_depths().await.unwrap().deletions.count > 0 {
        let due = meta.due_deletions(10, 1_000).await.unwrap().data;
        deleted += due.len();
        meta.finish_deletions(&due).await.unwrap();
    }
    assert_eq!(deleted, 10_001);
    assert!(meta.manifest(manifest).await.unwrap().is_none());
    assert!(meta.list_data(None, 1).await.unwrap().data.is_empty());
}

/// Counts how often it is scanned.
#[derive(Debug, Default)]
struct CountingKv {
    kv: MemoryKv,
    scan_count: AtomicUsize,
}

#[async_trait]
impl KvStore for CountingKv {
    async fn get(&self, key: &[u8]) -> Result<Option<Bytes>, KvError> {
        self.kv.get(key).await
    }

    async fn scan(&self, scan: Scan) -> Result<ScanPage, KvError> {
        self.scan_count.fetch_add(1, Ordering::Relaxed);
        self.kv.scan(scan).await
    }

    async fn commit(&self, batch: Batch) -> Result<(), KvError> {
        self.kv.commit(batch).await
    }
}

#[tokio::test]
async fn what_a_look_at_the_deletion_queue_costs_does_not_grow_with_it() {
    const OBJECT_COUNT: usize = 10_000;
    let kv = Arc::new(CountingKv::default());
    let meta =
        Meta::new(Arc::clone(&kv) as _, MasterKey::new([7; 32])).with_delete_delay(Duration::ZERO);
    let bucket = bucket(&meta, "data").await;
    for number in 0..OBJECT_COUNT {
        let name = key(&number.to_string());
        put_in_parts(&meta, &bucket, &name).await;
        delete(&meta, &bucket, &name, None, 3).await;
    }
    let (mut deleted_count, mut now_ms) = (0, 10);
    loop {
        kv.scan_count.store(0, Ordering::Relaxed);
        let due = meta.due_deletions(now_ms, 64).await.unwrap();
        // 64 steps of a few scans each; the queue has twenty thousand entries.
        assert!(kv.scan_count.load(Ordering::Relaxed) <= 5 * 64);
        deleted_count += due.data.len();
        meta.finish_deletions(&due.data).await.unwrap();
        now_ms += 1;
        if !due.is_truncated {
            break;
        }
    }
    assert_eq!(deleted_count, OBJECT_COUNT);
    assert_eq!(meta.queue_depths().await.unwrap().deletions.count, 0);
}

#[tokio::test]
async fn uploads_left_in_a_deleted_bucket_are_cleaned_up() {
    let meta = meta();
    let bucket = bucket(&meta, "data").await;
    let id = meta
        .create_upload(&bucket, &key("k"), new_upload(), 1)
        .await
        .unwrap()
        .id;
    let data = data(&bucket, &key("k"), 10);
    let part = PartRecord {
        part_number: PartNumber::new(1).unwrap(),
        size_bytes: 10,
        etag_md5: [1; 16],
        checksum: None,
        data_id: Some(data.id),
        last_modified_ms: 1,
    };
    meta.put_part(bucket.id, &key("k"), id, &part, Some(&data), 1)
        .await
        .unwrap();
    meta.delete_bucket(&bucket.name, 5).await.unwrap();
    let mut due = Vec::new();
    for _ in 0..3 {
        due = meta.due_deletions(10, 10).await.unwrap().data;
    }
    assert_eq!(
        due.iter()
            .map(|deletion| deletion.data_id)
            .collect::<Vec<_>>(),
        [data.id]
    );
    assert!(
        meta.upload(bucket.id, &key("k"), id)
            .await
            .unwrap()
            .is_none()
    );
}
