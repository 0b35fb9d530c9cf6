//! Buckets: creation, deletion against racing writes, listing by owner.
//!
//! Invariant: whatever adds something to a bucket checks the bucket's record by value in the same commit.
//! Deletion marks the record first, then looks whether the bucket is empty, then removes the record if it is still
//! the marked one. A write that finds the mark takes it away in its own commit. So either the write comes first
//! and the deletion fails, or the deletion does and the write finds no bucket; and an attempt to delete that died
//! half-way hinders nobody.

use cairn_rpc::random::random_bytes;

use crate::codec::{Stored, encode};
use crate::error::MetaError;
use crate::ids::{BucketId, BucketName, CanonicalId, WriteId};
use crate::keys::{self, DeletionTarget};
use crate::kv::Batch;
use crate::meta::{Committed, Evidence, Meta};
use crate::queues::enqueue_deletion;
use crate::records::{BucketRecord, BucketState, Versioning};

/// A page of an account's buckets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketPage {
    /// Sorted by name.
    pub buckets: Vec<BucketRecord>,
    /// If there are more: the last name here, for `after`.
    pub next: Option<BucketName>,
}

impl Meta {
    /// Creates an empty bucket without versioning.
    ///
    /// # Errors
    /// [`MetaError::BucketExists`], whoever owns it.
    pub async fn create_bucket(
        &self,
        name: BucketName,
        owner: CanonicalId,
        region: impl Into<String>,
        now_ms: u64,
    ) -> Result<BucketRecord, MetaError> {
        let record = BucketRecord {
            id: BucketId::random(),
            name,
            owner,
            created_at_ms: now_ms,
            region: region.into(),
            versioning: Versioning::Never,
            state: BucketState::Live,
        };
        let key = keys::bucket(&record.name);
        let mut attempts = self.jitter.attempts();
        loop {
            if let Some(existing) = self.bucket(&record.name).await? {
                return Err(MetaError::BucketExists {
                    owner: existing.owner,
                });
            }
            let mut batch = Batch::default();
            batch.check(key.clone(), None);
            put_bucket(&mut batch, &record);
            match self.try_commit(batch).await? {
                Committed::Applied => return Ok(record),
                Committed::Conflict => attempts.after_conflict().await?,
                Committed::Unknown(error) => {
                    let found = self.bucket(&record.name).await?;
                    return if found.is_some_and(|found| found.id == record.id) {
                        Ok(record)
                    } else {
                        Err(error.into())
                    };
                }
            }
        }
    }

