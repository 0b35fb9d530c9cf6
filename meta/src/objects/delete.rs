//! Deleting an object, or one version of it.

use crate::buckets::check_bucket;
use crate::codec::Stored;
use crate::error::{DeleteError, MetaError};
use crate::ids::{ObjectKey, VersionId};
use crate::keys;
use crate::meta::{Committed, Meta};
use crate::records::{BucketRecord, ObjectRecord, Versioning};

use super::change::{KeyChange, KeyState};

/// What a delete did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeleteOutcome {
    /// There was nothing to delete, and no reason to mark it: also a success, in S3.
    NothingThere,
    /// This version was removed for good.
    Removed {
        /// Its identity.
        version: VersionId,
        /// Whether it was a delete marker.
        was_delete_marker: bool,
    },
    /// A delete marker is the newest version now.
    MarkerCreated {
        /// The marker's identity; `Null` where versioning is suspended.
        version: VersionId,
    },
}

/// One attempt, decided.
enum Plan<'a> {
    Nothing,
    Commit(Box<KeyChange<'a>>, DeleteOutcome),
}

impl Meta {
    /// Deletes what `key` means now (`version` is `None`), or one version of it, if `precondition` holds for it
    /// (`None`: it does not exist; without `version`, also: it is a delete marker).
    ///
    /// Without `version`, a bucket with versioning gets a delete marker. Deleting the newest version makes the one
    /// before it current.
    ///
    /// # Errors
    /// As [`Meta::put_object`].
    pub async fn delete_object<P: Send>(
        &self,
        bucket: &BucketRecord,
        key: &ObjectKey,
        version: Option<VersionId>,
        now_ms: u64,
        precondition: &(dyn Fn(Option<&ObjectRecord>) -> Result<(), P> + Sync),
    ) -> Result<DeleteOutcome, DeleteError<P>> {
        let mut bucket = Stored::of(bucket.clone());
        let mut attempts = self.jitter.attempts();
        loop {
            let state = self.key_state(&bucket.record, key).await?;
            let mut change =
                KeyChange::new(&bucket.record, key, &state, self.deletion_due_ms(now_ms));
            check_bucket(&mut change.batch, &bucket);
            let plan = if let Some(version) = version {
                let target = self
                    .find_version(&bucket.record, key, version, &state)
                    .await?;
                precondition(target.as_ref().map(VersionAt::record))
                    .map_err(DeleteError::Precondition)?;
                self.plan_removal(&bucket.record, key, target, change)
                    .await?
            } else {
                precondition(state.current_object()).map_err(DeleteError::Precondition)?;
                plan_delete(&bucket.record, &state, change, now_ms)
            };
            let (change, outcome) = match plan {
                Plan::Commit(change, outcome) => (*change, outcome),
                // It may have moved between two reads: only if nothing did is it not there.
                Plan::Nothing => {
                    let again = self.key_state(&bucket.record, key).await?;
                    if again.is_same_as(&state) {
                        return Ok(DeleteOutcome::NothingThere);
                    }
                    attempts.after_conflict().await?;
                    continue;
                }
            };
            match self.try_commit(change.batch).await? {
                Committed::Applied => return Ok(outcome),
                Committed::Conflict => {
                    attempts.after_conflict().await?;
                    bucket = self.reread_bucket(&bucket.record).await?;
                }
                Committed::Unknown(error) => {
                    self.resolve_unknown(&change.evidence, error).await?;
                    return Ok(outcome);
                }
            }
        }
    }

    /// Where a version is, going by `state`.
    async fn find_version<'a>(
        &self,
        bucket: &BucketRecord,
        key: &ObjectKey,
        version: VersionId,
        state: &'a KeyState,
    ) -> Result<Option<VersionAt<'a>>, MetaError> {
        if let Some(current) = state
            .current
            .as_ref()
            .filter(|current| current.record.version == version)
        {
            return Ok(Some(VersionAt::Current(&current.record)));
        }
        let sequence = version
            .sequence()
            .or_else(|| state.head_record()?.null_sequence);
        let Some(sequence) = sequence.filter(|_| bucket.versioning != Versioning::Never) else {
            return Ok(None);
        };
        let found: Option<Stored<ObjectRecord>> =
            self.read(&keys::version(bucket.id, key, sequence)).await?;
        Ok(found
            .filter(|found| found.record.version == version)
            .map(|found| VersionAt::Noncurrent(Box::new(found))))
    }

    /// The removal of one version for good.
    async fn plan_removal<'a>(
        &self,
        bucket: &BucketRecord,
        key: &ObjectKey,
        target: Option<VersionAt<'_>>,
        mut change: KeyChange<'a>,
    ) -> Result<Plan<'a>, MetaError> {
        let Some(target) = target else {
            return Ok(Plan::Nothing);
        };
        let record = target.record();
        let outcome = DeleteOutcome::Removed {
            version: record.version,
            was_delete_marker: record.is_delete_marker(),
        };
        let has_current = change.has_current();
        match &target {
            VersionAt::Current(_) => change.remove_current(),
            VersionAt::Noncurrent(stored) => {
                change.check_version(stored);
                change.remove_version(&stored.record);
                if stored.record.version == VersionId::Null {
                    change.forget_noncurrent_null();
                }
            }
        }
        let is_below_current = has_current && matches!(target, VersionAt::Noncurrent(_));
        if is_below_current || bucket.versioning == Versioning::Never {
            return Ok(Plan::Commit(Box::new(change), outcome));
        }
        // The newest two: the target may be the first of them.
        let newest = self.newest_noncurrent(bucket, key).await?;
        let mut others = newest
            .iter()
            .filter(|version| version.record.sequence != record.sequence);
        let newest_is_target = newest
            .first()
            .is_none_or(|version| version.record.sequence == record.sequence);
        match others.next() {
            None => change.remove_head(),
            Some(next) if newest_is_target || has_current => change.promote(next),
            // Below a delete marker, which must stay for this to be all there is to do.
            Some(marker) => change.check_version(marker),
        }
        Ok(Plan::Commit(Box::new(change), outcome))
    }

    async fn newest_noncurrent(
        &self,
        bucket: &BucketRecord,
        key: &ObjectKey,
    ) -> Result<Vec<Stored<ObjectRecord>>, MetaError> {
        let prefix = keys::versions(bucket.id, key);
        let page = self.records(&prefix, prefix.clone(), 2).await?;
        page.records
            .into_iter()
            .map(|(_, value)| Stored::decode(value))
            .collect()
    }
}

/// A version that was found.
enum VersionAt<'a> {
    Current(&'a ObjectRecord),
    Noncurrent(Box<Stored<ObjectRecord>>),
}

impl VersionAt<'_> {
    fn record(&self) -> &ObjectRecord {
        match self {
            Self::Current(record) => record,
            Self::Noncurrent(stored) => &stored.record,
        }
    }
}

/// A delete that names no version.
fn plan_delete<'a>(
    bucket: &BucketRecord,
    state: &KeyState,
    mut change: KeyChange<'a>,
    now_ms: u64,
) -> Plan<'a> {
    if bucket.versioning != Versioning::Never {
        let marker = change.put_marker(bucket, now_ms);
        return Plan::Commit(
            Box::new(change),
            DeleteOutcome::MarkerCreated {
                version: marker.version,
            },
        );
    }
    if state.current.is_none() {
        return Plan::Nothing;
    }
    change.remove_current();
    Plan::Commit(
        Box::new(change),
        DeleteOutcome::Removed {
            version: VersionId::Null,
            was_delete_marker: false,
        },
    )
}
