//! Opens a disk: brings the index up to what the segments hold, and cuts torn tails.
//!
//! What can be relied on, because the writer keeps to it:
//! - a segment is synced before the next one of its class is created. So only the *last* of each class can be
//!   torn, and only behind the tail that the index knows;
//! - the index knows nothing that is not synced. So what it knows is whole unless it rotted.
//!
//! Everything behind the indexed tails is replayed. In the last segments payloads are verified too, and what
//! follows the last whole record is cut off: it was never acknowledged.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::active_segment::ActiveSegment;
use super::options::{LocalDiskOptions, OpenError};
use super::state::{DiskState, count, segments_directory};
use crate::disk_identity::LockedIdentity;
use crate::durable_file::{self, FileCalls};
use crate::index::{Index, IndexError, LogState, PlacedRecord, SegmentStats, account, apply};
use crate::segment::{
    FIRST_RECORD_OFFSET, HeaderFault, PayloadCheck, Place, RECORD_HEADER_LEN, RecordKind,
    ScanError, ScannedRecord, SegmentClass, SegmentFile, SegmentHeader, SegmentNumber, SegmentScan,
    SegmentTable,
};

/// Replayed entries are saved in batches of this many.
const BATCH_COUNT_MAX: usize = 4096;

/// A disk ready for its threads.
#[derive(Debug)]
pub(super) struct Recovered {
    pub(super) disk: Arc<DiskState>,
    pub(super) active: BTreeMap<SegmentClass, ActiveSegment>,
    pub(super) next_lsn: u64,
}

/// A segment found on disk.
#[derive(Debug)]
struct Found {
    segment: Arc<SegmentFile>,
    /// `None` if the header is damaged: then nothing is appended there.
    class: Option<SegmentClass>,
}

/// Locks the disk, and recovers what the last run left.
pub(super) fn open(
    options: LocalDiskOptions,
    calls: Arc<dyn FileCalls>,
) -> Result<Recovered, OpenError> {
    let identity = LockedIdentity::acquire(&options.path)?;
    identity.expect(options.cluster_id, options.expected_disk_id)?;
    let directory = segments_directory(&options);
    durable_file::create_dir(&directory).map_err(|source| OpenError::Io {
        path: directory.clone(),
        source,
    })?;
    let segments = SegmentTable::new(directory, identity.identity.disk_id, calls);
    let found = find_segments(&segments, &identity)?;
    let disk_id = identity.identity.disk_id;
    let index_directory = Index::directory(&options.path);
    let index_error = |err: &IndexError| OpenError::Index {
        path: index_directory.clone(),
        detail: err.to_string(),
    };

    let (index, log) = Index::open(&options.path, disk_id, options.index_cache_bytes)
        .map_err(|err| index_error(&err))?;
    let recovery = Recovery {
        index,
        log,
        disk_id,
        replayed_count: 0,
    };
    let (recovery, tails) = match recovery.replay(&found)? {
        Replayed::Consistent(recovery, tails) => (recovery, tails),
        Replayed::SegmentsMissing(recovery) => {
            // The index speaks of live shards in segments that are not here. Start it anew from what is here.
            tracing::warn!(disk = %options.path.display(), "segments are missing; rebuilding the index");
            drop(recovery);
            rebuild(&options, disk_id, &found)?
        }
    };
    let Recovery {
        index,
        log,
        replayed_count,
        ..
    } = recovery;
    let next_lsn = log.next_lsn;
    let active = reopen_last(&found, &tails, &options)?;
    let disk = DiskState::new(options, identity, index, segments, log);
    count(&disk.counters.recovered_count, replayed_count);
    let synced_tails: BTreeMap<_, _> = active
        .values()
        .map(|active| (active.segment.number, active.tail()))
        .collect();
    {
        let mut bookkeeping = disk.bookkeeping();
        bookkeeping.active = synced_tails.keys().copied().collect();
        bookkeeping.synced_tails = synced_tails;
    }
    Ok(Recovered {
        disk: Arc::new(disk),
        active,
        next_lsn,
    })
}

fn rebuild(
    options: &LocalDiskOptions,
    disk_id: crate::DiskId,
    found: &[Found],
) -> Result<(Recovery, BTreeMap<SegmentNumber, u64>), OpenError> {
    let path = Index::directory(&options.path);
    let index_error = |detail: String| OpenError::Index {
        path: path.clone(),
        detail,
    };
    Index::request_rebuild(&options.path).map_err(|err| index_error(err.to_string()))?;
    let (index, log) = Index::open(&options.path, disk_id, options.index_cache_bytes)
        .map_err(|err| index_error(err.to_string()))?;
    match (Recovery {
        index,
        log,
        disk_id,
        replayed_count: 0,
    })
    .replay(found)?
    {
        Replayed::Consistent(recovery, tails) => Ok((recovery, tails)),
        Replayed::SegmentsMissing(_) => Err(index_error(
            "it names segments that do not exist".to_owned(),
        )),
    }
}

