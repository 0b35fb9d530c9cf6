//! Deletes, in the background and as well as it can, what writes and repairs left behind that is not needed.
//!
//! It may miss things (the queue is bounded, a disk may be away, the process may end): the orphan collector finds
//! what it missed. It must never delete what was committed, and asks the metadata before it does, while it holds the
//! datum: a shard that was replaced may have been put back by a later repair by the time it is deleted here.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use cairn_storage_node::{DataId, DiskId, ShardError, ShardId};
use futures_util::future::join_all;
use futures_util::{StreamExt, stream};
use tokio::sync::Notify;

use super::core::Core;
use super::deletion::DeletionDisk;
use super::ids;
use super::orphan_collection::is_placed;

/// Beyond this many abandoned writes the rest is left to the orphan collector.
const QUEUE_LEN_MAX: usize = 4096;
/// Beyond this many with shards on disks that are away, likewise.
const KEPT_LEN_MAX: usize = 1024;
/// How many are worked off at the same time, so that a disk that hangs delays few.
const CLEANED_AT_ONCE: usize = 8;

/// Shards to delete.
#[derive(Debug)]
pub(crate) struct Leftover {
    pub(crate) data_id: DataId,
    pub(crate) shards: Vec<(DiskId, ShardId)>,
    pub(crate) reason: LeftoverReason,
    remainder: Remainder,
}

impl Leftover {
    pub(crate) fn new(
        data_id: DataId,
        shards: Vec<(DiskId, ShardId)>,
        reason: LeftoverReason,
    ) -> Self {
        Self {
            data_id,
            shards,
            reason,
            remainder: Remainder::Nothing,
        }
    }
}

/// What is not deleted here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Remainder {
    Nothing,
    /// Some shards are left to the orphan collector.
    Orphans,
}

/// Why they are not needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LeftoverReason {
    /// The whole write was given up before its commit began, or its commit was refused.
    Uncommitted,
    /// The write or repair was committed, with these shards placed elsewhere.
    Replaced,
}

/// The queue of leftovers.
#[derive(Debug, Default)]
pub(crate) struct Cleanup {
    queue: Mutex<VecDeque<Leftover>>,
    /// What waits for disks that are away or busy.
    kept: Mutex<Vec<Leftover>>,
    wake: Notify,
}

impl Cleanup {
    /// Hands leftovers over; never blocks. `false` if the queue is full.
    pub(crate) fn push(&self, leftover: Leftover) -> bool {
        if leftover.shards.is_empty() {
            return true;
        }
        let mut queue = self.locked();
        let has_room = queue.len() < QUEUE_LEN_MAX;
        if has_room {
            queue.push_back(leftover);
        }
        drop(queue);
        self.wake.notify_one();
        has_room
    }

    /// Waits until there may be something.
    pub(crate) async fn wait(&self) {
        self.wake.notified().await;
    }

    /// Keeps leftovers until their disks can be asked again. `false` if there are too many.
    fn keep(&self, leftover: Leftover) -> bool {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let has_room = kept.len() < KEPT_LEN_MAX;
        if has_room {
            kept.push(leftover);
        }
        has_room
    }

