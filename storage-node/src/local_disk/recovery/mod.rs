//! Opens a disk: brings the index up to what the segments hold, and cuts torn tails.
//!
//! What can be relied on, because the writer keeps to it:
//! - a segment is synced before the next one of its class is created. So only the *last* of each class can be
//!   torn, and only behind the tail that the index knows. A segment whose class neither its header nor a record tells
//!   counts as the last of its class unless both classes have higher ones;
//! - the index knows nothing that is not synced. So what it knows is whole unless it rotted.
//!
//! Recovery keeps to both: it syncs a segment before it replays it.
//!
//! Everything behind the indexed tails is replayed. In the last segments payloads are verified too, and what
//! follows the last whole record is cut off: it was never acknowledged. What the disk cannot read of a closed segment is
//! stepped over; the tail stays before it, so that each start looks there again, and compaction leaves the segment alone:
//! the index does not know what is there.
//!
//! What was punched out is in no record: the files of large shards are asked how much of them is left.
//!
//! Here is the order of things. Which segments there are is in [`found`], what becomes of their records in [`replay`].

mod found;
mod replay;

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;

use super::active_segment::ActiveSegment;
use super::options::{LocalDiskOptions, OpenError};
use super::space::FileSystemSpace;
use super::state::{DiskState, count, segments_directory};
use crate::DiskId;
use crate::disk_identity::LockedIdentity;
use crate::durable_file::{self, FileCalls};
use crate::index::{Index, LogState};
use crate::segment::{SegmentClass, SegmentNumber, SegmentTable};
use found::{Found, find_segments, last_of_each_class, may_be_last};
use replay::{Refusal, Replay, Tails};

/// A disk ready for its threads.
#[derive(Debug)]
pub(super) struct Recovered {
    pub(super) disk: Arc<DiskState>,
    pub(super) active: BTreeMap<SegmentClass, ActiveSegment>,
    pub(super) next_lsn: u64,
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
    let disk_id = identity.identity.disk_id;
    let segments = SegmentTable::new(directory, disk_id, calls);
    let found = find_segments(&segments, &identity)?;
    let (replay, tails) = replay_all(&options, disk_id, &segments, &found)?;
    let Replay {
        index,
        mut log,
        unread,
        replayed_count,
        ..
    } = replay;
    let next_lsn = log.next_lsn;
    let active = reopen_last(&found, &segments, &tails, &options)?;
    let corrected = count_holes(&mut log, &segments);
    let file_system = FileSystemSpace::measure(&options.path).map_err(|source| OpenError::Io {
        path: options.path.clone(),
        source,
    })?;
    let disk = DiskState::new(options, identity, index, segments, log, unread, file_system);
    count(&disk.counters.recovered_count, replayed_count);
    let synced_tails: BTreeMap<_, _> = active
        .values()
        .map(|active| (active.segment.number, active.tail()))
        .collect();
    {
        let mut bookkeeping = disk.bookkeeping();
        bookkeeping.active = synced_tails.keys().copied().collect();
        bookkeeping.synced_tails = synced_tails;
        bookkeeping.touched = corrected;
    }
    Ok(Recovered {
        disk: Arc::new(disk),
        active,
        next_lsn,
    })
}

/// Brings the index up to what the segments hold, with a new one if need be.
fn replay_all<'a>(
    options: &'a LocalDiskOptions,
    disk_id: DiskId,
    segments: &'a SegmentTable,
    found: &[Found],
) -> Result<(Replay<'a>, Tails), OpenError> {
    let replay = || {
        let (index, log) = open_index(options, disk_id)?;
        Replay::new(index, log, segments, options, disk_id).run(found)
    };
    match replay() {
        Err(Refusal::BadIndex(detail)) => {
            tracing::warn!(disk = %options.path.display(), detail, "the index is no good and will be rebuilt");
        }
        replayed => return replayed.map_err(|refusal| refusal.into_open_error(options)),
    }
    Index::request_rebuild(&options.path).map_err(|err| index_error(options, &err))?;
    replay().map_err(|refusal| refusal.into_open_error(options))
}

fn open_index(options: &LocalDiskOptions, disk_id: DiskId) -> Result<(Index, LogState), OpenError> {
    Index::open(&options.path, disk_id, options.index_cache_bytes)
        .map_err(|err| index_error(options, &err))
}

fn index_error(options: &LocalDiskOptions, detail: &impl ToString) -> OpenError {
    OpenError::Index {
        path: Index::directory(&options.path),
        detail: detail.to_string(),
    }
}

/// In which `stat` counts what a file occupies, whatever the blocks of its file system.
const STAT_BLOCK_BYTES: u64 = 512;

/// Has the statistics say how much of large shards was punched out; returns the segments of which they said something
/// else. The index has it only from its last flush, and one that is made anew not at all.
///
/// After the last segments were cut: what is allocated ahead would pass for records.
fn count_holes(log: &mut LogState, segments: &SegmentTable) -> BTreeSet<SegmentNumber> {
    let mut corrected = BTreeSet::new();
    for (number, stats) in &mut log.stats {
        if stats.class == SegmentClass::Small {
            continue;
        }
        let path = segments.path(*number);
        let file = match std::fs::metadata(&path) {
            Ok(file) => file,
            // This is about space. What it means for the shards finds out whoever reads them.
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "what a segment occupies cannot be told");
                continue;
            }
        };
        let known = stats.punched_bytes;
        stats.count_holes(file.blocks().saturating_mul(STAT_BLOCK_BYTES));
        if stats.punched_bytes != known {
            corrected.insert(*number);
        }
    }
    corrected
}

/// Each segment that may be the last of its class is cut behind its last whole record; the last ones are appended to
/// again.
///
/// Of two copies of a record (compaction makes them) the one in the higher segment counts, so a copy must never go
/// below a segment that it may come from. One whose class is unknown may be of either: below such a segment nothing is
/// appended, and the writer begins new ones.
fn reopen_last(
    found: &[Found],
    segments: &SegmentTable,
    tails: &Tails,
    options: &LocalDiskOptions,
) -> Result<BTreeMap<SegmentClass, ActiveSegment>, OpenError> {
    let last = last_of_each_class(found);
    let last_unknown = last.get(&None).copied();
    let mut active = BTreeMap::new();
    for one in found.iter().filter(|one| may_be_last(**one, &last)) {
        let number = one.number;
        let Some(tail) = tails.get(&number).copied() else {
            continue;
        };
        let io = |source| OpenError::Io {
            path: segments.path(number),
            source,
        };
        let segment = segments.open(number).map_err(io)?;
        if segment.len().map_err(io)? < tail {
            // Somebody shortened the file. Appending would leave a gap, so it stays as it is.
            continue;
        }
        // Also where nothing is appended: no later start verifies what is left here.
        segment.file.truncate(tail).map_err(io)?;
        if let Some(class) = one.class
            && !one.has_bad_header
            && last_unknown.is_none_or(|unknown| unknown < number)
        {
            let size_max = options.segment_size_max();
            active.insert(class, ActiveSegment::new(segment, class, tail, size_max));
        }
    }
    Ok(active)
}
