//! Races have one winner: many tasks on several handles of one store, as gateways would be, with skewed clocks.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use crate::support::*;
use async_trait::async_trait;
use bytes::Bytes;
use cairn_meta::kv::{Batch, KvError, KvStore, MemoryKv, Scan, ScanPage};
use cairn_meta::{
    BucketRecord, DataId, ManifestPart, MasterKey, Meta, MetaError, ObjectBody, ObjectKey,
    ObjectRecord, PartNumber, PartRecord, PutError, UploadId,
};
use tokio::sync::Barrier;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Tasks per race.
const RACERS: u64 = 16;
/// Larger than any wait for the others of a race should take.
const PATIENCE: Duration = Duration::from_mins(1);

/// An empty store with a bucket, and one gateway's handle of it.
async fn store() -> (MemoryKv, Meta, BucketRecord) {
    let kv = MemoryKv::new();
    let meta = meta_over(&kv);
    let bucket = bucket(&meta, "race").await;
    (kv, meta, bucket)
}

/// An upload of `k` with one part.
async fn begin_upload(meta: &Meta, bucket: &BucketRecord) -> (UploadId, PartRecord) {
    let created = meta.create_upload(bucket, &key("k"), new_upload(), 1).await;
    let id = created.unwrap().id;
    let part = put_part(meta, bucket, &key("k"), id, 1, 1).await.unwrap();
    (id, part)
}

async fn put_part(
    meta: &Meta,
    bucket: &BucketRecord,
    key: &ObjectKey,
    id: UploadId,
    number: u16,
    md5: u8,
) -> Result<PartRecord, MetaError> {
    let data = data(bucket, key, 10);
    let part = PartRecord {
        part_number: PartNumber::new(number).unwrap(),
        size_bytes: 10,
        etag_md5: [md5; 16],
        checksum: None,
        data_id: Some(data.id),
        last_modified_ms: 1,
    };
    meta.put_part(bucket.id, key, id, &part, Some(&data), 1)
        .await?;
    Ok(part)
}

fn listed(part: &PartRecord) -> ManifestPart {
    ManifestPart {
        part_number: part.part_number,
        size_bytes: part.size_bytes,
        data_id: part.data_id,
        etag_md5: part.etag_md5,
        checksum: part.checksum.clone(),
    }
}

async fn complete(
    meta: &Meta,
    bucket: &BucketRecord,
    key: &ObjectKey,
    id: UploadId,
    parts: &[PartRecord],
) -> Result<String, MetaError> {
    let parts: Vec<_> = parts.iter().map(listed).collect();
    match meta
        .complete_upload(bucket, key, id, &parts, &object("done-1", None), 2, &always)
        .await
    {
        Ok(record) => Ok(record.write_id.to_string()),
        Err(PutError::Meta(error)) => Err(error),
        Err(PutError::Precondition(never)) => match never {},
    }
}

/// All data that are due for deletion now.
async fn due(meta: &Meta) -> BTreeSet<DataId> {
    // Entries for manifests and uploads become entries for data on the way: twice, for what the first made.
    drop(meta.due_deletions(u64::MAX - 1, 10_000).await.unwrap());
    meta.due_deletions(u64::MAX - 1, 10_000)
        .await
        .unwrap()
        .data
        .iter()
        .map(|deletion| deletion.data_id)
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_racing_conditional_puts_exactly_one_wins() {
    for round in 0..20 {
        let (kv, _, bucket) = store().await;
        let mut tasks = JoinSet::new();
        for racer in 0..RACERS {
            let (meta, bucket) = (meta_over(&kv), bucket.clone());
            tasks.spawn(async move {
                // Clocks an hour apart, and bodies that are all alike.
                let now_ms = 10_000_000 + (racer % 2) * 3_600_000 + round;
                lost(
                    meta.put_object(
                        &bucket,
                        &key("k"),
                        object("same", None),
                        now_ms,
                        &if_none_match,
                    )
                    .await,
                )
            });
        }
        let lost = tasks
            .join_all()
            .await
            .into_iter()
            .filter(|lost| *lost)
            .count();
        assert_eq!(lost as u64, RACERS - 1, "round {round}");
    }
}

/// A store whose first commits wait for each other: whoever makes one has read before any of them is made.
#[derive(Debug)]
struct StartingLineKv {
    inner: MemoryKv,
    line: Barrier,
    countdown: AtomicI32,
}

#[async_trait]
impl KvStore for StartingLineKv {
    async fn get(&self, key: &[u8]) -> Result<Option<Bytes>, KvError> {
        self.inner.get(key).await
    }

    async fn scan(&self, scan: Scan) -> Result<ScanPage, KvError> {
        self.inner.scan(scan).await
    }

    async fn commit(&self, batch: Batch) -> Result<(), KvError> {
        if self.countdown.fetch_sub(1, Ordering::Relaxed) > 0 {
            timeout(PATIENCE, self.line.wait()).await.unwrap();
        }
        self.inner.commit(batch).await
    }
}

/// What can be done to a key on a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Put,
    Complete,
    Delete,
}

