//! Writes a group, makes it visible, has it synced, and answers; has the disk begin with what is not synced yet.

use std::collections::HashMap;

use crate::index::{IndexEntry, account};
use crate::local_disk::active_segment::ActiveSegment;
use crate::local_disk::state::count;
use crate::{ShardError, ShardId};

use super::Writer;
use super::free_space::write_error;
use super::group::{Group, When, answer};
use super::sync::{UNSAVED_ENTRIES_MAX, UNSYNCED_BYTES_MAX};

impl Writer {
    /// Writes, publishes, syncs and answers a group.
    ///
    /// An error means that nothing of it is in the log, or that the disk failed: in both cases nothing that goes on
    /// from it may be written.
    pub(super) fn commit(&mut self, group: Group) -> Result<(), ShardError> {
        let Group {
            mut waiting,
            entries,
            changes,
            dead_payloads,
            put_count,
            delete_count,
        } = group;
        if let Err(err) = self.write_staged() {
            for (request, _) in waiting {
                answer(request.reply, Err(err.clone()));
            }
            return Err(err);
        }
        count(&self.disk.counters.put_count, put_count);
        count(&self.disk.counters.delete_count, delete_count);
        self.publish(entries, &changes);
        self.dead_payloads.extend(dead_payloads);
        let ticket = self.ticket();
        let is_overdue = self.unsynced_bytes >= UNSYNCED_BYTES_MAX
            || self.disk.index.pending_count() >= UNSAVED_ENTRIES_MAX;
        let result = self.sync_for(&waiting, is_overdue);
        for (request, when) in waiting.drain(..) {
            let result = if when == When::Written {
                self.disk.check_alive()
            } else {
                result.clone()
            };
            answer(request.reply, result.map(|()| ticket));
        }
        result?;
        self.start_writeback()?;
        if !self.active.values().any(ActiveSegment::is_dirty) {
            // What the index has no room for stays pending; the group is in the log.
            drop(self.save());
        }
        self.disk.check_alive()
    }

    /// Writes all of the group or nothing of it: its records go to the present end of each class, so what reached the
    /// files before a write failed is cut off again. A refused record that stayed in the log would be there after the
    /// index was rebuilt.
    fn write_staged(&mut self) -> Result<(), ShardError> {
        self.begin_call();
        let written = self.disk.check_alive().and_then(|()| {
            self.active
                .values_mut()
                .try_for_each(ActiveSegment::write_staged)
                .map_err(|err| write_error(&self.disk, "writing", &err))
        });
        if let Err(refused) = written {
            return Err(self.cut_staged().err().unwrap_or(refused));
        }
        for active in self.active.values_mut() {
            let written = active.accept_staged();
            self.unsynced_bytes += written;
            count(&self.disk.counters.bytes_written, written);
        }
        Ok(())
    }

    /// Nothing of the group stays staged, whatever happens: what fails is never written later.
    fn cut_staged(&mut self) -> Result<(), ShardError> {
        if self.disk.has_failed() {
            self.active
                .values_mut()
                .for_each(ActiveSegment::drop_staged);
            return Ok(());
        }
        self.active
            .values_mut()
            .try_for_each(ActiveSegment::cut_staged)
            .map_err(|err| {
                self.disk
                    .fail_writes(format!("cutting off a failed write: {err}"))
            })
    }

    /// Makes a group's records visible.
    pub(super) fn publish(
        &mut self,
        entries: HashMap<ShardId, Option<IndexEntry>>,
        changes: &[(Option<IndexEntry>, Option<IndexEntry>)],
    ) {
        let mut bookkeeping = self.disk.bookkeeping();
        let bookkeeping = &mut *bookkeeping;
        for (old, new) in changes {
            account(&mut bookkeeping.log.stats, old.as_ref(), new.as_ref());
            let places = [old, new]
                .into_iter()
                .flatten()
                .filter_map(IndexEntry::place);
            bookkeeping
                .touched
                .extend(places.map(|place| place.segment));
        }
        for active in self.active.values() {
            if let Some(stats) = bookkeeping.log.stats.get_mut(&active.segment.number)
                && stats.tail != active.tail()
            {
                stats.tail = active.tail();
                bookkeeping.touched.insert(active.segment.number);
            }
        }
        self.disk.index.set_pending(entries);
    }
}
