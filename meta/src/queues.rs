//! Work that follows commits: deletions that are due, repairs that wait.
//!
//! Deletion entries for whole manifests, uploads and buckets are worked off here, a bounded step per commit, into
//! entries for single data: workers only ever see those.

use bytes::Bytes;

use crate::codec::{Stored, decode, encode};
use crate::data::repair_now;
use crate::error::MetaError;
use crate::ids::{BucketId, DataId, ManifestId, UploadId, WriteId};
use crate::keys::{self, DeletionTarget};
use crate::kv::Batch;
use crate::meta::{Committed, Meta};
use crate::records::{DeletionRecord, ManifestParts, PartRecord, RepairRecord};
use crate::retry::Attempts;

/// Parts of an upload that one commit turns into deletions of their data.
const PARTS_PER_STEP: usize = 500;
/// Uploads of a deleted bucket that one commit aborts.
const UPLOADS_PER_STEP: usize = 100;
/// Steps that one call of [`Meta::due_deletions`] takes at most.
const STEPS_PER_CALL_MAX: usize = 64;
/// Records of one datum that are looked for: heads, continuations, repairs.
const RECORDS_PER_DATA_MAX: usize = 8192;
/// Entries that [`Meta::queue_depths`] counts before it stops.
const DEPTH_COUNT_MAX: usize = 50_000;

/// A datum whose shards are to be deleted, then [`Meta::finish_deletions`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deletion {
    /// The datum. Its record tells where its shards are; if there is none, there is only the entry to finish.
    pub data_id: DataId,
    /// When it became due, in milliseconds since 1970.
    pub due_ms: u64,
}

/// A chunk that lacks shards, or may.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repair {
    /// The datum.
    pub data_id: DataId,
    /// Which of its chunks, 0-based.
    pub chunk_index: u32,
    /// Since when, in milliseconds since 1970.
    pub enqueued_at_ms: u64,
    ticket: WriteId,
}

impl Repair {
    /// Where the queue goes on behind this one.
    pub fn position(&self) -> (DataId, u32) {
        (self.data_id, self.chunk_index)
    }
}

/// How much work waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct QueueDepths {
    /// Entries of the deletion queue, due or not.
    pub deletions: usize,
    /// Chunks to repair.
    pub repairs: usize,
    /// Whether there are more than were counted.
    pub is_lower_bound: bool,
}

/// Enqueues a deletion in the commit that makes it necessary. Returns what proves that this commit was applied.
pub(crate) fn enqueue_deletion(
    batch: &mut Batch,
    target: DeletionTarget,
    due_ms: u64,
    enqueued_by: WriteId,
) -> (Bytes, Option<Bytes>) {
    let (key, value) = (
        keys::deletion(due_ms, target),
        encode(&DeletionRecord { enqueued_by }),
    );
    batch.put(key.clone(), value.clone());
    (key, Some(value))
}

