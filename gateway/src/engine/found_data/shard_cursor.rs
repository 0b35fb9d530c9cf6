//! The shards of one disk with their descriptors, in the order of their names.

use std::collections::VecDeque;
use std::sync::Arc;

use cairn_storage_node::{DiskId, ShardError, ShardId, ShardStat, ShardStore};
use futures_util::{StreamExt, TryStreamExt, stream};

/// Shards listed at once; their descriptors, 200 bytes mostly and 64 KiB at most, are in memory together.
const PAGE: usize = 256;
/// Descriptors read at once from one disk.
const STATS_IN_FLIGHT: usize = 8;

/// Which shards are walked over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Selection {
    /// All.
    All,
    /// Those without bytes: of empty objects and of attestations.
    Empty,
}

/// A place in the list of a disk's shards.
#[derive(Debug)]
pub(super) struct ShardCursor {
    disk: Arc<dyn ShardStore>,
    selection: Selection,
    page: VecDeque<ShardStat>,
    after: Option<ShardId>,
    is_listed: bool,
    seen_count: u64,
    damaged_count: u64,
}

impl ShardCursor {
    pub(super) fn new(disk: Arc<dyn ShardStore>, selection: Selection) -> Self {
        Self {
            disk,
            selection,
            page: VecDeque::new(),
            after: None,
            is_listed: false,
            seen_count: 0,
            damaged_count: 0,
        }
    }

    pub(super) fn disk_id(&self) -> DiskId {
        self.disk.disk_id()
    }

    pub(super) fn seen_count(&self) -> u64 {
        self.seen_count
    }

    pub(super) fn damaged_count(&self) -> u64 {
        self.damaged_count
    }

    /// The name of the next shard.
    pub(super) async fn peek(&mut self) -> Result<Option<ShardId>, ShardError> {
        while self.page.is_empty() && !self.is_listed {
            self.fill().await?;
        }
        Ok(self.page.front().map(|shard| shard.id))
    }

    /// The shard that was peeked at.
    pub(super) fn pop(&mut self) -> Option<ShardStat> {
        self.page.pop_front()
    }

    async fn fill(&mut self) -> Result<(), ShardError> {
        let listed = self.disk.list(self.after, PAGE).await?;
        self.is_listed = !listed.is_truncated;
        self.after = listed.shards.last().map(|shard| shard.id).or(self.after);
        self.seen_count += listed.shards.len() as u64;
        let is_selected = |shard: &ShardStat| match self.selection {
            Selection::All => true,
            Selection::Empty => shard.size_bytes == 0,
        };
        let disk = &self.disk;
        let looks: Vec<Result<Option<ShardStat>, ShardError>> =
            stream::iter(listed.shards.into_iter().filter(is_selected))
                .map(|shard| disk.stat(shard.id))
                .buffered(STATS_IN_FLIGHT)
                .map(|look| match look {
                    Err(error @ ShardError::Corrupt { .. }) => Ok(Err(error)),
                    Err(error) => Err(error),
                    Ok(stat) => Ok(Ok(stat)),
                })
                .try_collect()
                .await?;
        for look in looks {
            match look {
                Ok(stat) => self.page.extend(stat),
                Err(error) => {
                    tracing::warn!(%error, "a shard's record cannot be read; going on without it");
                    self.damaged_count += 1;
                }
            }
        }
        Ok(())
    }
}
