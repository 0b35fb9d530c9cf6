//! Shards of writes and repairs that are not needed, until [`cleanup`](super::cleanup) deletes them.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use cairn_storage_node::{DataId, DiskId, ShardId};
use tokio::sync::Notify;

/// Beyond this many abandoned writes the rest is left to the orphan collector.
const QUEUE_LEN_MAX: usize = 4096;
/// Beyond this many with shards on disks that are away, likewise.
const KEPT_LEN_MAX: usize = 1024;
/// Shards to delete.
#[derive(Debug)]
pub(crate) struct Leftover {
    pub(crate) data_id: DataId,
    pub(crate) shards: Vec<(DiskId, ShardId)>,
    pub(crate) reason: LeftoverReason,
    pub(super) remainder: Remainder,
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
pub(super) enum Remainder {
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
pub(crate) struct Leftovers {
    queue: Mutex<VecDeque<Leftover>>,
    /// What waits for disks that are away or busy.
    kept: Mutex<Vec<Leftover>>,
    wake: Notify,
}

impl Leftovers {
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
    pub(super) fn keep(&self, leftover: Leftover) -> bool {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let has_room = kept.len() < KEPT_LEN_MAX;
        if has_room {
            kept.push(leftover);
        }
        has_room
    }

    pub(super) fn take_kept(&self) -> Vec<Leftover> {
        std::mem::take(&mut *self.kept.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn pop(&self) -> Option<Leftover> {
        self.locked().pop_front()
    }

    fn locked(&self) -> MutexGuard<'_, VecDeque<Leftover>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
