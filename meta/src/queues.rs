//! Work that follows commits: deletions that are due, repairs that wait.
//!
//! Deletion entries for whole manifests, uploads and buckets are worked off here, a bounded step per commit, into
//! entries for single data: workers only ever see those.

use bytes::Bytes;

use crate::codec::{Stored, decode, encode};
use crate::data::new_repair;
use crate::error::MetaError;
use crate::ids::{BucketId, DataId, ManifestId, UploadId, WriteId};
use crate::keys::{self, DeletionTarget};
use crate::kv::Batch;
use crate::meta::{Committed, Meta};
use crate::records::{DeletionRecord, ManifestParts, PartRecord, RepairReason, RepairRecord};

/// Parts of an upload that one commit turns into deletions of their data.
const PARTS_PER_STEP: usize = 500;
/// Uploads of a deleted bucket that one commit aborts.
const UPLOADS_PER_STEP: usize = 100;
/// Steps that one call of [`Meta::due_deletions`] takes at most.
const STEPS_PER_CALL_MAX: usize = 64;
/// Records of one datum that are looked for: heads, continuations, repairs.
const RECORDS_PER_DATA_MAX: usize = 8192;
/// How much later a big deletion is tried again that met a damaged record.
const DAMAGED_POSTPONED_BY_MS: u64 = 60 * 60 * 1000;
/// Entries that [`Meta::queue_depths`] counts before it stops.
const DEPTH_COUNT_MAX: usize = 50_000;
/// Entries that [`Meta::awaits_deletion`] has in memory at a time.
const SOUGHT_PER_PAGE: usize = 1000;

/// A datum whose shards are to be deleted, then [`Meta::finish_deletions`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deletion {
    /// The datum. Its record tells where its shards are; if there is none, there is only the entry to finish.
    pub data_id: DataId,
    /// When it became due, in milliseconds since 1970.
    pub due_ms: u64,
}

/// What [`Meta::due_deletions`] found.
#[derive(Debug, Clone, Default)]
pub struct DueDeletions {
    /// What is to be deleted, earliest due first.
    pub data: Vec<Deletion>,
    /// What cannot be worked off.
    pub damaged: Vec<DamagedEntry>,
    /// Whether more may be due.
    pub is_truncated: bool,
}

/// A queue's entry that does not decode, or names a record that does not. Both are left as they are: whoever
/// repairs them finds them, and what they stand for is not deleted.
#[derive(Debug, Clone)]
pub struct DamagedEntry {
    /// Which.
    pub entry: String,
    /// What is wrong.
    pub error: MetaError,
}

/// A chunk that lacks shards, or may.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repair {
    /// The datum.
    pub data_id: DataId,
    /// Which of its chunks, 0-based.
    pub chunk_index: u32,
    /// Since when, in milliseconds since 1970; 0 if that cannot be read.
    pub enqueued_at_ms: u64,
    /// What speaks for it.
    pub reason: RepairReason,
    /// As it was read: tells this enqueuing from a later one.
    value: Bytes,
}

/// What [`Meta::repairs`] found.
#[derive(Debug, Clone, Default)]
pub struct RepairPage {
    /// In the order of [`Repair::position`].
    pub repairs: Vec<Repair>,
    /// What names no chunk.
    pub damaged: Vec<DamagedEntry>,
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
    pub deletions: QueueDepth,
    /// Chunks to repair.
    pub repairs: QueueDepth,
}

