//! Walks the records of a segment in order, for recovery and compaction.
//!
//! A place where no valid record starts is stepped over: the scan goes on at the next multiple of
//! [`RECORD_ALIGNMENT`] where a valid header stands. So one rotten record does not hide those behind it, and
//! zeros up to the end of the file are simply the end. The same goes for blocks that the disk cannot read, unless the
//! segment may be torn: there they could be taken for its end, and cut off.

use std::io;

use crate::durable_file::is_unreadable;

use super::record::{RECORD_HEADER_LEN, RECORD_MAGIC};
use super::{
    FIRST_RECORD_OFFSET, RECORD_ALIGNMENT, RECORD_ALIGNMENT_LEN, RecordFault, RecordHeader,
    SegmentFile,
};

/// How much is read at once. Small records come many to a window.
const WINDOW_LEN: usize = 64 << 10;

/// How much is read where payloads are stepped over that are longer than a window: the header, the descriptor and the
/// hashes of a large record, most often.
const SPARSE_WINDOW_LEN: usize = 4 << 10;

/// What a disk reads at once, or not at all.
const DISK_BLOCK_LEN: u64 = 4096;

/// Whether a scan reads payloads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PayloadCheck {
    /// Header, descriptor and hashes only: the payload is known to have been synced.
    Skip,
    /// Everything: the record may be torn.
    Verify,
}

/// A record whose header is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ScannedRecord {
    pub(crate) offset: u64,
    pub(crate) header: RecordHeader,
    /// Whether all that was checked matched.
    pub(crate) is_intact: bool,
}

/// Why a scan cannot go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ScanError {
    /// The disk does not give the bytes.
    #[error("reading failed: {0}")]
    Io(#[from] io::Error),
    /// A newer program wrote here; cutting or skipping it would lose data.
    #[error("a record has format version {0}; start a newer version of Cairn")]
    Newer(u16),
}

/// The state of one walk.
#[derive(Debug)]
pub(crate) struct SegmentScan<'a> {
    segment: &'a SegmentFile,
    check: PayloadCheck,
    position: u64,
    end: u64,
    window: Vec<u8>,
    window_start: u64,
    read_bytes: u64,
    skipped_bytes: u64,
    has_unreadable: bool,
}

impl<'a> SegmentScan<'a> {
    /// Starts at `from` (a record's start, or anything at or before the first record).
    pub(crate) fn new(
        segment: &'a SegmentFile,
        from: u64,
        check: PayloadCheck,
    ) -> io::Result<Self> {
        let position = from.max(FIRST_RECORD_OFFSET);
        let end = segment.len()?;
        Ok(Self {
            segment,
            check,
            position,
            end,
            window: Vec::new(),
            window_start: 0,
            read_bytes: 0,
            skipped_bytes: 0,
            has_unreadable: false,
        })
    }

    /// Bytes that were read, so far.
    pub(crate) fn read_bytes(&self) -> u64 {
        self.read_bytes
    }

    /// Bytes that were neither records nor zeros, so far.
    pub(crate) fn skipped_bytes(&self) -> u64 {
        self.skipped_bytes
    }

    /// Whether there were blocks that the disk cannot read, so far.
    pub(crate) fn has_unreadable(&self) -> bool {
        self.has_unreadable
    }

    /// The next record with a valid header.
    pub(crate) fn next(&mut self) -> Result<Option<ScannedRecord>, ScanError> {
        while self.position.saturating_add(RECORD_HEADER_LEN as u64) <= self.end {
            let offset = self.position;
            let key = &self.segment.key;
            match RecordHeader::decode(self.bytes_at(offset, RECORD_HEADER_LEN)?, key, offset) {
                Ok(header) => return self.finish(offset, header).map(Some),
                Err(RecordFault::Newer(version)) => return Err(ScanError::Newer(version)),
                Err(
                    RecordFault::NoHeader
                    | RecordFault::Section
                    | RecordFault::Block(_)
                    | RecordFault::Other,
                ) => {
                    self.resync()?;
                }
            }
        }
        Ok(None)
    }

    fn finish(&mut self, offset: u64, header: RecordHeader) -> Result<ScannedRecord, ScanError> {
        let next = offset + header.shape.record_len();
        let content_end = offset + header.shape.prefix_len() + u64::from(header.shape.payload_len);
        if content_end > self.end {
            // Cut in the middle. Nothing can follow a whole record's length behind, but something may follow
            // where the bytes were never written, so look at every place.
            self.position = offset + RECORD_ALIGNMENT;
            return Ok(ScannedRecord {
                offset,
                header,
                is_intact: false,
            });
        }
        let is_intact = self.matches(offset, &header)?;
        self.position = next;
        Ok(ScannedRecord {
            offset,
            header,
            is_intact,
        })
    }

