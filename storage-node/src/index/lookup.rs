//! Where one shard is: in memory, or as far as one may wait in RocksDB.

use std::sync::PoisonError;

use rocksdb::ReadOptions;

use super::rows::{decode, shard_key};
use super::{Index, IndexEntry, IndexError, LiveShard};
use crate::ShardId;

/// Memory does not have the answer, or it cannot be read: [`Index::live`] tells, on a thread that may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotCached;

impl Index {
    /// The live shard, if there is one. May wait for the disk.
    pub(crate) fn live(&self, id: ShardId) -> Result<Option<LiveShard>, IndexError> {
        Ok(self.entry(id)?.and_then(IndexEntry::live))
    }

    /// As [`Self::live`], and never waits for the disk.
    pub(crate) fn live_cached(&self, id: ShardId) -> Result<Option<LiveShard>, NotCached> {
        // What RocksDB would have to read is an error too ("incomplete"). A real one comes again from `live`.
        let entry = self
            .entry_with(id, &self.cached_reads)
            .map_err(|_| NotCached)?;
        Ok(entry.and_then(IndexEntry::live))
    }

    /// The newest entry, durable or not. May wait for the disk.
    pub(crate) fn entry(&self, id: ShardId) -> Result<Option<IndexEntry>, IndexError> {
        self.entry_with(id, &ReadOptions::default())
    }

    fn entry_with(
        &self,
        id: ShardId,
        reads: &ReadOptions,
    ) -> Result<Option<IndexEntry>, IndexError> {
        // First the pending ones: `save_pending` writes to RocksDB before it removes from there, so an entry on its way is
        // seen in at least one of the two.
        if let Some(entry) = self
            .pending
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&id)
        {
            return Ok(entry.clone());
        }
        self.saved_entry(id, reads)
    }

    fn saved_entry(
        &self,
        id: ShardId,
        reads: &ReadOptions,
    ) -> Result<Option<IndexEntry>, IndexError> {
        let Some(bytes) = self.db.get_pinned_opt(shard_key(id), reads)? else {
            return Ok(None);
        };
        decode(&bytes, "a shard").map(Some)
    }
}
