//! Deletes shards that no metadata names: what crashes, dropped requests and abandoned disks left behind.
//!
//! A shard is an orphan when it is old enough *and* the metadata, asked after the shard was listed, either do not
//! know its datum or place the shard on another disk. Old enough means both by the node's clock, since the shard was
//! written, and by the gateways' clocks, since its datum was named: a write in progress is younger by the second,
//! a repaired shard by the first, and a node's or a writer's wrong clock alone cannot make them look like orphans. That of
//! the process that collects can: all ages end by it, and it steps when a machine sleeps for a day. So what this process
//! is writing is never an orphan; what other gateways are writing is safe while this clock is less than half the age
//! ahead, which is how long a write may take.
//!
//! What cannot be judged is left alone: a shard whose header cannot be read, and all shards of a datum whose record
//! cannot be.
//!
//! What is older than the metadata themselves is never an orphan: these may have been begun anew, by mistake, on
//! disks whose own metadata are somewhere else or can be rebuilt. Metadata that were rebuilt are as old as the data; what
//! they do not name is as young as the rebuild, which may have missed a disk and be made again.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use cairn_meta::{ChunkRecord, MetaError};
use cairn_storage_node::{DataId, DiskId, ShardError, ShardId, ShardStat};
use futures_util::{StreamExt, TryStreamExt, stream};

use super::core::{Core, Engine};
use super::disks::Disk;
use super::entropy::named_at_ms;
use super::ids;

/// How many data the metadata are asked for at the same time: enough to hide the way to a metadata service, few
/// beside what requests ask.
const LOOKUPS_AT_ONCE: usize = 8;

/// Of how many data the orphans are deleted at the same time, so that they share the disk's syncs.
const DELETIONS_AT_ONCE: usize = 8;

/// What was done on one disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CollectionReport {
    /// Shards looked at.
    pub listed_count: usize,
    /// Data that the metadata were asked for.
    pub looked_up_count: usize,
    /// Orphans that were deleted.
    pub deleted_count: usize,
    /// Where to go on, if there is more.
    pub next: Option<ShardId>,
}

