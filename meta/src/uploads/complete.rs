//! Completing an upload: all or nothing, and the same answer to the same request again.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::buckets::check_bucket;
use crate::codec::{Stored, decode, encode};
use crate::data::put_data;
use crate::error::{MetaError, PutError};
use crate::ids::{BucketId, ManifestId, ObjectKey, PART_NUMBER_MAX, PartNumber, UploadId};
use crate::keys::{self, DeletionTarget};
use crate::kv::Batch;
use crate::meta::{Committed, Meta};
use crate::objects::{KeyChange, NewObject};
use crate::queues::enqueue_deletion;
use crate::records::{
    BucketRecord, CompletedRecord, MANIFEST_PARTS_PER_RECORD, ManifestPart, ManifestParts,
    ObjectBody, ObjectRecord, PartRecord, parts_digest,
};

/// Why an attempt ends.
enum Stop<P> {
    Failed(PutError<P>),
    /// The upload is gone: perhaps because this very request completed it before.
    UploadGone,
}

impl Meta {
    /// Makes the object of an upload: `new` with `parts` as its body, if `precondition` holds for the current object
    /// at the instant of the commit. Parts that are not listed are enqueued for deletion. The data of `new`, if any,
    /// are not the object's bytes but the datum that attests the completion on the disks; they go with the object.
    ///
    /// The same call again returns the same version, for [`COMPLETED_KEPT_MS`](super::COMPLETED_KEPT_MS).
    ///
    /// # Errors
    /// [`MetaError::NoSuchUpload`]; [`MetaError::PartChanged`] if a part is missing or is not the one listed;
    /// otherwise as [`Meta::put_object`].
    #[expect(
        clippy::too_many_arguments,
        reason = "an upload is named by three things; the rest is what put_object takes"
    )]
    pub async fn complete_upload<P: Send>(
        &self,
        bucket: &BucketRecord,
        key: &ObjectKey,
        id: UploadId,
        parts: &[ManifestPart],
        new: &NewObject,
        now_ms: u64,
        precondition: &(dyn Fn(Option<&ObjectRecord>) -> Result<(), P> + Sync),
    ) -> Result<ObjectRecord, PutError<P>> {
        let digest = parts_digest(parts.iter().map(|part| (part.part_number, part.etag_md5)));
        let mut bucket = Stored::of(bucket.clone());
        let mut attempts = self.jitter.attempts();
        loop {
            let request = Completion {
                bucket: &bucket,
                key,
                id,
                parts,
                digest,
                new,
                now_ms,
            };
            let outcome = match self.attempt_completion(&request, precondition).await {
                Ok(outcome) => outcome,
                Err(Stop::Failed(error)) => return Err(error),
                Err(Stop::UploadGone) => {
                    let completed = self.completed_upload(bucket.record.id, key, id).await?;
                    let same = completed.filter(|completed| completed.parts_digest == digest);
                    return same
                        .map(|completed| completed.object)
                        .ok_or(MetaError::NoSuchUpload.into());
                }
            };
            if let Some(record) = outcome {
                return Ok(record);
            }
            attempts.after_conflict().await?;
            bucket = self.reread_bucket(&bucket.record).await?;
        }
    }

    /// What is remembered of an upload that was completed.
    ///
    /// # Errors
    /// Those of the store; [`MetaError::Corrupt`].
    pub async fn completed_upload(
        &self,
        bucket: BucketId,
        key: &ObjectKey,
        id: UploadId,
    ) -> Result<Option<CompletedRecord>, MetaError> {
        let found: Option<Stored<CompletedRecord>> = self.read(&keys::completed(id)).await?;
        Ok(found
            .map(|found| found.record)
            .filter(|found| found.bucket == bucket && found.key == *key))
    }

    /// `None` after a conflict.
    async fn attempt_completion<P: Send>(
        &self,
        request: &Completion<'_>,
        precondition: &(dyn Fn(Option<&ObjectRecord>) -> Result<(), P> + Sync),
    ) -> Result<Option<ObjectRecord>, Stop<P>> {
        let bucket = &request.bucket.record;
        let upload = self
            .stored_upload(bucket.id, request.key, request.id)
            .await
            .map_err(failed)?;
        let upload = upload.ok_or(Stop::UploadGone)?;
        let stored_parts = self.stored_parts(request.id).await.map_err(failed)?;
        let state = self.key_state(bucket, request.key).await.map_err(failed)?;
        if let Err(refusal) = precondition(state.current_object()) {
            let refusal = PutError::Precondition(refusal);
            return Err(self.refused_or_gone(request, refusal).await);
        }

        let mut change = KeyChange::new(
            bucket,
            request.key,
            &state,
            self.deletion_due_ms(request.now_ms),
        );
        check_bucket(&mut change.batch, request.bucket);
        let upload_key = keys::upload(bucket.id, request.key, request.id);
        change
            .batch
            .check(upload_key.clone(), Some(upload.bytes))
            .delete(upload_key);
        if let Err(refusal) = request.consume_parts(&mut change.batch, &stored_parts) {
            return Err(self.refused_or_gone(request, refusal.into()).await);
        }
        let body = request.write_manifest(&mut change.batch);
        let record = change.put(request.new, body, request.now_ms);
        put_attestation(&mut change.batch, request.id, request.new, request.now_ms);
        request.leave_behind(&mut change, &record);
        match self.try_commit(change.batch).await.map_err(failed)? {
            Committed::Applied => Ok(Some(record)),
            Committed::Conflict => Ok(None),
            Committed::Unknown(error) => {
                self.resolve_unknown(&change.evidence, error)
                    .await
                    .map_err(failed)?;
                Ok(Some(record))
            }
        }
    }

    /// What `refusal` amounts to: an upload that is gone by now may have been completed by the same request, made twice,
    /// and that is what the parts were consumed by and the condition does not hold for.
    async fn refused_or_gone<P>(&self, request: &Completion<'_>, refusal: PutError<P>) -> Stop<P> {
        let bucket = request.bucket.record.id;
        match self.stored_upload(bucket, request.key, request.id).await {
            Ok(Some(_)) => Stop::Failed(refusal),
            Ok(None) => Stop::UploadGone,
            Err(error) => failed(error),
        }
    }

    /// All parts of an upload as they are stored, by number.
    async fn stored_parts(
        &self,
        id: UploadId,
    ) -> Result<BTreeMap<PartNumber, Stored<PartRecord>>, MetaError> {
        let prefix = keys::parts(id);
        let page = self
            .records(&prefix, prefix.clone(), usize::from(PART_NUMBER_MAX))
            .await?;
        let part = |(_, value): (Bytes, Bytes)| {
            let record: PartRecord = decode(&value)?;
            Ok((
                record.part_number,
                Stored {
                    bytes: value,
                    record,
                },
            ))
        };
        page.records.into_iter().map(part).collect()
    }
}

