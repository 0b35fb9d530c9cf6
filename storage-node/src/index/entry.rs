//! What the index knows of one shard id, and how a record changes that.
//!
//! Invariants:
//! - the record with the highest sequence number decides; of two copies with the same one (compaction makes
//!   them) the one in the later place does;
//! - `stale` names every segment that may hold a put of the shard which lost (a tombstone which lost can bring nothing
//!   back). As long as one of them exists, the tombstone is needed: without it a rebuilt index would bring the shard
//!   back.
//!
//! So [`apply`] gives the same answer in whatever order records are applied: recovery may replay them segment
//! by segment.

use crate::segment::{Place, RecordKind, RecordShape, RecordStamp, SegmentNumber};

/// What is known of a shard id.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) enum IndexEntry {
    /// The shard is here.
    Live(LiveShard),
    /// It was deleted (or never became whole), and segments may still hold records of it.
    Dead(DeadShard),
}

/// Where a shard is: enough to read it without looking at its header first.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct LiveShard {
    pub(crate) place: Place,
    pub(crate) lsn: u64,
    pub(crate) written_at_ms: u64,
    pub(crate) shape: RecordShape,
    pub(crate) stale: Vec<SegmentNumber>,
}

/// What keeps a deleted shard deleted.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct DeadShard {
    /// `None` if all records of the shard that were found are damaged.
    pub(crate) tombstone: Option<Place>,
    pub(crate) lsn: u64,
    pub(crate) stale: Vec<SegmentNumber>,
}

/// One record as the index sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PlacedRecord {
    pub(crate) kind: RecordKind,
    pub(crate) place: Place,
    pub(crate) stamp: RecordStamp,
    pub(crate) shape: RecordShape,
    /// A damaged record cannot win; that it exists is remembered all the same.
    pub(crate) is_intact: bool,
}

impl IndexEntry {
    pub(crate) fn live(self) -> Option<LiveShard> {
        match self {
            Self::Live(live) => Some(live),
            Self::Dead(_) => None,
        }
    }

    pub(crate) fn stale(&self) -> &[SegmentNumber] {
        match self {
            Self::Live(live) => &live.stale,
            Self::Dead(dead) => &dead.stale,
        }
    }

    pub(crate) fn stale_mut(&mut self) -> &mut Vec<SegmentNumber> {
        match self {
            Self::Live(live) => &mut live.stale,
            Self::Dead(dead) => &mut dead.stale,
        }
    }

    /// Where the deciding record is, if there is one.
    pub(crate) fn place(&self) -> Option<Place> {
        match self {
            Self::Live(live) => Some(live.place),
            Self::Dead(dead) => dead.tombstone,
        }
    }

    fn lsn(&self) -> u64 {
        match self {
            Self::Live(live) => live.lsn,
            Self::Dead(dead) => dead.lsn,
        }
    }

    fn of(record: &PlacedRecord, stale: Vec<SegmentNumber>) -> Self {
        match record.kind {
            RecordKind::Put => Self::Live(LiveShard {
                place: record.place,
                lsn: record.stamp.lsn,
                written_at_ms: record.stamp.written_at_ms,
                shape: record.shape,
                stale,
            }),
            RecordKind::Tombstone => Self::Dead(DeadShard {
                tombstone: Some(record.place),
                lsn: record.stamp.lsn,
                stale,
            }),
        }
    }
}

/// The entry after `record` became known.
pub(crate) fn apply(old: Option<&IndexEntry>, record: &PlacedRecord) -> IndexEntry {
    let Some(old) = old else {
        return if record.is_intact {
            IndexEntry::of(record, Vec::new())
        } else {
            IndexEntry::Dead(DeadShard {
                tombstone: None,
                lsn: 0,
                stale: vec![record.place.segment],
            })
        };
    };
    let wins =
        record.is_intact && (record.stamp.lsn, Some(record.place)) > (old.lsn(), old.place());
    let mut stale = old.stale().to_vec();
    if wins {
        // A superseded tombstone needs no memory: it can bring nothing back.
        if let IndexEntry::Live(live) = old {
            remember(&mut stale, live.place.segment);
        }
        IndexEntry::of(record, stale)
    } else {
        let mut entry = old.clone();
        if record.kind == RecordKind::Put && Some(record.place) != old.place() {
            remember(entry.stale_mut(), record.place.segment);
        }
        entry
    }
}

/// Adds a segment to those that may hold a put which lost.
pub(crate) fn remember(stale: &mut Vec<SegmentNumber>, segment: SegmentNumber) {
    if let Err(at) = stale.binary_search(&segment) {
        stale.insert(at, segment);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record(kind: RecordKind, lsn: u64, segment: u64) -> PlacedRecord {
        PlacedRecord {
            kind,
            place: Place {
                segment: SegmentNumber(segment),
                offset: 64 * lsn,
            },
            stamp: RecordStamp {
                lsn,
                written_at_ms: lsn,
            },
            shape: if kind == RecordKind::Put {
                RecordShape {
                    descriptor_len: 1,
                    payload_len: 2,
                }
            } else {
                RecordShape::TOMBSTONE
            },
            is_intact: true,
        }
    }

    fn all(records: &[PlacedRecord]) -> IndexEntry {
        records
            .iter()
            .fold(None, |entry, record| Some(apply(entry.as_ref(), record)))
            .unwrap()
    }

    #[test]
    fn a_tombstone_remembers_every_segment_with_an_older_put() {
        let entry = all(&[
            record(RecordKind::Put, 1, 1),
            record(RecordKind::Put, 2, 2),
            record(RecordKind::Tombstone, 3, 3),
        ]);
        let IndexEntry::Dead(dead) = entry else {
            panic!("{entry:?}")
        };
        assert_eq!(dead.stale, [SegmentNumber(1), SegmentNumber(2)]);
        assert_eq!(dead.tombstone.unwrap().segment, SegmentNumber(3));
    }

    #[test]
    fn a_damaged_record_never_wins() {
        let damaged = PlacedRecord {
            is_intact: false,
            ..record(RecordKind::Put, 9, 4)
        };
        let entry = all(&[damaged]);
        assert!(entry.clone().live().is_none());
        assert_eq!(entry.stale(), [SegmentNumber(4)]);
        let entry = all(&[record(RecordKind::Put, 1, 1), damaged]);
        assert_eq!(entry.live().unwrap().lsn, 1);
    }

    #[test]
    fn of_two_copies_the_later_place_wins() {
        let entry = all(&[record(RecordKind::Put, 1, 1), record(RecordKind::Put, 1, 5)]);
        assert_eq!(entry.stale(), [SegmentNumber(1)]);
        assert_eq!(entry.live().unwrap().place.segment, SegmentNumber(5));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn the_order_of_replay_does_not_matter(
            steps in prop::collection::vec((any::<bool>(), 1_u64..6, any::<bool>()), 1..12),
            shuffle in prop::collection::vec(any::<prop::sample::Index>(), 12),
        ) {
            let records: Vec<PlacedRecord> = (1..).zip(&steps).map(|(lsn, (is_put, segment, is_intact))| PlacedRecord {
                is_intact: *is_intact || !*is_put,
                ..record(if *is_put { RecordKind::Put } else { RecordKind::Tombstone }, lsn, *segment)
            }).collect();
            let mut shuffled = records.clone();
            for (at, index) in shuffle.iter().enumerate().take(records.len()) {
                shuffled.swap(at, index.index(records.len()));
            }
            prop_assert_eq!(all(&records), all(&shuffled));
        }
    }
}
