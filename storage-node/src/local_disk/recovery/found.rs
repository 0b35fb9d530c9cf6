//! The segment files of a disk, and what their headers say.

use std::collections::BTreeMap;
use std::path::Path;

use crate::disk_identity::LockedIdentity;
use crate::durable_file::is_unreadable;
use crate::local_disk::options::OpenError;
use crate::segment::{
    HeaderFault, PayloadCheck, SegmentClass, SegmentFile, SegmentHeader, SegmentNumber,
    SegmentScan, SegmentTable,
};

/// A segment found on disk. Its file is not kept open: a large disk has more of them than a process may open.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found {
    pub(super) number: SegmentNumber,
    /// `None` if neither the header nor any record tells.
    pub(super) class: Option<SegmentClass>,
    /// Whether the header is damaged or cannot be read: then nothing is appended there.
    pub(super) has_bad_header: bool,
}

/// All segment files in order of their numbers.
pub(super) fn find_segments(
    table: &SegmentTable,
    identity: &LockedIdentity,
) -> Result<Vec<Found>, OpenError> {
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
        let in_header = read_class(&segment, identity)?;
        found.push(Found {
            number,
            class: in_header.or_else(|| class_of_records(&segment)),
            has_bad_header: in_header.is_none(),
        });
    }
    Ok(found)
}

/// The highest number of each class, `None` being those of which it is unknown.
pub(super) fn last_of_each_class(found: &[Found]) -> BTreeMap<Option<SegmentClass>, SegmentNumber> {
    // In order of their numbers, so the last one stays.
    found.iter().map(|one| (one.class, one.number)).collect()
}

/// Whether a segment may be the last of its class: only such a one can be torn.
///
/// One whose class is unknown may be of either, but numbers rise: below the last segments of both it is neither's.
pub(super) fn may_be_last(
    one: Found,
    last: &BTreeMap<Option<SegmentClass>, SegmentNumber>,
) -> bool {
    let is_last_of = |class| {
        last.get(&Some(class))
            .is_none_or(|last| *last <= one.number)
    };
    match one.class {
        Some(class) => is_last_of(class),
        None => SegmentClass::ALL.into_iter().any(is_last_of),
    }
}

fn read_class(
    segment: &SegmentFile,
    identity: &LockedIdentity,
) -> Result<Option<SegmentClass>, OpenError> {
    let path = || segment.path.clone();
    let start = match segment.read_up_to(64, 0) {
        Ok(start) => start,
        // As good as a damaged one.
        Err(err) if is_unreadable(&err) => return Ok(None),
        Err(source) => {
            return Err(OpenError::Io {
                path: path(),
                source,
            });
        }
    };
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

/// What the first record tells of a segment whose header does not: all of its records are of one class, and no other
/// segment's pass for its own. Else it would count as the last of the class of which the disk has none, and what the disk
/// cannot read of such a one refuses it.
fn class_of_records(segment: &SegmentFile) -> Option<SegmentClass> {
    let mut scan = SegmentScan::new(segment, 0, PayloadCheck::Skip).ok()?;
    // Whoever replays the segment meets the same error.
    let record = scan.next().ok()??;
    Some(SegmentClass::of_payload(record.header.shape.payload_len))
}
