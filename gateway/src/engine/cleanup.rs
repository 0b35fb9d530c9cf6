//! Deletes, in the background and as well as it can, what writes and repairs left behind that is not needed.
//!
//! It may miss things (their [queue](super::leftovers) is bounded, a disk may be away, the process may end): the orphan collector finds
//! what it missed. It must never delete what was committed, and asks the metadata before it does, while it holds the
//! datum: a shard that was replaced may have been put back by a later repair by the time it is deleted here.

use std::collections::BTreeMap;

use cairn_storage_node::{DataId, DiskId, ShardError, ShardId};
use futures_util::{StreamExt, stream};

use super::core::Core;
use super::deletion::DeletionDisk;
use super::ids;
use super::leftovers::{Leftover, LeftoverReason, Remainder};
use super::orphan_collection::is_placed;
use super::shard_deletes::Undeleted;

/// How many are worked off at the same time, so that a disk that hangs delays few.
const CLEANED_AT_ONCE: usize = 8;

impl Core {
    /// Works the queue off, then what was kept: a disk that is there and does not answer must not delay the others'.
    pub(crate) async fn clean_up(&self) {
        let kept = self.leftovers.take_kept();
        let queued = std::iter::from_fn(|| self.leftovers.pop());
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
            let mut by_disk: BTreeMap<DiskId, Vec<ShardId>> = BTreeMap::new();
            for (disk_id, shard) in unneeded {
                by_disk.entry(disk_id).or_default().push(shard);
            }
            for undeleted in self.delete_shards(by_disk).await {
                let Undeleted {
                    disk_id,
                    shards,
                    error,
                } = undeleted;
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
            if self.leftovers.keep(leftover) {
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
}

/// Whether it is worth another try: the disk may answer in a moment.
fn may_be_deleted_soon(error: &ShardError) -> bool {
    matches!(
        error,
        ShardError::Unreachable { .. } | ShardError::Busy { .. }
    )
}
