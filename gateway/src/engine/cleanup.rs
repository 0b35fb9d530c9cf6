//! Deletes, in the background and as well as it can, what writes left behind that were not committed.
//!
//! It may miss things (the queue is bounded, a disk may be away, the process may end): the orphan collector finds
//! what it missed. It must never delete what was committed, and asks the metadata before it does.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use cairn_storage_node::{DataId, DiskId, ShardId};
use tokio::sync::Notify;

use super::core::Core;
use super::ids;

/// Beyond this many abandoned writes the rest is left to the orphan collector.
const QUEUE_LEN_MAX: usize = 4096;

/// Shards to delete.
#[derive(Debug)]
pub(crate) struct Leftover {
    pub(crate) data_id: DataId,
    pub(crate) shards: Vec<(DiskId, ShardId)>,
    pub(crate) reason: LeftoverReason,
}

/// Why they are not needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LeftoverReason {
    /// The whole write was given up before its commit began, or its commit was refused.
    Uncommitted,
    /// The write was committed, with these shards placed elsewhere.
    Replaced,
}

/// The queue of leftovers.
#[derive(Debug, Default)]
pub(crate) struct Cleanup {
    queue: Mutex<VecDeque<Leftover>>,
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

    fn pop(&self) -> Option<Leftover> {
        self.locked().pop_front()
    }

    fn locked(&self) -> MutexGuard<'_, VecDeque<Leftover>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Core {
    /// Works the queue off.
    pub(crate) async fn clean_up(&self) {
        while let Some(leftover) = self.cleanup.pop() {
            self.clean_up_one(leftover).await;
        }
    }

    async fn clean_up_one(&self, leftover: Leftover) {
        if leftover.reason == LeftoverReason::Uncommitted
            && !self.is_unknown_to_metadata(leftover.data_id).await
        {
            self.counters.writes_left_to_collection.increment();
            return;
        }
        let mut by_disk: HashMap<DiskId, Vec<ShardId>> = HashMap::new();
        for (disk, shard) in leftover.shards {
            by_disk.entry(disk).or_default().push(shard);
        }
        let map = self.disks.map();
        for (disk_id, shards) in by_disk {
            let Some(disk) = map.disk(disk_id) else {
                continue;
            };
            if let Err(error) = disk.delete(&shards, self.options.get_deadline).await {
                tracing::info!(%disk_id, %error, "leftover shards stay until orphans are collected");
            }
        }
        self.counters.writes_cleaned_up.increment();
    }

    /// `false` also when the metadata cannot be asked: what is not known to be unneeded stays.
    pub(crate) async fn is_unknown_to_metadata(&self, data_id: DataId) -> bool {
        let exists = self.meta.data_exists(&[ids::meta_data(data_id)]).await;
        exists.is_ok_and(|exists| exists == [false])
    }
}