fn failed<P>(error: MetaError) -> Stop<P> {
    Stop::Failed(error.into())
}

/// A request to complete an upload.
struct Completion<'a> {
    bucket: &'a Stored<BucketRecord>,
    key: &'a ObjectKey,
    id: UploadId,
    parts: &'a [ManifestPart],
    digest: [u8; 32],
    new: &'a NewObject,
    now_ms: u64,
}

impl Completion<'_> {
    /// Makes the commit depend on the listed parts, and takes them out of the upload. (The unlisted ones are not
    /// touched here: one may be under way. They go when the upload is gone, by the deletion queue.)
    fn consume_parts(
        &self,
        batch: &mut Batch,
        stored: &BTreeMap<PartNumber, Stored<PartRecord>>,
    ) -> Result<(), MetaError> {
        for part in self.parts {
            let part_number = part.part_number;
            let found = stored
                .get(&part_number)
                .filter(|found| is_same_part(&found.record, part));
            let found = found.ok_or(MetaError::PartChanged { part_number })?;
            let key = keys::part(self.id, part_number);
            batch
                .check(key.clone(), Some(found.bytes.clone()))
                .delete(key);
        }
        Ok(())
    }

    fn write_manifest(&self, batch: &mut Batch) -> ObjectBody {
        put_manifest(batch, self.id, self.parts)
    }

    /// What is remembered of the upload, and what is left to do.
    fn leave_behind(&self, change: &mut KeyChange<'_>, record: &ObjectRecord) {
        let completed = CompletedRecord {
            bucket: self.bucket.record.id,
            key: self.key.clone(),
            parts_digest: self.digest,
            completed_at_ms: self.now_ms,
            object: record.clone(),
        };
        let (key, value) = (keys::completed(self.id), encode(&completed));
        change.batch.put(key.clone(), value.clone());
        change.evidence.0.push((key, Some(value)));
        enqueue_deletion(
            &mut change.batch,
            DeletionTarget::Parts(self.id),
            self.now_ms,
            record.write_id,
        );
    }
}

/// Writes the list of an object's parts.
pub(crate) fn put_manifest(batch: &mut Batch, id: UploadId, parts: &[ManifestPart]) -> ObjectBody {
    let manifest = ManifestId::from(id);
    for (run, parts) in (0..).zip(parts.chunks(MANIFEST_PARTS_PER_RECORD)) {
        batch.put(
            keys::manifest_run(manifest, run),
            encode(&ManifestParts {
                parts: parts.to_vec(),
            }),
        );
    }
    ObjectBody::Parts {
        manifest,
        part_count: u32::try_from(parts.len()).unwrap_or(u32::MAX),
    }
}

/// Writes the records of the datum that attests the completion.
pub(crate) fn put_attestation(batch: &mut Batch, id: UploadId, new: &NewObject, now_ms: u64) {
    let Some(data) = &new.data else {
        return;
    };
    put_data(batch, data, now_ms);
    batch.put(
        keys::manifest_attestation(ManifestId::from(id)),
        encode(&ManifestParts::attestation(data.id)),
    );
}

fn is_same_part(stored: &PartRecord, listed: &ManifestPart) -> bool {
    stored.data_id == listed.data_id
        && stored.etag_md5 == listed.etag_md5
        && stored.size_bytes == listed.size_bytes
}
