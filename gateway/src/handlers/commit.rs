//! From durable bytes to a visible object: the one place where stored data and metadata meet.
//!
//! The order is everything: the shards are durable before the commit begins, and what a commit did not certainly
//! refuse is never deleted.

use cairn_meta::{
    BucketRecord, ConditionalError, MetaError, NewObject, ObjectKey, ObjectRecord, kv::KvError,
};

use super::delete_object::refused;
use super::write_condition::WriteCondition;
use crate::engine::{CommitGuard, StoredData};
use crate::gateway::Gateway;
use crate::s3_error::S3Error;

/// What a commit makes a version of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target<'a> {
    pub(super) bucket: &'a BucketRecord,
    pub(super) key: &'a ObjectKey,
    pub(super) condition: &'a WriteCondition,
}

/// Makes `stored` the current version of `target`, if its condition holds then; `new` lacks only the data. Its time is
/// the one that is kept with them on the disks, so that a rebuilt object has the same.
pub(super) async fn object(
    gateway: &Gateway,
    target: Target<'_>,
    mut new: NewObject,
    stored: StoredData,
) -> Result<ObjectRecord, S3Error> {
    let Target {
        bucket,
        key,
        condition,
    } = target;
    let (data, guard) = stored.begin_commit();
    new.data = Some(data);
    let check = |current: Option<&ObjectRecord>| condition.check(key, current);
    let result = gateway
        .meta()
        .put_object(bucket, key, new, gateway.now_ms(), &check)
        .await;
    let is_unknown =
        matches!(&result, Err(ConditionalError::Meta(error)) if has_unknown_outcome(error));
    end(guard, result.is_ok(), is_unknown);
    result.map_err(refused)
}

/// Tells the engine how a commit ended. What nobody knows is left to the orphan collector.
pub(super) fn end(guard: CommitGuard, is_applied: bool, is_unknown: bool) {
    match (is_applied, is_unknown) {
        (true, _) => guard.committed(),
        (false, true) => drop(guard),
        (false, false) => guard.refused(),
    }
}

/// Whether the change may have been made although the call failed.
pub(super) fn has_unknown_outcome(error: &MetaError) -> bool {
    !certainly_refused(error)
}

/// Whether this error says that nothing was written, now or later. Only what is listed here lets data be deleted:
/// an error that nobody thought of costs space until the orphan collector comes, not an object.
fn certainly_refused(error: &MetaError) -> bool {
    match error {
        MetaError::NoSuchBucket
        | MetaError::NoSuchUpload
        | MetaError::PartChanged { .. }
        | MetaError::Contended => true,
        MetaError::Kv(error) => matches!(
            error,
            KvError::Conflict
                | KvError::Unavailable { .. }
                | KvError::Busy
                | KvError::TooLarge { .. }
        ),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use async_trait::async_trait;
    use bytes::Bytes;
    use cairn_meta::DataOwner;
    use cairn_meta::kv::{Batch, KvStore, MemoryKv, Scan, ScanPage};
    use futures_util::stream;
    use http::HeaderMap;

    use super::super::object_attributes::ObjectAttributes;
    use super::*;
    use crate::testing::{TestServer, TestServerOptions};

    /// Between the last byte and the commit the disks may take minutes.
    #[tokio::test]
    async fn what_is_replaced_stays_for_the_delay_from_the_commit_on() {
        let server = TestServer::start().await;
        let client = server.client();
        for (path, body) in [("/bucket", ""), ("/bucket/key", "old")] {
            assert_eq!(client.put(path, body).send().await.outcome(), "200");
        }
        let gateway = &server.gateway;
        let meta = gateway.meta();
        let name = "bucket".parse().unwrap();
        let bucket = meta.bucket(&name).await.unwrap().unwrap();
        let key = ObjectKey::parse("key").unwrap();
        let owner = DataOwner {
            bucket: bucket.id,
            key: key.clone(),
            part: None,
        };
        let source = stream::iter([Ok::<_, Infallible>(Bytes::from("new"))]);
        let stored = gateway.engine().store(source, owner, Some(3), Bytes::new);
        let stored = stored.await.unwrap();
        let new = NewObject {
            modified_ms: Some(gateway.now_ms() - 11 * 60_000),
            size_bytes: 3,
            etag: "0".repeat(32),
            owner: bucket.owner,
            ..ObjectAttributes::default().into_new_object()
        };
        let target = Target {
            bucket: &bucket,
            key: &key,
            condition: &WriteCondition::of_write(&HeaderMap::new()).unwrap(),
        };
        object(gateway, target, new, stored).await.unwrap();
        let due = meta.due_deletions(gateway.now_ms(), 10).await.unwrap();
        assert_eq!(due.data.len(), 0);
    }

    /// Once it is silent, nobody learns what came of a commit.
    #[derive(Debug, Default)]
    struct SilentKv {
        inner: MemoryKv,
        is_silent: AtomicBool,
    }

    #[async_trait]
    impl KvStore for SilentKv {
        async fn get(&self, key: &[u8]) -> Result<Option<Bytes>, KvError> {
            self.inner.get(key).await
        }

        async fn scan(&self, scan: Scan) -> Result<ScanPage, KvError> {
            self.inner.scan(scan).await
        }

        async fn commit(&self, batch: Batch) -> Result<(), KvError> {
            if self.is_silent.load(Ordering::Relaxed) {
                let detail = "no answer".to_owned();
                return Err(KvError::UnknownOutcome { detail });
            }
            self.inner.commit(batch).await
        }
    }

    #[tokio::test]
    async fn shards_of_a_write_of_unknown_outcome_stay() {
        let kv = Arc::new(SilentKv::default());
        let options = TestServerOptions {
            kv: Arc::clone(&kv) as Arc<dyn KvStore>,
            ..TestServerOptions::default()
        };
        let server = TestServer::start_with(options).await;
        let client = server.client();
        let created = client.put("/bucket", "").send().await;
        assert_eq!(created.outcome(), "200");
        kv.is_silent.store(true, Ordering::Relaxed);
        let unknown = client.put("/bucket/key", vec![7; 1 << 20]).send().await;
        assert_eq!(unknown.outcome(), "503 ServiceUnavailable");
        server.gateway.engine().run_errands().await;
        assert_eq!(server.shard_count().await, 6);
    }

    #[test]
    fn only_a_certain_refusal_lets_the_data_be_deleted() {
        let detail = || "why".to_owned();
        for refused in [
            MetaError::NoSuchBucket,
            MetaError::NoSuchUpload,
            MetaError::Contended,
            KvError::Conflict.into(),
            KvError::Unavailable { detail: detail() }.into(),
            KvError::Busy.into(),
            KvError::TooLarge { detail: detail() }.into(),
        ] {
            assert!(!has_unknown_outcome(&refused), "{refused}");
        }
        for kept in [
            KvError::UnknownOutcome { detail: detail() }.into(),
            KvError::Corrupt { detail: detail() }.into(),
            MetaError::Corrupt {
                record: "object record",
                detail: detail(),
            },
        ] {
            assert!(has_unknown_outcome(&kept), "{kept}");
        }
    }
}
