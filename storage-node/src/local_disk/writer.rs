//! The one thread that changes a disk: appends records, syncs them, and tells the index.
//!
//! It takes all requests that wait (a *group*), writes their records with few calls, syncs once for all that
//! asked for it, and answers. The order is what durability rests on:
//! 1. records written → visible to readers (the index's pending entries);
//! 2. segment synced → answered;
//! 3. *all* written segments synced → entries and tails saved to RocksDB in one batch. Were entries of one
//!    segment saved while another is not synced, a crash could lose a record that had replaced a durable one.
//! 4. entries saved → payloads that were replaced or deleted may be punched out.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::active_segment::ActiveSegment;
use super::request::{Relocation, Reply, Request, Task};
use super::space::FREE_BYTES_MIN;
use super::state::{DiskState, count};
use crate::index::{IndexEntry, PlacedRecord, SegmentStats, account, apply};
use crate::segment::{
    FIRST_RECORD_OFFSET, Place, PreparedRecord, RecordKind, RecordShape, RecordStamp, SegmentClass,
    SegmentHeader, SegmentNumber,
};
use crate::{Durability, ShardError, ShardId, WriteTicket, durable_file};

/// A group takes no more requests than this, so that the first one is not kept waiting for ever.
const GROUP_COUNT_MAX: usize = 1024;

/// Nor more bytes: at 300 MiB/s this is 50 ms.
const GROUP_BYTES_MAX: u64 = 16 << 20;

/// Buffered writes are synced at the latest when so much waits: it bounds what the index keeps in memory, what a
/// restart replays, and how long the next sync takes.
const UNSYNCED_BYTES_MAX: u64 = 64 << 20;
const UNSAVED_ENTRIES_MAX: usize = 4096;

/// Buffered writes are synced at the latest when the disk was idle for so long.
const IDLE_SYNC_AFTER: Duration = Duration::from_millis(100);

/// How often the writer looks whether the directory is still there and how much space is left.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Zeros are written after groups of at most this size; larger ones mean that there is better to do, and
/// amortize the journal commit anyway.
const QUIET_GROUP_COUNT: usize = 4;

#[derive(Debug)]
pub(super) struct Writer {
    disk: Arc<DiskState>,
    active: BTreeMap<SegmentClass, ActiveSegment>,
    next_lsn: u64,
    /// Position of the last accepted write; see `WriteTicket`.
    accepted: u64,
    unsynced_bytes: u64,
    /// Became garbage; punched once the index is saved.
    dead_payloads: Vec<(Place, RecordShape)>,
    free_bytes: u64,
    checked_at: Option<Instant>,
}

/// What one round of the writer does.
#[derive(Debug, Default)]
struct Group {
    waiting: Vec<(Request, When)>,
    /// The newest entry of each id that the group touches, not yet visible to others.
    entries: HashMap<ShardId, Option<IndexEntry>>,
    changes: Vec<(Option<IndexEntry>, Option<IndexEntry>)>,
    dead_payloads: Vec<(Place, RecordShape)>,
}

/// What the writer does after a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Continue,
    Close,
}

/// When a request may be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    /// The records are readable.
    Written,
    /// The segment of this class is synced.
    Synced(SegmentClass),
    /// Everything is.
    AllSynced,
}

impl Writer {
    pub(super) fn new(
        disk: Arc<DiskState>,
        active: BTreeMap<SegmentClass, ActiveSegment>,
        next_lsn: u64,
    ) -> Self {
        Self {
            disk,
            active,
            next_lsn,
            accepted: 0,
            unsynced_bytes: 0,
            dead_payloads: Vec::new(),
            free_bytes: 0,
            checked_at: None,
        }
    }

