//! What compaction needs besides copying: sealing, removing and forgetting segments.

use std::collections::HashMap;

use crate::index::IndexEntry;
use crate::local_disk::request::Task;
use crate::segment::SegmentNumber;
use crate::{ShardError, ShardId, durable_file};

use super::Writer;
use super::group::Group;

impl Writer {
    /// What compaction needs besides copying.
    pub(super) fn maintain(&mut self, task: Task) -> Result<(), ShardError> {
        self.disk.check_alive()?;
        match task {
            Task::Seal(number) => {
                let class = self
                    .active
                    .values()
                    .find(|active| active.segment.number == number)
                    .map(|active| active.class);
                class.map_or(Ok(()), |class| self.seal(class))
            }
            Task::Retire(number) => self.retire(number),
            Task::Forget(ids) => self.forget(&ids),
            Task::Put(..)
            | Task::Delete(_)
            | Task::Bury(..)
            | Task::Sync
            | Task::Relocate(_)
            | Task::Close => {
                unreachable!("not maintenance")
            }
        }
    }

    /// Removes a segment's file: the copies of its records are synced, and the index points to them, before.
    fn retire(&mut self, number: SegmentNumber) -> Result<(), ShardError> {
        self.sync_all()?;
        let stats = self.disk.bookkeeping().log.stats.get(&number).copied();
        let is_open = self
            .active
            .values()
            .any(|active| active.segment.number == number);
        if is_open || stats.is_none_or(|stats| stats.live_count > 0) {
            tracing::warn!(segment = %number.file_name(), "segment is still in use and was not removed");
            return Ok(());
        }
        self.flush_death_of(number)?;
        self.disk.check_in_place()?;
        let path = self.disk.segments.path(number);
        // Nothing is read from it any more, and the rest can be read as before.
        durable_file::ensure_removed(&path)
            .map_err(|err| self.write_error(&format!("removing {}", path.display()), &err))?;
        self.disk.segments.forget(number);
        let mut bookkeeping = self.disk.bookkeeping();
        bookkeeping.log.stats.remove(&number);
        bookkeeping.touched.insert(number);
        Ok(())
    }

    /// Has the index's files know that a segment has no live shards, before its own file goes.
    ///
    /// What was saved since the index was flushed last is lost by a crash and replayed from the segments. Only deletes whose
    /// tombstones are gone by then cannot be: the index would speak of live shards in a segment that is not there, and be
    /// rebuilt. One flush serves all segments that are dead by then, and no closed segment lives again; only those with
    /// tombstones that were forgotten since need another.
    fn flush_death_of(&mut self, number: SegmentNumber) -> Result<(), ShardError> {
        if self.dead_segments.remove(&number) {
            return Ok(());
        }
        self.begin_call();
        self.disk
            .index
            .flush()
            .map_err(|err| self.disk.flush_error(&err))?;
        let bookkeeping = self.disk.bookkeeping();
        let closed = bookkeeping
            .log
            .stats
            .iter()
            .filter(|(other, _)| **other != number && !bookkeeping.active.contains(other));
        self.dead_segments = closed
            .filter(|(_, stats)| stats.live_count == 0)
            .map(|(other, _)| *other)
            .collect();
        Ok(())
    }

    /// Drops the memory of deleted shards of which no record is left that a tombstone must keep down.
    ///
    /// Runs after the segment is gone, so that a crash in between leaves a tombstone too many, never one too few. If it went
    /// with that segment, nothing leads here again: such an entry, of some 60 bytes, stays until the shard is written again
    /// or the index is made anew. It changes no answer, since all that it speaks of is gone. To find it, every start after a
    /// crash would have to read the whole index.
    fn forget(&mut self, ids: &[ShardId]) -> Result<(), ShardError> {
        let group = Group::default();
        let mut entries = HashMap::new();
        let mut changes = Vec::new();
        for id in ids {
            self.begin_call();
            // Twice in a segment, twice in the list: its tombstone counts once.
            if entries.contains_key(id) {
                continue;
            }
            let Some(old @ IndexEntry::Dead(_)) = self.current(&group, *id)? else {
                continue;
            };
            let mut new = old.clone();
            self.update_stale(&mut new);
            let new = (!new.stale().is_empty()).then_some(new);
            if let (None, Some(tombstone)) = (&new, old.place()) {
                // The index's files must learn it before the tombstone goes: after that nothing names the id any more.
                self.dead_segments.remove(&tombstone.segment);
            }
            entries.insert(*id, new.clone());
            changes.push((Some(old), new));
        }
        self.publish(entries, &changes);
        Ok(())
    }
}
