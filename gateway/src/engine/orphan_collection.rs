//! Deletes shards that no metadata names: what crashes, dropped requests and abandoned disks left behind.
//!
//! A shard is an orphan when it is old enough *and* the metadata, asked after the shard was listed, either do not
//! know its datum or place the shard on another disk. Old enough means both by the node's clock, since the shard was
//! written, and by the gateways' clocks, since its datum was named: a write in progress is younger by the second,
//! a repaired shard by the first, and no single wrong clock can make them look like orphans.
//!
//! What is older than the metadata themselves is never an orphan: these may have been begun anew, by mistake, on
//! disks whose own metadata are somewhere else or can be rebuilt.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::time::Duration;

use cairn_meta::{ChunkRecord, MetaError};
use cairn_storage_node::{DataId, DiskId, ShardError, ShardId, ShardStat};

use super::core::{Core, Engine};
use super::disks::Disk;
use super::entropy::named_at_ms;
use super::ids;

/// What was done on one disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CollectionReport {
    /// Shards looked at.
    pub listed_count: usize,
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
    now_ms: u64,
    age_min_ms: u64,
}

impl OrphanRule {
    /// Whether a shard is an orphan; `chunks` are those of its datum, `None` if there is no such datum.
    fn is_orphan(&self, shard: &ShardStat, chunks: Option<&[ChunkRecord]>) -> bool {
        let old_enough = |since_ms: u64| self.now_ms.saturating_sub(since_ms) >= self.age_min_ms;
        let named_at_ms = named_at_ms(shard.id.data_id);
        let is_placed_here = || {
            let chunk = usize::try_from(shard.id.chunk_index)
                .ok()
                .and_then(|index| chunks?.get(index));
            let placed = chunk.and_then(|chunk| {
                chunk
                    .shards
                    .get(usize::from(shard.id.shard_index))
                    .copied()
                    .flatten()
            });
            placed.is_some_and(|placed| ids::disk(placed) == self.disk_id)
        };
        named_at_ms >= self.metadata_since_ms
            && old_enough(shard.written_at_ms)
            && old_enough(named_at_ms)
            && !is_placed_here()
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
        let orphans = core.orphans(&page.shards, disk.id(), age_min).await?;

        // Once more: a repair may have put a shard here since the listing. What it writes is young again.
        let mut unchanged = Vec::new();
        for orphan in orphans {
            let now = disk.stat(orphan.id, deadline).await?;
            if now.is_some_and(|now| now.written_at_ms == orphan.written_at_ms) {
                unchanged.push(orphan.id);
            }
        }
        disk.delete(&unchanged, deadline).await?;
        core.counters.orphans_collected.add(unchanged.len() as u64);
        if !unchanged.is_empty() {
            tracing::info!(disk_id = %disk.id(), count = unchanged.len(), "orphaned shards were deleted");
        }
        Ok(CollectionReport {
            listed_count,
            deleted_count: unchanged.len(),
            next,
        })
    }
}

impl Core {
    async fn orphans(
        &self,
        shards: &[ShardStat],
        disk_id: DiskId,
        age_min: Duration,
    ) -> Result<Vec<ShardStat>, MetaError> {
        let Some(cluster) = self.meta.cluster().await? else {
            return Ok(Vec::new());
        };
        let rule = OrphanRule {
            disk_id,
            metadata_since_ms: cluster.created_at_ms,
            now_ms: self.clock.now_ms(),
            age_min_ms: u64::try_from(age_min.as_millis()).unwrap_or(u64::MAX),
        };
        let mut chunks_by_data: HashMap<DataId, Option<Vec<ChunkRecord>>> = HashMap::new();
        let mut orphans = Vec::new();
        for shard in shards {
            // Shards that would be left alone in any case are not worth asking for.
            if !rule.is_orphan(shard, None) {
                continue;
            }
            let data_id = shard.id.data_id;
            let chunks = match chunks_by_data.entry(data_id) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(unknown) => {
                    let record = self.meta.data(ids::meta_data(data_id)).await?;
                    unknown.insert(record.map(|record| record.chunks))
                }
            };
            let chunks = chunks.as_deref();
            if rule.is_orphan(shard, chunks) {
                orphans.push(shard.clone());
            }
        }
        Ok(orphans)
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
