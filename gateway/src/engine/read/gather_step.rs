//! Which shards of a chunk to ask for next: a pure decision, taken anew after every answer.
//!
//! Invariants: a shard is asked at most once; no more shards are asked than are missing for the goal, except where
//! one is slow; the answer is `GiveUp` only when no shard is left that could still come.

use std::ops::Range;

use crate::engine::disks::ReadRank;

/// What is known of one shard of the chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ShardState {
    /// Not asked yet; its disk has this rank.
    Idle(ReadRank),
    /// Asked, and not late.
    Asked,
    /// Asked, and late: it may still come, but is not waited for alone.
    Slow,
    /// Here.
    Have,
    /// Missing, corrupt, or on a disk that failed to answer.
    Lost,
}

/// Which shards are needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Goal {
    /// Just these: what was asked of each is a different range, so that others cannot make up for them.
    Exactly(Range<usize>),
    /// These, or else any `count` of all shards, to decode them.
    OrAny {
        /// The shards that are wanted themselves.
        preferred: Range<usize>,
        /// How many suffice.
        count: usize,
    },
    /// Any `count`.
    Any {
        /// How many suffice.
        count: usize,
    },
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// The wanted shards are here.
    Deliver,
    /// Enough shards are here to decode the wanted ones.
    Decode,
    /// Ask these.
    Ask(Vec<usize>),
    /// Wait for an answer.
    Wait,
    /// The goal cannot be reached.
    GiveUp,
}

/// Decides.
pub(crate) fn next_step(states: &[ShardState], goal: &Goal) -> Step {
    match goal {
        Goal::Exactly(wanted) => {
            let of_wanted = states.get(wanted.clone()).unwrap_or_default();
            // A shard on a disk that is known to be away or slow is not even tried: others are better asked at once.
            let hopeless = of_wanted.iter().any(|state| is_doubtful(*state));
            if hopeless {
                Step::GiveUp
            } else {
                direct_step(states, wanted.clone())
            }
        }
        Goal::OrAny { preferred, count } => {
            let wanted = states.get(preferred.clone()).unwrap_or_default();
            let all_here = wanted.iter().all(|state| *state == ShardState::Have);
            if all_here || !wanted.iter().any(|state| is_doubtful(*state)) {
                direct_step(states, preferred.clone())
            } else {
                decode_step(states, preferred.clone(), *count)
            }
        }
        Goal::Any { count } => decode_step(states, 0..0, *count),
    }
}

fn is_doubtful(state: ShardState) -> bool {
    match state {
        ShardState::Idle(rank) => rank >= ReadRank::Avoided,
        ShardState::Slow | ShardState::Lost => true,
        ShardState::Asked | ShardState::Have => false,
    }
}

/// All wanted shards can be expected: ask those that were not, wait for the rest.
fn direct_step(states: &[ShardState], wanted: Range<usize>) -> Step {
    let of_wanted = || {
        wanted
            .clone()
            .zip(states.get(wanted.clone()).unwrap_or_default())
    };
    let idle: Vec<usize> = of_wanted()
        .filter(|(_, state)| matches!(state, ShardState::Idle(_)))
        .map(|(index, _)| index)
        .collect();
    if !idle.is_empty() {
        return Step::Ask(idle);
    }
    if of_wanted().all(|(_, state)| *state == ShardState::Have) {
        Step::Deliver
    } else {
        Step::Wait
    }
}

/// Any `count` shards do: keep as many asked as are missing, the best disks and the wanted shards first.
fn decode_step(states: &[ShardState], preferred: Range<usize>, count: usize) -> Step {
    let number_in = |wanted: ShardState| states.iter().filter(|state| **state == wanted).count();
    let have = number_in(ShardState::Have);
    if have >= count {
        return Step::Decode;
    }
    let missing = count.saturating_sub(have + number_in(ShardState::Asked));
    let mut idle: Vec<(ReadRank, bool, usize)> = Vec::new();
    for (index, state) in states.iter().enumerate() {
        if let ShardState::Idle(rank) = state {
            idle.push((*rank, !preferred.contains(&index), index));
        }
    }
    idle.sort_unstable();
    if missing > 0 && !idle.is_empty() {
        return Step::Ask(
            idle.into_iter()
                .take(missing)
                .map(|(_, _, index)| index)
                .collect(),
        );
    }
    // Slow ones included: they are all that can still come.
    let possible = have + number_in(ShardState::Asked) + number_in(ShardState::Slow);
    if possible >= count {
        Step::Wait
    } else {
        Step::GiveUp
    }
}

