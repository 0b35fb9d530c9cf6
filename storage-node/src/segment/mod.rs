//! Segments: append-only files that hold many shards. The bytes are described in `docs/formats/segment.md`.
//!
//! A segment is a [`header`](SegmentHeader) followed by [`record`]s, each starting at a multiple of
//! [`RECORD_ALIGNMENT`]. Space behind the last record is zeros, or torn remains of writes that were never
//! acknowledged; [`scan`] tells them apart.

mod file;
mod header;
mod record;
mod scan;

pub(crate) use file::{SegmentFile, SegmentTable};
pub(crate) use header::{HeaderFault, SEGMENT_HEADER_LEN, SegmentClass, SegmentHeader};
pub(crate) use record::{
    PreparedRecord, RECORD_HEADER_LEN, RecordFault, RecordHeader, RecordKey, RecordKind,
    RecordShape, RecordStamp,
};
pub(crate) use scan::{PayloadCheck, ScanError, ScannedRecord, SegmentScan};

/// The bytes that are hashed together; a range read touches whole blocks.
pub(crate) const BLOCK_SIZE_BYTES: u32 = 64 << 10;

/// Records start at multiples of this, so that a scan that lost its way needs to look at few places.
pub(crate) const RECORD_ALIGNMENT: u64 = RECORD_ALIGNMENT_LEN as u64;

/// The same, as a length in memory.
const RECORD_ALIGNMENT_LEN: usize = 64;

/// Where the first record of a segment starts.
pub(crate) const FIRST_RECORD_OFFSET: u64 = 64;

/// Names one segment of one disk. Numbers are given out in rising order; only when the index is lost after the highest
/// segment was removed does its number come again, and then nothing is left that means the old one.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
pub(crate) struct SegmentNumber(pub(crate) u64);

impl SegmentNumber {
    pub(crate) fn file_name(self) -> String {
        format!("{:016x}.seg", self.0)
    }

    /// The inverse of [`Self::file_name`]; `None` for files that are not segments.
    pub(crate) fn from_file_name(name: &str) -> Option<Self> {
        let digits = name.strip_suffix(".seg")?;
        let number = Self(u64::from_str_radix(digits, 16).ok()?);
        (number.file_name() == name).then_some(number)
    }

    pub(crate) fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// Where a record starts.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
pub(crate) struct Place {
    pub(crate) segment: SegmentNumber,
    pub(crate) offset: u64,
}

/// Reads a fixed-size field; zeros where the slice is too short, which callers rule out by its type.
fn field<const N: usize>(bytes: &[u8], offset: usize) -> [u8; N] {
    bytes
        .get(offset..)
        .and_then(|rest| rest.first_chunk::<N>())
        .copied()
        .unwrap_or([0; N])
}

/// Fills a fixed-size field; the layouts' tests pin that every field lies inside.
fn set_field(bytes: &mut [u8], offset: usize, value: &[u8]) {
    if let Some(target) = bytes.get_mut(offset..offset + value.len()) {
        target.copy_from_slice(value);
    }
}
