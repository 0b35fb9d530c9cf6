//! When a chunk counts as written.

use cairn_meta::Coding;

use crate::engine::geometry::durable_count_min;

/// What may be said of a chunk once no more shards of it can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WriteVerdict {
    /// All shards are durable: `m` disks may be lost.
    Whole,
    /// Enough to acknowledge; what is missing goes to the repair queue in the same commit.
    Reduced,
    /// Too few: the write fails, or is tried again with a narrower coding.
    Insufficient,
}

/// Judges a chunk of which `durable_count` shards are durable.
pub(crate) fn judge(coding: Coding, durable_count: usize) -> WriteVerdict {
    if durable_count >= coding.shard_count() {
        WriteVerdict::Whole
    } else if durable_count >= durable_count_min(coding) {
        WriteVerdict::Reduced
    } else {
        WriteVerdict::Insufficient
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use WriteVerdict::{Insufficient, Reduced, Whole};

    #[test]
    fn four_plus_two_needs_five() {
        let coding = Coding::Erasure { data: 4, parity: 2 };
        let verdicts: Vec<_> = (3..=6).map(|durable| judge(coding, durable)).collect();
        assert_eq!(verdicts, [Insufficient, Insufficient, Reduced, Whole]);
    }

    #[test]
    fn two_plus_one_needs_all() {
        let coding = Coding::Erasure { data: 2, parity: 1 };
        assert_eq!([judge(coding, 2), judge(coding, 3)], [Insufficient, Whole]);
    }

    #[test]
    fn copies_need_two_unless_there_is_only_one() {
        let three = Coding::Copies { count: 3 };
        assert_eq!(
            [judge(three, 1), judge(three, 2), judge(three, 3)],
            [Insufficient, Reduced, Whole]
        );
        let one = Coding::Copies { count: 1 };
        assert_eq!([judge(one, 0), judge(one, 1)], [Insufficient, Whole]);
    }
}
