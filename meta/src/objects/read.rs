//! Reading an object's record, one of its versions, its manifest.

use crate::codec::{Stored, decode};
use crate::error::MetaError;
use crate::ids::{BucketId, ManifestId, ObjectKey, VersionId};
use crate::keys;
use crate::meta::Meta;
use crate::records::{
    KeyHead, MANIFEST_PARTS_PER_RECORD, ManifestPart, ManifestParts, ObjectRecord,
};

use crate::ids::PART_NUMBER_MAX;

impl Meta {
    /// The current object of `key`; `None` if there is none or its newest version is a delete marker, which
    /// [`Meta::newest_version`] tells apart.
    ///
    /// # Errors
    /// Those of the store; [`MetaError::Corrupt`].
    pub async fn object(
        &self,
        bucket: BucketId,
        key: &ObjectKey,
    ) -> Result<Option<ObjectRecord>, MetaError> {
        Ok(self
            .read(&keys::object(bucket, key))
            .await?
            .map(|stored: Stored<ObjectRecord>| stored.record))
    }

    /// The newest version of `key`, which may be a delete marker.
    ///
    /// # Errors
    /// Those of the store; [`MetaError::Corrupt`].
    pub async fn newest_version(
        &self,
        bucket: BucketId,
        key: &ObjectKey,
    ) -> Result<Option<ObjectRecord>, MetaError> {
        let mut attempts = self.jitter.attempts();
        loop {
            if let Some(current) = self.object(bucket, key).await? {
                return Ok(Some(current));
            }
            let prefix = keys::versions(bucket, key);
            let page = self.records(&prefix, prefix.clone(), 1).await?;
            match page.records.first() {
                None => return Ok(None),
                Some((_, value)) => {
                    let newest: ObjectRecord = decode(value)?;
                    if newest.is_delete_marker() {
                        return Ok(Some(newest));
                    }
                }
            }
            // An object came between the two reads: read again.
            attempts.after_conflict().await?;
        }
    }

    /// One version of `key`, which may be a delete marker.
    ///
    /// # Errors
    /// Those of the store; [`MetaError::Corrupt`].
    pub async fn version(
        &self,
        bucket: BucketId,
        key: &ObjectKey,
        version: VersionId,
    ) -> Result<Option<ObjectRecord>, MetaError> {
        let object_key = keys::object(bucket, key);
        let mut attempts = self.jitter.attempts();
        let mut current: Option<Stored<ObjectRecord>> = self.read(&object_key).await?;
        loop {
            if let Some(found) = current
                .as_ref()
                .filter(|current| current.record.version == version)
            {
                return Ok(Some(found.record.clone()));
            }
            if let Some(found) = self.noncurrent_version(bucket, key, version).await? {
                return Ok(Some(found));
            }
            // Versions move between the two places; only if the first did not change is it in neither.
            let again: Option<Stored<ObjectRecord>> = self.read(&object_key).await?;
            let is_unchanged = again.as_ref().map(|stored| &stored.bytes)
                == current.as_ref().map(|stored| &stored.bytes);
            if is_unchanged {
                return Ok(None);
            }
            current = again;
            attempts.after_conflict().await?;
        }
    }

    async fn noncurrent_version(
        &self,
        bucket: BucketId,
        key: &ObjectKey,
        version: VersionId,
    ) -> Result<Option<ObjectRecord>, MetaError> {
        let sequence = if let Some(sequence) = version.sequence() {
            Some(sequence)
        } else {
            let head: Option<Stored<KeyHead>> = self.read(&keys::head(bucket, key)).await?;
            head.and_then(|head| head.record.null_sequence)
        };
        let Some(sequence) = sequence else {
            return Ok(None);
        };
        let found: Option<Stored<ObjectRecord>> =
            self.read(&keys::version(bucket, key, sequence)).await?;
        Ok(found
            .map(|found| found.record)
            .filter(|found| found.version == version))
    }

    /// The parts of an object that was uploaded in parts, in order; `None` if there is no such manifest (any more).
    ///
    /// # Errors
    /// Those of the store; [`MetaError::Corrupt`].
    pub async fn manifest(&self, id: ManifestId) -> Result<Option<Vec<ManifestPart>>, MetaError> {
        let prefix = keys::manifest(id);
        let limit = usize::from(PART_NUMBER_MAX).div_ceil(MANIFEST_PARTS_PER_RECORD);
        let mut runs = self.records(&prefix, prefix.clone(), limit).await?.records;
        let attestation = keys::manifest_attestation(id);
        runs.retain(|(key, _)| *key != attestation);
        if runs.is_empty() {
            return Ok(None);
        }
        let mut parts = Vec::new();
        for (_, value) in &runs {
            parts.extend(decode::<ManifestParts>(value)?.parts);
        }
        Ok(Some(parts))
    }
}
