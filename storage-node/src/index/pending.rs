//! Entries that are not durable yet, and how they become so.

use std::sync::PoisonError;

use rocksdb::WriteBatch;

use super::rows::{HEADER_KEY, IndexHeader, encode, segment_key, shard_key};
use super::{Index, IndexEntry, IndexError, LogState};
use crate::segment::SegmentNumber;
use crate::{DiskId, ShardId};

impl Index {
    /// Makes entries visible that are not durable yet; `None` forgets the id.
    pub(crate) fn set_pending(
        &self,
        entries: impl IntoIterator<Item = (ShardId, Option<IndexEntry>)>,
    ) {
        self.pending
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(entries);
    }

    pub(crate) fn pending_count(&self) -> usize {
        self.pending
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .len()
    }

    /// Moves all pending entries to RocksDB, with the statistics that belong to them: those of `touched`, which are removed
    /// where `state` has none. May wait for the disk.
    ///
    /// Only the one who calls `set_pending` may call this, and only when all records behind the entries are
    /// synced: it relies on nothing being added meanwhile.
    pub(crate) fn save_pending(
        &self,
        disk_id: DiskId,
        state: &LogState,
        touched: &[SegmentNumber],
    ) -> Result<(), IndexError> {
        let mut batch = WriteBatch::default();
        {
            let pending = self.pending.read().unwrap_or_else(PoisonError::into_inner);
            for (id, entry) in pending.iter() {
                match entry {
                    Some(entry) => batch.put(shard_key(*id), encode(entry)?),
                    None => batch.delete(shard_key(*id)),
                }
            }
        }
        for number in touched {
            match state.stats.get(number) {
                Some(segment) => batch.put(segment_key(*number), encode(segment)?),
                None => batch.delete(segment_key(*number)),
            }
        }
        batch.put(HEADER_KEY, encode(&IndexHeader::new(disk_id, state))?);
        self.db.write_opt(batch, &self.writes)?;
        self.pending
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
        Ok(())
    }

    pub(super) fn save_header(&self, disk_id: DiskId, state: &LogState) -> Result<(), IndexError> {
        let mut batch = WriteBatch::default();
        batch.put(HEADER_KEY, encode(&IndexHeader::new(disk_id, state))?);
        Ok(self.db.write_opt(batch, &self.writes)?)
    }

    /// Rows written since the index exists.
    #[cfg(test)]
    pub(crate) fn written_count(&self) -> u64 {
        self.db.latest_sequence_number()
    }

    /// Writes everything to RocksDB's files, so that the next open has nothing to replay.
    pub(crate) fn flush(&self) -> Result<(), IndexError> {
        Ok(self.db.flush()?)
    }
}
