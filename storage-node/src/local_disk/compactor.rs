//! The thread that gives space back: punches dead payloads out, and compacts segments.
//!
//! It changes nothing of the log by itself: records are copied, and segments removed, by the writer. A record is
//! copied only after its payload was verified; a rotten one is buried instead, so that reads say "not here" and
//! repair brings it back, and it never gets fresh hashes.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::Duration;

use tokio::sync::oneshot;

use super::compaction::{Candidates, CompactionStep, choose};
use super::request::{Queued, Relocation, Request, Task};
use super::state::{DiskState, PanicGuard, count};
use crate::durable_file::{is_shortage, is_unreadable};
use crate::index::{Index, IndexEntry};
use crate::segment::{
    PayloadCheck, Place, PreparedRecord, RecordKind, RecordShape, ScanError, ScannedRecord,
    SegmentClass, SegmentFile, SegmentNumber, SegmentScan,
};
use crate::{ShardError, ShardId};

/// How long to rest when there is nothing to do.
const IDLE_INTERVAL: Duration = Duration::from_millis(500);

/// How long to step back before each batch while requests wait, and how often at most: compaction must end even on a
/// busy disk, or it would fill up. The pauses that keep it to its rate come on top.
const YIELD_INTERVAL: Duration = Duration::from_millis(2);
const YIELD_COUNT_MAX: u32 = 10;

/// Copied with one request.
const BATCH_BYTES_MAX: u64 = 2 << 20;
const BATCH_COUNT_MAX: usize = 256;

/// Only whole file system blocks can be given back.
const HOLE_ALIGNMENT: u64 = 4096;

#[derive(Debug)]
pub(super) struct Compactor {
    disk: Arc<DiskState>,
    requests: SyncSender<Queued>,
    /// Who waits for the work to be done; a dropped sender ends the thread.
    control: Receiver<oneshot::Sender<()>>,
    waiters: Vec<oneshot::Sender<()>>,
    /// Segments that could not be emptied, or that the index does not know all of: left alone until the disk is reopened.
    stuck: BTreeSet<SegmentNumber>,
}

