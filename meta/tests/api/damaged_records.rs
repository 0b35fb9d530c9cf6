//! A record that does not decode holds up nothing but itself, and nothing is deleted because of it.

use bytes::Bytes;
use cairn_meta::kv::{Batch, KvStore, MemoryKv};
use cairn_meta::{DataId, Meta, MetaError, RepairReason, UploadId};

use crate::support::*;

/// Gives a record a format version that does not exist, and returns what it is then.
async fn damage(kv: &MemoryKv, table: u8, id: &[u8]) -> Bytes {
    let key = record_key(table, id);
    let mut value = kv.get(&key).await.unwrap().unwrap().to_vec();
    value[0] = 99;
    let mut batch = Batch::default();
    batch.put(key, value.clone());
    kv.commit(batch).await.unwrap();
    value.into()
}

fn record_key(table: u8, id: &[u8]) -> Bytes {
    [&[table], id].concat().into()
}

/// What is due, after the queue had the time to take apart what is big.
async fn due(meta: &Meta, now_ms: u64) -> Vec<DataId> {
    meta.due_deletions(now_ms, 10).await.unwrap();
    let due = meta.due_deletions(now_ms, 10).await.unwrap();
    due.data.iter().map(|deletion| deletion.data_id).collect()
}

#[tokio::test]
async fn a_damaged_manifest_is_kept_and_put_off_and_what_is_behind_it_is_deleted() {
    let kv = MemoryKv::new();
    let meta = meta_over(&kv);
    let bucket = bucket(&meta, "data").await;
    let (_, manifest) = put_in_parts(&meta, &bucket, &key("damaged")).await;
    let (behind, _) = put_in_parts(&meta, &bucket, &key("good")).await;
    delete(&meta, &bucket, &key("damaged"), None, 50).await;
    delete(&meta, &bucket, &key("good"), None, 51).await;
    let run = [&manifest.0[..], &[0, 0]].concat();
    let damaged = damage(&kv, b'm', &run).await;

    let first = meta.due_deletions(100, 10).await.unwrap();
    assert!(matches!(
        first.damaged.as_slice(),
        [entry] if matches!(entry.error, MetaError::Corrupt { .. })
    ));
    assert_eq!(due(&meta, 100).await, [behind]);
    let again = meta.due_deletions(100, 10).await.unwrap();
    assert!(again.damaged.is_empty(), "it does not stay first");
    let kept = kv.get(&record_key(b'm', &run)).await.unwrap();
    assert_eq!(kept, Some(damaged));
    let later = meta.due_deletions(100 + 3_600_000, 10).await.unwrap();
    assert_eq!(later.damaged.len(), 1, "it is tried again");
}

#[tokio::test]
async fn an_entry_of_the_deletion_queue_without_meaning_is_passed_over() {
    let kv = MemoryKv::new();
    let meta = meta_over(&kv);
    let bucket = bucket(&meta, "data").await;
    let (behind, _) = put_in_parts(&meta, &bucket, &key("good")).await;
    delete(&meta, &bucket, &key("good"), None, 51).await;
    let mut batch = Batch::default();
    let strange = record_key(b'q', &[&[0; 8], &b"?strange"[..]].concat());
    batch.put(strange.clone(), Bytes::new());
    kv.commit(batch).await.unwrap();

    assert_eq!(meta.due_deletions(100, 1).await.unwrap().damaged.len(), 1);
    assert_eq!(due(&meta, 100).await, [behind]);
    assert!(kv.get(&strange).await.unwrap().is_some());
}

#[tokio::test]
async fn a_damaged_datum_is_listed_as_such_among_the_others() {
    let kv = MemoryKv::new();
    let meta = meta_over(&kv);
    let bucket = bucket(&meta, "data").await;
    let mut ids = Vec::new();
    for name in ["a", "b", "c"] {
        ids.push(put_in_parts(&meta, &bucket, &key(name)).await.0);
    }
    ids.sort_unstable();
    damage(&kv, b'd', &ids[0].0).await;
    for limit in [1, 2, 10] {
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let page = meta.list_data(after, limit).await.unwrap();
            found.extend(page.data.iter().map(|(id, record)| (*id, record.is_ok())));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(found, [(ids[0], false), (ids[1], true), (ids[2], true)]);
    }
}

#[tokio::test]
async fn a_damaged_repair_entry_still_says_what_to_repair() {
    let kv = MemoryKv::new();
    let meta = meta_over(&kv);
    let bucket = bucket(&meta, "data").await;
    let (id, _) = put_in_parts(&meta, &bucket, &key("a")).await;
    meta.enqueue_missing(id, 0, 5).await.unwrap();
    damage(&kv, b'r', &[&id.0[..], &[0; 4]].concat()).await;
    let mut batch = Batch::default();
    // Before all others.
    batch.put(record_key(b'r', b""), Bytes::new());
    kv.commit(batch).await.unwrap();

    let page = meta.repairs(None, 1).await.unwrap();
    assert_eq!(page.damaged.len(), 1, "a key without meaning");
    let [repair] = page.repairs.as_slice() else {
        panic!("{page:?}")
    };
    assert_eq!(
        (repair.position(), repair.reason),
        ((id, 0), RepairReason::Suspected)
    );
    meta.finish_repair(repair).await.unwrap();
    assert!(meta.repairs(None, 1).await.unwrap().repairs.is_empty());
}

#[tokio::test]
async fn completed_uploads_behind_a_damaged_record_are_forgotten() {
    let kv = MemoryKv::new();
    let meta = meta_over(&kv);
    let bucket = bucket(&meta, "bucket").await;
    let mut uploads = Vec::new();
    for name in ["one", "other"] {
        uploads.push(put_in_parts(&meta, &bucket, &key(name)).await.1);
    }
    uploads.sort();
    let damaged = damage(&kv, b'c', &uploads[0].0).await;
    let purged = meta
        .purge_completed(3 + cairn_meta::COMPLETED_KEPT_MS)
        .await
        .unwrap();
    assert_eq!(purged.count, 1);
    assert!(
        matches!(
            purged.damaged.as_slice(),
            [entry] if matches!(entry.error, MetaError::Corrupt { .. })
        ),
        "{purged:?}"
    );
    let record = async |id: &UploadId| kv.get(&record_key(b'c', &id.0)).await.unwrap();
    assert_eq!(record(&uploads[0]).await, Some(damaged));
    assert_eq!(record(&uploads[1]).await, None);
}
