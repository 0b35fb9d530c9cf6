//! Writing back what was found on the disks after all metadata were lost.
//!
//! Invariants: of two versions of a key the later one stays, in whatever order they are given; the data of the other
//! one are enqueued for deletion if they were written before. Of parts nothing is enqueued before all completions are
//! known. Identities (of buckets, data, uploads) are those on the disks. Versions beyond the null version are not known
//! here.
//!
//! Nothing else may use the metadata meanwhile: buckets are written last, so that names can be decided when all is
//! known, and until then objects stand below ids that no bucket has.

use std::time::Duration;

use crate::buckets::put_bucket;
use crate::codec::{decode, encode};
use crate::data::put_data;
use crate::error::MetaError;
use crate::ids::{ManifestId, ObjectKey, PART_NUMBER_MAX, UploadId, WriteId};
use crate::keys::{self, DeletionTarget};
use crate::kv::Batch;
use crate::meta::{Committed, Meta};
use crate::objects::{KeyChange, NewObject};
use crate::queues::enqueue_deletion;
use crate::records::{
    BucketRecord, ManifestPart, NewData, ObjectBody, ObjectRecord, PartRecord, Versioning,
};
use crate::uploads::{put_attestation, put_manifest};

/// What a rebuild finds superseded or unfinished stays so long, should somebody know better.
pub const RECOVERED_GARBAGE_KEPT: Duration = Duration::from_hours(24);

/// Most parts of one upload that are looked through: ten of each number.
const RECOVERED_PARTS_MAX: usize = 10 * PART_NUMBER_MAX as usize;

/// What became of something that was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recovered {
    /// It is there now.
    Written {
        /// The size of the object that it took the place of.
        replaced_size_bytes: Option<u64>,
    },
    /// A later one is there, or itself already.
    Superseded,
}

/// Something whole that was found, without what it is made of.
#[derive(Debug, Clone, Copy)]
pub struct FoundObject<'a> {
    /// The bucket as far as it is known by now: nobody has written it yet.
    pub bucket: &'a BucketRecord,
    /// The key.
    pub key: &'a ObjectKey,
    /// All but the body. Its data are the object's bytes, or for an object made of parts the datum that attests it.
    pub new: &'a NewObject,
    /// When it was made, in milliseconds since 1970.
    pub at_ms: u64,
}

impl Meta {
    /// Writes back an object that was stored in one piece.
    ///
    /// # Errors
    /// Those of the store; [`MetaError::Corrupt`].
    pub async fn recover_object(
        &self,
        found: FoundObject<'_>,
        now_ms: u64,
    ) -> Result<Recovered, MetaError> {
        let body = found
            .new
            .data
            .as_ref()
            .map_or(ObjectBody::Empty, |data| ObjectBody::Single(data.id));
        self.recover_version(found, body, now_ms, |batch| {
            if let Some(data) = &found.new.data {
                put_data(batch, data, now_ms);
            }
        })
        .await
    }

    /// Writes back an object that was uploaded in `parts`, which were written by [`Meta::recover_part`] before.
    ///
    /// # Errors
    /// Those of the store; [`MetaError::Corrupt`].
    pub async fn recover_completed(
        &self,
        found: FoundObject<'_>,
        upload: UploadId,
        parts: &[ManifestPart],
        now_ms: u64,
    ) -> Result<Recovered, MetaError> {
        let body = ObjectBody::Parts {
            manifest: ManifestId::from(upload),
            part_count: u32::try_from(parts.len()).unwrap_or(u32::MAX),
        };
        self.recover_version(found, body, now_ms, |batch| {
            put_manifest(batch, upload, parts);
            put_attestation(batch, upload, found.new, now_ms);
            for part in parts {
                if let Some(data) = part.data_id {
                    batch.delete(keys::recovered_part(upload, part.part_number, data));
                }
            }
        })
        .await
    }

