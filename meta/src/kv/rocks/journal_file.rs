//! One journal file: a header block, then records up to the first place where none verifies.
//!
//! Header, little-endian, in the first [`FILE_HEAD_BYTES`] bytes:
//! ```text
//!  0   8  magic "CAIRNJNL"
//!  8   4  format version (1)
//! 12   4  zero
//! 16  16  cluster id
//! 32  16  salt, random for each use of the file, the same on all copies
//! 48   8  epoch of the roster under which this use began
//! 56   8  sequence of the first record
//! 64  32  BLAKE3 of bytes 0..64
//! 96      zeros up to 4096
//! ```
//! The name is the first sequence in 20 decimal digits and `.journal`. Behind the last record stand zeros, a
//! torn record, or what an earlier use of the recycled file left.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::record::{Behind, Record, Salt, parse_record, u32_at, u64_at};

/// Records begin here: a block of their own for the header, so that no later write touches it.
pub(crate) const FILE_HEAD_BYTES: usize = 4096;

const MAGIC: [u8; 8] = *b"CAIRNJNL";
const FORMAT_VERSION: u32 = 1;
const HASHED_BYTES: usize = 64;
const EXTENSION: &str = ".journal";

/// What the first block of a journal file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileHead {
    /// Whose metadata.
    pub(crate) cluster_id: [u8; 16],
    /// Ties records to this use of the file.
    pub(crate) salt: Salt,
    /// Of the roster when the file was begun.
    pub(crate) epoch: u64,
    /// Of the first record that was or will be written to it.
    pub(crate) first_sequence: u64,
}

impl FileHead {
    /// The header block.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut block = Vec::with_capacity(FILE_HEAD_BYTES);
        block.extend_from_slice(&MAGIC);
        block.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        block.extend_from_slice(&[0; 4]);
        block.extend_from_slice(&self.cluster_id);
        block.extend_from_slice(&self.salt);
        block.extend_from_slice(&self.epoch.to_le_bytes());
        block.extend_from_slice(&self.first_sequence.to_le_bytes());
        debug_assert_eq!(block.len(), HASHED_BYTES);
        let hash = blake3::hash(&block);
        block.extend_from_slice(hash.as_bytes());
        block.resize(FILE_HEAD_BYTES, 0);
        block
    }

    /// Reads a header block; `None` if it is not one.
    pub(crate) fn parse(block: &[u8]) -> Option<Self> {
        let hashed = block.get(..HASHED_BYTES)?;
        let hash = block.get(HASHED_BYTES..HASHED_BYTES + 32)?;
        let holds = blake3::hash(hashed).as_bytes() == hash
            && hashed.starts_with(&MAGIC)
            && u32_at(hashed, 8)? == FORMAT_VERSION
            && block.len() >= FILE_HEAD_BYTES;
        holds.then_some(())?;
        Some(Self {
            cluster_id: *hashed.get(16..)?.first_chunk()?,
            salt: *hashed.get(32..)?.first_chunk()?,
            epoch: u64_at(hashed, 48)?,
            first_sequence: u64_at(hashed, 56)?,
        })
    }
}

/// The name of the file that begins with `first_sequence`.
pub(crate) fn file_name(first_sequence: u64) -> String {
    format!("{first_sequence:020}{EXTENSION}")
}

/// The first sequence that a file's name promises.
pub(crate) fn sequence_of_name(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(EXTENSION)?;
    (digits.len() == 20).then(|| digits.parse().ok())?
}

/// What a journal file holds, read whole (files are tens of MiB).
pub(crate) struct JournalFile {
    /// Where it is.
    pub(crate) path: PathBuf,
    /// Its header.
    pub(crate) head: FileHead,
    bytes: Vec<u8>,
}

