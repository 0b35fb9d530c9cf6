//! Makes what was written durable, and then tells the index.

use std::sync::atomic::Ordering;
use std::time::Instant;

use crate::ShardError;
use crate::local_disk::active_segment::ActiveSegment;
use crate::local_disk::request::Request;
use crate::local_disk::state::{DiskState, count};
use crate::segment::{SegmentClass, SegmentFile, SegmentNumber};

use super::Writer;
use super::free_space::CHECK_INTERVAL;
use super::group::When;

/// Buffered writes are synced at the latest when so much waits: it bounds what the index keeps in memory, what a
/// restart replays, and how long the next sync takes.
pub(super) const UNSYNCED_BYTES_MAX: u64 = 64 << 20;
pub(super) const UNSAVED_ENTRIES_MAX: usize = 4096;

/// So many entries wait in memory, where they take 10 MiB, until the index has room for them. Then the disk takes no writes
/// until it is opened again.
const UNSAVED_WITHOUT_ROOM_MAX: usize = 1 << 16;

impl Writer {
    /// Syncs what the waiting requests need.
    pub(super) fn sync_for(
        &mut self,
        waiting: &[(Request, When)],
        is_overdue: bool,
    ) -> Result<(), ShardError> {
        let needs_all = is_overdue || waiting.iter().any(|(_, when)| *when == When::AllSynced);
        let classes: Vec<SegmentClass> = self
            .active
            .values()
            .filter(|active| active.is_dirty())
            .map(|active| active.class)
            .filter(|class| {
                needs_all
                    || waiting
                        .iter()
                        .any(|(_, when)| *when == When::Synced(*class))
            })
            .collect();
        for class in classes {
            self.sync_class(class)?;
        }
        if !self.active.values().any(ActiveSegment::is_dirty) {
            self.unsynced_bytes = 0;
            self.disk
                .synced_position
                .store(self.accepted, Ordering::Release);
        }
        Ok(())
    }

    /// Has the disk begin with what is not synced yet.
    pub(super) fn start_writeback(&mut self) -> Result<(), ShardError> {
        self.begin_call();
        for active in self.active.values_mut() {
            active.start_writeback().map_err(|err| {
                let name = active.segment.number.file_name();
                self.disk
                    .fail_writes(format!("writing segment {name} ahead of its sync: {err}"))
            })?;
        }
        Ok(())
    }

    pub(super) fn sync_class(&mut self, class: SegmentClass) -> Result<(), ShardError> {
        let Some(active) = self.active.get_mut(&class) else {
            return Ok(());
        };
        let name = active.segment.number.file_name();
        self.call = Some(self.disk.open_calls.begin());
        active.sync().map_err(|err| {
            self.disk
                .fail_writes(format!("syncing segment {name}: {err}"))
        })?;
        count(&self.disk.counters.sync_count, 1);
        self.disk
            .bookkeeping()
            .synced_tails
            .insert(active.segment.number, active.tail());
        check_linked(&self.disk, &active.segment)
    }

    /// Saves the index. All records behind it are synced: the caller made sure.
    ///
    /// Where the index has no room, what it should learn stays pending and is offered again once a second: RocksDB takes it
    /// when it has found some. Deletes, which make room, go on meanwhile.
    pub(super) fn save(&mut self) -> Result<(), ShardError> {
        if !self.has_unsaved() {
            return Ok(());
        }
        if self
            .save_refused_at
            .is_some_and(|at| at.elapsed() < CHECK_INTERVAL)
        {
            return Err(self.disk.full_error());
        }
        let (log, touched) = {
            let mut bookkeeping = self.disk.bookkeeping();
            bookkeeping.log.next_lsn = self.next_lsn;
            let touched: Vec<SegmentNumber> = std::mem::take(&mut bookkeeping.touched)
                .into_iter()
                .collect();
            (bookkeeping.log.of_segments(&touched), touched)
        };
        self.begin_call();
        // RocksDB may wait for the disk here. What compaction changes meanwhile is in the next save.
        let saved = self
            .disk
            .index
            .save_pending(self.disk.disk_id(), &log, &touched);
        self.disk
            .bookkeeping()
            .dead_payloads
            .append(&mut self.dead_payloads);
        let (disk_id, path) = (self.disk.disk_id(), self.disk.options.path.display());
        match saved {
            Ok(()) => {
                if self.save_refused_at.take().is_some() {
                    tracing::info!(%disk_id, %path, "the index of a disk has room again");
                }
                Ok(())
            }
            Err(err)
                if err.waits_for_room()
                    && self.disk.index.pending_count() < UNSAVED_WITHOUT_ROOM_MAX =>
            {
                self.disk.bookkeeping().touched.extend(touched);
                if self.save_refused_at.replace(Instant::now()).is_none() {
                    tracing::warn!(%disk_id, %path, "the index of a disk has no room");
                }
                Err(self.disk.filled_up())
            }
            Err(err) => Err(self.disk.fail_index(&err)),
        }
    }

    pub(super) fn has_unsaved(&self) -> bool {
        self.active.values().any(ActiveSegment::is_dirty)
            || self.disk.index.pending_count() > 0
            || !self.disk.bookkeeping().touched.is_empty()
    }

    pub(super) fn sync_all(&mut self) -> Result<(), ShardError> {
        self.sync_for(&[], true)?;
        self.save()?;
        self.disk.check_alive()
    }
}

/// A file without a name is gone when it is closed: what was just synced must not be acknowledged.
pub(super) fn check_linked(disk: &DiskState, segment: &SegmentFile) -> Result<(), ShardError> {
    let name = segment.number.file_name();
    match segment.is_unlinked() {
        Ok(false) => Ok(()),
        Ok(true) => Err(disk.fail(format!(
            "segment {name} was removed from the disk's directory"
        ))),
        Err(err) => Err(disk.fail(format!("looking at segment {name}: {err}"))),
    }
}