    async fn recover_version(
        &self,
        found: FoundObject<'_>,
        body: ObjectBody,
        now_ms: u64,
        write_body: impl Fn(&mut Batch),
    ) -> Result<Recovered, MetaError> {
        debug_assert_eq!(found.bucket.versioning, Versioning::Never);
        let bucket = found.bucket;
        let mut attempts = self.jitter.attempts();
        loop {
            let state = self.key_state(bucket, found.key).await?;
            // Another attestation of the same upload is no later version: in its own place it would discard its body.
            let is_later = |current: &ObjectRecord| {
                (body == ObjectBody::Empty || identity(current.body) != identity(body))
                    && (found.at_ms, identity(body))
                        > (current.last_modified_ms, identity(current.body))
            };
            if !state.current_object().is_none_or(is_later) {
                return Ok(Recovered::Superseded);
            }
            let written = Recovered::Written {
                replaced_size_bytes: state.current_object().map(|current| current.size_bytes),
            };
            let mut change = KeyChange::new(bucket, found.key, &state, garbage_due_ms(now_ms));
            change.put(found.new, body, found.at_ms);
            write_body(&mut change.batch);
            match self.try_commit(change.batch).await? {
                Committed::Applied => return Ok(written),
                Committed::Conflict => attempts.after_conflict().await?,
                Committed::Unknown(error) => {
                    self.resolve_unknown(&change.evidence, error).await?;
                    return Ok(written);
                }
            }
        }
    }

    /// Writes back a part, of which nobody knows yet whether it belongs to an object. All that are found of a number
    /// stay side by side: which of them an upload was completed with only the completion tells.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn recover_part(
        &self,
        upload: UploadId,
        part: &PartRecord,
        data: &NewData,
        now_ms: u64,
    ) -> Result<(), MetaError> {
        debug_assert_eq!(part.data_id, Some(data.id), "a part names its data");
        let mut batch = Batch::default();
        batch.put(
            keys::recovered_part(upload, part.part_number, data.id),
            encode(part),
        );
        put_data(&mut batch, data, now_ms);
        Ok(self.kv.commit(batch).await?)
    }

    /// The parts of an upload that were written back and are in no object, by number.
    ///
    /// # Errors
    /// Those of the store; [`MetaError::Corrupt`].
    pub async fn recovered_parts(&self, upload: UploadId) -> Result<Vec<PartRecord>, MetaError> {
        let prefix = keys::parts(upload);
        let found = self
            .records(&prefix, prefix.clone(), RECOVERED_PARTS_MAX)
            .await?;
        let parts = found.records.iter().map(|(_, value)| decode(value));
        parts.collect()
    }

    /// Enqueues the deletion of the parts of the first upload behind `after` that are in no object, and returns that
    /// upload; `None` when there are no more.
    ///
    /// # Errors
    /// Those of the store; [`MetaError::Corrupt`].
    pub async fn abandon_recovered_parts(
        &self,
        after: Option<UploadId>,
        now_ms: u64,
    ) -> Result<Option<UploadId>, MetaError> {
        let table = keys::all_parts();
        let start = after.map_or(Some(table.clone()), |after| {
            keys::end_of_prefix(&keys::parts(after))
        });
        let Some(start) = start else { return Ok(None) };
        let page = self.records(&table, start, 1).await?;
        let Some((key, value)) = page.records.first() else {
            return Ok(None);
        };
        // Whoever deletes parts decodes them: one that cannot be is better known now.
        decode::<PartRecord>(value)?;
        let upload = keys::upload_of_part(key)?;
        let mut batch = Batch::default();
        enqueue_deletion(
            &mut batch,
            DeletionTarget::Parts(upload),
            garbage_due_ms(now_ms),
            WriteId::random(),
        );
        self.kv.commit(batch).await?;
        Ok(Some(upload))
    }

    /// Writes back a bucket.
    ///
    /// # Errors
    /// [`MetaError::BucketExists`] if the name is taken.
    pub async fn recover_bucket(&self, bucket: &BucketRecord) -> Result<(), MetaError> {
        let mut batch = Batch::default();
        batch.check(keys::bucket(&bucket.name), None);
        put_bucket(&mut batch, bucket);
        match self.try_commit(batch).await? {
            Committed::Applied => Ok(()),
            Committed::Conflict => Err(MetaError::BucketExists {
                owner: bucket.owner,
            }),
            Committed::Unknown(error) => Err(error.into()),
        }
    }
}

/// Decides between two versions of the same millisecond, the same way in whatever order they come.
fn identity(body: ObjectBody) -> [u8; 16] {
    match body {
        ObjectBody::Empty => [0; 16],
        ObjectBody::Single(data) => data.0,
        ObjectBody::Parts { manifest, .. } => manifest.0,
    }
}

fn garbage_due_ms(now_ms: u64) -> u64 {
    let kept_ms = u64::try_from(RECOVERED_GARBAGE_KEPT.as_millis()).unwrap_or(u64::MAX);
    now_ms.saturating_add(kept_ms)
}