/// All segment files in order of their numbers.
fn find_segments(table: &SegmentTable, identity: &LockedIdentity) -> Result<Vec<Found>, OpenError> {
    let io = |path: &Path, source| OpenError::Io {
        path: path.to_owned(),
        source,
    };
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(table.directory()).map_err(|err| io(table.directory(), err))? {
        let name = entry.map_err(|err| io(table.directory(), err))?.file_name();
        match name.to_str().and_then(SegmentNumber::from_file_name) {
            Some(number) => numbers.push(number),
            None => {
                tracing::warn!(file = %table.directory().join(&name).display(), "not a segment; left alone");
            }
        }
    }
    numbers.sort_unstable();
    let mut found = Vec::with_capacity(numbers.len());
    for number in numbers {
        let segment = table
            .open(number)
            .map_err(|err| io(&table.path(number), err))?;
        let class = read_class(&segment, identity)?;
        found.push(Found { segment, class });
    }
    Ok(found)
}

fn read_class(
    segment: &SegmentFile,
    identity: &LockedIdentity,
) -> Result<Option<SegmentClass>, OpenError> {
    let path = || segment.path.clone();
    let start = segment.read_up_to(64, 0).map_err(|source| OpenError::Io {
        path: path(),
        source,
    })?;
    let Some(start) = start.first_chunk::<64>() else {
        return Ok(None);
    };
    match SegmentHeader::decode(start) {
        Ok(header)
            if header.disk_id != identity.identity.disk_id || header.number != segment.number =>
        {
            let detail = format!(
                "this is segment {} of disk {}, it does not belong here; move the file to where it came from",
                header.number.file_name(),
                header.disk_id
            );
            Err(OpenError::Segment {
                path: path(),
                detail,
            })
        }
        Ok(header) => Ok(Some(header.class)),
        Err(HeaderFault::Newer(version)) => {
            let detail = format!(
                "format version {version} is newer than this program; start a newer version of Cairn"
            );
            Err(OpenError::Segment {
                path: path(),
                detail,
            })
        }
        Err(HeaderFault::Damaged) => Ok(None),
    }
}

/// The last segment of each class is appended to again, behind its last whole record.
fn reopen_last(
    found: &[Found],
    tails: &BTreeMap<SegmentNumber, u64>,
    options: &LocalDiskOptions,
) -> Result<BTreeMap<SegmentClass, ActiveSegment>, OpenError> {
    let mut active = BTreeMap::new();
    for class in SegmentClass::ALL {
        let Some(last) = found.iter().rev().find(|found| found.class == Some(class)) else {
            continue;
        };
        let Some(tail) = tails.get(&last.segment.number).copied() else {
            continue;
        };
        let io = |source| OpenError::Io {
            path: last.segment.path.clone(),
            source,
        };
        if last.segment.len().map_err(io)? < tail {
            // Somebody shortened the file. Appending would leave a gap, so it stays as it is.
            continue;
        }
        // Also syncs: what was replayed may have been in the page cache only.
        last.segment.file.truncate(tail).map_err(io)?;
        active.insert(
            class,
            ActiveSegment::new(
                Arc::clone(&last.segment),
                class,
                tail,
                options.segment_size_bytes,
            ),
        );
    }
    Ok(active)
}

/// The state of a replay.
#[derive(Debug)]
struct Recovery {
    index: Index,
    log: LogState,
    disk_id: crate::DiskId,
    replayed_count: u64,
}

/// How a replay ended.
#[derive(Debug)]
enum Replayed {
    /// Everything the index knows is there; with the end of the last whole record of each segment.
    Consistent(Recovery, BTreeMap<SegmentNumber, u64>),
    /// The index knows live shards in segments that do not exist.
    SegmentsMissing(Recovery),
}

impl Recovery {
    fn replay(mut self, found: &[Found]) -> Result<Replayed, OpenError> {
        let mut tails = BTreeMap::new();
        for one in found {
            let is_last = one.class.is_none()
                || !found.iter().any(|other| {
                    other.class == one.class && other.segment.number > one.segment.number
                });
            let check = if is_last {
                PayloadCheck::Verify
            } else {
                PayloadCheck::Skip
            };
            let tail = self.replay_segment(one, check)?;
            tails.insert(one.segment.number, tail);
            self.log.next_segment = self.log.next_segment.max(one.segment.number.next().0);
        }
        let missing: Vec<SegmentNumber> = self
            .log
            .stats
            .keys()
            .copied()
            .filter(|number| !tails.contains_key(number))
            .collect();
        if missing.iter().any(|number| {
            self.log
                .stats
                .get(number)
                .is_some_and(|stats| stats.live_count > 0)
        }) {
            return Ok(Replayed::SegmentsMissing(self));
        }
        for number in &missing {
            self.log.stats.remove(number);
        }
        self.save(&missing).map_err(|err| index_error(&err))?;
        Ok(Replayed::Consistent(self, tails))
    }

