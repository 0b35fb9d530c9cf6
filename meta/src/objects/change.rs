//! A change of one key's versions, as one batch: what was read becomes checks, what follows becomes writes.
//!
//! No I/O happens here: the callers read the state, let this decide, and commit.

use crate::codec::{Stored, encode};
use crate::error::MetaError;
use crate::ids::{BucketId, ObjectKey, VersionId, WriteId};
use crate::keys::{self, DeletionTarget};
use crate::kv::Batch;
use crate::meta::{Evidence, Meta};
use crate::queues::enqueue_deletion;
use crate::records::{BucketRecord, KeyHead, ObjectBody, ObjectKind, ObjectRecord, Versioning};

use super::new_object::{Decided, NewObject, delete_marker};

/// What was read of a key before it is changed.
#[derive(Debug)]
pub(crate) struct KeyState {
    /// The record in `o`.
    pub(super) current: Option<Stored<ObjectRecord>>,
    /// The record in `h`; never read in a bucket without versioning, which has none.
    pub(super) head: Option<Stored<KeyHead>>,
    /// The null version among the noncurrent ones; read only where it is to be replaced.
    pub(super) noncurrent_null: Option<Stored<ObjectRecord>>,
}

impl KeyState {
    /// The current object, as preconditions see it: none if there is a delete marker.
    pub(crate) fn current_object(&self) -> Option<&ObjectRecord> {
        self.current.as_ref().map(|stored| &stored.record)
    }

    pub(super) fn head_record(&self) -> Option<KeyHead> {
        self.head.as_ref().map(|stored| stored.record)
    }

    /// Whether nothing has changed since `earlier` was read.
    pub(super) fn is_same_as(&self, earlier: &Self) -> bool {
        let bytes = |state: &Self| {
            (
                state.current.as_ref().map(|stored| stored.bytes.clone()),
                state.head.as_ref().map(|stored| stored.bytes.clone()),
            )
        };
        bytes(self) == bytes(earlier)
    }
}

impl Meta {
    /// Reads what a write to `key` depends on: one get in a bucket without versioning.
    pub(crate) async fn key_state(
        &self,
        bucket: &BucketRecord,
        key: &ObjectKey,
    ) -> Result<KeyState, MetaError> {
        let object_key = keys::object(bucket.id, key);
        if bucket.versioning == Versioning::Never {
            return Ok(KeyState {
                current: self.read(&object_key).await?,
                head: None,
                noncurrent_null: None,
            });
        }
        let head_key = keys::head(bucket.id, key);
        let (current, head) =
            tokio::try_join!(self.read(&object_key), self.read::<KeyHead>(&head_key))?;
        let null_sequence = head.as_ref().and_then(|head| head.record.null_sequence);
        let noncurrent_null =
            match null_sequence.filter(|_| bucket.versioning == Versioning::Suspended) {
                Some(sequence) => self.read(&keys::version(bucket.id, key, sequence)).await?,
                None => None,
            };
        Ok(KeyState {
            current,
            head,
            noncurrent_null,
        })
    }
}

/// A change under construction.
#[derive(Debug)]
pub(crate) struct KeyChange<'a> {
    bucket: BucketId,
    versioning: Versioning,
    key: &'a ObjectKey,
    state: &'a KeyState,
    due_ms: u64,
    pub(super) write_id: WriteId,
    pub(crate) batch: Batch,
    pub(crate) evidence: Evidence,
}

impl<'a> KeyChange<'a> {
    /// A change of `key` that depends on `state`; what it discards is due for deletion at `due_ms`.
    pub(crate) fn new(
        bucket: &BucketRecord,
        key: &'a ObjectKey,
        state: &'a KeyState,
        due_ms: u64,
    ) -> Self {
        let mut batch = Batch::default();
        batch.check(
            keys::object(bucket.id, key),
            state.current.as_ref().map(|stored| stored.bytes.clone()),
        );
        if bucket.versioning != Versioning::Never {
            batch.check(
                keys::head(bucket.id, key),
                state.head.as_ref().map(|stored| stored.bytes.clone()),
            );
        }
        Self {
            bucket: bucket.id,
            versioning: bucket.versioning,
            key,
            state,
            due_ms,
            write_id: WriteId::random(),
            batch,
            evidence: Evidence::default(),
        }
    }

    /// Makes `new` with `body` the current version.
    pub(crate) fn put(&mut self, new: &NewObject, body: ObjectBody, now_ms: u64) -> ObjectRecord {
        let record = new.record(body, self.decide(new.modified_ms.unwrap_or(now_ms)));
        self.supersede(&record);
        let (object_key, bytes) = (keys::object(self.bucket, self.key), encode(&record));
        self.batch.put(object_key.clone(), bytes.clone());
        let moved_key = keys::version(self.bucket, self.key, record.sequence);
        self.evidence
            .0
            .extend([(object_key, Some(bytes.clone())), (moved_key, Some(bytes))]);
        record
    }