    fn matches(&mut self, offset: u64, header: &RecordHeader) -> io::Result<bool> {
        let wanted = match self.check {
            PayloadCheck::Skip => header.shape.prefix_len(),
            PayloadCheck::Verify => header.shape.prefix_len() + u64::from(header.shape.payload_len),
        };
        let check = self.check;
        let wanted = usize::try_from(wanted).unwrap_or(usize::MAX);
        let bytes = self.bytes_at(offset, wanted)?;
        let Ok(body) = header.section(bytes) else {
            return Ok(false);
        };
        let payload = usize::try_from(header.shape.prefix_len())
            .ok()
            .and_then(|start| bytes.get(start..));
        Ok(match check {
            PayloadCheck::Skip => true,
            PayloadCheck::Verify => {
                payload.is_some_and(|payload| body.check_blocks(0, payload).is_ok())
            }
        })
    }

    /// Moves to the next place where the magic stands, or to the end.
    fn resync(&mut self) -> io::Result<()> {
        let mut offset = (self.position + 1).next_multiple_of(RECORD_ALIGNMENT);
        let started = self.position;
        let mut has_content = false;
        'search: while offset + RECORD_HEADER_LEN as u64 <= self.end {
            let len = usize::try_from(self.end - offset)
                .unwrap_or(usize::MAX)
                .min(WINDOW_LEN);
            let window = self.bytes_at(offset, len)?;
            for (index, chunk) in window.chunks(RECORD_ALIGNMENT_LEN).enumerate() {
                if chunk.starts_with(&RECORD_MAGIC) {
                    offset += index as u64 * RECORD_ALIGNMENT;
                    break 'search;
                }
                has_content |= chunk.iter().any(|byte| *byte != 0);
            }
            offset += len as u64;
            offset = offset.next_multiple_of(RECORD_ALIGNMENT);
        }
        self.position = offset;
        if has_content {
            self.skipped_bytes += offset.min(self.end) - started;
        }
        Ok(())
    }

    /// `len` bytes from `offset`; fewer only where the file ends.
    fn bytes_at(&mut self, offset: u64, len: usize) -> io::Result<&[u8]> {
        let window_end = self.window_start + self.window.len() as u64;
        if offset < self.window_start || offset + len as u64 > window_end {
            let is_sparse =
                self.check == PayloadCheck::Skip && offset > window_end + WINDOW_LEN as u64;
            let window_len = if is_sparse {
                SPARSE_WINDOW_LEN
            } else {
                WINDOW_LEN
            };
            self.window = self.read(len.max(window_len), offset)?;
            self.window_start = offset;
            self.read_bytes += self.window.len() as u64;
        }
        let start = usize::try_from(offset - self.window_start).unwrap_or(usize::MAX);
        let rest = self.window.get(start..).unwrap_or(&[]);
        Ok(rest.get(..len).unwrap_or(rest))
    }

    fn read(&mut self, len: usize, offset: u64) -> io::Result<Vec<u8>> {
        match self.segment.read_up_to(len, offset) {
            Err(err) if self.check == PayloadCheck::Skip && is_unreadable(&err) => {
                self.has_unreadable = true;
                self.read_around_bad_blocks(len, offset)
            }
            result => result,
        }
    }

    /// Reads block by block. What cannot be read is taken for zeros, where no record stands.
    fn read_around_bad_blocks(&self, len: usize, offset: u64) -> io::Result<Vec<u8>> {
        let end = offset.saturating_add(len as u64).min(self.end);
        let mut bytes = Vec::with_capacity(len);
        let mut position = offset;
        while position < end {
            let next = (position + 1).next_multiple_of(DISK_BLOCK_LEN).min(end);
            let block_len = usize::try_from(next - position).unwrap_or(usize::MAX);
            let block = match self.segment.read_up_to(block_len, position) {
                Ok(block) => block,
                Err(err) if is_unreadable(&err) => vec![0; block_len],
                Err(err) => return Err(err),
            };
            bytes.extend_from_slice(&block);
            if block.len() < block_len {
                break;
            }
            position = next;
        }
        Ok(bytes)
    }
}
