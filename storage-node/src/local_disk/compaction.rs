//! Which segment to compact: a pure decision.

use std::collections::BTreeSet;

use crate::index::{SegmentStats, SegmentStatsMap};
use crate::segment::SegmentNumber;

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CompactionStep {
    /// Nothing is worth the work.
    Rest,
    /// Close this open segment first: it is mostly garbage.
    Seal(SegmentNumber),
    /// Copy what is live out of this one, and remove it.
    Compact(SegmentNumber),
}

/// From this share of garbage on, a segment is compacted: copying the other 70 % costs 2.3 bytes per byte freed.
const GARBAGE_PERCENT_MIN: u64 = 30;

/// An open segment is given up earlier than it is full only for this share.
const OPEN_GARBAGE_PERCENT_MIN: u64 = 60;

/// And only for this much, as the next one begins with preallocating.
const OPEN_GARBAGE_BYTES_MIN: u64 = 16 << 20;

/// What to choose from.
#[derive(Debug)]
pub(super) struct Candidates<'a> {
    pub(super) stats: &'a SegmentStatsMap,
    /// Segments that are appended to.
    pub(super) open: &'a BTreeSet<SegmentNumber>,
    /// Segments that are left alone.
    pub(super) stuck: &'a BTreeSet<SegmentNumber>,
    pub(super) segment_size_bytes: u64,
    /// What copies may take.
    pub(super) space_bytes: u64,
}

/// Chooses the segment with the largest share of garbage.
///
/// Segments without a live record come first: they cost nothing. Those whose copies do not fit come later, when others
/// have made space. On a `segment_size_bytes` that is small (as in tests) an open segment counts as worth closing from a
/// quarter of it.
pub(super) fn choose(from: &Candidates<'_>) -> CompactionStep {
    let candidates = || {
        from.stats.iter().filter(|(number, stats)| {
            !from.stuck.contains(number) && stats.needed_bytes() <= from.space_bytes
        })
    };
    let is_open = |number| from.open.contains(number);
    let best_closed = candidates()
        .filter(|(number, stats)| !is_open(*number) && is_worth_it(stats, GARBAGE_PERCENT_MIN))
        .max_by_key(|(number, stats)| (garbage_percent(stats), std::cmp::Reverse(**number)));
    if let Some((number, _)) = best_closed {
        return CompactionStep::Compact(*number);
    }
    let open_bytes_min = OPEN_GARBAGE_BYTES_MIN.min(from.segment_size_bytes / 4);
    candidates()
        .filter(|(number, stats)| is_open(*number) && is_worth_it(stats, OPEN_GARBAGE_PERCENT_MIN))
        .find(|(_, stats)| stats.garbage_bytes() >= open_bytes_min)
        .map_or(CompactionStep::Rest, |(number, _)| {
            CompactionStep::Seal(*number)
        })
}

fn is_worth_it(stats: &SegmentStats, percent_min: u64) -> bool {
    garbage_percent(stats) >= percent_min
}

fn garbage_percent(stats: &SegmentStats) -> u64 {
    // `max` only keeps the division defined: a segment has a header at least.
    stats.garbage_bytes().saturating_mul(100) / stats.used_bytes().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::SegmentClass;

    fn segment(used: u64, live: u64) -> SegmentStats {
        SegmentStats {
            live_bytes: live,
            live_count: u64::from(live > 0),
            ..SegmentStats::new(SegmentClass::Small, used)
        }
    }

    fn choose_within(space_bytes: u64, segments: &[(u64, u64)], open: &[u64]) -> CompactionStep {
        let stats = (1..)
            .map(SegmentNumber)
            .zip(segments.iter().map(|(used, live)| segment(*used, *live)))
            .collect();
        choose(&Candidates {
            stats: &stats,
            open: &open.iter().copied().map(SegmentNumber).collect(),
            stuck: &BTreeSet::new(),
            segment_size_bytes: 1000,
            space_bytes,
        })
    }

    fn choose_among(segments: &[(u64, u64)], open: &[u64]) -> CompactionStep {
        choose_within(1000, segments, open)
    }

    #[test]
    fn what_does_not_fit_is_left_for_later() {
        let segments = [(1000, 300), (1000, 500), (1000, 0)];
        let chosen = |space_bytes, segments| choose_within(space_bytes, segments, &[]);
        assert_eq!(
            chosen(0, &segments),
            CompactionStep::Compact(SegmentNumber(3))
        );
        assert_eq!(chosen(299, &segments[..2]), CompactionStep::Rest);
        assert_eq!(
            chosen(300, &segments[..2]),
            CompactionStep::Compact(SegmentNumber(1))
        );
    }

    #[test]
    fn the_segment_with_most_garbage_is_compacted() {
        assert_eq!(
            choose_among(&[(1000, 900), (1000, 500), (1000, 300)], &[]),
            CompactionStep::Compact(SegmentNumber(3))
        );
    }

    #[test]
    fn little_garbage_is_left_alone() {
        assert_eq!(
            choose_among(&[(1000, 900), (1000, 750)], &[]),
            CompactionStep::Rest
        );
    }

    #[test]
    fn an_open_segment_is_closed_only_if_it_is_mostly_garbage() {
        assert_eq!(choose_among(&[(1000, 500)], &[1]), CompactionStep::Rest);
        assert_eq!(
            choose_among(&[(1000, 100)], &[1]),
            CompactionStep::Seal(SegmentNumber(1))
        );
        assert_eq!(choose_among(&[(200, 0)], &[1]), CompactionStep::Rest);
    }

    #[test]
    fn tombstones_that_are_needed_and_holes_are_not_garbage() {
        let mut stats = segment(1000, 0);
        stats.tombstone_bytes = 400;
        stats.punched_bytes = 500;
        assert_eq!(stats.garbage_bytes(), 100);
    }
}
