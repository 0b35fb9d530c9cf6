//! The first 64 bytes of a segment file.
//!
//! | offset | bytes | field |
//! | --- | --- | --- |
//! | 0 | 8 | magic `CairnSeg` |
//! | 8 | 2 | format version, 1 (all integers are little-endian) |
//! | 10 | 1 | class: 1 small records, 2 large records |
//! | 11 | 5 | zeros |
//! | 16 | 16 | disk id |
//! | 32 | 8 | segment number |
//! | 40 | 8 | created at, milliseconds since the Unix epoch |
//! | 48 | 16 | first half of the BLAKE3 hash of bytes 0..48 |

use super::{FIRST_RECORD_OFFSET, SegmentNumber, field, set_field};
use crate::DiskId;

/// Length of the header: records follow at once.
pub(crate) const SEGMENT_HEADER_LEN: usize = 64;
const _: () = assert!(SEGMENT_HEADER_LEN as u64 == FIRST_RECORD_OFFSET);

const MAGIC: [u8; 8] = *b"CairnSeg";
const FORMAT_VERSION: u16 = 1;
const HASH_OFFSET: usize = 48;

/// Which records a segment takes. Two are open at a time, so that small records find pre-written space (cheap
/// to sync) while large ones are not written twice.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub(crate) enum SegmentClass {
    /// Payloads up to [`SegmentClass::SMALL_PAYLOAD_BYTES_MAX`], and tombstones.
    Small,
    /// All others.
    Large,
}

impl SegmentClass {
    /// One block: what a small object needs, and not worth a hole of its own when deleted.
    pub(crate) const SMALL_PAYLOAD_BYTES_MAX: u32 = 64 << 10;

    pub(crate) const ALL: [Self; 2] = [Self::Small, Self::Large];

    pub(crate) fn of_payload(len: u32) -> Self {
        if len <= Self::SMALL_PAYLOAD_BYTES_MAX {
            Self::Small
        } else {
            Self::Large
        }
    }

    fn code(self) -> u8 {
        match self {
            Self::Small => 1,
            Self::Large => 2,
        }
    }

    fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.code() == code)
    }
}

/// What a segment says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) class: SegmentClass,
    pub(crate) disk_id: DiskId,
    pub(crate) number: SegmentNumber,
    pub(crate) created_at_ms: u64,
}

/// Why the first bytes of a file are not a header that can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HeaderFault {
    /// Torn, rotten or empty.
    Damaged,
    /// Written by a newer program.
    Newer(u16),
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> [u8; SEGMENT_HEADER_LEN] {
        let mut out = [0; SEGMENT_HEADER_LEN];
        set_field(&mut out, 0, &MAGIC);
        set_field(&mut out, 8, &FORMAT_VERSION.to_le_bytes());
        set_field(&mut out, 10, &[self.class.code()]);
        set_field(&mut out, 16, &self.disk_id.0);
        set_field(&mut out, 32, &self.number.0.to_le_bytes());
        set_field(&mut out, 40, &self.created_at_ms.to_le_bytes());
        let hash = hash_of(&out);
        set_field(&mut out, HASH_OFFSET, &hash);
        out
    }

    pub(crate) fn decode(bytes: &[u8; SEGMENT_HEADER_LEN]) -> Result<Self, HeaderFault> {
        if field::<8>(bytes, 0) != MAGIC || field::<16>(bytes, HASH_OFFSET) != hash_of(bytes) {
            return Err(HeaderFault::Damaged);
        }
        let version = u16::from_le_bytes(field(bytes, 8));
        if version > FORMAT_VERSION {
            return Err(HeaderFault::Newer(version));
        }
        let [class] = field::<1>(bytes, 10);
        Ok(Self {
            class: SegmentClass::from_code(class).ok_or(HeaderFault::Damaged)?,
            disk_id: DiskId(field(bytes, 16)),
            number: SegmentNumber(u64::from_le_bytes(field(bytes, 32))),
            created_at_ms: u64::from_le_bytes(field(bytes, 40)),
        })
    }
}

fn hash_of(bytes: &[u8; SEGMENT_HEADER_LEN]) -> [u8; 16] {
    let hashed: [u8; HASH_OFFSET] = field(bytes, 0);
    field(blake3::hash(&hashed).as_bytes(), 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_bytes_round_trip_and_every_flipped_bit_is_noticed() {
        let header = SegmentHeader {
            class: SegmentClass::Large,
            disk_id: DiskId([3; 16]),
            number: SegmentNumber(77),
            created_at_ms: 1_700_000_000_000,
        };
        let bytes = header.encode();
        assert_eq!(SegmentHeader::decode(&bytes), Ok(header));
        for bit in 0..SEGMENT_HEADER_LEN * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(
                SegmentHeader::decode(&flipped),
                Err(HeaderFault::Damaged),
                "bit {bit}"
            );
        }
    }

    #[test]
    fn file_names_are_read_back_and_others_ignored() {
        let number = SegmentNumber(0x1f);
        assert_eq!(number.file_name(), "000000000000001f.seg");
        assert_eq!(
            SegmentNumber::from_file_name("000000000000001f.seg"),
            Some(number)
        );
        for other in [
            "1f.seg",
            "000000000000001F.seg",
            "000000000000001f.tmp",
            "+00000000000001f.seg",
            ".seg",
        ] {
            assert_eq!(SegmentNumber::from_file_name(other), None, "{other}");
        }
    }
}
