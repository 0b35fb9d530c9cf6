//! Writes a group, makes it visible, has it synced, and answers.

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
    pub(super) fn commit(&mut self, group: Group) {
        let Group {
            mut waiting,
            entries,
            changes,
            dead_payloads,
        } = group;
        if let Err(err) = self.disk.check_alive().and_then(|()| self.write_staged()) {
            for (request, _) in waiting {
                answer(request.reply, Err(err.clone()));
            }
            return;
        }
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
        if result.is_ok() && !self.active.values().any(ActiveSegment::is_dirty) {
            self.save();
        }
    }

    /// Nothing of the group stays staged, whatever happens: what fails is never written later.
    fn write_staged(&mut self) -> Result<(), ShardError> {
        let mut result = Ok(());
        for active in self.active.values_mut() {
            match active.write_staged() {
                Ok(written) => {
                    self.unsynced_bytes += written;
                    count(&self.disk.counters.bytes_written, written);
                }
                Err(err) => {
                    result = Err(write_error(&self.disk, "writing", &err));
                    if !self.disk.has_failed()
                        && let Err(err) = active.cut_to_tail()
                    {
                        result = Err(self
                            .disk
                            .fail_writes(format!("cutting off a failed write: {err}")));
                    }
                }
            }
        }
        result
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
