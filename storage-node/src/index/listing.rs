//! The shards of a disk in the order of their ids: what is pending and what is in RocksDB, merged.

use std::ops::Bound;
use std::sync::PoisonError;

use rocksdb::{Direction, IteratorMode, ReadOptions};

use super::rows::{SHARD_PREFIX, decode};
use super::{Index, IndexEntry, IndexError, LiveShard};
use crate::ShardId;

impl Index {
    /// Up to `limit` live shards after `after`, in id order. May wait for the disk.
    pub(crate) fn live_after(
        &self,
        after: Option<ShardId>,
        limit: usize,
    ) -> Result<Vec<(ShardId, LiveShard)>, IndexError> {
        let lower = after.map_or(Bound::Unbounded, Bound::Excluded);
        // Same order as in `Index::entry`, for the same reason.
        let pending: Vec<(ShardId, Option<IndexEntry>)> = {
            let pending = self.pending.read().unwrap_or_else(PoisonError::into_inner);
            pending
                .range((lower, Bound::Unbounded))
                .map(|(id, entry)| (*id, entry.clone()))
                .collect()
        };
        let mut pending = pending.into_iter().peekable();
        let mut saved = self.saved_after(after).peekable();
        let mut page = Vec::new();
        while page.len() < limit {
            let saved_id = match saved.peek() {
                Some(Ok((id, _))) => Some(*id),
                Some(Err(err)) => return Err(err.clone()),
                None => None,
            };
            let pending_id = pending.peek().map(|(id, _)| *id);
            let (id, entry) = match (saved_id, pending_id) {
                (None, None) => break,
                (Some(saved_id), Some(pending_id)) if saved_id < pending_id => match saved.next() {
                    Some(row) => row.map(|(id, entry)| (id, Some(entry)))?,
                    None => break,
                },
                (Some(_), None) => match saved.next() {
                    Some(row) => row.map(|(id, entry)| (id, Some(entry)))?,
                    None => break,
                },
                (_, Some(pending_id)) => {
                    if saved_id == Some(pending_id) {
                        saved.next();
                    }
                    match pending.next() {
                        Some(row) => row,
                        None => break,
                    }
                }
            };
            if let Some(live) = entry.and_then(IndexEntry::live) {
                page.push((id, live));
            }
        }
        Ok(page)
    }

    fn saved_after(
        &self,
        after: Option<ShardId>,
    ) -> impl Iterator<Item = Result<(ShardId, IndexEntry), IndexError>> {
        let mut start = vec![SHARD_PREFIX];
        if let Some(after) = after {
            start.extend_from_slice(&after.to_bytes());
            // The next possible key: the same one with a zero byte behind it.
            start.push(0);
        }
        let mut reads = ReadOptions::default();
        reads.set_iterate_upper_bound(vec![SHARD_PREFIX + 1]);
        self.db
            .iterator_opt(IteratorMode::From(&start, Direction::Forward), reads)
            .map(|row| {
                let (key, value) = row?;
                let id = key
                    .get(1..)
                    .and_then(ShardId::from_bytes)
                    .ok_or(IndexError::Value("a shard key"))?;
                Ok((id, decode(&value, "a shard")?))
            })
    }
}
