//! Looks at the shards of a chunk where they are.

use bytes::Bytes;
use cairn_meta::ChunkRecord;
use cairn_storage_node::{DataId, DiskId, ShardError, ShardId, ShardStat};
use futures_util::future::join_all;
use tokio::time::Instant;

use crate::engine::core::Core;
use crate::engine::disks::{DiskMap, DiskRole};
use crate::engine::ids;
use crate::engine::repair_plan::ShardCondition;

/// The state of a chunk's shards on their disks.
pub(super) struct Inspection {
    pub(super) conditions: Vec<ShardCondition>,
    /// From a shard that is whole: what the new ones must carry too.
    pub(super) descriptor: Option<Bytes>,
}

impl Core {
    /// Verifies all shards of a chunk where they are.
    pub(super) async fn inspect(
        &self,
        data_id: DataId,
        index: u32,
        record: &ChunkRecord,
    ) -> Inspection {
        let map = self.disks.map();
        let looks = record
            .shards
            .iter()
            .enumerate()
            .map(|(shard_index, placed)| {
                let disk_id = placed.map(ids::disk);
                self.look_at(ids::shard(data_id, index, shard_index), disk_id, &map)
            });
        let mut conditions = Vec::with_capacity(record.shards.len());
        let mut descriptor = None;
        for (condition, stat) in join_all(looks).await {
            conditions.push(condition);
            descriptor = descriptor.or(stat.and_then(|stat| stat.descriptor));
        }
        Inspection {
            conditions,
            descriptor,
        }
    }

    async fn look_at(
        &self,
        id: ShardId,
        disk_id: Option<DiskId>,
        map: &DiskMap,
    ) -> (ShardCondition, Option<ShardStat>) {
        let Some(disk_id) = disk_id else {
            return (ShardCondition::Bad, None);
        };
        let Some(disk) = map.disk(disk_id) else {
            return (self.away_or_lost(disk_id), None);
        };
        match disk.verify(id, self.options.get_deadline).await {
            Ok(stat) if disk.role() == DiskRole::Draining => (ShardCondition::Leaving, Some(stat)),
            Ok(stat) => (ShardCondition::Whole, Some(stat)),
            Err(ShardError::NotFound { .. } | ShardError::Corrupt { .. }) => {
                (ShardCondition::Bad, None)
            }
            // Busy, too: the disk is there, and another look is due later.
            Err(_) => (self.away_or_lost(disk_id), None),
        }
    }

    fn away_or_lost(&self, disk_id: DiskId) -> ShardCondition {
        let away_for = self.disks.away_for(disk_id, Instant::now());
        let is_lost = away_for.is_some_and(|away_for| away_for >= self.options.disk_absence_max);
        if is_lost {
            ShardCondition::Lost
        } else {
            ShardCondition::Away
        }
    }
}
