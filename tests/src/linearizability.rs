//! Decides whether a history of concurrent operations on one key is linearizable.
//!
//! A history is linearizable if each operation can be given one instant between its call and its return such that,
//! in the order of these instants, every answer is the one a single register would have given (Herlihy and Wing
//! 1990). The search is that of Wing and Gong 1993 with Lowe's memo of (operations done, state) already visited.

use std::collections::HashSet;

/// The register's content: which write it holds, or nothing.
pub type State = Option<u64>;

/// What was asked, and what was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// An unconditional write that succeeded.
    Write(State),
    /// A write on condition that the register holds `expected`, which succeeded.
    WriteIf {
        /// What the register had to hold.
        expected: State,
        /// What it held afterwards.
        new: State,
    },
    /// A conditional write that was refused, because the register held something, and not `expected`.
    Refused {
        /// What the register did not hold.
        expected: State,
    },
    /// A read and what it saw.
    Read(State),
    /// A write whose outcome is unknown: it happened at some time after its call, or never.
    Maybe(State),
    /// A conditional write whose outcome is unknown: it happened at some time after its call, or never.
    MaybeIf {
        /// What the register had to hold.
        expected: State,
        /// What it held afterwards, if it happened.
        new: State,
    },
}

/// One operation of the history; times are positions in any common order.
#[derive(Debug, Clone, Copy)]
pub struct Operation {
    /// When it was called.
    pub called: u64,
    /// When it returned; `u64::MAX` if it never did.
    pub returned: u64,
    /// What happened.
    pub event: Event,
}

impl Event {
    /// Whether its outcome is known.
    pub fn is_certain(self) -> bool {
        !matches!(self, Self::Maybe(_) | Self::MaybeIf { .. })
    }

    /// The state after this event in `state`, or `None` if the answer is impossible there.
    fn apply(self, state: State) -> Option<State> {
        match self {
            Self::Write(new) | Self::Maybe(new) => Some(new),
            Self::WriteIf { expected, new } | Self::MaybeIf { expected, new } => {
                (state == expected).then_some(new)
            }
            Self::Refused { expected } => (state.is_some() && state != expected).then_some(state),
            Self::Read(seen) => (state == seen).then_some(state),
        }
    }
}

/// Whether some order of `history` explains all answers, the register being empty at first.
///
/// # Panics
/// If there are more than 128 operations: split the history by keys or rounds.
pub fn is_linearizable(history: &[Operation]) -> bool {
    assert!(
        history.len() <= 128,
        "at most 128 operations, got {}",
        history.len()
    );
    let must: u128 = history
        .iter()
        .enumerate()
        .filter(|(_, operation)| operation.event.is_certain())
        .map(|(index, _)| 1 << index)
        .sum();
    let mut visited = HashSet::new();
    let mut stack: Vec<(u128, State)> = vec![(0, None)];
    while let Some((done, state)) = stack.pop() {
        if done & must == must {
            return true;
        }
        if !visited.insert((done, state)) {
            continue;
        }
        let open = || {
            history
                .iter()
                .enumerate()
                .filter(move |(index, _)| done & (1 << index) == 0)
        };
        // Only what was called before the first return among the rest can come next.
        let horizon = open()
            .map(|(_, operation)| operation.returned)
            .min()
            .unwrap_or(u64::MAX);
        for (index, operation) in open().filter(|(_, operation)| operation.called <= horizon) {
            if let Some(next) = operation.event.apply(state) {
                stack.push((done | (1 << index), next));
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operation(called: u64, returned: u64, event: Event) -> Operation {
        Operation {
            called,
            returned,
            event,
        }
    }

    #[test]
    fn a_read_between_two_writes_may_see_either_while_they_overlap() {
        for seen in [None, Some(1), Some(2)] {
            let history = [
                operation(0, 9, Event::Write(Some(1))),
                operation(1, 8, Event::Write(Some(2))),
                operation(2, 7, Event::Read(seen)),
            ];
            assert!(is_linearizable(&history), "{seen:?}");
        }
    }

    #[test]
    fn a_read_after_a_write_must_see_it() {
        let history = [
            operation(0, 1, Event::Write(Some(1))),
            operation(2, 3, Event::Read(None)),
        ];
        assert!(!is_linearizable(&history));
    }

    #[test]
    fn two_creations_cannot_both_win() {
        let create = |value| Event::WriteIf {
            expected: None,
            new: Some(value),
        };
        let history = [operation(0, 5, create(1)), operation(1, 6, create(2))];
        assert!(!is_linearizable(&history));
        let history = [
            operation(0, 5, create(1)),
            operation(1, 6, Event::Refused { expected: None }),
        ];
        assert!(is_linearizable(&history));
    }

    #[test]
    fn of_two_changes_of_one_version_one_is_made_and_the_other_finds_it_replaced() {
        let write = operation(0, 1, Event::Write(Some(1)));
        let change = |new| Event::WriteIf {
            expected: Some(1),
            new,
        };
        let refused = Event::Refused { expected: Some(1) };
        for (first, second, expected) in [
            (change(Some(2)), change(Some(3)), false),
            (change(Some(2)), change(None), false),
            (change(Some(2)), refused, true),
            (refused, refused, false),
            // Nothing is left to be refused for, but for what is told of a key without an object.
            (change(None), refused, false),
            (change(None), Event::Read(None), true),
        ] {
            let history = [write, operation(2, 9, first), operation(3, 8, second)];
            assert_eq!(is_linearizable(&history), expected, "{first:?} {second:?}");
        }
    }

    #[test]
    fn an_unknown_outcome_may_happen_late_or_never() {
        let maybe = operation(0, u64::MAX, Event::Maybe(Some(1)));
        for seen in [None, Some(1)] {
            assert!(is_linearizable(&[
                maybe,
                operation(5, 6, Event::Read(seen))
            ]));
        }
        let flicker = [
            maybe,
            operation(5, 6, Event::Read(Some(1))),
            operation(7, 8, Event::Read(None)),
        ];
        assert!(!is_linearizable(&flicker));
    }

    #[test]
    fn an_unknown_conditional_write_happens_where_its_condition_holds_or_never() {
        for (there, seen, expected) in [(1, 2, true), (1, 1, true), (3, 3, true), (3, 2, false)] {
            let maybe = Event::MaybeIf {
                expected: Some(1),
                new: Some(2),
            };
            let history = [
                operation(0, 1, Event::Write(Some(there))),
                operation(2, u64::MAX, maybe),
                operation(5, 6, Event::Read(Some(seen))),
            ];
            assert_eq!(is_linearizable(&history), expected, "{there}, {seen}");
        }
    }
}