#[cfg(test)]
mod tests {
    use super::ShardState::{Asked, Have, Idle, Lost, Slow};
    use super::*;

    const GOOD: ShardState = Idle(ReadRank::Local);
    const FAR: ShardState = Idle(ReadRank::Remote);
    const AWAY: ShardState = Idle(ReadRank::Away);

    fn whole_chunk() -> Goal {
        Goal::OrAny {
            preferred: 0..4,
            count: 4,
        }
    }

    #[test]
    fn healthy_data_shards_are_asked_and_nothing_else() {
        assert_eq!(
            next_step(&[GOOD; 6], &whole_chunk()),
            Step::Ask(vec![0, 1, 2, 3])
        );
        assert_eq!(
            next_step(&[Asked, Have, Asked, Have, GOOD, GOOD], &whole_chunk()),
            Step::Wait
        );
        assert_eq!(
            next_step(&[Have, Have, Have, Have, GOOD, GOOD], &whole_chunk()),
            Step::Deliver
        );
    }

    #[test]
    fn a_range_touches_only_its_shards() {
        let goal = Goal::OrAny {
            preferred: 2..3,
            count: 4,
        };
        assert_eq!(next_step(&[GOOD; 6], &goal), Step::Ask(vec![2]));
    }

    #[test]
    fn a_known_absence_is_made_up_for_at_once() {
        assert_eq!(
            next_step(&[GOOD, AWAY, GOOD, GOOD, FAR, GOOD], &whole_chunk()),
            Step::Ask(vec![0, 2, 3, 5])
        );
    }

    #[test]
    fn a_lost_or_slow_shard_costs_one_more() {
        assert_eq!(
            next_step(&[Have, Lost, Asked, Have, FAR, GOOD], &whole_chunk()),
            Step::Ask(vec![5])
        );
        assert_eq!(
            next_step(&[Have, Slow, Have, Have, GOOD, GOOD], &whole_chunk()),
            Step::Ask(vec![4])
        );
        assert_eq!(
            next_step(&[Have, Slow, Have, Have, Have, GOOD], &whole_chunk()),
            Step::Decode
        );
        assert_eq!(
            next_step(&[Have, Have, Have, Have, Asked, GOOD], &whole_chunk()),
            Step::Deliver
        );
    }

    #[test]
    fn the_last_resort_is_an_absent_disk_and_then_giving_up() {
        assert_eq!(
            next_step(&[Have, Lost, Have, Lost, Have, AWAY], &whole_chunk()),
            Step::Ask(vec![5])
        );
        assert_eq!(
            next_step(&[Have, Lost, Have, Lost, Have, Slow], &whole_chunk()),
            Step::Wait
        );
        assert_eq!(
            next_step(&[Have, Lost, Have, Lost, Have, Lost], &whole_chunk()),
            Step::GiveUp
        );
    }

    #[test]
    fn copies_are_tried_one_by_one() {
        let goal = Goal::Any { count: 1 };
        assert_eq!(next_step(&[FAR, GOOD, GOOD], &goal), Step::Ask(vec![1]));
        assert_eq!(next_step(&[FAR, Asked, GOOD], &goal), Step::Wait);
        assert_eq!(next_step(&[FAR, Slow, GOOD], &goal), Step::Ask(vec![2]));
        assert_eq!(next_step(&[FAR, Lost, Lost], &goal), Step::Ask(vec![0]));
        assert_eq!(next_step(&[Lost, Lost, Have], &goal), Step::Decode);
        assert_eq!(next_step(&[Lost, Lost, Lost], &goal), Step::GiveUp);
    }

    #[test]
    fn different_ranges_cannot_be_made_up_for() {
        let goal = Goal::Exactly(1..3);
        assert_eq!(
            next_step(&[AWAY, GOOD, GOOD, GOOD], &goal),
            Step::Ask(vec![1, 2])
        );
        assert_eq!(next_step(&[GOOD, GOOD, AWAY, GOOD], &goal), Step::GiveUp);
        assert_eq!(next_step(&[GOOD, Have, Slow, GOOD], &goal), Step::GiveUp);
    }
}
