//! Which bytes of which data shards make up a range of an erasure-coded chunk.
//!
//! Data shards are the chunk's bytes in order, so a range inside a chunk touches only the shards that hold it.

use std::ops::Range;

/// A range of a chunk, seen from its data shards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ShardRanges {
    /// First byte of the chunk, and the end (excluded).
    start: u32,
    end: u32,
    chunk_size: u32,
    shard_size: u32,
}

impl ShardRanges {
    /// `range` is not empty and lies within the chunk; `shard_size` is that of its coding. `None` otherwise.
    pub(crate) fn new(range: &Range<u32>, chunk_size: u32, shard_size: u32) -> Option<Self> {
        let is_inside = range.start < range.end && range.end <= chunk_size && shard_size > 0;
        is_inside.then_some(Self {
            start: range.start,
            end: range.end,
            chunk_size,
            shard_size,
        })
    }

    /// The data shards that hold bytes of the range.
    pub(crate) fn shards(&self) -> Range<usize> {
        (self.start / self.shard_size) as usize..self.end.div_ceil(self.shard_size) as usize
    }

    /// Which bytes of a shard belong to the range.
    pub(crate) fn wanted(&self, shard_index: usize) -> Range<u32> {
        let shard_start = self.start_of(shard_index);
        let within = |position: u32| position.saturating_sub(shard_start).min(self.shard_size);
        within(self.start)..within(self.end)
    }

    /// Which bytes of a shard to ask for: the wanted ones and, behind the chunk's last byte, the padding, so that
    /// all shards of a whole chunk are asked for the same range and can stand in for each other.
    pub(crate) fn asked(&self, shard_index: usize) -> Range<u32> {
        let wanted = self.wanted(shard_index);
        let data_end = self
            .chunk_size
            .saturating_sub(self.start_of(shard_index))
            .min(self.shard_size);
        if wanted.end == data_end {
            wanted.start..self.shard_size
        } else {
            wanted
        }
    }

    /// What to ask of every shard if one has to be decoded: all that is asked of any.
    pub(crate) fn union(&self) -> Range<u32> {
        let asked = || self.shards().map(|index| self.asked(index));
        asked().map(|range| range.start).min().unwrap_or(0)
            ..asked().map(|range| range.end).max().unwrap_or(0)
    }

    /// Whether each shard is asked for the same range anyway.
    pub(crate) fn is_uniform(&self) -> bool {
        let union = self.union();
        self.shards().all(|index| self.asked(index) == union)
    }

    fn start_of(&self, shard_index: usize) -> u32 {
        u32::try_from(shard_index)
            .unwrap_or(u32::MAX)
            .saturating_mul(self.shard_size)
    }
}

#[cfg(test)]
mod tests {
    #![expect(
        clippy::cast_possible_truncation,
        reason = "test inputs are small numbers"
    )]

    use super::*;
    use proptest::prelude::*;

    fn ranges(range: Range<u32>, chunk_size: u32, data_count: u32) -> ShardRanges {
        ShardRanges::new(&range, chunk_size, chunk_size.div_ceil(data_count)).unwrap()
    }

    #[test]
    fn a_range_inside_one_shard_touches_no_other() {
        let ranges = ranges(250..300, 1000, 4);
        assert_eq!((ranges.shards(), ranges.wanted(1)), (1..2, 0..50));
        assert!(ranges.is_uniform());
    }

    #[test]
    fn a_whole_chunk_asks_all_shards_for_the_same_although_the_last_is_padded() {
        let ranges = ranges(0..9, 9, 4);
        assert_eq!(ranges.shards(), 0..3);
        assert_eq!([ranges.wanted(2), ranges.asked(2)], [0..3, 0..3]);
        assert!(ranges.is_uniform());
        let ranges = self::ranges(0..11, 11, 4);
        assert_eq!([ranges.wanted(3), ranges.asked(3)], [0..2, 0..3]);
        assert!(ranges.is_uniform());
    }

    #[test]
    fn a_range_over_a_border_asks_for_different_parts() {
        let ranges = ranges(240..260, 1000, 4);
        assert_eq!([ranges.wanted(0), ranges.wanted(1)], [240..250, 0..10]);
        assert_eq!((ranges.union(), ranges.is_uniform()), (0..250, false));
    }

    proptest! {
        #[test]
        fn wanted_bytes_are_the_range(chunk_size in 1u32..500, data_count in 1u32..7, a: u32, b: u32) {
            let (a, b) = (a % chunk_size, b % chunk_size);
            let range = a.min(b)..a.max(b) + 1;
            let ranges = ranges(range.clone(), chunk_size, data_count);
            let mut next = range.start;
            for index in ranges.shards() {
                let wanted = ranges.wanted(index);
                prop_assert_eq!(index as u32 * ranges.shard_size + wanted.start, next);
                prop_assert!(wanted.start < wanted.end);
                let (asked, union) = (ranges.asked(index), ranges.union());
                prop_assert!(asked.start <= wanted.start && wanted.end <= asked.end && asked.end <= ranges.shard_size);
                prop_assert!(union.start <= asked.start && asked.end <= union.end);
                next += wanted.len() as u32;
            }
            prop_assert_eq!(next, range.end);
        }
    }
}
