//! Turns requests into records at their places, in order; nothing is written yet.

use crate::index::{IndexEntry, PlacedRecord, apply, remember};
use crate::local_disk::request::{Relocation, Task};
use crate::local_disk::state::count;
use crate::segment::{PreparedRecord, RecordKind, RecordStamp, SegmentClass};
use crate::{Durability, ShardError, ShardId};

use super::Writer;
use super::group::{Group, When};

/// Who wants a record written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    Request,
    Compaction,
}

impl Writer {
    /// Stages the records that a task needs, and says when it is done.
    pub(super) fn stage(&mut self, group: &mut Group, task: Task) -> Result<When, ShardError> {
        match task {
            Task::Put(record, durability) => {
                self.check_space(record.shape().record_len())?;
                let class = record.class();
                let stamp = self.next_stamp();
                self.stage_record(group, record, stamp, Origin::Request)?;
                group.put_count += 1;
                Ok(if durability == Durability::Synced {
                    When::Synced(class)
                } else {
                    When::Written
                })
            }
            Task::Delete(ids) => {
                for id in ids {
                    self.begin_call();
                    if self
                        .current(group, id)?
                        .and_then(IndexEntry::live)
                        .is_some()
                    {
                        self.stage_tombstone(group, id)?;
                        group.delete_count += 1;
                    }
                }
                Ok(When::Synced(SegmentClass::Small))
            }
            Task::Bury(id, place) => {
                if self
                    .current(group, id)?
                    .and_then(IndexEntry::live)
                    .is_some_and(|live| live.place == place)
                {
                    self.stage_tombstone(group, id)?;
                }
                Ok(When::Written)
            }
            Task::Relocate(relocations) => {
                for relocation in relocations {
                    self.begin_call();
                    self.stage_relocation(group, relocation)?;
                }
                Ok(When::Written)
            }
            Task::Sync => Ok(When::AllSynced),
            Task::Seal(_) | Task::Retire(_) | Task::Forget(_) | Task::Close => {
                unreachable!("handled by serve")
            }
        }
    }

    fn stage_tombstone(&mut self, group: &mut Group, id: ShardId) -> Result<(), ShardError> {
        let stamp = self.next_stamp();
        self.stage_record(group, PreparedRecord::tombstone(id), stamp, Origin::Request)
    }

    /// Only one thread appends and decides here, so "still needed" cannot change before the copy is in the log.
    fn stage_relocation(
        &mut self,
        group: &mut Group,
        relocation: Relocation,
    ) -> Result<(), ShardError> {
        let Relocation {
            record,
            stamp,
            from,
        } = relocation;
        let is_needed = match self.current(group, record.id())? {
            Some(IndexEntry::Live(live)) => record.kind() == RecordKind::Put && live.place == from,
            Some(IndexEntry::Dead(dead)) => {
                record.kind() == RecordKind::Tombstone && dead.tombstone == Some(from)
            }
            None => false,
        };
        if is_needed {
            count(
                &self.disk.counters.compacted_bytes,
                record.shape().record_len(),
            );
            self.stage_record(group, record, stamp, Origin::Compaction)?;
        }
        Ok(())
    }

    fn stage_record(
        &mut self,
        group: &mut Group,
        record: PreparedRecord,
        stamp: RecordStamp,
        origin: Origin,
    ) -> Result<(), ShardError> {
        let (id, kind, shape) = (record.id(), record.kind(), record.shape());
        let old = self.current(group, id)?;
        let active = self.make_room(group, record.class(), shape.record_len())?;
        let place = active.stage(record, stamp);
        let mut new = apply(
            old.as_ref(),
            &PlacedRecord {
                kind,
                place,
                stamp,
                shape,
                is_intact: true,
            },
        );
        self.update_stale(&mut new);
        if let (Origin::Request, Some(IndexEntry::Live(live))) = (origin, &old) {
            group.dead_payloads.push((live.place, live.shape));
        }
        group.changes.push((old, Some(new.clone())));
        group.entries.insert(id, Some(new));
        self.accepted += 1;
        Ok(())
    }

    /// Has an entry name those segments that exist and may hold a record which it must keep down.
    pub(super) fn update_stale(&self, entry: &mut IndexEntry) {
        if !entry.stale().is_empty() {
            let bookkeeping = self.disk.bookkeeping();
            entry
                .stale_mut()
                .retain(|segment| bookkeeping.log.stats.contains_key(segment));
        }
        // Nobody knows what is in these. They all stay until the disk is opened again, so that one of them will do.
        if let (IndexEntry::Dead(dead), Some(unread)) = (entry, self.disk.unread.first()) {
            remember(&mut dead.stale, *unread);
        }
    }

    /// The newest entry of an id, with what this group has already done to it.
    pub(super) fn current(
        &self,
        group: &Group,
        id: ShardId,
    ) -> Result<Option<IndexEntry>, ShardError> {
        match group.entries.get(&id) {
            Some(entry) => Ok(entry.clone()),
            None => self
                .disk
                .index
                .entry(id)
                .map_err(|err| self.disk.lookup_error(&err)),
        }
    }
}