impl std::fmt::Debug for JournalFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JournalFile")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl JournalFile {
    /// Reads a file; `Ok(None)` if its header does not verify.
    pub(crate) fn read(path: &Path) -> io::Result<Option<Self>> {
        let bytes = fs::read(path)?;
        Ok(FileHead::parse(&bytes).map(|head| Self {
            path: path.to_owned(),
            head,
            bytes,
        }))
    }

    /// The records in order, each one sequence above the last.
    pub(crate) fn records(&self) -> impl Iterator<Item = Record<'_>> {
        let mut offset = FILE_HEAD_BYTES;
        let mut expected = self.head.first_sequence;
        std::iter::from_fn(move || {
            let record = parse_record(&self.head.salt, self.bytes.get(offset..)?)
                .filter(|record| record.sequence == expected)?;
            offset += record.frame_len();
            expected += 1;
            Some(record)
        })
    }

    /// What the records add up to.
    pub(crate) fn extent(&self) -> Extent {
        let mut end_offset = FILE_HEAD_BYTES;
        let mut next_sequence = self.head.first_sequence;
        for record in self.records() {
            end_offset += record.frame_len();
            next_sequence = record.sequence + 1;
        }
        let behind = self.bytes.get(end_offset..).unwrap_or_default();
        // Groups are written one at a time: a whole record behind a broken one proves that the broken one was
        // once whole and durable. This is damage, not a torn tail.
        let behind = Behind {
            bytes: behind,
            salt: &self.head.salt,
            next_sequence,
            epoch_min: self.head.epoch,
        };
        let is_damaged = behind.holds_record();
        Extent {
            next_sequence,
            end_offset,
            is_damaged,
        }
    }
}

/// How far the records of a file go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extent {
    /// One above the last record's; the file's first sequence if it has none.
    pub(crate) next_sequence: u64,
    /// Where the next record would stand.
    pub(crate) end_offset: usize,
    /// Whether records stand behind a gap.
    pub(crate) is_damaged: bool,
}

#[cfg(test)]
mod tests {
    use super::super::record::RecordBuilder;
    use super::*;
    use crate::kv::Write;

    fn head(salt: u8, first_sequence: u64) -> FileHead {
        FileHead {
            cluster_id: [1; 16],
            salt: [salt; 16],
            epoch: 3,
            first_sequence,
        }
    }

    fn frame(salt: u8, sequence: u64) -> Vec<u8> {
        let mut builder = RecordBuilder::new();
        builder.push(&Write::Put {
            key: "k".into(),
            value: vec![9; 30].into(),
        });
        builder.finish(&[salt; 16], 3, sequence).bytes
    }

    fn file(bytes: Vec<u8>) -> JournalFile {
        let head = FileHead::parse(&bytes).unwrap();
        JournalFile {
            path: PathBuf::new(),
            head,
            bytes,
        }
    }

    #[test]
    fn golden_header() {
        let block = head(2, 5).encode();
        insta::assert_snapshot!(hex::encode(block.get(..96).unwrap()));
        assert_eq!(FileHead::parse(&block), Some(head(2, 5)));
    }

    #[test]
    fn every_flipped_bit_of_the_header_is_noticed() {
        let block = head(2, 5).encode();
        for bit in 0..96 * 8 {
            let mut flipped = block.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(FileHead::parse(&flipped), None, "bit {bit}");
        }
    }

    #[test]
    fn records_of_an_earlier_use_are_not_replayed() {
        let mut bytes = head(1, 1).encode();
        for sequence in 1..=3 {
            bytes.extend(frame(1, sequence));
        }
        // The same file, used again for the same sequences: only the new use's record counts.
        bytes.splice(..FILE_HEAD_BYTES, head(2, 1).encode());
        let first = frame(2, 1);
        bytes.splice(FILE_HEAD_BYTES..FILE_HEAD_BYTES + first.len(), first);
        let extent = file(bytes).extent();
        assert_eq!((extent.next_sequence, extent.is_damaged), (2, false));
    }

    #[test]
    fn a_torn_tail_ends_the_file_and_a_hole_is_damage() {
        let mut bytes = head(1, 7).encode();
        bytes.extend(frame(1, 7));
        let tail = frame(1, 8);
        bytes.extend_from_slice(&tail[..tail.len() - 1]);
        assert_eq!(file(bytes.clone()).extent().next_sequence, 8);
        assert!(!file(bytes.clone()).extent().is_damaged);

        bytes.push(*tail.last().unwrap());
        assert_eq!(file(bytes.clone()).extent().next_sequence, 9);
        bytes[FILE_HEAD_BYTES + 60] ^= 1;
        let extent = file(bytes).extent();
        assert_eq!((extent.next_sequence, extent.is_damaged), (7, true));
    }

    #[test]
    fn names_carry_the_first_sequence() {
        assert_eq!(sequence_of_name(&file_name(42)), Some(42));
        assert_eq!(sequence_of_name("42.journal"), None);
        assert_eq!(sequence_of_name("spare-1.journal"), None);
    }
}
