//! Deletes the shards of data whose objects were deleted or replaced: works off the deletion queue of the metadata.
//!
//! The order that loses nothing and leaks nothing: shards deleted from all disks → records forgotten. A datum with a
//! shard on a disk that is away keeps its place in the queue, further behind, and holds up nobody; so does one whose
//! record is damaged. All its other shards stay as well: half of a datum whose record is there looks like a loss to
//! repair and scrub.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use cairn_meta::{DataRecord, Deletion, DueDeletions, MetaError};
use cairn_storage_node::{DataId, DiskId, ShardId};
use tokio::time::Instant;

use super::core::{Core, Engine};
use super::ids;

/// How much later a deletion is tried again whose disk is away, or whose datum is being read or cannot be.
const POSTPONED_BY: Duration = Duration::from_mins(2);

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DeletionReport {
    /// Data that are gone.
    pub deleted_count: usize,
    /// Data that are tried again later.
    pub postponed_count: usize,
    /// Whether more may be due.
    pub is_truncated: bool,
}

/// Whose turn it is.
#[derive(Debug, Default, PartialEq, Eq)]
struct DeletionPlan {
    /// What to delete from which disk.
    by_disk: BTreeMap<DiskId, Vec<ShardId>>,
    /// Data that are put off, because a disk that holds some of them is away.
    postponed: HashSet<DataKey>,
}

type DataKey = cairn_meta::DataId;

impl Engine {
    /// Deletes up to `limit` data that are due.
    ///
    /// # Errors
    /// Those of the metadata.
    pub async fn delete_due_once(&self, limit: usize) -> Result<DeletionReport, MetaError> {
        let core = self.core();
        let now_ms = core.clock.now_ms();
        let found = core.meta.due_deletions(now_ms, limit).await?;
        let DueDeletions {
            data: due,
            damaged,
            is_truncated,
        } = found;
        for damaged in &damaged {
            core.note_damage(&damaged.entry, &damaged.error);
        }
        let (mut data, mut unreadable) = (Vec::with_capacity(due.len()), HashSet::new());
        for Deletion { data_id, .. } in &due {
            let record = core.meta.data(*data_id).await;
            match core.unless_damaged(format_args!("datum {data_id}"), record)? {
                // Without a record its shards are gone, or orphans: only the queue's entry is left.
                Some(record) => data.push((*data_id, record)),
                // Where its shards are is not known: they stay, and so does the entry, out of the way.
                None => drop(unreadable.insert(*data_id)),
            }
        }
        let is_busy = |id: DataKey| core.pins.is_pinned(ids::data(id));
        let mut plan = plan_deletions(&data, is_busy, |disk| core.deletion_disk(disk));
        for failed in core.delete_shards(plan.by_disk).await {
            let data = failed.shards.iter();
            plan.postponed
                .extend(data.map(|shard| ids::meta_data(shard.data_id)));
        }
        plan.postponed.extend(unreadable);

        let (postponed, done): (Vec<Deletion>, Vec<Deletion>) = due
            .into_iter()
            .partition(|deletion| plan.postponed.contains(&deletion.data_id));
        core.meta.finish_deletions(&done).await?;
        let later_ms =
            now_ms.saturating_add(u64::try_from(POSTPONED_BY.as_millis()).unwrap_or(u64::MAX));
        core.meta.postpone_deletions(&postponed, later_ms).await?;
        core.counters.data_deleted.add(done.len() as u64);
        core.counters
            .deletions_postponed
            .add(postponed.len() as u64);
        Ok(DeletionReport {
            deleted_count: done.len(),
            postponed_count: postponed.len(),
            is_truncated,
        })
    }
}

/// What a disk is to a deletion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DeletionDisk {
    /// It can be asked.
    There,
    /// It may be back soon: wait for it.
    Away,
    /// It is not waited for; should it come back, what is on it are orphans.
    Lost,
}

