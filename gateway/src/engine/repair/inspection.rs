//! The state of a chunk's shards: presumed from the disks they are on, or seen by reading all of them.

use bytes::Bytes;
use cairn_meta::ChunkRecord;
use cairn_storage_node::{DiskId, ShardError, ShardId, ShardStat};
use futures_util::future::join_all;
use tokio::time::Instant;

use crate::engine::coding::shard_size_bytes;
use crate::engine::core::Core;
use crate::engine::disks::{DiskMap, DiskRole};
use crate::engine::ids;
use crate::engine::read::ChunkRef;
use crate::engine::repair_plan::ShardCondition;

/// The state of a chunk's shards on their disks.
pub(super) struct Inspection {
    pub(super) conditions: Vec<ShardCondition>,
    /// From a shard that is whole: what the new ones must carry too.
    pub(super) descriptor: Option<Bytes>,
    /// What the disks read for it.
    pub(super) bytes_read: u64,
}

/// Of how many shards of a chunk it is known how they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sight {
    /// Of all that are not given up.
    Full,
    /// Some are on disks that could not be asked and may be back soon.
    Partial,
}

impl Inspection {
    /// How much was seen. What is lost is not waited for: where it cannot be made again, as long as its disk is not
    /// replaced, chunks would be read over and over.
    pub(super) fn sight(&self) -> Sight {
        if self.conditions.contains(&ShardCondition::Away) {
            Sight::Partial
        } else {
            Sight::Full
        }
    }
}

/// One shard that was looked at.
struct Seen {
    condition: ShardCondition,
    descriptor: Option<Bytes>,
    bytes_read: u32,
}

impl Seen {
    fn unread(condition: ShardCondition) -> Self {
        Self {
            condition,
            descriptor: None,
            bytes_read: 0,
        }
    }
}

impl Core {
    /// What is known of a chunk's shards without looking at them: those on disks that are there are taken to be
    /// whole.
    pub(super) fn presume(&self, record: &ChunkRecord) -> Vec<ShardCondition> {
        let map = self.disks.map();
        let presumed = |placed: &Option<cairn_meta::DiskId>| {
            let Some(disk_id) = placed.map(ids::disk) else {
                return ShardCondition::Bad;
            };
            let is_away = self.disks.away_for(disk_id, Instant::now()).is_some();
            match map.disk(disk_id).filter(|_| !is_away) {
                Some(disk) if disk.role() == DiskRole::Draining => ShardCondition::Leaving,
                Some(_) => ShardCondition::Whole,
                None => self.away_or_lost(disk_id),
            }
        };
        record.shards.iter().map(presumed).collect()
    }

    /// Verifies all shards of a chunk where they are.
    pub(super) async fn inspect(&self, chunk: ChunkRef<'_>) -> Inspection {
        let map = self.disks.map();
        let size_bytes = shard_size_bytes(chunk.record.size_bytes, chunk.record.coding);
        let looks = chunk
            .record
            .shards
            .iter()
            .enumerate()
            .map(|(shard_index, placed)| {
                let id = ids::shard(chunk.data_id, chunk.index, shard_index);
                self.look_at(id, size_bytes, placed.map(ids::disk), &map)
            });
        let seen = join_all(looks).await;
        Inspection {
            conditions: seen.iter().map(|seen| seen.condition).collect(),
            bytes_read: seen.iter().map(|seen| u64::from(seen.bytes_read)).sum(),
            descriptor: seen.into_iter().find_map(|seen| seen.descriptor),
        }
    }

    async fn look_at(
        &self,
        id: ShardId,
        size_bytes: u32,
        disk_id: Option<DiskId>,
        map: &DiskMap,
    ) -> Seen {
        let Some(disk_id) = disk_id else {
            return Seen::unread(ShardCondition::Bad);
        };
        let Some(disk) = map.disk(disk_id) else {
            return Seen::unread(self.away_or_lost(disk_id));
        };
        match disk.verify(id, self.options.get_deadline).await {
            // Its bytes match their hashes, and still are not those that the record means: no read can use them.
            Ok(ShardStat {
                size_bytes: found_bytes,
                ..
            }) if found_bytes != size_bytes => {
                tracing::warn!(shard_id = %id, %disk_id, found_bytes, size_bytes, "a shard has the wrong size");
                Seen {
                    bytes_read: found_bytes,
                    ..Seen::unread(ShardCondition::Bad)
                }
            }
            Ok(stat) => Seen {
                condition: match (disk.role(), self.away_or_lost(disk_id)) {
                    // A disk that failed for writes may still be read: the better for what has to leave it.
                    (DiskRole::Draining, _) | (_, ShardCondition::Lost) => ShardCondition::Leaving,
                    (DiskRole::Active, _) => ShardCondition::Whole,
                },
                descriptor: stat.descriptor,
                bytes_read: stat.size_bytes,
            },
            Err(ShardError::NotFound { .. }) => Seen::unread(ShardCondition::Bad),
            Err(ShardError::Corrupt { .. }) => Seen {
                bytes_read: size_bytes,
                ..Seen::unread(ShardCondition::Bad)
            },
            // Busy, too: the disk is there, and another look is due later.
            Err(_) => Seen::unread(self.away_or_lost(disk_id)),
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