    /// Serves requests until asked to close, or until nobody can ask any more. Returns how closing went.
    pub(super) fn run(mut self, requests: &Receiver<Request>) -> Result<(), ShardError> {
        loop {
            self.check_disk();
            let idle_after = if self.has_unsaved() {
                IDLE_SYNC_AFTER
            } else {
                CHECK_INTERVAL
            };
            match requests.recv_timeout(idle_after) {
                Ok(first) => {
                    let group = collect_group(first, requests);
                    if self.serve(group) == Next::Close {
                        return self.close();
                    }
                }
                Err(RecvTimeoutError::Timeout) => self.idle(),
                Err(RecvTimeoutError::Disconnected) => return self.close(),
            }
        }
    }

    /// Executes requests in order.
    fn serve(&mut self, requests: Vec<Request>) -> Next {
        let is_quiet = requests.len() <= QUIET_GROUP_COUNT;
        let mut group = Group::default();
        for mut request in requests {
            if matches!(request.task, Task::Close) {
                self.commit(group);
                return Next::Close;
            }
            if let Err(err) = self.disk.check_alive() {
                answer(request.reply, Err(err));
                continue;
            }
            match std::mem::replace(&mut request.task, Task::Sync) {
                task @ (Task::Seal(_) | Task::Retire(_) | Task::Forget(_)) => {
                    self.commit(std::mem::take(&mut group));
                    let result = self.maintain(task);
                    answer(request.reply, result.map(|()| self.ticket()));
                }
                task => match self.stage(&mut group, task) {
                    Ok(when) => group.waiting.push((request, when)),
                    Err(err) => answer(request.reply, Err(err)),
                },
            }
        }
        self.commit(group);
        if is_quiet {
            self.zero_ahead();
        }
        Next::Continue
    }