/// Why compaction of a segment ended early.
#[derive(Debug, thiserror::Error)]
pub(super) enum Interruption {
    #[error("the disk is being closed")]
    Stopped,
    #[error(transparent)]
    Scan(#[from] ScanError),
    #[error(transparent)]
    Disk(#[from] ShardError),
}

impl Interruption {
    /// Whether it is worth trying the same again soon.
    fn passes(&self) -> bool {
        match self {
            Self::Disk(ShardError::DiskFull { .. } | ShardError::Busy { .. }) => true,
            Self::Scan(ScanError::Io(err)) => is_shortage(err),
            _ => false,
        }
    }
}

impl Compactor {
    pub(super) fn new(
        disk: Arc<DiskState>,
        requests: SyncSender<Queued>,
        control: Receiver<oneshot::Sender<()>>,
    ) -> Self {
        Self {
            stuck: disk.unread.clone(),
            disk,
            requests,
            control,
            waiters: Vec::new(),
        }
    }

    pub(super) fn run(mut self) {
        let _guard = PanicGuard::new(&self.disk, "compaction");
        while !self.disk.has_failed() {
            self.punch_dead_payloads();
            // If the space cannot be told, the disk has failed.
            let Ok(space) = self.disk.measure_space() else {
                return;
            };
            let step = self.next_step(space.compaction_bytes);
            let done = match step {
                CompactionStep::Rest => self.rest(),
                CompactionStep::Seal(number) => self.ask(Task::Seal(number)),
                CompactionStep::Compact(number) => self.compact(number),
            };
            match done {
                Ok(()) => {}
                Err(Interruption::Stopped) => return,
                Err(interruption) if interruption.passes() => {
                    if self.pause(IDLE_INTERVAL).is_err() {
                        return;
                    }
                }
                Err(err) => {
                    tracing::warn!(disk_id = %self.disk.disk_id(), error = %err, "compaction was interrupted");
                    if let CompactionStep::Compact(number) | CompactionStep::Seal(number) = step {
                        self.stuck.insert(number);
                    }
                }
            }
        }
    }

    fn next_step(&self, space_bytes: u64) -> CompactionStep {
        let bookkeeping = self.disk.bookkeeping();
        choose(&Candidates {
            stats: &bookkeeping.log.stats,
            open: &bookkeeping.active,
            stuck: &self.stuck,
            segment_size_bytes: self.disk.options.segment_size_max(),
            space_bytes,
        })
    }

    /// Copies what is live, then has the segment removed.
    pub(super) fn compact(&mut self, number: SegmentNumber) -> Result<(), Interruption> {
        let segment = self.disk.segments.open(number).map_err(ScanError::Io)?;
        let mut scan = SegmentScan::new(&segment, 0, PayloadCheck::Skip).map_err(ScanError::Io)?;
        let mut batch = Batch::default();
        let mut deleted = Vec::new();
        let mut has_unreadable = false;
        let mut paced_bytes = 0;
        while let Some(record) = scan.next()? {
            if scan.read_bytes() - paced_bytes >= BATCH_BYTES_MAX {
                self.pace(scan.read_bytes() - paced_bytes)?;
                paced_bytes = scan.read_bytes();
            }
            if record.header.kind == RecordKind::Tombstone
                || !self.is_live_at(record.header.id, place(number, &record))?
            {
                deleted.push(record.header.id);
            }
            match self.prepare(&segment, &record)? {
                Verdict::Garbage => {}
                Verdict::Needed(relocation) => batch.push(relocation),
                Verdict::Rotten => {
                    count(&self.disk.counters.compaction_corrupt_count, 1);
                    tracing::warn!(shard = %record.header.id, disk_id = %self.disk.disk_id(), "corrupt shard found by compaction");
                    self.ask(Task::Bury(record.header.id, place(number, &record)))?;
                    deleted.push(record.header.id);
                }
                Verdict::Unreadable => has_unreadable = true,
                Verdict::Unknown => {
                    self.doubt_index(&segment, record.header.id);
                    return Ok(());
                }
            }
            if batch.is_full() {
                self.copy(&mut batch)?;
            }
        }
        self.copy(&mut batch)?;
        if !(has_unreadable || scan.has_unreadable()) {
            self.bury_unseen(number)?;
        } else if self.is_needed(number) {
            // What the disk could not read now it may read later, so nothing is given up. What repair makes again is
            // not needed here any more; then compaction removes the segment, after the disk was opened again.
            tracing::warn!(segment = %segment.path.display(), "the disk cannot read parts of a segment; it is not compacted");
            self.stuck.insert(number);
            return Ok(());
        }
        self.retire(number, &deleted)
    }

    /// The index lacks a shard that is here, so what it says of the others is worth nothing either: the segment stays, and
    /// the next open makes a new index, which knows it.
    fn doubt_index(&mut self, segment: &SegmentFile, id: ShardId) {
        if self.disk.check_in_place().is_err() {
            return;
        }
        let marked = Index::request_rebuild(&self.disk.options.path);
        tracing::error!(shard = %id, segment = %segment.path.display(), marked = marked.is_ok(), "the index does not know a shard");
        self.stuck.insert(segment.number);
    }

    /// Has a segment removed, and then the memory of those that were deleted in it.
    fn retire(&mut self, number: SegmentNumber, deleted: &[ShardId]) -> Result<(), Interruption> {
        self.ask(Task::Retire(number))?;
        if self.disk.bookkeeping().log.stats.contains_key(&number) {
            self.stuck.insert(number);
            return Ok(());
        }
        for ids in deleted.chunks(BATCH_COUNT_MAX) {
            self.step_back()?;
            self.ask(Task::Forget(ids.to_vec()))?;
        }
        Ok(())
    }

    /// Live shards whose header is so damaged that the scan did not see them: they are lost here.
    fn bury_unseen(&self, number: SegmentNumber) -> Result<(), Interruption> {
        if self
            .disk
            .bookkeeping()
            .log
            .stats
            .get(&number)
            .is_none_or(|stats| stats.live_count == 0)
        {
            return Ok(());
        }
        let mut after = None;
        loop {
            let page = self
                .disk
                .index
                .live_after(after, 1000)
                .map_err(|err| self.disk.lookup_error(&err))?;
            let Some((last, _)) = page.last() else {
                return Ok(());
            };
            after = Some(*last);
            for (id, live) in page.iter().filter(|(_, live)| live.place.segment == number) {
                count(&self.disk.counters.compaction_corrupt_count, 1);
                tracing::warn!(shard = %id, disk_id = %self.disk.disk_id(), "unreadable shard found by compaction");
                self.ask(Task::Bury(*id, live.place))?;
            }
        }
    }

    /// Whether a segment has live shards, or tombstones that keep others down.
    fn is_needed(&self, number: SegmentNumber) -> bool {
        let bookkeeping = self.disk.bookkeeping();
        let stats = bookkeeping.log.stats.get(&number);
        stats.is_some_and(|stats| stats.needed_bytes() > 0)
    }

    fn is_live_at(&self, id: ShardId, place: Place) -> Result<bool, ShardError> {
        let live = self
            .disk
            .index
            .live(id)
            .map_err(|err| self.disk.lookup_error(&err))?;
        Ok(live.is_some_and(|live| live.place == place))
    }

    /// Decides about one record, and loads it if it must be copied. The writer decides again: it may have
    /// changed until then.
    fn prepare(
        &self,
        segment: &SegmentFile,
        record: &ScannedRecord,
    ) -> Result<Verdict, Interruption> {
        let from = place(segment.number, record);
        let (id, stamp) = (record.header.id, record.header.stamp);
        match self
            .disk
            .index
            .entry(id)
            .map_err(|err| self.disk.lookup_error(&err))?
        {
            Some(IndexEntry::Live(live)) if live.place == from => Ok(match load(segment, record) {
                Ok(Some(loaded)) => Verdict::Needed(Relocation {
                    record: loaded,
                    stamp,
                    from,
                }),
                Ok(None) => Verdict::Rotten,
                Err(err) if is_unreadable(&err) => Verdict::Unreadable,
                Err(err) => return Err(ScanError::Io(err).into()),
            }),
            Some(IndexEntry::Dead(dead)) if dead.tombstone == Some(from) => {
                let bookkeeping = self.disk.bookkeeping();
                let exists = |stale: &&SegmentNumber| {
                    **stale != segment.number && bookkeeping.log.stats.contains_key(stale)
                };
                let is_needed =
                    !self.disk.unread.is_empty() || dead.stale.iter().any(|stale| exists(&stale));
                Ok(if is_needed {
                    Verdict::Needed(Relocation {
                        record: PreparedRecord::tombstone(id),
                        stamp,
                        from,
                    })
                } else {
                    Verdict::Garbage
                })
            }
            // A shard is forgotten only when no segment has a record of it any more, see `Writer::forget`.
            None if record.header.kind == RecordKind::Put && record.is_intact => {
                Ok(Verdict::Unknown)
            }
            _ => Ok(Verdict::Garbage),
        }
    }

    /// Copies a batch, and gives back what was deleted meanwhile: the end of the segment may be far.
    fn copy(&mut self, batch: &mut Batch) -> Result<(), Interruption> {
        let Batch { relocations, bytes } = std::mem::take(batch);
        if relocations.is_empty() {
            return Ok(());
        }
        self.pace(bytes)?;
        self.ask(Task::Relocate(relocations))?;
        self.punch_dead_payloads();
        Ok(())
    }

    /// Keeps to the rate, and steps back while requests wait.
    fn pace(&mut self, bytes: u64) -> Result<(), Interruption> {
        let rate = self.disk.options.compaction_bytes_per_second_max.max(1);
        let micros = bytes.saturating_mul(1_000_000) / rate;
        self.step_back()?;
        self.pause(Duration::from_micros(micros))
    }

    fn step_back(&mut self) -> Result<(), Interruption> {
        for _ in 0..YIELD_COUNT_MAX {
            if !self.disk.is_busy() {
                break;
            }
            self.pause(YIELD_INTERVAL)?;
        }
        Ok(())
    }

    fn pause(&mut self, duration: Duration) -> Result<(), Interruption> {
        match self.control.recv_timeout(duration) {
            Err(RecvTimeoutError::Timeout) => Ok(()),
            Ok(waiter) => {
                self.waiters.push(waiter);
                Ok(())
            }
            Err(RecvTimeoutError::Disconnected) => Err(Interruption::Stopped),
        }
    }

    /// Nothing is worth its work: tell those who wait for that, unless they came only now.
    fn rest(&mut self) -> Result<(), Interruption> {
        for waiter in self.waiters.drain(..) {
            if waiter.send(()).is_err() {
                tracing::trace!("whoever waited for compaction went away");
            }
        }
        self.pause(IDLE_INTERVAL)
    }

    /// Has the writer do something, and waits for it.
    fn ask(&self, task: Task) -> Result<(), Interruption> {
        let (reply, answer) = oneshot::channel();
        let request = Request {
            task,
            reply,
            permits: None,
        };
        self.requests
            .send(request.into())
            .map_err(|_| Interruption::Stopped)?;
        answer
            .blocking_recv()
            .map_err(|_| Interruption::Stopped)?
            .map(drop)
            .map_err(Interruption::Disk)
    }

    /// The header stays, so that scans find the next record behind the hole.
    fn punch_dead_payloads(&self) {
        let dead = std::mem::take(&mut self.disk.bookkeeping().dead_payloads);
        for (place, shape) in dead {
            let Some(hole) = hole(place.offset, shape) else {
                continue;
            };
            if self.disk.check_in_place().is_err() {
                return;
            }
            let Ok(segment) = self.disk.segments.open(place.segment) else {
                continue;
            };
            let len = hole.end - hole.start;
            match segment.file.punch_hole(&hole) {
                Ok(true) => {
                    let mut bookkeeping = self.disk.bookkeeping();
                    if let Some(stats) = bookkeeping.log.stats.get_mut(&place.segment) {
                        stats.punched_bytes += len;
                        bookkeeping.touched.insert(place.segment);
                    }
                }
                Ok(false) => {}
                Err(err) => {
                    tracing::warn!(segment = %segment.path.display(), error = %err, "space could not be given back");
                }
            }
        }
    }
}

/// What becomes of a record when its segment goes.
#[derive(Debug)]
enum Verdict {
    Garbage,
    Needed(Relocation),
    /// The bytes are wrong.
    Rotten,
    /// The disk does not give them.
    Unreadable,
    /// The index has never heard of it.
    Unknown,
}

/// Records to be copied together.
#[derive(Debug, Default)]
struct Batch {
    relocations: Vec<Relocation>,
    bytes: u64,
}

impl Batch {
    fn push(&mut self, relocation: Relocation) {
        self.bytes += relocation.record.shape().record_len();
        self.relocations.push(relocation);
    }

    fn is_full(&self) -> bool {
        self.bytes >= BATCH_BYTES_MAX || self.relocations.len() >= BATCH_COUNT_MAX
    }
}

fn place(segment: SegmentNumber, record: &ScannedRecord) -> Place {
    Place {
        segment,
        offset: record.offset,
    }
}

/// A record with its payload; `None` if it does not match its hashes.
fn load(segment: &SegmentFile, record: &ScannedRecord) -> std::io::Result<Option<PreparedRecord>> {
    let shape = record.header.shape;
    let prefix_len = usize::try_from(shape.prefix_len()).unwrap_or(usize::MAX);
    let bytes = bytes::Bytes::from(
        segment.read_up_to(prefix_len + shape.payload_len as usize, record.offset)?,
    );
    let (Ok(body), Some(payload)) = (record.header.section(&bytes), bytes.get(prefix_len..)) else {
        return Ok(None);
    };
    if payload.len() != shape.payload_len as usize || body.check_blocks(0, payload).is_err() {
        return Ok(None);
    }
    Ok(Some(PreparedRecord::put(
        record.header.id,
        body.descriptor,
        bytes.slice(prefix_len..),
    )))
}

/// The part of a large record's payload that consists of whole file system blocks.
fn hole(offset: u64, shape: RecordShape) -> Option<std::ops::Range<u64>> {
    if SegmentClass::of_payload(shape.payload_len) == SegmentClass::Small {
        return None;
    }
    let start = (offset + shape.prefix_len()).next_multiple_of(HOLE_ALIGNMENT);
    let end = (offset + shape.prefix_len() + u64::from(shape.payload_len)) / HOLE_ALIGNMENT
        * HOLE_ALIGNMENT;
    (start < end).then_some(start..end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_spare_headers_and_neighbours() {
        let shape = RecordShape {
            descriptor_len: 0,
            payload_len: 1 << 20,
        };
        let hole = hole(64, shape).unwrap();
        assert_eq!(hole, 4096..(1 << 20));
        assert!(hole.start >= 64 + shape.prefix_len() && hole.end <= 64 + shape.record_len());
        assert_eq!(
            super::hole(
                64,
                RecordShape {
                    descriptor_len: 0,
                    payload_len: 4096
                }
            ),
            None
        );
    }
}
