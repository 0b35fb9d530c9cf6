//! Replays what the index does not know yet.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use super::found::{Found, last_of_each_class, may_be_last};
use super::index_error;
use crate::DiskId;
use crate::index::{
    Index, IndexEntry, IndexError, LogState, PlacedRecord, SegmentStats, account, apply,
};
use crate::local_disk::options::{LocalDiskOptions, OpenError};
use crate::segment::{
    FIRST_RECORD_OFFSET, PayloadCheck, Place, RECORD_HEADER_LEN, RecordKind, ScanError,
    ScannedRecord, SegmentClass, SegmentFile, SegmentNumber, SegmentScan, SegmentTable,
};

/// Replayed entries are saved in batches of this many.
const BATCH_COUNT_MAX: usize = 4096;

/// What the disk could not read may have higher sequence numbers than all that was read: what is written from now on must
/// still win when it can be read again. Far more than a disk writes in its life, and of 64 bits next to nothing.
const UNREAD_LSN_COUNT: u64 = 1 << 32;

/// The state of a replay.
///
/// What is pending in the index, and the tails of the segments in `touched`, belong together: they are saved in one
/// batch, and whatever is behind them is synced.
#[derive(Debug)]
pub(super) struct Replay<'a> {
    pub(super) index: Index,
    pub(super) log: LogState,
    segments: &'a SegmentTable,
    options: &'a LocalDiskOptions,
    disk_id: DiskId,
    /// Segments whose statistics changed since they were last saved.
    touched: BTreeSet<SegmentNumber>,
    /// Segments of which the disk could not read everything: records may be missing from the index.
    pub(super) unread: BTreeSet<SegmentNumber>,
    pub(super) replayed_count: u64,
}

/// The end of the last whole record of each segment.
pub(super) type Tails = BTreeMap<SegmentNumber, u64>;

impl<'a> Replay<'a> {
    pub(super) fn new(
        index: Index,
        log: LogState,
        segments: &'a SegmentTable,
        options: &'a LocalDiskOptions,
        disk_id: DiskId,
    ) -> Self {
        Self {
            index,
            log,
            segments,
            options,
            disk_id,
            touched: BTreeSet::new(),
            unread: BTreeSet::new(),
            replayed_count: 0,
        }
    }

    /// Replays all segments.
    pub(super) fn run(mut self, found: &[Found]) -> Result<(Self, Tails), Refusal> {
        let last = last_of_each_class(found);
        let mut tails = Tails::new();
        for one in found {
            let check = if may_be_last(*one, &last) {
                PayloadCheck::Verify
            } else {
                PayloadCheck::Skip
            };
            let tail = self.replay_segment(*one, check)?;
            tails.insert(one.number, tail);
            self.log.next_segment = self.log.next_segment.max(one.number.next().0);
        }
        if !self.forget_missing(&tails) {
            return Err(Refusal::BadIndex(
                "it names segments that do not exist".to_owned(),
            ));
        }
        if !self.unread.is_empty() {
            self.log.next_lsn = self.log.next_lsn.saturating_add(UNREAD_LSN_COUNT);
        }
        self.save_index()
            .map_err(|err| Refusal::of_index(&err, self.options))?;
        Ok((self, tails))
    }

    /// Forgets the segments that are gone; `false` if one of them had live shards.
    fn forget_missing(&mut self, tails: &Tails) -> bool {
        let is_missing = |number: &SegmentNumber| !tails.contains_key(number);
        let mut missing = self.log.stats.iter().filter(|(one, _)| is_missing(one));
        if missing.any(|(_, stats)| stats.live_count > 0) {
            return false;
        }
        let touched = &mut self.touched;
        self.log.stats.retain(|number, _| {
            if is_missing(number) {
                touched.insert(*number);
            }
            !is_missing(number)
        });
        true
    }

    /// Applies all records behind the indexed tail; returns the end of the last whole one.
    fn replay_segment(&mut self, found: Found, check: PayloadCheck) -> Result<u64, Refusal> {
        let from = self.indexed_tail(found);
        let path = self.segments.path(found.number);
        let options = self.options;
        let refused = |fault: Fault| fault.into_refusal(&path, options);
        // Open only as long as it is replayed.
        let segment = self
            .segments
            .open(found.number)
            .map_err(|err| refused(err.into()))?;
        if check == PayloadCheck::Verify {
            believe_the_disk(&segment).map_err(|err| refused(err.into()))?;
        }
        let mut tail = self.apply_records(&segment, from, check).map_err(refused)?;
        if check == PayloadCheck::Skip && !self.unread.contains(&found.number) {
            // Synced as a whole and never appended to again: there is no need to look behind this ever again.
            tail = tail.max(segment.len().map_err(|err| refused(err.into()))?);
        }
        self.set_tail(found.number, tail);
        Ok(tail)
    }

    /// The end of what the index knows of a segment.
    fn indexed_tail(&mut self, found: Found) -> u64 {
        let class = found.class.unwrap_or(SegmentClass::Small);
        let touched = &mut self.touched;
        let stats = self.log.stats.entry(found.number).or_insert_with(|| {
            touched.insert(found.number);
            SegmentStats::new(class, FIRST_RECORD_OFFSET)
        });
        stats.tail
    }

