//! How full each segment is with what is still needed; decides what compaction does.

use std::collections::BTreeMap;

use super::IndexEntry;
use crate::segment::{FIRST_RECORD_OFFSET, RecordShape, SegmentClass, SegmentNumber};

/// What the index knows of one segment. Saved with the entries it counts, in the same write batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct SegmentStats {
    pub(crate) class: SegmentClass,
    /// End of the last record that the index knows: recovery replays from here.
    pub(crate) tail: u64,
    /// Live shards.
    pub(crate) live_count: u64,
    /// Their records, whole.
    pub(crate) live_bytes: u64,
    /// Their payloads.
    pub(crate) live_payload_bytes: u64,
    /// Tombstones that are still needed.
    pub(crate) tombstone_bytes: u64,
    /// Space of dead payloads that was given back by punching holes.
    pub(crate) punched_bytes: u64,
}

impl SegmentStats {
    pub(crate) fn new(class: SegmentClass, tail: u64) -> Self {
        let zero = 0;
        Self {
            class,
            tail,
            live_count: zero,
            live_bytes: zero,
            live_payload_bytes: zero,
            tombstone_bytes: zero,
            punched_bytes: zero,
        }
    }

    /// Learns from what the file occupies on disk how much of it are holes: the index may be older than they are.
    ///
    /// File systems that compress say less than there is, so that what is needed counts as no hole, nor does the header.
    pub(crate) fn count_holes(&mut self, occupied_bytes: u64) {
        let no_hole = FIRST_RECORD_OFFSET + self.needed_bytes();
        self.punched_bytes = self.tail.saturating_sub(occupied_bytes.max(no_hole));
    }

    /// What the segment's records occupy on disk.
    pub(crate) fn used_bytes(&self) -> u64 {
        self.tail.saturating_sub(self.punched_bytes)
    }

    /// What compaction would copy.
    pub(crate) fn needed_bytes(&self) -> u64 {
        self.live_bytes.saturating_add(self.tombstone_bytes)
    }

    /// What compaction would free.
    pub(crate) fn garbage_bytes(&self) -> u64 {
        self.used_bytes().saturating_sub(self.needed_bytes())
    }
}

/// All segments of a disk.
pub(crate) type SegmentStatsMap = BTreeMap<SegmentNumber, SegmentStats>;

/// Moves one shard id's share from where `old` was to where `new` is.
pub(crate) fn account(
    stats: &mut SegmentStatsMap,
    old: Option<&IndexEntry>,
    new: Option<&IndexEntry>,
) {
    if let Some(old) = old {
        change(stats, old, u64::saturating_sub);
    }
    if let Some(new) = new {
        change(stats, new, u64::saturating_add);
    }
}

fn change(stats: &mut SegmentStatsMap, entry: &IndexEntry, step: fn(u64, u64) -> u64) {
    let Some(stats) = entry
        .place()
        .and_then(|place| stats.get_mut(&place.segment))
    else {
        return;
    };
    match entry {
        IndexEntry::Live(live) => {
            stats.live_count = step(stats.live_count, 1);
            stats.live_bytes = step(stats.live_bytes, live.shape.record_len());
            stats.live_payload_bytes =
                step(stats.live_payload_bytes, u64::from(live.shape.payload_len));
        }
        // With nothing to keep down, the tombstone is garbage from the start.
        IndexEntry::Dead(dead) if dead.stale.is_empty() => {}
        IndexEntry::Dead(_) => {
            stats.tombstone_bytes =
                step(stats.tombstone_bytes, RecordShape::TOMBSTONE.record_len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_file_does_not_occupy_are_holes_unless_it_is_needed() {
        let mut stats = SegmentStats {
            live_bytes: 300,
            tombstone_bytes: 36,
            punched_bytes: 5,
            ..SegmentStats::new(SegmentClass::Large, 1000)
        };
        for (occupied, holes) in [(1024, 0), (600, 400), (512, 488), (0, 600)] {
            stats.count_holes(occupied);
            assert_eq!(stats.punched_bytes, holes, "{occupied}");
        }
    }
}
