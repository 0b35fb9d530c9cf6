//! The rows that RocksDB holds; the bytes are in `docs/formats/segment.md`.
//!
//! Keys: `s` + shard id → entry; `g` + segment number (big-endian) → statistics; `m` → the index's own header. Values are
//! in postcard.

use super::{IndexError, LogState};
use crate::segment::SegmentNumber;
use crate::{DiskId, ShardId};

pub(super) const FORMAT_VERSION: u32 = 1;
pub(super) const HEADER_KEY: &[u8] = b"m";
pub(super) const SHARD_PREFIX: u8 = b's';
pub(super) const SEGMENT_PREFIX: u8 = b'g';

/// The index's own header: another version, or another disk's index, means a rebuild.
#[derive(Debug, Clone, Copy, serde::Serialize, serde::Deserialize)]
pub(super) struct IndexHeader {
    pub(super) format_version: u32,
    pub(super) disk_id: DiskId,
    pub(super) next_lsn: u64,
    pub(super) next_segment: u64,
}

impl IndexHeader {
    pub(super) fn new(disk_id: DiskId, state: &LogState) -> Self {
        Self {
            format_version: FORMAT_VERSION,
            disk_id,
            next_lsn: state.next_lsn,
            next_segment: state.next_segment,
        }
    }
}

pub(super) fn shard_key(id: ShardId) -> [u8; 1 + ShardId::ENCODED_LEN] {
    let mut key = [SHARD_PREFIX; 1 + ShardId::ENCODED_LEN];
    let (_, tail) = key.split_at_mut(1);
    tail.copy_from_slice(&id.to_bytes());
    key
}

pub(super) fn segment_key(number: SegmentNumber) -> [u8; 9] {
    let mut key = [SEGMENT_PREFIX; 9];
    let (_, tail) = key.split_at_mut(1);
    tail.copy_from_slice(&number.0.to_be_bytes());
    key
}

pub(super) fn encode(value: &impl serde::Serialize) -> Result<Vec<u8>, IndexError> {
    postcard::to_allocvec(value).map_err(|_| IndexError::Value("a new entry"))
}

/// `what` is named where the value is not one of ours.
pub(super) fn decode<T: serde::de::DeserializeOwned>(
    value: &[u8],
    what: &'static str,
) -> Result<T, IndexError> {
    postcard::from_bytes(value).map_err(|_| IndexError::Value(what))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DataId;
    use crate::index::entry::{DeadShard, IndexEntry, LiveShard};
    use crate::index::stats::SegmentStats;
    use crate::segment::{Place, RecordShape, SegmentClass};

    /// As `docs/formats/segment.md` has them.
    #[test]
    fn golden_bytes_of_the_index() {
        let disk = "01".repeat(16);
        let state = LogState {
            next_lsn: 300,
            next_segment: 4,
            ..LogState::default()
        };
        let live = LiveShard {
            place: Place {
                segment: SegmentNumber(1),
                offset: 4096,
            },
            lsn: 1,
            written_at_ms: 5,
            shape: RecordShape {
                descriptor_len: 0,
                payload_len: 100,
            },
            stale: vec![SegmentNumber(1), SegmentNumber(2)],
        };
        let dead = DeadShard {
            tombstone: Some(live.place),
            lsn: 9,
            stale: vec![SegmentNumber(7)],
        };
        let unseen = DeadShard {
            tombstone: None,
            lsn: 0,
            stale: vec![SegmentNumber(7)],
        };
        let segment = SegmentStats {
            class: SegmentClass::Large,
            tail: 64,
            live_count: 1,
            live_bytes: 2,
            live_payload_bytes: 3,
            tombstone_bytes: 4,
            punched_bytes: 5,
        };
        for (bytes, expected) in [
            (
                encode(&IndexHeader::new(DiskId([1; 16]), &state)),
                format!("01{disk}ac0204"),
            ),
            (
                encode(&IndexEntry::Live(live)),
                "0001802001050064020102".to_owned(),
            ),
            (
                encode(&IndexEntry::Dead(dead)),
                "0101018020090107".to_owned(),
            ),
            (encode(&IndexEntry::Dead(unseen)), "0100000107".to_owned()),
            (encode(&segment), "01400102030405".to_owned()),
        ] {
            assert_eq!(hex::encode(bytes.unwrap()), expected);
        }
        let id = ShardId {
            data_id: DataId([2; 16]),
            chunk_index: 1,
            shard_index: 0,
        };
        let shard = format!("73{}0000000100", "02".repeat(16));
        assert_eq!(hex::encode(shard_key(id)), shard);
        assert_eq!(
            hex::encode(segment_key(SegmentNumber(258))),
            "670000000000000102"
        );
    }
}