    /// Makes a delete marker the newest version.
    pub(super) fn put_marker(&mut self, bucket: &BucketRecord, now_ms: u64) -> ObjectRecord {
        let record = delete_marker(bucket.owner, self.decide(now_ms));
        self.supersede(&record);
        if self.state.current.is_some() {
            self.batch.delete(keys::object(self.bucket, self.key));
        }
        let (version_key, bytes) = (
            keys::version(self.bucket, self.key, record.sequence),
            encode(&record),
        );
        self.batch.put(version_key.clone(), bytes.clone());
        self.evidence.0.push((version_key, Some(bytes)));
        record
    }

    /// Whether the key has a current object.
    pub(super) fn has_current(&self) -> bool {
        self.state.current.is_some()
    }

    /// Removes the current object; what becomes current instead is said by [`KeyChange::promote`].
    pub(super) fn remove_current(&mut self) {
        if let Some(current) = &self.state.current {
            self.batch.delete(keys::object(self.bucket, self.key));
            self.discard(current.record.body);
        }
    }

    /// Makes the change depend on a noncurrent version.
    pub(super) fn check_version(&mut self, version: &Stored<ObjectRecord>) {
        let key = keys::version(self.bucket, self.key, version.record.sequence);
        self.batch.check(key, Some(version.bytes.clone()));
    }

    /// Removes a noncurrent version, which [`KeyChange::check_version`] was called for.
    pub(super) fn remove_version(&mut self, version: &ObjectRecord) {
        self.batch
            .delete(keys::version(self.bucket, self.key, version.sequence));
        self.discard(version.body);
    }

    /// After the newest version was removed: `next` is the newest now. An object becomes current; a delete marker
    /// stays where it is.
    pub(super) fn promote(&mut self, next: &Stored<ObjectRecord>) {
        self.check_version(next);
        if next.record.kind == ObjectKind::Object {
            self.batch
                .delete(keys::version(self.bucket, self.key, next.record.sequence));
            self.batch
                .put(keys::object(self.bucket, self.key), next.bytes.clone());
            if next.record.version == VersionId::Null {
                self.forget_noncurrent_null();
            }
        }
    }

    /// The null version is not among the noncurrent ones any more.
    pub(super) fn forget_noncurrent_null(&mut self) {
        if let Some(head) = self
            .state
            .head_record()
            .filter(|head| head.null_sequence.is_some())
        {
            self.batch.put(
                keys::head(self.bucket, self.key),
                encode(&KeyHead {
                    null_sequence: None,
                    ..head
                }),
            );
        }
    }

    /// After the last version was removed.
    pub(super) fn remove_head(&mut self) {
        if self.state.head.is_some() {
            self.batch.delete(keys::head(self.bucket, self.key));
        }
    }

    /// Enqueues the deletion of a body.
    fn discard(&mut self, body: ObjectBody) {
        let target = match body {
            ObjectBody::Empty => return,
            ObjectBody::Single(data) => DeletionTarget::Data(data),
            ObjectBody::Parts { manifest, .. } => DeletionTarget::Manifest(manifest),
        };
        let evidence = enqueue_deletion(&mut self.batch, target, self.due_ms, self.write_id);
        self.evidence.0.push(evidence);
    }

    /// The new version is newer than all there are, whatever the clocks say.
    fn decide(&self, now_ms: u64) -> Decided {
        let current = self.state.current_object();
        let newest = current
            .map(|current| current.sequence)
            .max(self.state.head_record().map(|head| head.sequence_max));
        let sequence = newest.map_or(now_ms, |newest| now_ms.max(newest.saturating_add(1)));
        let version = match self.versioning {
            Versioning::Never | Versioning::Suspended => VersionId::Null,
            Versioning::Enabled => VersionId::from_sequence(sequence, self.write_id),
        };
        let last_modified_ms =
            current.map_or(now_ms, |current| current.last_modified_ms.max(now_ms));
        Decided {
            version,
            sequence,
            write_id: self.write_id,
            last_modified_ms,
        }
    }

    /// Makes room for `new` as the newest version: old ones become noncurrent, and a new null version replaces the
    /// old one, wherever that is.
    fn supersede(&mut self, new: &ObjectRecord) {
        let state = self.state;
        let is_null = new.version == VersionId::Null;
        let mut noncurrent_null = state.head_record().and_then(|head| head.null_sequence);
        if is_null && noncurrent_null.is_some() {
            if let Some(replaced) = &state.noncurrent_null {
                self.check_version(replaced);
                self.remove_version(&replaced.record);
            }
            noncurrent_null = None;
        }
        if let Some(current) = &state.current {
            let current_is_null = current.record.version == VersionId::Null;
            if current_is_null && is_null {
                self.discard(current.record.body);
            } else {
                let key = keys::version(self.bucket, self.key, current.record.sequence);
                self.batch.put(key, current.bytes.clone());
                if current_is_null {
                    noncurrent_null = Some(current.record.sequence);
                }
            }
        }
        if self.versioning != Versioning::Never {
            if is_null && new.kind == ObjectKind::DeleteMarker {
                noncurrent_null = Some(new.sequence);
            }
            let head = KeyHead {
                sequence_max: new.sequence,
                null_sequence: noncurrent_null,
            };
            self.batch
                .put(keys::head(self.bucket, self.key), encode(&head));
        }
    }
}
