//! Initiating and aborting uploads.

use crate::buckets::check_bucket;
use crate::codec::{Stored, encode};
use crate::error::MetaError;
use crate::ids::{BucketId, CanonicalId, ObjectKey, UploadId, WriteId};
use crate::keys::{self, DeletionTarget};
use crate::kv::Batch;
use crate::meta::{Committed, Evidence, Meta};
use crate::queues::enqueue_deletion;
use crate::records::{BucketRecord, ChecksumAlgorithm, ChecksumKind, SystemHeaders, UploadRecord};

/// What an upload is initiated with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewUpload {
    /// Who will own the object.
    pub owner: CanonicalId,
    /// Who initiates the upload.
    pub initiator: CanonicalId,
    /// The object's storage class.
    pub storage_class: String,
    /// The object's system headers.
    pub headers: SystemHeaders,
    /// The object's user metadata: names in lower case.
    pub user_metadata: Vec<(String, String)>,
    /// The object's tags.
    pub tags: Vec<(String, String)>,
    /// The checksum that parts carry and the object will have, if one was asked for.
    pub checksum: Option<(ChecksumAlgorithm, ChecksumKind)>,
}

impl Meta {
    /// Initiates an upload.
    ///
    /// # Errors
    /// [`MetaError::NoSuchBucket`] if the bucket was deleted.
    pub async fn create_upload(
        &self,
        bucket: &BucketRecord,
        key: &ObjectKey,
        new: NewUpload,
        now_ms: u64,
    ) -> Result<UploadRecord, MetaError> {
        let record = UploadRecord {
            id: UploadId::generate(now_ms),
            owner: new.owner,
            initiator: new.initiator,
            initiated_ms: now_ms,
            storage_class: new.storage_class,
            headers: new.headers,
            user_metadata: new.user_metadata,
            tags: new.tags,
            checksum: new.checksum,
        };
        let (upload_key, value) = (keys::upload(bucket.id, key, record.id), encode(&record));
        let mut bucket = Stored::of(bucket.clone());
        let mut attempts = self.jitter.attempts();
        loop {
            let mut batch = Batch::default();
            check_bucket(&mut batch, &bucket);
            batch.put(upload_key.clone(), value.clone());
            match self.try_commit(batch).await? {
                Committed::Applied => return Ok(record),
                Committed::Conflict => {
                    attempts.after_conflict().await?;
                    bucket = self.reread_bucket(&bucket.record).await?;
                }
                Committed::Unknown(error) => {
                    let evidence = Evidence(vec![(upload_key, Some(value))]);
                    self.resolve_unknown(&evidence, error).await?;
                    return Ok(record);
                }
            }
        }
    }

    /// An upload in progress; `None` also if it is one for another key.
    ///
    /// # Errors
    /// Those of the store; [`MetaError::Corrupt`].
    pub async fn upload(
        &self,
        bucket: BucketId,
        key: &ObjectKey,
        id: UploadId,
    ) -> Result<Option<UploadRecord>, MetaError> {
        Ok(self
            .stored_upload(bucket, key, id)
            .await?
            .map(|stored| stored.record))
    }

    /// Ends an upload without an object. Its parts' data are enqueued for deletion.
    ///
    /// # Errors
    /// [`MetaError::NoSuchUpload`], also if it was completed or aborted before.
    pub async fn abort_upload(
        &self,
        bucket: BucketId,
        key: &ObjectKey,
        id: UploadId,
        now_ms: u64,
    ) -> Result<(), MetaError> {
        let upload_key = keys::upload(bucket, key, id);
        let mut attempts = self.jitter.attempts();
        loop {
            let upload = self
                .stored_upload(bucket, key, id)
                .await?
                .ok_or(MetaError::NoSuchUpload)?;
            let mut batch = Batch::default();
            batch
                .check(upload_key.clone(), Some(upload.bytes))
                .delete(upload_key.clone());
            // Nobody reads parts: no grace.
            let evidence = enqueue_deletion(
                &mut batch,
                DeletionTarget::Parts(id),
                now_ms,
                WriteId::random(),
            );
            match self.try_commit(batch).await? {
                Committed::Applied => return Ok(()),
                Committed::Conflict => attempts.after_conflict().await?,
                Committed::Unknown(error) => {
                    return self.resolve_unknown(&Evidence(vec![evidence]), error).await;
                }
            }
        }
    }

    pub(super) async fn stored_upload(
        &self,
        bucket: BucketId,
        key: &ObjectKey,
        id: UploadId,
    ) -> Result<Option<Stored<UploadRecord>>, MetaError> {
        self.read(&keys::upload(bucket, key, id)).await
    }
}