/// Why a collection stopped.
#[derive(Debug, thiserror::Error)]
pub enum CollectionError {
    /// The metadata could not be asked.
    #[error(transparent)]
    Meta(#[from] MetaError),
    /// The disk could not be listed.
    #[error(transparent)]
    Disk(#[from] ShardError),
}

/// By what a listed shard is judged.
#[derive(Debug, Clone, Copy)]
struct OrphanRule {
    /// Where it was found.
    disk_id: DiskId,
    /// Since when the metadata know what is written.
    metadata_since_ms: u64,
    /// When they were made anew from the shards; 0 if they never were.
    rebuilt_at_ms: u64,
    now_ms: u64,
    age_min_ms: u64,
}

impl OrphanRule {
    /// Whether a shard is an orphan; `chunks` are those of its datum, `None` if there is no such datum.
    fn is_orphan(&self, shard: &ShardStat, chunks: Option<&[ChunkRecord]>) -> bool {
        let old_enough = |since_ms: u64| self.now_ms.saturating_sub(since_ms) >= self.age_min_ms;
        let named_at_ms = named_at_ms(shard.id.data_id);
        let is_placed_here =
            || chunks.is_some_and(|chunks| is_placed(chunks, shard.id, self.disk_id));
        named_at_ms >= self.metadata_since_ms
            && old_enough(shard.written_at_ms)
            && old_enough(named_at_ms)
            && old_enough(self.rebuilt_at_ms)
            && !is_placed_here()
    }
}

/// Whether these chunks of its datum name a shard on this disk.
pub(super) fn is_placed(chunks: &[ChunkRecord], shard: ShardId, disk_id: DiskId) -> bool {
    let chunk = usize::try_from(shard.chunk_index)
        .ok()
        .and_then(|index| chunks.get(index));
    let placed = chunk.and_then(|chunk| chunk.shards.get(usize::from(shard.shard_index)));
    placed.copied().flatten().map(ids::disk) == Some(disk_id)
}

/// Listed shards that are orphans unless their data place them where they were found.
#[derive(Debug)]
struct Suspects {
    rule: OrphanRule,
    shards: Vec<ShardStat>,
}

/// The chunks of data that were looked up; `None` if there is no such datum. What could not be read is left out.
type ChunksByData = HashMap<DataId, Option<Vec<ChunkRecord>>>;

impl Suspects {
    fn data_ids(&self) -> impl Iterator<Item = DataId> {
        self.shards.iter().map(|shard| shard.id.data_id)
    }

    fn orphans(self, chunks_by_data: &ChunksByData) -> Vec<ShardStat> {
        let Self { rule, mut shards } = self;
        // A record that cannot be read may place the shard here: it stays.
        shards.retain(|shard| {
            chunks_by_data
                .get(&shard.id.data_id)
                .is_some_and(|chunks| rule.is_orphan(shard, chunks.as_deref()))
        });
        shards
    }
}

impl Engine {
    /// Looks at up to `limit` shards of one disk behind `after`. Shards younger than `age_min` are left alone;
    /// production uses [`super::EngineOptions::orphan_age_min`].
    ///
    /// # Errors
    /// [`CollectionError`]; nothing was deleted then that is not an orphan.
    pub async fn collect_orphans_once(
        &self,
        disk: &Disk,
        after: Option<ShardId>,
        limit: usize,
        age_min: Duration,
    ) -> Result<CollectionReport, CollectionError> {
        let core = self.core();
        let deadline = core.options.get_deadline;
        let page = disk.list(after, limit, deadline).await?;
        let next = page
            .shards
            .last()
            .map(|shard| shard.id)
            .filter(|_| page.is_truncated);
        let listed_count = page.shards.len();
        let mut suspects = core.suspects(page.shards, disk.id(), age_min).await?;
        // After the listing, and before the metadata are asked: what is committed between the two is found in them.
        suspects
            .shards
            .retain(|shard| !core.being_written.is_pinned(shard.id.data_id));
        let data_ids: BTreeSet<DataId> = suspects.data_ids().collect();
        let chunks_by_data = core.chunks_by_data(&data_ids).await?;
        let orphans = suspects.orphans(&chunks_by_data);

        let by_datum = orphans.chunk_by(|one, next| one.id.data_id == next.id.data_id);
        let by_datum: Vec<Vec<ShardStat>> = by_datum.map(<[ShardStat]>::to_vec).collect();
        let delete = |orphans: Vec<ShardStat>| core.delete_orphans(disk, orphans);
        let deleted_count = stream::iter(by_datum.into_iter().map(delete))
            .buffer_unordered(DELETIONS_AT_ONCE)
            .try_fold(0, |sum, count| async move { Ok(sum + count) })
            .await?;
        if deleted_count > 0 {
            tracing::info!(disk_id = %disk.id(), count = deleted_count, "orphaned shards were deleted");
        }
        Ok(CollectionReport {
            listed_count,
            looked_up_count: data_ids.len(),
            deleted_count,
            next,
        })
    }
}

impl Core {
    /// What is worth asking the metadata for: the rest would be left alone in any case.
    async fn suspects(
        &self,
        mut shards: Vec<ShardStat>,
        disk_id: DiskId,
        age_min: Duration,
    ) -> Result<Suspects, MetaError> {
        let cluster = self.meta.cluster().await?;
        let rebuilt_at_ms = self.meta.rebuilt_at_ms().await?;
        let rule = OrphanRule {
            disk_id,
            // Of a cluster that was not initialised nothing is known: all is older than its metadata.
            metadata_since_ms: cluster.map_or(u64::MAX, |cluster| cluster.created_at_ms),
            rebuilt_at_ms: rebuilt_at_ms.unwrap_or_default(),
            now_ms: self.clock.now_ms(),
            age_min_ms: u64::try_from(age_min.as_millis()).unwrap_or(u64::MAX),
        };
        shards.retain(|shard| rule.is_orphan(shard, None));
        Ok(Suspects { rule, shards })
    }

    /// Deletes orphans of one datum, unless a repair has put them here anew since they were listed: what it writes is
    /// young again. Returns how many.
    async fn delete_orphans(
        &self,
        disk: &Disk,
        orphans: Vec<ShardStat>,
    ) -> Result<usize, CollectionError> {
        let Some(first) = orphans.first() else {
            return Ok(0);
        };
        let deadline = self.options.get_deadline;
        let _held = self.exclusion.hold(first.id.data_id).await;
        let mut unchanged = Vec::new();
        for orphan in &orphans {
            let now = disk.stat(orphan.id, deadline).await;
            let what = format_args!("shard {} on disk {}", orphan.id, disk.id());
            let now = self.unless_damaged(what, now)?.flatten();
            if now.is_some_and(|now| now.written_at_ms == orphan.written_at_ms) {
                unchanged.push(orphan.id);
            }
        }
        if !unchanged.is_empty() {
            disk.delete(&unchanged, deadline).await?;
        }
        self.counters.orphans_collected.add(unchanged.len() as u64);
        Ok(unchanged.len())
    }

    /// Asks the metadata, which must be after the shards were listed: a datum committed before that is found.
    async fn chunks_by_data(&self, data_ids: &BTreeSet<DataId>) -> Result<ChunksByData, MetaError> {
        let look_up = |data_id: DataId| async move {
            let record = self.meta.data(ids::meta_data(data_id)).await;
            let record = self.unless_damaged(format_args!("datum {data_id}"), record)?;
            Ok(record.map(|record| (data_id, record.map(|record| record.chunks))))
        };
        stream::iter(data_ids.iter().copied().map(look_up))
            .buffer_unordered(LOOKUPS_AT_ONCE)
            .try_filter_map(|found| async move { Ok(found) })
            .try_collect()
            .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cairn_meta::{self as meta, Coding};

    const HERE: DiskId = DiskId([1; 16]);
    const NOW_MS: u64 = 1_000_000;

    fn shard(written_at_ms: u64, named_at_ms: u64) -> ShardStat {
        let data_id = DataId((u128::from(named_at_ms) << 80).to_be_bytes());
        let id = ShardId {
            data_id,
            chunk_index: 0,
            shard_index: 1,
        };
        ShardStat {
            id,
            size_bytes: 1,
            written_at_ms,
            descriptor: None,
        }
    }

    fn placed_on(disk: u8) -> Vec<ChunkRecord> {
        let shards = vec![None, Some(meta::DiskId([disk; 16]))];
        vec![ChunkRecord {
            size_bytes: 1,
            coding: Coding::Copies { count: 2 },
            shards,
        }]
    }

    fn decide(shard: &ShardStat, chunks: Option<&[ChunkRecord]>) -> bool {
        let rule = OrphanRule {
            disk_id: HERE,
            metadata_since_ms: 0,
            rebuilt_at_ms: 0,
            now_ms: NOW_MS,
            age_min_ms: 1000,
        };
        rule.is_orphan(shard, chunks)
    }

    #[test]
    fn an_old_shard_is_an_orphan_unless_it_is_placed_here() {
        let old = shard(0, 0);
        assert!(decide(&old, None));
        assert!(decide(&old, Some(&placed_on(2))));
        assert!(decide(&old, Some(&[])));
        assert!(!decide(&old, Some(&placed_on(1))));
    }

    #[test]
    fn what_is_older_than_the_metadata_is_left_alone() {
        let rule = OrphanRule {
            disk_id: HERE,
            metadata_since_ms: 500,
            rebuilt_at_ms: 0,
            now_ms: NOW_MS,
            age_min_ms: 1000,
        };
        assert!(!rule.is_orphan(&shard(0, 499), None));
        assert!(rule.is_orphan(&shard(0, 500), None));
    }

    #[test]
    fn one_young_clock_is_enough_to_leave_it_alone() {
        assert!(!decide(&shard(0, NOW_MS - 999), None));
        assert!(!decide(&shard(NOW_MS - 999, 0), None));
        assert!(!decide(&shard(NOW_MS + 5000, 0), None));
        assert!(decide(&shard(NOW_MS - 1000, NOW_MS - 1000), None));
    }
}