/// The ETag of the object that there is, if there is one.
type Current = Option<String>;

type Condition = fn(Option<&ObjectRecord>) -> Result<(), &'static str>;

fn if_match_seen(current: Option<&ObjectRecord>) -> Result<(), &'static str> {
    match current {
        Some(current) if current.etag == "seen" => Ok(()),
        _ => Err("another version"),
    }
}

/// Makes a change of `k`, with a new object of this ETag, and says what there is then; `None` if it was refused.
async fn change(
    meta: &Meta,
    bucket: &BucketRecord,
    change: Change,
    (id, part): (UploadId, PartRecord),
    etag: String,
    condition: Condition,
) -> Option<Current> {
    let (k, new) = (key("k"), object(etag.clone(), None));
    let (is_lost, made) = match change {
        Change::Put => {
            let put = meta.put_object(bucket, &k, new, 1, &condition).await;
            (lost(put), Some(etag))
        }
        Change::Complete => {
            let parts = [listed(&part)];
            let done = meta.complete_upload(bucket, &k, id, &parts, &new, 1, &condition);
            (lost(done.await), Some(etag))
        }
        Change::Delete => {
            let deleted = meta.delete_object(bucket, &k, None, 1, &condition).await;
            (lost(deleted), None)
        }
    };
    (!is_lost).then_some(made)
}