    /// Applies the records from `from` on; returns the end of the last whole one, or of the last one before what the disk
    /// could not read: a later start looks there again, and applying what is behind it twice changes nothing.
    fn apply_records(
        &mut self,
        segment: &SegmentFile,
        from: u64,
        check: PayloadCheck,
    ) -> Result<u64, Fault> {
        let mut scan = SegmentScan::new(segment, from, check)?;
        let mut tail = from;
        // Damaged records behind the last whole one. Those that none follows are the torn tail, which is cut.
        let mut damaged = Vec::new();
        let mut torn_count = 0;
        let mut unread_from = None;
        while let Some(record) = scan.next()? {
            if scan.has_unreadable() {
                unread_from.get_or_insert(tail);
            }
            if !record.is_intact && check == PayloadCheck::Verify {
                damaged.push(record.offset);
                torn_count += 1;
                continue;
            }
            // Before the tail moves past them, since nobody verifies what is before the tail.
            void_records(segment, &std::mem::take(&mut damaged))?;
            self.apply(segment.number, &record)?;
            tail = record.offset + record.header.shape.record_len();
            self.set_tail(segment.number, unread_from.unwrap_or(tail));
            if self.index.pending_count() >= BATCH_COUNT_MAX {
                self.save_index()?;
            }
        }
        let skipped = scan.skipped_bytes();
        if scan.has_unreadable() {
            tracing::warn!(segment = %segment.path.display(), "the disk cannot read parts of a segment: stepped over until the disk is opened again");
            unread_from.get_or_insert(tail);
            self.unread.insert(segment.number);
        }
        if skipped > 0 || torn_count > 0 {
            tracing::warn!(segment = %segment.path.display(), skipped, torn = torn_count, "unreadable bytes in segment: cut or stepped over");
        }
        Ok(unread_from.unwrap_or(tail))
    }

    fn apply(&mut self, number: SegmentNumber, record: &ScannedRecord) -> Result<(), IndexError> {
        let ScannedRecord {
            offset,
            header,
            is_intact,
        } = *record;
        let place = Place {
            segment: number,
            offset,
        };
        let placed = PlacedRecord {
            kind: header.kind,
            place,
            stamp: header.stamp,
            shape: header.shape,
            is_intact,
        };
        if header.kind == RecordKind::Tombstone && !is_intact {
            return Ok(());
        }
        let old = self.index.entry(header.id)?;
        let new = apply(old.as_ref(), &placed);
        account(&mut self.log.stats, old.as_ref(), Some(&new));
        let entries = [old.as_ref(), Some(&new)].into_iter().flatten();
        self.touched.extend(
            entries
                .filter_map(IndexEntry::place)
                .map(|place| place.segment),
        );
        self.index.set_pending([(header.id, Some(new))]);
        self.log.next_lsn = self.log.next_lsn.max(header.stamp.lsn + 1);
        self.replayed_count += 1;
        Ok(())
    }

    fn set_tail(&mut self, number: SegmentNumber, tail: u64) {
        if let Some(stats) = self.log.stats.get_mut(&number)
            && stats.tail != tail
        {
            stats.tail = tail;
            self.touched.insert(number);
        }
    }

    /// Saves entries with the statistics of the segments they gave to or took from. After a clean end there are none,
    /// and nothing is written.
    fn save_index(&mut self) -> Result<(), IndexError> {
        let touched: Vec<SegmentNumber> = std::mem::take(&mut self.touched).into_iter().collect();
        if touched.is_empty() && self.index.pending_count() == 0 {
            return Ok(());
        }
        self.index.save_pending(self.disk_id, &self.log, &touched)
    }
}

/// Why the segments could not be replayed.
#[derive(Debug)]
pub(super) enum Refusal {
    /// With another index they can be: what is wrong with this one.
    BadIndex(String),
    Disk(OpenError),
}

impl Refusal {
    fn of_index(err: &IndexError, options: &LocalDiskOptions) -> Self {
        if err.is_damage() {
            Self::BadIndex(err.to_string())
        } else {
            Self::Disk(index_error(options, err))
        }
    }

    /// The answer to whoever opens the disk, if no other index is to be tried.
    pub(super) fn into_open_error(self, options: &LocalDiskOptions) -> OpenError {
        match self {
            Self::BadIndex(detail) => index_error(options, &detail),
            Self::Disk(err) => err,
        }
    }
}

impl From<OpenError> for Refusal {
    fn from(err: OpenError) -> Self {
        Self::Disk(err)
    }
}

/// Why a segment could not be replayed.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error(transparent)]
    Scan(#[from] ScanError),
    #[error(transparent)]
    Index(#[from] IndexError),
}

impl From<io::Error> for Fault {
    fn from(err: io::Error) -> Self {
        Self::Scan(err.into())
    }
}

impl Fault {
    fn into_refusal(self, path: &std::path::Path, options: &LocalDiskOptions) -> Refusal {
        let path = path.to_owned();
        match self {
            Self::Scan(ScanError::Io(source)) => OpenError::Io { path, source }.into(),
            Self::Scan(err @ ScanError::Newer(_)) => {
                let detail = err.to_string();
                OpenError::Segment { path, detail }.into()
            }
            Self::Index(err) => Refusal::of_index(&err, options),
        }
    }
}

/// Has later reads show what is durable.
///
/// The last run may have ended before it synced: what it left in the page cache alone is made durable first, since
/// the index must not know of it otherwise. Or it ended because a sync failed: then the kernel calls pages clean that
/// it could not write, and they are dropped.
fn believe_the_disk(segment: &SegmentFile) -> io::Result<()> {
    segment.file.sync_data()?;
    segment.file.forget_cached()
}

/// Overwrites the headers of records that are not whole, so that no later scan takes them for records.
///
/// A scan of a closed segment does not read payloads: there a torn record, never acknowledged, would pass for
/// whole, and its higher sequence number would hide an older, durable record of the same shard.
fn void_records(segment: &SegmentFile, offsets: &[u64]) -> io::Result<()> {
    for offset in offsets {
        let header = *offset..*offset + RECORD_HEADER_LEN as u64;
        segment.file.write_zeros(header)?;
    }
    if offsets.is_empty() {
        return Ok(());
    }
    segment.file.sync_data()
}
