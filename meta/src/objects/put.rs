//! Putting an object.

use crate::buckets::check_bucket;
use crate::codec::Stored;
use crate::data::put_data;
use crate::error::PutError;
use crate::ids::ObjectKey;
use crate::keys;
use crate::meta::{Committed, Meta};
use crate::records::{BucketRecord, ObjectBody, ObjectRecord};

use super::change::KeyChange;
use super::new_object::NewObject;

impl Meta {
    /// Makes `new` the current version of `key`, if `precondition` holds for the current object (`None`: there is
    /// none, or a delete marker) at the instant of the commit.
    ///
    /// What it replaces is enqueued for deletion, the delay counted from `now_ms` on, or becomes noncurrent, as the
    /// bucket's versioning says. In a bucket without versioning this costs one get and one commit of two or three
    /// records.
    ///
    /// # Errors
    /// [`PutError::Precondition`] with what the precondition returned;
    /// [`MetaError::NoSuchBucket`](crate::MetaError::NoSuchBucket) if the bucket was deleted;
    /// [`MetaError::Contended`](crate::MetaError::Contended). In all these cases nothing was written and the data
    /// can be removed. After [`KvError::UnknownOutcome`](crate::kv::KvError::UnknownOutcome) they must be kept:
    /// the orphan collector decides later.
    pub async fn put_object<P: Send>(
        &self,
        bucket: &BucketRecord,
        key: &ObjectKey,
        new: NewObject,
        now_ms: u64,
        precondition: &(dyn Fn(Option<&ObjectRecord>) -> Result<(), P> + Sync),
    ) -> Result<ObjectRecord, PutError<P>> {
        let mut bucket = Stored::of(bucket.clone());
        let mut attempts = self.jitter.attempts();
        loop {
            let state = self.key_state(&bucket.record, key).await?;
            precondition(state.current_object()).map_err(PutError::Precondition)?;
            let mut change =
                KeyChange::new(&bucket.record, key, &state, self.deletion_due_ms(now_ms));
            check_bucket(&mut change.batch, &bucket);
            let body = new
                .data
                .as_ref()
                .map_or(ObjectBody::Empty, |data| ObjectBody::Single(data.id));
            let record = change.put(&new, body, now_ms);
            if let Some(data) = &new.data {
                put_data(&mut change.batch, data, now_ms);
                change.evidence.0.push((keys::data(data.id), None));
            }
            match self.try_commit(change.batch).await? {
                Committed::Applied => return Ok(record),
                Committed::Conflict => {
                    attempts.after_conflict().await?;
                    bucket = self.reread_bucket(&bucket.record).await?;
                }
                Committed::Unknown(error) => {
                    self.resolve_unknown(&change.evidence, error).await?;
                    return Ok(record);
                }
            }
        }
    }
}