    /// Applies all records behind the indexed tail; returns the end of the last whole one.
    fn replay_segment(&mut self, found: &Found, check: PayloadCheck) -> Result<u64, OpenError> {
        let segment = &found.segment;
        let number = segment.number;
        let class = found.class.unwrap_or(SegmentClass::Small);
        let from = self
            .log
            .stats
            .entry(number)
            .or_insert_with(|| SegmentStats::new(class, FIRST_RECORD_OFFSET))
            .tail;
        let scan_error = |err: ScanError| match err {
            ScanError::Io(source) => OpenError::Io {
                path: segment.path.clone(),
                source,
            },
            ScanError::Newer(_) => OpenError::Segment {
                path: segment.path.clone(),
                detail: err.to_string(),
            },
        };
        if check == PayloadCheck::Verify {
            // The last run may have ended because a sync failed: believe the disk, not the cache.
            segment
                .file
                .forget_cached()
                .map_err(|err| scan_error(err.into()))?;
        }
        let mut scan =
            SegmentScan::new(segment, from, check).map_err(|err| scan_error(err.into()))?;
        let mut tail = from;
        let mut damaged = Vec::new();
        // Damaged records that a whole one follows; the others are part of the torn tail, which is cut.
        let mut voided = Vec::new();
        while let Some(record) = scan.next().map_err(scan_error)? {
            if !record.is_intact && check == PayloadCheck::Verify {
                damaged.push(record.offset);
                continue;
            }
            voided.append(&mut damaged);
            self.apply(number, &record)?;
            tail = record.offset + record.header.shape.record_len();
            self.set_tail(number, tail);
            if self.index.pending_count() >= BATCH_COUNT_MAX {
                self.save(&[number]).map_err(|err| index_error(&err))?;
            }
        }
        void_records(segment, &voided).map_err(|err| scan_error(err.into()))?;
        damaged.append(&mut voided);
        if scan.skipped_bytes() > 0 || !damaged.is_empty() {
            let (skipped, torn) = (scan.skipped_bytes(), damaged.len());
            tracing::warn!(segment = %segment.path.display(), skipped, torn, "unreadable bytes in segment: cut or stepped over");
        }
        if check == PayloadCheck::Skip {
            // Synced as a whole and never appended to again: there is no need to look behind this ever again.
            tail = tail.max(segment.len().map_err(|err| scan_error(err.into()))?);
        }
        self.set_tail(number, tail);
        self.save(&[number]).map_err(|err| index_error(&err))?;
        Ok(tail)
    }

    fn set_tail(&mut self, number: SegmentNumber, tail: u64) {
        if let Some(stats) = self.log.stats.get_mut(&number) {
            stats.tail = tail;
        }
    }

    fn apply(&mut self, number: SegmentNumber, record: &ScannedRecord) -> Result<(), OpenError> {
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
        let old = self
            .index
            .entry(header.id)
            .map_err(|err| index_error(&err))?;
        let new = apply(old.as_ref(), &placed);
        account(&mut self.log.stats, old.as_ref(), Some(&new));
        self.index.set_pending([(header.id, Some(new))]);
        self.log.next_lsn = self.log.next_lsn.max(header.stamp.lsn + 1);
        self.replayed_count += 1;
        Ok(())
    }

    /// Saves entries with the statistics of *all* segments: a replayed record can take from any of them.
    fn save(&mut self, also: &[SegmentNumber]) -> Result<(), IndexError> {
        let touched: Vec<SegmentNumber> = self.log.stats.keys().chain(also).copied().collect();
        self.index.save_pending(self.disk_id, &self.log, &touched)
    }
}

/// Overwrites the headers of records that are not whole, so that no later scan takes them for records.
///
/// A scan of a closed segment does not read payloads: there a torn record, never acknowledged, would pass for
/// whole, and its higher sequence number would hide an older, durable record of the same shard.
fn void_records(segment: &SegmentFile, offsets: &[u64]) -> std::io::Result<()> {
    for offset in offsets {
        let header = *offset..*offset + RECORD_HEADER_LEN as u64;
        segment.file.write_zeros(header)?;
    }
    if offsets.is_empty() {
        return Ok(());
    }
    segment.file.sync_data()
}

fn index_error(err: &IndexError) -> OpenError {
    OpenError::Index {
        path: "index".into(),
        detail: err.to_string(),
    }
}