/// Decides.
fn plan_deletions(
    data: &[(DataKey, Option<DataRecord>)],
    is_busy: impl Fn(DataKey) -> bool,
    disk: impl Fn(DiskId) -> DeletionDisk,
) -> DeletionPlan {
    let mut plan = DeletionPlan::default();
    for (data_id, record) in data {
        if is_busy(*data_id) {
            plan.postponed.insert(*data_id);
            continue;
        }
        let shards = record.iter().flat_map(|record| placed(*data_id, record));
        let states: Vec<_> = shards.map(|(id, shard)| (id, shard, disk(id))).collect();
        if states
            .iter()
            .any(|(.., state)| *state == DeletionDisk::Away)
        {
            plan.postponed.insert(*data_id);
            continue;
        }
        for (disk_id, shard, state) in states {
            if state == DeletionDisk::There {
                plan.by_disk.entry(disk_id).or_default().push(shard);
            }
        }
    }
    plan
}

/// The shards of a datum, with their disks.
fn placed(data_id: DataKey, record: &DataRecord) -> impl Iterator<Item = (DiskId, ShardId)> {
    let chunks = (0u32..).zip(&record.chunks);
    chunks.flat_map(move |(chunk_index, chunk)| {
        let shards = chunk.shards.iter().enumerate();
        shards.filter_map(move |(shard_index, placed)| {
            let shard = ids::shard(ids::data(data_id), chunk_index, shard_index);
            placed.map(|disk_id| (ids::disk(disk_id), shard))
        })
    })
}

impl Core {
    pub(super) fn deletion_disk(&self, disk_id: DiskId) -> DeletionDisk {
        match self.disks.away_for(disk_id, Instant::now()) {
            None => DeletionDisk::There,
            Some(away_for) if away_for < self.options.disk_absence_max => DeletionDisk::Away,
            Some(_) => DeletionDisk::Lost,
        }
    }

    /// Whether a datum is deleted or being deleted: then what is missing of it is no loss. `false` also when the
    /// metadata cannot be asked.
    pub(super) async fn is_deleted(&self, data_id: DataId) -> bool {
        let id = ids::meta_data(data_id);
        let is_gone = async || {
            let exists = self.meta.data_exists(&[id]).await;
            exists.is_ok_and(|exists| exists == [false])
        };
        // Its record goes in the commit that takes it off the queue, perhaps while that is looked through.
        is_gone().await || self.meta.awaits_deletion(id).await.unwrap_or(false) || is_gone().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cairn_meta::{self as meta, BucketId, ChunkRecord, Coding, DataOwner, ObjectKey};

    #[expect(
        clippy::unnecessary_wraps,
        reason = "the shape of what it is compared with"
    )]
    fn record(disks: &[u8]) -> Option<DataRecord> {
        let shards = disks
            .iter()
            .map(|disk| Some(meta::DiskId([*disk; 16])))
            .collect();
        let chunk = ChunkRecord {
            size_bytes: 1,
            coding: Coding::Copies { count: 3 },
            shards,
        };
        let owner = DataOwner {
            bucket: BucketId([0; 8]),
            key: ObjectKey::parse("k").unwrap(),
            part: None,
        };
        Some(DataRecord {
            size_bytes: 1,
            owner,
            created_at_ms: 0,
            chunks: vec![chunk],
        })
    }

    #[test]
    fn data_on_an_absent_disk_wait_and_data_on_a_lost_one_do_not() {
        let [a, b, c] = [1, 2, 3].map(|id| meta::DataId([id; 16]));
        let data = [
            (a, record(&[1, 2])),
            (b, record(&[1, 7])),
            (c, record(&[9])),
        ];
        let disk = |id: DiskId| match id.0[0] {
            7 => DeletionDisk::Away,
            9 => DeletionDisk::Lost,
            _ => DeletionDisk::There,
        };
        let plan = plan_deletions(&data, |_| false, disk);
        assert_eq!(plan.postponed, HashSet::from([b]));
        let of_a = |disk: u8, index| (DiskId([disk; 16]), vec![ids::shard(ids::data(a), 0, index)]);
        assert_eq!(plan.by_disk, BTreeMap::from([of_a(1, 0), of_a(2, 1)]));
    }

    #[test]
    fn data_being_read_are_not_touched() {
        let a = meta::DataId([1; 16]);
        let plan = plan_deletions(&[(a, record(&[1]))], |_| true, |_| DeletionDisk::There);
        assert_eq!((plan.by_disk.len(), plan.postponed.len()), (0, 1));
    }
}