    /// Stages the records that a task needs, and says when it is done.
    fn stage(&mut self, group: &mut Group, task: Task) -> Result<When, ShardError> {
        match task {
            Task::Put(record, durability) => {
                self.check_space(record.shape().record_len())?;
                let class = record.class();
                let stamp = self.next_stamp();
                self.stage_record(group, record, stamp, Origin::Request)?;
                count(&self.disk.counters.put_count, 1);
                Ok(if durability == Durability::Synced {
                    When::Synced(class)
                } else {
                    When::Written
                })
            }
            Task::Delete(ids) => {
                for id in ids {
                    if self
                        .current(group, id)?
                        .and_then(IndexEntry::live)
                        .is_some()
                    {
                        self.stage_tombstone(group, id)?;
                    }
                    count(&self.disk.counters.delete_count, 1);
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
        let active = self.make_room(record.class(), shape.record_len())?;
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
        if !new.stale().is_empty() {
            let bookkeeping = self.disk.bookkeeping();
            new.stale_mut()
                .retain(|segment| bookkeeping.saved.stats.contains_key(segment));
        }
        if let (Origin::Request, Some(IndexEntry::Live(live))) = (origin, &old) {
            group.dead_payloads.push((live.place, live.shape));
        }
        group.changes.push((old, Some(new.clone())));
        group.entries.insert(id, Some(new));
        self.accepted += 1;
        Ok(())
    }

    /// The newest entry of an id, with what this group has already done to it.
    fn current(&self, group: &Group, id: ShardId) -> Result<Option<IndexEntry>, ShardError> {
        match group.entries.get(&id) {
            Some(entry) => Ok(entry.clone()),
            None => self
                .disk
                .index
                .entry(id)
                .map_err(|err| self.disk.fail_index(&err)),
        }
    }

    /// The open segment of a class, with space for a record; closes the present one if the record does not fit.
    fn make_room(
        &mut self,
        class: SegmentClass,
        record_len: u64,
    ) -> Result<&mut ActiveSegment, ShardError> {
        if self
            .active
            .get(&class)
            .is_some_and(|active| !active.has_room_for(record_len))
        {
            self.seal(class)?;
        }
        if !self.active.contains_key(&class) {
            let created = self
                .create_segment(class)
                .map_err(|err| self.write_error("creating a segment", &err))?;
            self.active.insert(class, created);
        }
        let disk = Arc::clone(&self.disk);
        let Some(active) = self.active.get_mut(&class) else {
            unreachable!("inserted just above")
        };
        match active.allocate_for(record_len) {
            Ok(()) => Ok(active),
            Err(err) => Err(write_error(&disk, "allocating space", &err)),
        }
    }

    /// The file and its name are durable before anything is appended, hence before anything is acknowledged.
    fn create_segment(&self, class: SegmentClass) -> io::Result<ActiveSegment> {
        let number = SegmentNumber(self.disk.bookkeeping().saved.next_segment);
        let header = SegmentHeader {
            class,
            disk_id: self.disk.disk_id(),
            number,
            created_at_ms: self.disk.options.clock.now_ms(),
        };
        let path = self.disk.segments.path(number);
        if path.exists() {
            // Left by an attempt that failed before the number was taken: it cannot hold anything acknowledged.
            durable_file::remove_file(&path)?;
        }
        let header = Bytes::copy_from_slice(&header.encode());
        let segment = self.disk.segments.create(number, header)?;
        let mut bookkeeping = self.disk.bookkeeping();
        bookkeeping.saved.next_segment = number.next().0;
        bookkeeping
            .saved
            .stats
            .insert(number, SegmentStats::new(class, FIRST_RECORD_OFFSET));
        bookkeeping.touched.insert(number);
        bookkeeping.active.insert(number);
        bookkeeping.synced_tails.insert(number, FIRST_RECORD_OFFSET);
        Ok(ActiveSegment::new(
            segment,
            class,
            FIRST_RECORD_OFFSET,
            self.disk.options.segment_size_bytes,
        ))
    }

    /// Closes the open segment of a class. It is synced first: recovery relies on every segment but the last of
    /// its class being whole.
    fn seal(&mut self, class: SegmentClass) -> Result<(), ShardError> {
        let Some(mut active) = self.active.remove(&class) else {
            return Ok(());
        };
        let number = active.segment.number;
        // Even a full disk ends it here: the group that these records belong to can no longer be written whole.
        let written = active.write_staged().map_err(|err| {
            self.disk
                .fail_writes(format!("writing {}: {err}", number.file_name()))
        })?;
        count(&self.disk.counters.bytes_written, written);
        let tail = active.tail();
        active.seal().map_err(|err| {
            self.disk
                .fail_writes(format!("syncing segment {}: {err}", number.file_name()))
        })?;
        count(&self.disk.counters.sync_count, 1);
        let mut bookkeeping = self.disk.bookkeeping();
        bookkeeping.active.remove(&number);
        bookkeeping.synced_tails.remove(&number);
        bookkeeping.touched.insert(number);
        if let Some(stats) = bookkeeping.saved.stats.get_mut(&number) {
            stats.tail = tail;
        }
        Ok(())
    }

    /// Writes, publishes, syncs and answers a group.
    fn commit(&mut self, group: Group) {
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
    fn publish(
        &mut self,
        entries: HashMap<ShardId, Option<IndexEntry>>,
        changes: &[(Option<IndexEntry>, Option<IndexEntry>)],
    ) {
        let mut bookkeeping = self.disk.bookkeeping();
        let bookkeeping = &mut *bookkeeping;
        for (old, new) in changes {
            account(&mut bookkeeping.saved.stats, old.as_ref(), new.as_ref());
            let places = [old, new]
                .into_iter()
                .flatten()
                .filter_map(IndexEntry::place);
            bookkeeping
                .touched
                .extend(places.map(|place| place.segment));
        }
        for active in self.active.values() {
            if let Some(stats) = bookkeeping.saved.stats.get_mut(&active.segment.number)
                && stats.tail != active.tail()
            {
                stats.tail = active.tail();
                bookkeeping.touched.insert(active.segment.number);
            }
        }
        self.disk.index.set_pending(entries);
    }

    /// Syncs what the waiting requests need.
    fn sync_for(
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

    fn sync_class(&mut self, class: SegmentClass) -> Result<(), ShardError> {
        let Some(active) = self.active.get_mut(&class) else {
            return Ok(());
        };
        let name = active.segment.number.file_name();
        active.sync().map_err(|err| {
            self.disk
                .fail_writes(format!("syncing segment {name}: {err}"))
        })?;
        count(&self.disk.counters.sync_count, 1);
        self.disk
            .bookkeeping()
            .synced_tails
            .insert(active.segment.number, active.tail());
        // A file without a name is gone when it is closed: what was just synced must not be acknowledged.
        match active.segment.is_unlinked() {
            Ok(false) => Ok(()),
            Ok(true) => Err(self.disk.fail(format!(
                "segment {name} was removed from the disk's directory"
            ))),
            Err(err) => Err(self.disk.fail(format!("looking at segment {name}: {err}"))),
        }
    }

    /// Saves the index. All records behind it are synced: the caller made sure.
    fn save(&mut self) {
        if !self.has_unsaved() {
            return;
        }
        let mut bookkeeping = self.disk.bookkeeping();
        bookkeeping.saved.next_lsn = self.next_lsn;
        let touched: Vec<SegmentNumber> = std::mem::take(&mut bookkeeping.touched)
            .into_iter()
            .collect();
        let saved = self
            .disk
            .index
            .save_pending(self.disk.disk_id(), &bookkeeping.saved, &touched);
        bookkeeping.dead_payloads.append(&mut self.dead_payloads);
        drop(bookkeeping);
        if let Err(err) = saved {
            self.disk.fail_index(&err);
        }
    }

    fn has_unsaved(&self) -> bool {
        self.active.values().any(ActiveSegment::is_dirty)
            || self.disk.index.pending_count() > 0
            || !self.disk.bookkeeping().touched.is_empty()
    }

    fn sync_all(&mut self) -> Result<(), ShardError> {
        self.sync_for(&[], true)?;
        self.save();
        self.disk.check_alive()
    }

    /// Nothing was asked for a while.
    fn idle(&mut self) {
        if self.disk.has_failed() || self.sync_all().is_err() {
            return;
        }
        if self
            .active
            .get(&SegmentClass::Small)
            .is_some_and(ActiveSegment::wants_zeros)
        {
            self.zero_ahead();
            // An error has been noted where it happened.
            drop(self.sync_for(&[], true));
        }
    }

    fn zero_ahead(&mut self) {
        if self.disk.has_failed() || self.free_bytes < FREE_BYTES_MIN {
            return;
        }
        let Some(active) = self
            .active
            .get_mut(&SegmentClass::Small)
            .filter(|active| active.wants_zeros())
        else {
            return;
        };
        if let Err(err) = active.zero_ahead() {
            write_error(&self.disk, "zeroing ahead", &err);
        }
    }

    /// Once in a while: is the directory still there, how much space is left.
    fn check_disk(&mut self) {
        if self.disk.has_failed()
            || self
                .checked_at
                .is_some_and(|at| at.elapsed() < CHECK_INTERVAL)
        {
            return;
        }
        self.checked_at = Some(Instant::now());
        if let Err(reason) = self.disk.identity.check_in_place() {
            self.disk.fail(reason);
            return;
        }
        self.disk.is_full.store(false, Ordering::Relaxed);
        self.measure_space();
    }

    fn measure_space(&mut self) {
        // An error has been noted by `space`, and every request is refused from now on.
        self.free_bytes = self.disk.space().map_or(0, |space| space.free_bytes);
    }

    /// Refuses a put that would take from the reserve.
    fn check_space(&mut self, record_len: u64) -> Result<(), ShardError> {
        let needed = record_len.max(FREE_BYTES_MIN);
        if self.free_bytes < needed {
            self.measure_space();
        }
        if self.free_bytes < needed {
            return Err(self.disk.full_error());
        }
        self.free_bytes -= record_len;
        Ok(())
    }

    fn write_error(&self, what: &str, err: &io::Error) -> ShardError {
        write_error(&self.disk, what, err)
    }

    fn next_stamp(&mut self) -> RecordStamp {
        let lsn = self.next_lsn;
        self.next_lsn += 1;
        RecordStamp {
            lsn,
            written_at_ms: self.disk.options.clock.now_ms(),
        }
    }

    fn ticket(&self) -> WriteTicket {
        WriteTicket {
            run: self.disk.run,
            position: self.accepted,
        }
    }

    /// What compaction needs besides copying.
    fn maintain(&mut self, task: Task) -> Result<(), ShardError> {
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
        let stats = self.disk.bookkeeping().saved.stats.get(&number).copied();
        let is_open = self
            .active
            .values()
            .any(|active| active.segment.number == number);
        if is_open || stats.is_none_or(|stats| stats.live_count > 0) {
            tracing::warn!(segment = %number.file_name(), "segment is still in use and was not removed");
            return Ok(());
        }
        let path = self.disk.segments.path(number);
        durable_file::remove_file(&path).map_err(|err| {
            self.disk
                .fail(format!("removing {}: {err}", path.display()))
        })?;
        self.disk.segments.forget(number);
        let mut bookkeeping = self.disk.bookkeeping();
        bookkeeping.saved.stats.remove(&number);
        bookkeeping.touched.insert(number);
        Ok(())
    }

    /// Drops the memory of deleted shards of which no record is left that a tombstone must keep down.
    ///
    /// Runs after the segment is gone, so that a crash in between leaves a tombstone too many, never one too few.
    fn forget(&mut self, ids: &[ShardId]) -> Result<(), ShardError> {
        let group = Group::default();
        let mut entries = HashMap::new();
        let mut changes = Vec::new();
        for id in ids {
            let Some(old @ IndexEntry::Dead(_)) = self.current(&group, *id)? else {
                continue;
            };
            let mut new = old.clone();
            {
                let bookkeeping = self.disk.bookkeeping();
                new.stale_mut()
                    .retain(|segment| bookkeeping.saved.stats.contains_key(segment));
            }
            let new = (!new.stale().is_empty()).then_some(new);
            entries.insert(*id, new.clone());
            changes.push((Some(old), new));
        }
        self.publish(entries, &changes);
        Ok(())
    }

    /// Leaves the disk so that the next open has nothing to replay, and takes no more space than needed.
    fn close(&mut self) -> Result<(), ShardError> {
        self.disk.check_alive()?;
        self.sync_all()?;
        for class in SegmentClass::ALL {
            self.seal(class)?;
        }
        self.save();
        self.disk
            .index
            .flush()
            .map_err(|err| self.disk.fail_index(&err))
    }
}

/// Who wants a record written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    Request,
    Compaction,
}

/// The request and all others that are waiting already, up to the bounds of a group.
fn collect_group(first: Request, requests: &Receiver<Request>) -> Vec<Request> {
    let mut bytes = first.task.payload_bytes();
    let mut group = vec![first];
    while group.len() < GROUP_COUNT_MAX && bytes < GROUP_BYTES_MAX {
        let Ok(next) = requests.try_recv() else { break };
        bytes += next.task.payload_bytes();
        group.push(next);
    }
    group
}

/// A full disk is a state that passes; any other failed write puts the disk out of service.
fn write_error(disk: &DiskState, what: &str, err: &io::Error) -> ShardError {
    if matches!(
        err.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    ) {
        disk.is_full.store(true, Ordering::Relaxed);
        disk.full_error()
    } else {
        disk.fail_writes(format!("{what}: {err}"))
    }
}

fn answer(reply: Reply, result: Result<WriteTicket, ShardError>) {
    // A caller that went away needs no answer.
    drop(reply.send(result));
}
