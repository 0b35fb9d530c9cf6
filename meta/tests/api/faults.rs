//! Commits that fail, or whose outcome is not known, leave nothing half-done and are never taken for the other.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use crate::support::*;
use async_trait::async_trait;
use bytes::Bytes;
use cairn_meta::kv::{Batch, KvError, KvStore, MemoryKv, Scan, ScanPage};
use cairn_meta::{DeleteOutcome, MasterKey, Meta, MetaError, PutError};

/// What becomes of the chosen commit.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    Refused,
    LostBefore,
    LostAfter,
    /// Not yet made when its answer is lost, and reads fail from then on.
    LostWithReads,
}

/// A store whose `countdown`-th commit from now meets a fault.
#[derive(Debug)]
struct FaultyKv {
    inner: MemoryKv,
    countdown: AtomicI32,
    fault: Fault,
}

#[async_trait]
impl KvStore for FaultyKv {
    async fn get(&self, key: &[u8]) -> Result<Option<Bytes>, KvError> {
        let was_lost = self.countdown.load(Ordering::Relaxed) <= 0;
        if self.fault == Fault::LostWithReads && was_lost {
            let detail = "the connection broke".to_owned();
            return Err(KvError::Unavailable { detail });
        }
        self.inner.get(key).await
    }

    async fn scan(&self, scan: Scan) -> Result<ScanPage, KvError> {
        self.inner.scan(scan).await
    }

    async fn commit(&self, batch: Batch) -> Result<(), KvError> {
        let detail = "the connection broke".to_owned();
        match self.fault {
            _ if self.countdown.fetch_sub(1, Ordering::Relaxed) != 1 => {
                self.inner.commit(batch).await
            }
            Fault::Refused => Err(KvError::Unavailable { detail }),
            Fault::LostBefore | Fault::LostWithReads => Err(KvError::UnknownOutcome { detail }),
            Fault::LostAfter => {
                self.inner.commit(batch).await?;
                Err(KvError::UnknownOutcome { detail })
            }
        }
    }
}

/// A handle whose `nth` commit meets `fault`.
fn faulty(kv: &MemoryKv, nth: i32, fault: Fault) -> Meta {
    let kv = FaultyKv {
        inner: kv.clone(),
        countdown: AtomicI32::new(nth),
        fault,
    };
    Meta::new(Arc::new(kv), MasterKey::new([7; 32]))
}

fn is_unknown<T, P>(result: &Result<T, PutError<P>>) -> bool {
    matches!(
        result,
        Err(PutError::Meta(MetaError::Kv(
            KvError::UnknownOutcome { .. }
        )))
    )
}

#[tokio::test]
async fn a_bucket_whose_deletion_died_half_way_takes_writes_and_can_be_deleted_later() {
    let kv = MemoryKv::new();
    let meta = meta_over(&kv);
    let bucket = bucket(&meta, "faults").await;
    let died = faulty(&kv, 2, Fault::Refused)
        .delete_bucket(&bucket.name, 1)
        .await;
    assert!(matches!(
        died,
        Err(MetaError::Kv(KvError::Unavailable { .. }))
    ));

    let marked = meta.bucket(&bucket.name).await.unwrap().unwrap();
    assert_ne!(marked, bucket, "the mark is there");
    // With the record as it was before, and as it is now.
    put(&meta, &bucket, &key("a"), "e", 1).await;
    assert_eq!(meta.bucket(&bucket.name).await.unwrap().unwrap(), bucket);
    put(&meta, &bucket, &key("b"), "e", 1).await;
    assert!(matches!(
        meta.delete_bucket(&bucket.name, 1).await,
        Err(MetaError::BucketNotEmpty)
    ));
    delete(&meta, &bucket, &key("a"), None, 1).await;
    delete(&meta, &bucket, &key("b"), None, 1).await;
    meta.delete_bucket(&bucket.name, 1).await.unwrap();
    assert!(meta.bucket(&bucket.name).await.unwrap().is_none());
}

#[tokio::test]
async fn a_put_whose_outcome_got_lost_is_found_if_it_was_made() {
    let kv = MemoryKv::new();
    let bucket = bucket(&meta_over(&kv), "faults").await;
    for with_data in [true, false] {
        let new = || object("e", with_data.then(|| data(&bucket, &key("k"), 10)));
        let made = faulty(&kv, 1, Fault::LostAfter)
            .put_object(&bucket, &key("k"), new(), 1, &always)
            .await
            .unwrap();
        let current = meta_over(&kv).object(bucket.id, &key("k")).await.unwrap();
        assert_eq!(current, Some(made.clone()));

        let lost = faulty(&kv, 1, Fault::LostBefore)
            .put_object(&bucket, &key("k"), new(), 1, &always)
            .await;
        assert!(is_unknown(&lost), "{lost:?}");
        let current = meta_over(&kv).object(bucket.id, &key("k")).await.unwrap();
        assert_eq!(
            current,
            Some(made),
            "what was not made is not taken for made"
        );
    }
}

#[tokio::test]
async fn an_outcome_stays_unknown_when_it_cannot_be_looked_for() {
    let kv = MemoryKv::new();
    let meta = meta_over(&kv);
    let bucket = bucket(&meta, "faults").await;
    put(&meta, &bucket, &key("old"), "e", 1).await;
    let new = object("e", Some(data(&bucket, &key("k"), 10)));
    let lost = faulty(&kv, 1, Fault::LostWithReads)
        .put_object(&bucket, &key("k"), new, 1, &always)
        .await;
    assert!(is_unknown(&lost), "{lost:?}");
    let lost = faulty(&kv, 1, Fault::LostWithReads)
        .delete_object(&bucket, &key("old"), None, 1, &always)
        .await;
    assert!(is_unknown(&lost), "{lost:?}");
}

#[tokio::test]
async fn a_delete_whose_outcome_got_lost_is_found_if_it_was_made() {
    let kv = MemoryKv::new();
    let meta = meta_over(&kv);
    let bucket = bucket(&meta, "faults").await;
    put(&meta, &bucket, &key("k"), "e", 1).await;
    let lost = faulty(&kv, 1, Fault::LostBefore)
        .delete_object(&bucket, &key("k"), None, 1, &always)
        .await;
    assert!(is_unknown(&lost), "{lost:?}");
    assert!(meta.object(bucket.id, &key("k")).await.unwrap().is_some());
    let made = faulty(&kv, 1, Fault::LostAfter)
        .delete_object(&bucket, &key("k"), None, 1, &always)
        .await
        .unwrap();
    assert!(matches!(made, DeleteOutcome::Removed { .. }));
    assert!(meta.object(bucket.id, &key("k")).await.unwrap().is_none());
}

#[tokio::test]
async fn a_refused_put_leaves_nothing_behind() {
    let kv = MemoryKv::new();
    let meta = meta_over(&kv);
    let bucket = bucket(&meta, "faults").await;
    let data = data(&bucket, &key("k"), 10);
    let id = data.id;
    let refused = faulty(&kv, 1, Fault::Refused)
        .put_object(&bucket, &key("k"), object("e", Some(data)), 1, &always)
        .await;
    assert!(refused.is_err());
    assert!(meta.object(bucket.id, &key("k")).await.unwrap().is_none());
    assert_eq!(meta.data_exists(&[id]).await.unwrap(), [false]);
}