/// All have seen the same before the first of them commits; each kind of change races with itself and with all others.
#[tokio::test]
async fn of_conditional_changes_that_saw_the_same_version_exactly_one_is_made() {
    use Change::{Complete, Delete, Put};
    let races: [(&[Change], Condition); 7] = [
        (&[Put], if_none_match),
        (&[Complete], if_none_match),
        (&[Put, Complete], if_none_match),
        (&[Put], if_match_seen),
        (&[Complete], if_match_seen),
        (&[Delete], if_match_seen),
        (&[Put, Complete, Delete], if_match_seen),
    ];
    for (kinds, condition) in races {
        let (kv, meta, bucket) = store().await;
        let before = put(&meta, &bucket, &key("k"), "seen", 1).await;
        if condition(Some(&before)).is_err() {
            delete(&meta, &bucket, &key("k"), None, 1).await;
        }
        let mut uploads = Vec::new();
        for _ in 0..RACERS {
            uploads.push(begin_upload(&meta, &bucket).await);
        }
        let racing: Arc<dyn KvStore> = Arc::new(StartingLineKv {
            inner: kv,
            line: Barrier::new(usize::try_from(RACERS).unwrap()),
            countdown: AtomicI32::new(i32::try_from(RACERS).unwrap()),
        });
        let mut tasks = JoinSet::new();
        for ((racer, upload), kind) in (0..RACERS).zip(uploads).zip(kinds.iter().cycle()) {
            let (kv, bucket, kind) = (Arc::clone(&racing), bucket.clone(), *kind);
            tasks.spawn(async move {
                let meta = Meta::new(kv, MasterKey::new([7; 32]));
                let etag = format!("new-{racer}");
                change(&meta, &bucket, kind, upload, etag, condition).await
            });
        }
        let made: Vec<_> = tasks.join_all().await.into_iter().flatten().collect();
        let current = meta.object(bucket.id, &key("k")).await.unwrap();
        assert_eq!(made, [current.map(|object| object.etag)], "{kinds:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_racing_puts_all_succeed_and_all_but_the_last_are_deleted() {
    let (kv, meta, bucket) = store().await;
    let mut tasks = JoinSet::new();
    for racer in 0..RACERS {
        let (meta, bucket) = (meta_over(&kv), bucket.clone());
        tasks.spawn(async move {
            let record = put(&meta, &bucket, &key("k"), "e", 1_000_000 - racer * 1_000).await;
            let ObjectBody::Single(data) = record.body else {
                panic!("it has data")
            };
            (record.sequence, data)
        });
    }
    let mut written = tasks.join_all().await;
    written.sort_by_key(|(sequence, _)| *sequence);
    let (_, newest) = written.pop().unwrap();
    let current = meta.object(bucket.id, &key("k")).await.unwrap().unwrap();
    assert_eq!(
        current.body,
        ObjectBody::Single(newest),
        "the greatest sequence is current"
    );
    assert_eq!(
        due(&meta).await,
        written.into_iter().map(|(_, data)| data).collect()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_put_and_the_deletion_of_its_bucket_never_both_succeed() {
    for round in 0..100 {
        let (kv, meta, bucket) = store().await;
        let putting = {
            let (meta, bucket) = (meta_over(&kv), bucket.clone());
            tokio::spawn(async move {
                if round % 3 == 0 {
                    tokio::task::yield_now().await;
                }
                meta.put_object(&bucket, &key("k"), object("e", None), 1, &always)
                    .await
            })
        };
        let deleting = {
            let (meta, name) = (meta_over(&kv), bucket.name.clone());
            tokio::spawn(async move { meta.delete_bucket(&name, 1).await })
        };
        let (put, deleted) = (putting.await.unwrap(), deleting.await.unwrap());
        let exists = meta.bucket(&bucket.name).await.unwrap().is_some();
        match (put, deleted) {
            (Ok(_), Err(MetaError::BucketNotEmpty)) => assert!(exists),
            (Err(PutError::Meta(MetaError::NoSuchBucket)), Ok(())) => assert!(!exists),
            other => panic!("round {round}: {other:?}"),
        }
        let left = meta.object(bucket.id, &key("k")).await.unwrap().is_some();
        assert_eq!(left, exists, "no object without its bucket");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn complete_abort_and_put_part_exclude_each_other_and_leak_nothing() {
    for round in 0..100 {
        let (kv, meta, bucket) = store().await;
        let object_key = key("k");
        let (id, first) = begin_upload(&meta, &bucket).await;
        let handles = || (meta_over(&kv), bucket.clone(), object_key.clone());

        let completing = {
            let (m, b, k) = handles();
            let parts = [first.clone()];
            tokio::spawn(async move { complete(&m, &b, &k, id, &parts).await })
        };
        let aborting = {
            let (m, b, k) = handles();
            tokio::spawn(async move { m.abort_upload(b.id, &k, id, 1).await })
        };
        let replacing = {
            let (m, b, k) = handles();
            tokio::spawn(async move { put_part(&m, &b, &k, id, 1, 2).await })
        };
        let adding = {
            let (m, b, k) = handles();
            tokio::spawn(async move { put_part(&m, &b, &k, id, 2, 3).await })
        };
        let (completed, aborted) = (completing.await.unwrap(), aborting.await.unwrap());
        let (replaced, added) = (replacing.await.unwrap(), adding.await.unwrap());

        assert!(
            completed.is_ok() != aborted.is_ok(),
            "round {round}: {completed:?} {aborted:?}"
        );
        let mut garbage: BTreeSet<DataId> = [&replaced, &added]
            .into_iter()
            .flatten()
            .filter_map(|part| part.data_id)
            .collect();
        if completed.is_ok() {
            let current = meta.object(bucket.id, &object_key).await.unwrap().unwrap();
            let ObjectBody::Parts {
                manifest,
                part_count: 1,
            } = current.body
            else {
                panic!("{current:?}")
            };
            assert_eq!(
                meta.manifest(manifest).await.unwrap().unwrap(),
                [listed(&first)]
            );
            assert!(
                replaced.is_err(),
                "the part in the object is the one that was listed"
            );
        } else {
            garbage.extend(first.data_id);
        }
        assert_eq!(due(&meta).await, garbage, "round {round}");
        assert!(
            meta.list_parts(id, None, 10)
                .await
                .unwrap()
                .parts
                .is_empty()
        );
        assert!(matches!(
            meta.abort_upload(bucket.id, &object_key, id, 1).await,
            Err(MetaError::NoSuchUpload)
        ));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn racing_completes_of_one_upload_all_get_the_same_object() {
    let (kv, meta, bucket) = store().await;
    let (id, part) = begin_upload(&meta, &bucket).await;
    let mut tasks = JoinSet::new();
    for _ in 0..RACERS {
        let (meta, bucket, part) = (meta_over(&kv), bucket.clone(), part.clone());
        tasks.spawn(async move {
            complete(&meta, &bucket, &key("k"), id, &[part])
                .await
                .unwrap()
        });
    }
    let answers: BTreeSet<_> = tasks.join_all().await.into_iter().collect();
    assert_eq!(answers.len(), 1);
    // Another list of parts is another request.
    let other = PartRecord {
        etag_md5: [9; 16],
        ..part
    };
    assert!(matches!(
        complete(&meta, &bucket, &key("k"), id, &[other]).await,
        Err(MetaError::NoSuchUpload)
    ));
    // Kept for seven days, then forgotten.
    let kept_ms = cairn_meta::COMPLETED_KEPT_MS;
    assert_eq!(meta.purge_completed(2 + kept_ms).await.unwrap().count, 0);
    assert_eq!(meta.purge_completed(3 + kept_ms).await.unwrap().count, 1);
}

async fn complete_if_new(
    meta: &Meta,
    bucket: &BucketRecord,
    id: UploadId,
    part: &PartRecord,
) -> Result<String, PutError<&'static str>> {
    let (parts, new) = ([listed(part)], object("done-1", None));
    let record = meta
        .complete_upload(bucket, &key("k"), id, &parts, &new, 2, &if_none_match)
        .await?;
    Ok(record.write_id.to_string())
}

/// A store in which an upload is completed before the `countdown`-th read from now.
#[derive(Debug)]
struct CompletingKv {
    inner: MemoryKv,
    countdown: AtomicI32,
    upload: (BucketRecord, UploadId, PartRecord),
}

impl CompletingKv {
    async fn count_down(&self) {
        if self.countdown.fetch_sub(1, Ordering::Relaxed) == 1 {
            let (bucket, id, part) = &self.upload;
            let completed = complete_if_new(&meta_over(&self.inner), bucket, *id, part).await;
            completed.unwrap();
        }
    }
}

#[async_trait]
impl KvStore for CompletingKv {
    async fn get(&self, key: &[u8]) -> Result<Option<Bytes>, KvError> {
        self.count_down().await;
        self.inner.get(key).await
    }

    async fn scan(&self, scan: Scan) -> Result<ScanPage, KvError> {
        self.count_down().await;
        self.inner.scan(scan).await
    }

    async fn commit(&self, batch: Batch) -> Result<(), KvError> {
        self.inner.commit(batch).await
    }
}

#[tokio::test]
async fn a_complete_that_overtakes_itself_is_answered_as_the_first_one() {
    for (is_conditional, nth_read) in (1..8).flat_map(|nth| [(false, nth), (true, nth)]) {
        let (kv, meta, bucket) = store().await;
        let (id, part) = begin_upload(&meta, &bucket).await;
        let overtaken = CompletingKv {
            inner: kv.clone(),
            countdown: AtomicI32::new(nth_read),
            upload: (bucket.clone(), id, part.clone()),
        };
        let overtaken = Meta::new(Arc::new(overtaken), MasterKey::new([7; 32]));
        let answer = if is_conditional {
            complete_if_new(&overtaken, &bucket, id, &part)
                .await
                .unwrap()
        } else {
            let parts = [part];
            complete(&overtaken, &bucket, &key("k"), id, &parts)
                .await
                .unwrap()
        };
        let current = meta.object(bucket.id, &key("k")).await.unwrap().unwrap();
        let context = format!("conditional: {is_conditional}, read {nth_read}");
        assert_eq!(answer, current.write_id.to_string(), "{context}");
    }
}
