//! Deletes shards from the disks they are on, in parallel.

use std::collections::BTreeMap;

use cairn_storage_node::{DiskId, ShardError, ShardId};
use futures_util::future::join_all;

use super::core::Core;
use super::disks::unknown_disk;

/// Most shards in one call to a disk.
const SHARDS_PER_CALL: usize = 1000;

/// Shards that could not be deleted from a disk.
#[derive(Debug)]
pub(super) struct Undeleted {
    pub(super) disk_id: DiskId,
    pub(super) shards: Vec<ShardId>,
    pub(super) error: ShardError,
}

impl Core {
    /// Deletes shards from all disks; what could not be deleted, and why.
    pub(super) async fn delete_shards(
        &self,
        by_disk: BTreeMap<DiskId, Vec<ShardId>>,
    ) -> Vec<Undeleted> {
        let deletions = by_disk
            .iter()
            .map(|(disk_id, shards)| self.delete_from(*disk_id, shards));
        join_all(deletions).await.into_iter().flatten().collect()
    }

    async fn delete_from(&self, disk_id: DiskId, shards: &[ShardId]) -> Vec<Undeleted> {
        let map = self.disks.map();
        let (mut rest, mut undeleted) = (shards, Vec::new());
        while !rest.is_empty() {
            let (shards, behind) = rest.split_at(rest.len().min(SHARDS_PER_CALL));
            let deleted = match map.disk(disk_id) {
                Some(disk) => disk.delete(shards, self.options.get_deadline).await,
                None => Err(unknown_disk(disk_id)),
            };
            let Err(error) = deleted else {
                rest = behind;
                continue;
            };
            // One that has not answered is not called again for each of the rest.
            let is_silent = matches!(error, ShardError::Unreachable { .. });
            let (shards, behind) = if is_silent {
                (rest, &[][..])
            } else {
                (shards, behind)
            };
            rest = behind;
            undeleted.push(Undeleted {
                disk_id,
                shards: shards.to_vec(),
                error,
            });
        }
        undeleted
    }
}
