//! Putting a part.

use crate::codec::{Stored, encode};
use crate::data::put_data;
use crate::error::MetaError;
use crate::ids::{BucketId, ObjectKey, PartNumber, UploadId, WriteId};
use crate::keys::{self, DeletionTarget};
use crate::kv::Batch;
use crate::meta::{Committed, Evidence, Meta};
use crate::queues::enqueue_deletion;
use crate::records::{NewData, PartRecord};

impl Meta {
    /// Makes `part` the part of its number: the last to be committed wins, and the data of the one it replaces are
    /// enqueued for deletion. `data` is what `part.data_id` names: both or neither are there.
    ///
    /// # Errors
    /// [`MetaError::NoSuchUpload`] if the upload does not exist, was completed or aborted: the data can be removed,
    /// unless the outcome is unknown.
    pub async fn put_part(
        &self,
        bucket: BucketId,
        key: &ObjectKey,
        id: UploadId,
        part: &PartRecord,
        data: Option<&NewData>,
        now_ms: u64,
    ) -> Result<(), MetaError> {
        debug_assert_eq!(
            part.data_id,
            data.map(|data| data.id),
            "a part names its data, or has none"
        );
        let part_key = keys::part(id, part.part_number);
        let value = encode(part);
        let mut attempts = self.jitter.attempts();
        loop {
            let (upload, replaced) = tokio::try_join!(
                self.stored_upload(bucket, key, id),
                self.stored_part(id, part.part_number)
            )?;
            let upload = upload.ok_or(MetaError::NoSuchUpload)?;
            let mut batch = Batch::default();
            batch.check(keys::upload(bucket, key, id), Some(upload.bytes));
            batch.check(
                part_key.clone(),
                replaced.as_ref().map(|stored| stored.bytes.clone()),
            );
            batch.put(part_key.clone(), value.clone());
            if let Some(old) = replaced.and_then(|stored| stored.record.data_id) {
                enqueue_deletion(
                    &mut batch,
                    DeletionTarget::Data(old),
                    now_ms,
                    WriteId::random(),
                );
            }
            let mut evidence = Evidence::default();
            if let Some(data) = data {
                put_data(&mut batch, data, now_ms);
                evidence.0.push((keys::data(data.id), None));
            }
            match self.try_commit(batch).await? {
                Committed::Applied => return Ok(()),
                Committed::Conflict => attempts.after_conflict().await?,
                Committed::Unknown(error) => return self.resolve_unknown(&evidence, error).await,
            }
        }
    }

    /// One part of an upload.
    ///
    /// # Errors
    /// Those of the store; [`MetaError::Corrupt`].
    pub async fn part(
        &self,
        id: UploadId,
        number: PartNumber,
    ) -> Result<Option<PartRecord>, MetaError> {
        Ok(self
            .stored_part(id, number)
            .await?
            .map(|stored| stored.record))
    }

    pub(crate) async fn stored_part(
        &self,
        id: UploadId,
        number: PartNumber,
    ) -> Result<Option<Stored<PartRecord>>, MetaError> {
        self.read(&keys::part(id, number)).await
    }
}