    fn take_kept(&self) -> Vec<Leftover> {
        std::mem::take(&mut *self.kept.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn pop(&self) -> Option<Leftover> {
        self.locked().pop_front()
    }

    fn locked(&self) -> MutexGuard<'_, VecDeque<Leftover>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Core {
    /// Works the queue off, then what was kept: a disk that is there and does not answer must not delay the others'.
    pub(crate) async fn clean_up(&self) {
        let kept = self.cleanup.take_kept();
        let queued = std::iter::from_fn(|| self.cleanup.pop());
        stream::iter(queued.chain(kept))
            .for_each_concurrent(CLEANED_AT_ONCE, |leftover| self.clean_up_one(leftover))
            .await;
    }

    async fn clean_up_one(&self, mut leftover: Leftover) {
        let (mut there, mut away) = (Vec::new(), Vec::new());
        for (disk_id, shard) in std::mem::take(&mut leftover.shards) {
            match self.deletion_disk(disk_id) {
                DeletionDisk::There => there.push((disk_id, shard)),
                DeletionDisk::Away => away.push((disk_id, shard)),
                // Should it come back, what is on it are orphans.
                DeletionDisk::Lost => leftover.remainder = Remainder::Orphans,
            }
        }
        let (data_id, reason) = (leftover.data_id, leftover.reason);
        if !there.is_empty() {
            let _held = self.exclusion.hold(data_id).await;
            let Some(unneeded) = self.unneeded(data_id, there, reason).await else {
                return self.count_cleaned(reason, Remainder::Orphans);
            };
            for (disk_id, shards, error) in self.delete_leftovers(unneeded).await {
                if may_be_deleted_soon(&error) {
                    away.extend(shards.into_iter().map(|shard| (disk_id, shard)));
                } else {
                    tracing::info!(%disk_id, %error, "leftover shards stay until orphans are collected");
                    leftover.remainder = Remainder::Orphans;
                }
            }
        }
        leftover.shards = away;
        let mut remainder = leftover.remainder;
        if !leftover.shards.is_empty() {
            if self.cleanup.keep(leftover) {
                return;
            }
            remainder = Remainder::Orphans;
        }
        self.count_cleaned(reason, remainder);
    }

    fn count_cleaned(&self, reason: LeftoverReason, remainder: Remainder) {
        let counter = match (reason, remainder) {
            (LeftoverReason::Replaced, _) => return,
            (LeftoverReason::Uncommitted, Remainder::Nothing) => &self.counters.writes_cleaned_up,
            (LeftoverReason::Uncommitted, Remainder::Orphans) => {
                &self.counters.writes_left_to_collection
            }
        };
        counter.increment();
    }

    /// Those of a datum's shards that the metadata do not name where they are; `None` if all are left alone, as when
    /// the metadata cannot be asked: what is not known to be unneeded stays.
    async fn unneeded(
        &self,
        data_id: DataId,
        mut shards: Vec<(DiskId, ShardId)>,
        reason: LeftoverReason,
    ) -> Option<Vec<(DiskId, ShardId)>> {
        let record = self.meta.data(ids::meta_data(data_id)).await.ok()?;
        match (record, reason) {
            (None, _) => {}
            (Some(_), LeftoverReason::Uncommitted) => return None,
            (Some(record), LeftoverReason::Replaced) => {
                shards.retain(|(disk_id, shard)| !is_placed(&record.chunks, *shard, *disk_id));
            }
        }
        Some(shards)
    }

    /// Deletes from all disks in parallel; what could not be deleted, and why.
    async fn delete_leftovers(
        &self,
        shards: Vec<(DiskId, ShardId)>,
    ) -> Vec<(DiskId, Vec<ShardId>, ShardError)> {
        let mut by_disk: HashMap<DiskId, Vec<ShardId>> = HashMap::new();
        for (disk, shard) in shards {
            by_disk.entry(disk).or_default().push(shard);
        }
        let map = self.disks.map();
        let deletions = by_disk.into_iter().map(|(disk_id, shards)| {
            let disk = map.disk(disk_id).cloned();
            async move {
                let deleted = match disk {
                    Some(disk) => disk.delete(&shards, self.options.get_deadline).await,
                    None => Ok(()),
                };
                deleted.err().map(|error| (disk_id, shards, error))
            }
        });
        join_all(deletions).await.into_iter().flatten().collect()
    }
}

/// Whether it is worth another try: the disk may answer in a moment.
fn may_be_deleted_soon(error: &ShardError) -> bool {
    matches!(
        error,
        ShardError::Unreachable { .. } | ShardError::Busy { .. }
    )
}