impl Meta {
    /// Data due for deletion, earliest first.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn due_deletions(
        &self,
        now_ms: u64,
        limit: usize,
    ) -> Result<Vec<Deletion>, MetaError> {
        let mut due = Vec::new();
        let mut start = keys::all_deletions();
        let mut steps = 0;
        while due.len() < limit {
            let page = self
                .scan(
                    start.clone(),
                    Some(keys::deletions_due_end(now_ms)),
                    limit - due.len(),
                )
                .await?;
            for entry in &page.entries {
                let crate::kv::ScanEntry::Record { key, .. } = entry else {
                    continue;
                };
                start = keys::successor(key);
                match keys::parse_deletion(key)? {
                    (due_ms, DeletionTarget::Data(data_id)) => {
                        due.push(Deletion { data_id, due_ms });
                    }
                    (due_ms, target) if steps < STEPS_PER_CALL_MAX => {
                        steps += 1;
                        self.work_off_step(due_ms, target, now_ms).await?;
                    }
                    _ => {}
                }
            }
            if !page.is_truncated {
                break;
            }
        }
        Ok(due)
    }

    /// Forgets data whose shards are deleted: their queue entries, records and repairs, in one commit.
    ///
    /// # Errors
    /// Those of the store. Repeating it is harmless.
    pub async fn finish_deletions(&self, deletions: &[Deletion]) -> Result<(), MetaError> {
        let mut batch = Batch::default();
        for deletion in deletions {
            batch.delete(keys::deletion(
                deletion.due_ms,
                DeletionTarget::Data(deletion.data_id),
            ));
            batch.delete(keys::staged(deletion.data_id));
            for prefix in [
                keys::data(deletion.data_id),
                keys::repairs(deletion.data_id),
            ] {
                let found = self
                    .records(&prefix, prefix.clone(), RECORDS_PER_DATA_MAX)
                    .await?;
                found.records.into_iter().for_each(|(key, _)| {
                    batch.delete(key);
                });
            }
        }
        if batch.writes.is_empty() {
            Ok(())
        } else {
            Ok(self.kv.commit(batch).await?)
        }
    }

    /// Puts a deletion off, for a datum with shards on disks that cannot be reached.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn postpone_deletion(
        &self,
        deletion: Deletion,
        due_ms: u64,
    ) -> Result<(), MetaError> {
        let target = DeletionTarget::Data(deletion.data_id);
        let old = keys::deletion(deletion.due_ms, target);
        let Some(value) = self.kv.get(&old).await? else {
            return Ok(());
        };
        let mut batch = Batch::default();
        batch
            .check(old.clone(), Some(value.clone()))
            .delete(old)
            .put(keys::deletion(due_ms, target), value);
        match self.try_commit(batch).await? {
            Committed::Applied | Committed::Conflict => Ok(()),
            Committed::Unknown(error) => Err(error.into()),
        }
    }

    /// Enqueues the repair of a chunk, unless it waits already.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn enqueue_repair(
        &self,
        data_id: DataId,
        chunk_index: u32,
        now_ms: u64,
    ) -> Result<(), MetaError> {
        let key = keys::repair(data_id, chunk_index);
        let data = keys::data(data_id);
        if self.kv.get(&key).await?.is_some() {
            return Ok(());
        }
        // A datum that is gone needs no repair, and an entry for it would stay behind.
        let mut attempts = Attempts::default();
        while let Some(value) = self.kv.get(&data).await? {
            let mut batch = Batch::default();
            batch
                .check(data.clone(), Some(value))
                .put(key.clone(), repair_now(now_ms));
            match self.try_commit(batch).await? {
                Committed::Applied => return Ok(()),
                Committed::Conflict => attempts.after_conflict().await?,
                Committed::Unknown(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Chunks that wait for repair, in the order of [`Repair::position`], behind `after`.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn repairs(
        &self,
        after: Option<(DataId, u32)>,
        limit: usize,
    ) -> Result<Vec<Repair>, MetaError> {
        let table = keys::all_repairs();
        let start = after.map_or_else(
            || table.clone(),
            |(data, chunk)| keys::successor(&keys::repair(data, chunk)),
        );
        let page = self.records(&table, start, limit.max(1)).await?;
        let repair = |(key, value): (Bytes, Bytes)| {
            let (data_id, chunk_index) = keys::parse_repair(&key)?;
            let RepairRecord {
                enqueued_at_ms,
                ticket,
            } = decode(&value)?;
            Ok(Repair {
                data_id,
                chunk_index,
                enqueued_at_ms,
                ticket,
            })
        };
        page.records.into_iter().map(repair).collect()
    }

    /// Takes a repaired chunk off the queue, unless it was enqueued again meanwhile.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn finish_repair(&self, repair: &Repair) -> Result<(), MetaError> {
        let key = keys::repair(repair.data_id, repair.chunk_index);
        let expected = RepairRecord {
            enqueued_at_ms: repair.enqueued_at_ms,
            ticket: repair.ticket,
        };
        let mut batch = Batch::default();
        batch
            .check(key.clone(), Some(encode(&expected)))
            .delete(key);
        match self.try_commit(batch).await? {
            Committed::Applied | Committed::Conflict => Ok(()),
            Committed::Unknown(error) => Err(error.into()),
        }
    }

    /// How long the queues are, for metrics.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn queue_depths(&self) -> Result<QueueDepths, MetaError> {
        let (deletions, repairs) = (keys::all_deletions(), keys::all_repairs());
        let deletions = self
            .records(&deletions, deletions.clone(), DEPTH_COUNT_MAX)
            .await?;
        let repairs = self
            .records(&repairs, repairs.clone(), DEPTH_COUNT_MAX)
            .await?;
        Ok(QueueDepths {
            deletions: deletions.records.len(),
            repairs: repairs.records.len(),
            is_lower_bound: deletions.is_truncated || repairs.is_truncated,
        })
    }

    /// Turns a bounded piece of a big deletion into deletions of single data, due now: the grace for readers is
    /// over. The entry goes with the last piece. On a conflict somebody else did it.
    async fn work_off_step(
        &self,
        due_ms: u64,
        target: DeletionTarget,
        now_ms: u64,
    ) -> Result<(), MetaError> {
        let entry = keys::deletion(due_ms, target);
        let Some(stored): Option<Stored<DeletionRecord>> = self.read(&entry).await? else {
            return Ok(());
        };
        let mut step = Step {
            batch: Batch::default(),
            now_ms,
            enqueued_by: stored.record.enqueued_by,
        };
        step.batch.check(entry.clone(), Some(stored.bytes));
        let is_last = match target {
            DeletionTarget::Data(_) => return Ok(()),
            DeletionTarget::Manifest(id) => self.manifest_step(id, &mut step).await?,
            DeletionTarget::Parts(id) => self.parts_step(id, &mut step).await?,
            DeletionTarget::Uploads(id) => self.uploads_step(id, &mut step).await?,
        };
        if is_last {
            step.batch.delete(entry);
        }
        match self.try_commit(step.batch).await? {
            Committed::Applied | Committed::Conflict => Ok(()),
            Committed::Unknown(error) => Err(error.into()),
        }
    }

    async fn manifest_step(&self, id: ManifestId, step: &mut Step) -> Result<bool, MetaError> {
        let prefix = keys::manifest(id);
        let found = self.records(&prefix, prefix.clone(), 1).await?;
        for (key, value) in found.records {
            let manifest: ManifestParts = decode(&value)?;
            manifest
                .parts
                .iter()
                .filter_map(|part| part.data_id)
                .for_each(|data| step.enqueue(DeletionTarget::Data(data)));
            step.batch.check(key.clone(), Some(value)).delete(key);
        }
        Ok(!found.is_truncated)
    }

    async fn parts_step(&self, id: UploadId, step: &mut Step) -> Result<bool, MetaError> {
        let prefix = keys::parts(id);
        let found = self
            .records(&prefix, prefix.clone(), PARTS_PER_STEP)
            .await?;
        for (key, value) in found.records {
            if let Some(data) = decode::<PartRecord>(&value)?.data_id {
                step.enqueue(DeletionTarget::Data(data));
            }
            step.batch.check(key.clone(), Some(value)).delete(key);
        }
        Ok(!found.is_truncated)
    }

    async fn uploads_step(&self, id: BucketId, step: &mut Step) -> Result<bool, MetaError> {
        let prefix = keys::uploads(id, "");
        let found = self
            .records(&prefix, prefix.clone(), UPLOADS_PER_STEP)
            .await?;
        for (key, value) in found.records {
            let (_, _, upload_id) = keys::parse_upload(&key)?;
            step.enqueue(DeletionTarget::Parts(upload_id));
            step.batch.check(key.clone(), Some(value)).delete(key);
        }
        Ok(!found.is_truncated)
    }
}

/// One bounded piece of a big deletion.
struct Step {
    batch: Batch,
    now_ms: u64,
    enqueued_by: WriteId,
}

impl Step {
    fn enqueue(&mut self, target: DeletionTarget) {
        enqueue_deletion(&mut self.batch, target, self.now_ms, self.enqueued_by);
    }
}