/// How long one queue is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct QueueDepth {
    /// Entries that were counted.
    pub count: usize,
    /// Whether there are more.
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
    /// Up to `limit` data due for deletion, earliest first, as far as big deletions are worked off: behind more of
    /// those than one call takes further, it goes on with what it made of them. What a call costs does not grow with
    /// the queue.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn due_deletions(
        &self,
        now_ms: u64,
        limit: usize,
    ) -> Result<DueDeletions, MetaError> {
        let mut due = DueDeletions::default();
        let mut start = keys::all_deletions();
        let mut steps = 0;
        // Where the data are that big deletions became now.
        let made_now = keys::deletions_from(now_ms);
        'pages: while due.data.len() < limit {
            let page = self
                .scan(
                    start.clone(),
                    Some(keys::deletions_due_end(now_ms)),
                    limit - due.data.len(),
                )
                .await?;
            for entry in &page.entries {
                let crate::kv::ScanEntry::Record { key, .. } = entry else {
                    continue;
                };
                start = keys::successor(key);
                match keys::parse_deletion(key) {
                    Ok((due_ms, DeletionTarget::Data(data_id))) => {
                        due.data.push(Deletion { data_id, due_ms });
                    }
                    Ok((due_ms, target)) if steps < STEPS_PER_CALL_MAX => {
                        steps += 1;
                        due.damaged
                            .extend(self.work_off(due_ms, target, now_ms).await?);
                    }
                    Ok(_) => {
                        due.is_truncated = true;
                        if start >= made_now {
                            break 'pages;
                        }
                        start.clone_from(&made_now);
                        continue 'pages;
                    }
                    Err(error) => due.damaged.push(DamagedEntry {
                        entry: format!("key {}", hex::encode(key)),
                        error,
                    }),
                }
            }
            if !page.is_truncated {
                break;
            }
        }
        // What big deletions became may be behind the last page.
        due.is_truncated |= steps > 0 || due.data.len() >= limit;
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

    /// Whether a datum is on the deletion queue; nothing is deleted of one that is not. All of the queue is looked through,
    /// which is in the order of time: this is for what would be called lost otherwise, and much of a datum may be deleted
    /// when the rest is put off to the end of a long queue.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn awaits_deletion(&self, id: DataId) -> Result<bool, MetaError> {
        let queue = keys::all_deletions();
        let mut start = queue.clone();
        // An entry that is put off meanwhile moves towards the end, and is met there.
        loop {
            let page = self.records(&queue, start, SOUGHT_PER_PAGE).await?;
            let is_sought = |(key, _): &(Bytes, Bytes)| {
                let entry = keys::parse_deletion(key);
                entry.is_ok_and(|(_, target)| target == DeletionTarget::Data(id))
            };
            if page.records.iter().any(is_sought) {
                return Ok(true);
            }
            match page.records.last() {
                Some((key, _)) if page.is_truncated => start = keys::successor(key),
                _ => return Ok(false),
            }
        }
    }

    /// Puts deletions off, of data with shards on disks that cannot be reached, in one commit. Where somebody else
    /// has changed one of them meanwhile, all stay as they are.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn postpone_deletions(
        &self,
        deletions: &[Deletion],
        due_ms: u64,
    ) -> Result<(), MetaError> {
        let entries: Vec<_> = deletions
            .iter()
            .map(|deletion| (deletion.due_ms, DeletionTarget::Data(deletion.data_id)))
            .collect();
        self.postpone(&entries, due_ms).await
    }

    /// Moves entries without looking into them.
    async fn postpone(
        &self,
        entries: &[(u64, DeletionTarget)],
        due_ms: u64,
    ) -> Result<(), MetaError> {
        let mut batch = Batch::default();
        for (old_due_ms, target) in entries {
            let old = keys::deletion(*old_due_ms, *target);
            if let Some(value) = self.kv.get(&old).await? {
                batch
                    .check(old.clone(), Some(value.clone()))
                    .delete(old)
                    .put(keys::deletion(due_ms, *target), value);
            }
        }
        if batch.writes.is_empty() {
            return Ok(());
        }
        match self.try_commit(batch).await? {
            Committed::Applied | Committed::Conflict => Ok(()),
            Committed::Unknown(error) => Err(error.into()),
        }
    }

    /// Enqueues the repair of a chunk one of whose shards was found missing or corrupt, unless it waits already for
    /// that. What was [begun](Meta::begin_repair) does not wait any more.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn enqueue_repair(
        &self,
        data_id: DataId,
        chunk_index: u32,
        now_ms: u64,
    ) -> Result<(), MetaError> {
        self.enqueue(data_id, chunk_index, RepairReason::Suspected, now_ms)
            .await
    }

    /// Enqueues the repair of a chunk whose record tells what it lacks, unless it waits already for any reason.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn enqueue_missing(
        &self,
        data_id: DataId,
        chunk_index: u32,
        now_ms: u64,
    ) -> Result<(), MetaError> {
        self.enqueue(data_id, chunk_index, RepairReason::Missing, now_ms)
            .await
    }

    async fn enqueue(
        &self,
        data_id: DataId,
        chunk_index: u32,
        reason: RepairReason,
        now_ms: u64,
    ) -> Result<(), MetaError> {
        let key = keys::repair(data_id, chunk_index);
        let data = keys::data(data_id);
        let mut attempts = self.jitter.attempts();
        loop {
            let queued = self.kv.get(&key).await?;
            if queued
                .as_ref()
                .is_some_and(|value| read_repair(value).reason.covers(reason))
            {
                return Ok(());
            }
            // A datum that is gone needs no repair, and an entry for it would stay behind.
            let Some(value) = self.kv.get(&data).await? else {
                return Ok(());
            };
            let mut batch = Batch::default();
            batch
                .check(data.clone(), Some(value))
                .check(key.clone(), queued)
                .put(key.clone(), new_repair(reason, now_ms));
            match self.try_commit(batch).await? {
                Committed::Applied => return Ok(()),
                Committed::Conflict => attempts.after_conflict().await?,
                Committed::Unknown(error) => return Err(error.into()),
            }
        }
    }

    /// Up to `limit` chunks that wait for repair, behind `after`.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn repairs(
        &self,
        after: Option<(DataId, u32)>,
        limit: usize,
    ) -> Result<RepairPage, MetaError> {
        let table = keys::all_repairs();
        let mut start = after.map_or_else(
            || table.clone(),
            |(data, chunk)| keys::successor(&keys::repair(data, chunk)),
        );
        let mut found = RepairPage::default();
        loop {
            let wanted = limit.max(1).saturating_sub(found.repairs.len());
            let page = self.records(&table, start.clone(), wanted).await?;
            for (key, value) in page.records {
                start = keys::successor(&key);
                found.add(&key, value);
            }
            if !page.is_truncated || found.repairs.len() >= limit {
                return Ok(found);
            }
        }
    }

    /// Notes that the shards of a suspected chunk are going to be looked at, and returns its entry from then on; `None`
    /// if that changed meanwhile. What is suspected while they are looked at keeps the chunk in the queue; without the
    /// note it would be taken for what had been enqueued before, and be forgotten with that.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn begin_repair(&self, repair: &Repair) -> Result<Option<Repair>, MetaError> {
        if repair.reason != RepairReason::Suspected {
            return Ok(Some(repair.clone()));
        }
        let key = keys::repair(repair.data_id, repair.chunk_index);
        let reason = RepairReason::LookedInto;
        let value = new_repair(reason, repair.enqueued_at_ms);
        let begun = Repair {
            reason,
            value: value.clone(),
            ..repair.clone()
        };
        let is_noted = self.replace_repair(repair, |batch| {
            batch.put(key, value);
        });
        Ok(is_noted.await?.then_some(begun))
    }

    /// Takes a repaired chunk off the queue, unless it was enqueued again meanwhile.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn finish_repair(&self, repair: &Repair) -> Result<(), MetaError> {
        let key = keys::repair(repair.data_id, repair.chunk_index);
        let replaced = self.replace_repair(repair, |batch| {
            batch.delete(key);
        });
        replaced.await.map(drop)
    }

    /// Notes that all shards of a chunk were looked at, and that it lacks nothing but what its record tells; unless
    /// it was enqueued again meanwhile.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn dispel_suspicion(&self, repair: &Repair) -> Result<(), MetaError> {
        let key = keys::repair(repair.data_id, repair.chunk_index);
        let value = new_repair(RepairReason::Missing, repair.enqueued_at_ms);
        let replaced = self.replace_repair(repair, |batch| {
            batch.put(key, value);
        });
        replaced.await.map(drop)
    }

    /// Whether the entry still was the one that was read.
    async fn replace_repair(
        &self,
        repair: &Repair,
        write: impl FnOnce(&mut Batch),
    ) -> Result<bool, MetaError> {
        let key = keys::repair(repair.data_id, repair.chunk_index);
        let mut batch = Batch::default();
        batch.check(key, Some(repair.value.clone()));
        write(&mut batch);
        match self.try_commit(batch).await? {
            Committed::Applied => Ok(true),
            Committed::Conflict => Ok(false),
            Committed::Unknown(error) => Err(error.into()),
        }
    }

    /// How long the queues are, for metrics.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn queue_depths(&self) -> Result<QueueDepths, MetaError> {
        Ok(QueueDepths {
            deletions: self.queue_depth(&keys::all_deletions()).await?,
            repairs: self.queue_depth(&keys::all_repairs()).await?,
        })
    }

    async fn queue_depth(&self, queue: &Bytes) -> Result<QueueDepth, MetaError> {
        let counted = self.records(queue, queue.clone(), DEPTH_COUNT_MAX).await?;
        Ok(QueueDepth {
            count: counted.records.len(),
            is_lower_bound: counted.is_truncated,
        })
    }

    /// Takes a step of a big deletion. One that meets a damaged record is put off: it must not stay first, and
    /// nothing that it names is deleted before somebody has looked.
    async fn work_off(
        &self,
        due_ms: u64,
        target: DeletionTarget,
        now_ms: u64,
    ) -> Result<Option<DamagedEntry>, MetaError> {
        match self.work_off_step(due_ms, target, now_ms).await {
            Ok(()) => Ok(None),
            Err(error @ MetaError::Corrupt { .. }) => {
                let later_ms = now_ms.saturating_add(DAMAGED_POSTPONED_BY_MS);
                self.postpone(&[(due_ms, target)], later_ms).await?;
                let entry = format!("deletion of {target:?}");
                Ok(Some(DamagedEntry { entry, error }))
            }
            Err(error) => Err(error),
        }
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

impl RepairPage {
    fn add(&mut self, key: &[u8], value: Bytes) {
        match keys::parse_repair(key) {
            Ok((data_id, chunk_index)) => {
                let RepairRecord {
                    enqueued_at_ms,
                    reason,
                    ..
                } = read_repair(&value);
                self.repairs.push(Repair {
                    data_id,
                    chunk_index,
                    enqueued_at_ms,
                    reason,
                    value,
                });
            }
            Err(error) => self.damaged.push(DamagedEntry {
                entry: format!("key {}", hex::encode(key)),
                error,
            }),
        }
    }
}

/// An entry of the repair queue. The key says what to repair: where the rest cannot be read, the chunk is looked at
/// like any that is suspected, and the entry goes when it is whole.
fn read_repair(value: &[u8]) -> RepairRecord {
    decode(value).unwrap_or(RepairRecord {
        enqueued_at_ms: 0,
        ticket: WriteId([0; 8]),
        reason: RepairReason::Suspected,
    })
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