    /// The bucket of this name, if there is one.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn bucket(&self, name: &BucketName) -> Result<Option<BucketRecord>, MetaError> {
        Ok(self
            .read(&keys::bucket(name))
            .await?
            .map(|stored: Stored<BucketRecord>| stored.record))
    }

    /// Deletes a bucket that holds no objects, versions or delete markers. Uploads in progress are aborted by the
    /// deletion worker.
    ///
    /// # Errors
    /// [`MetaError::NoSuchBucket`], [`MetaError::BucketNotEmpty`].
    pub async fn delete_bucket(&self, name: &BucketName, now_ms: u64) -> Result<(), MetaError> {
        let key = keys::bucket(name);
        let mut attempts = self.jitter.attempts();
        loop {
            let found: Stored<BucketRecord> =
                self.read(&key).await?.ok_or(MetaError::NoSuchBucket)?;
            // A look before the mark keeps deletions of buckets in use from disturbing their writers.
            if !self.bucket_is_empty(found.record.id).await? {
                return Err(MetaError::BucketNotEmpty);
            }
            let marked = Stored::of(BucketRecord {
                state: BucketState::Deleting {
                    attempt: u64::from_be_bytes(random_bytes()),
                },
                ..found.record
            });
            let mut batch = Batch::default();
            batch.check(key.clone(), Some(found.bytes));
            put_bucket(&mut batch, &marked.record);
            match self.try_commit(batch).await? {
                Committed::Applied => {}
                Committed::Conflict => {
                    attempts.after_conflict().await?;
                    continue;
                }
                Committed::Unknown(error) => return Err(error.into()),
            }
            if !self.bucket_is_empty(marked.record.id).await? {
                self.unmark(&marked).await?;
                return Err(MetaError::BucketNotEmpty);
            }
            let mut batch = Batch::default();
            batch.check(key.clone(), Some(marked.bytes.clone()));
            batch.delete(key.clone());
            batch.delete(keys::owned_bucket(marked.record.owner, name));
            let uploads = DeletionTarget::Uploads(marked.record.id);
            let evidence = enqueue_deletion(&mut batch, uploads, now_ms, WriteId::random());
            match self.try_commit(batch).await? {
                Committed::Applied => return Ok(()),
                Committed::Conflict => attempts.after_conflict().await?,
                Committed::Unknown(error) => {
                    return self.resolve_unknown(&Evidence(vec![evidence]), error).await;
                }
            }
        }
    }

    /// Configures a bucket's versioning.
    ///
    /// # Errors
    /// [`MetaError::NoSuchBucket`].
    ///
    /// # Panics
    /// For [`Versioning::Never`]: there is no way back to it.
    pub async fn set_versioning(
        &self,
        bucket: &BucketRecord,
        versioning: Versioning,
    ) -> Result<BucketRecord, MetaError> {
        assert!(
            versioning != Versioning::Never,
            "versioning can be suspended, not undone"
        );
        let mut attempts = self.jitter.attempts();
        loop {
            let found = self.reread_bucket(bucket).await?;
            let changed = BucketRecord {
                versioning,
                state: BucketState::Live,
                ..found.record
            };
            let mut batch = Batch::default();
            batch.check(keys::bucket(&bucket.name), Some(found.bytes));
            put_bucket(&mut batch, &changed);
            match self.try_commit(batch).await? {
                Committed::Applied => return Ok(changed),
                Committed::Conflict => attempts.after_conflict().await?,
                Committed::Unknown(error) => return Err(error.into()),
            }
        }
    }

    /// The buckets of `owner` whose names begin with `prefix`, behind `after`, sorted by name.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn list_buckets(
        &self,
        owner: CanonicalId,
        prefix: &str,
        after: Option<&BucketName>,
        limit: usize,
    ) -> Result<BucketPage, MetaError> {
        if limit == 0 {
            return Ok(BucketPage {
                buckets: Vec::new(),
                next: None,
            });
        }
        let range = keys::owned_buckets(owner, prefix);
        let start = after.map_or_else(
            || range.clone(),
            |after| keys::successor(&keys::owned_bucket(owner, after)),
        );
        let page = self.records(&range, start, limit).await?;
        let buckets: Vec<BucketRecord> = page
            .records
            .iter()
            .map(|(_, value)| crate::codec::decode(value))
            .collect::<Result<_, _>>()?;
        let next = buckets
            .last()
            .filter(|_| page.is_truncated)
            .map(|last| last.name.clone());
        Ok(BucketPage { buckets, next })
    }

    async fn bucket_is_empty(&self, bucket: BucketId) -> Result<bool, MetaError> {
        for prefix in [keys::objects(bucket, ""), keys::versions_of_bucket(bucket)] {
            if !self
                .records(&prefix, prefix.clone(), 1)
                .await?
                .records
                .is_empty()
            {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Takes the mark of an attempt away again; if somebody else was faster, that is as good.
    async fn unmark(&self, marked: &Stored<BucketRecord>) -> Result<(), MetaError> {
        let mut batch = Batch::default();
        check_bucket(&mut batch, marked);
        self.try_commit(batch).await.map(drop)
    }

    /// The bucket as it is now, if it is still the same bucket.
    pub(crate) async fn reread_bucket(
        &self,
        bucket: &BucketRecord,
    ) -> Result<Stored<BucketRecord>, MetaError> {
        let found: Option<Stored<BucketRecord>> = self.read(&keys::bucket(&bucket.name)).await?;
        found
            .filter(|found| found.record.id == bucket.id)
            .ok_or(MetaError::NoSuchBucket)
    }
}

/// Writes the record, and its copy in the index by owner.
pub(crate) fn put_bucket(batch: &mut Batch, record: &BucketRecord) {
    let bytes = encode(record);
    batch.put(keys::bucket(&record.name), bytes.clone());
    batch.put(keys::owned_bucket(record.owner, &record.name), bytes);
}

/// Makes a commit depend on the bucket as it was read, and keeps it from being deleted by an attempt under way.
pub(crate) fn check_bucket(batch: &mut Batch, bucket: &Stored<BucketRecord>) {
    batch.check(
        keys::bucket(&bucket.record.name),
        Some(bucket.bytes.clone()),
    );
    if bucket.record.state != BucketState::Live {
        put_bucket(
            batch,
            &BucketRecord {
                state: BucketState::Live,
                ..bucket.record.clone()
            },
        );
    }
}
