//! Tells a request that was seen before from a new one, in bounded memory.
//!
//! A caller numbers its requests, so a window of bits per caller is enough (as in `IPsec`: RFC 4303, section
//! 3.4.3), where remembering random nonces would cost memory by the request. A session may be forgotten once all
//! its timestamps are beyond the allowed skew. That clocks were compared does not keep its requests out by itself: a body
//! may arrive long after its header, and a clock may step back. So whoever is not known must be newer than all that was
//! forgotten, whatever time it is.

use std::collections::HashMap;
use std::time::Duration;

use crate::refusal::Refusal;
use crate::seal::{RequestSeal, SessionId};

/// How far a request may be overtaken by others of its session: 6 s at 20,000 requests per second.
const WINDOW_BITS: u64 = 1 << 17;
const WORD_BITS: u64 = 64;
/// Callers at one time; with the window this bounds the memory to 16 MiB.
const SESSION_COUNT_MAX: usize = 1024;

#[derive(Debug, Default)]
pub(crate) struct ReplayWindow {
    sessions: HashMap<SessionId, Session>,
    /// The newest timestamp of all sessions that were forgotten.
    forgotten_to_ms: Option<u64>,
}

#[derive(Debug)]
struct Session {
    newest_timestamp_ms: u64,
    highest_counter: u64,
    /// Bit `counter % WINDOW_BITS`: whether `counter` was seen, for counters up to the highest.
    seen: Box<[u64]>,
}

impl ReplayWindow {
    /// Whether [`Self::admit`] would refuse this request now and ever after: then nobody need wait for its body.
    pub(crate) fn is_past(&self, seal: &RequestSeal) -> bool {
        match self.sessions.get(&seal.session) {
            Some(session) => session.is_past(seal.counter),
            None => Some(seal.timestamp_ms) <= self.forgotten_to_ms,
        }
    }

    /// Admits each authenticated request once. The timestamp must have been compared with `now_ms` before.
    pub(crate) fn admit(
        &mut self,
        seal: &RequestSeal,
        now_ms: u64,
        skew_max: Duration,
    ) -> Result<(), Refusal> {
        if !self.sessions.contains_key(&seal.session) {
            let skew_max_ms = u64::try_from(skew_max.as_millis()).unwrap_or(u64::MAX);
            let forgotten = self.sessions.extract_if(|_, session| {
                session.newest_timestamp_ms.saturating_add(skew_max_ms) < now_ms
            });
            let newest = forgotten
                .map(|(_, session)| session.newest_timestamp_ms)
                .max();
            self.forgotten_to_ms = self.forgotten_to_ms.max(newest);
            if Some(seal.timestamp_ms) <= self.forgotten_to_ms {
                return Err(Refusal::Replayed);
            }
            if self.sessions.len() >= SESSION_COUNT_MAX {
                return Err(Refusal::TooManySessions);
            }
        }
        let session = self
            .sessions
            .entry(seal.session)
            .or_insert_with(|| Session::starting_at(seal.counter));
        session.newest_timestamp_ms = session.newest_timestamp_ms.max(seal.timestamp_ms);
        if session.admit(seal.counter) {
            Ok(())
        } else {
            Err(Refusal::Replayed)
        }
    }
}

impl Session {
    fn starting_at(counter: u64) -> Self {
        let words = usize::try_from(WINDOW_BITS / WORD_BITS).unwrap_or(usize::MAX);
        Self {
            newest_timestamp_ms: 0,
            highest_counter: counter,
            seen: vec![0; words].into(),
        }
    }

    fn admit(&mut self, counter: u64) -> bool {
        if self.is_past(counter) {
            return false;
        }
        if counter > self.highest_counter {
            self.advance_to(counter);
        }
        let (word, bit) = self.word(counter);
        *word |= bit;
        true
    }

    /// Whether the counter was seen, or is older than what can be told apart from that.
    fn is_past(&self, counter: u64) -> bool {
        // Bits beyond the highest are those of a window before.
        let Some(age) = self.highest_counter.checked_sub(counter) else {
            return false;
        };
        let (word, bit) = place_of(counter);
        age >= WINDOW_BITS || self.seen.get(word).is_none_or(|word| word & bit != 0)
    }

    fn advance_to(&mut self, counter: u64) {
        if counter - self.highest_counter >= WINDOW_BITS {
            self.seen.fill(0);
        } else {
            for passed in self.highest_counter + 1..=counter {
                let (word, bit) = self.word(passed);
                *word &= !bit;
            }
        }
        self.highest_counter = counter;
    }

    #[expect(
        clippy::indexing_slicing,
        reason = "the index is taken modulo the length of the window"
    )]
    fn word(&mut self, counter: u64) -> (&mut u64, u64) {
        let (word, bit) = place_of(counter);
        (&mut self.seen[word], bit)
    }
}

/// Which word of a window has the bit of a counter, and that bit.
fn place_of(counter: u64) -> (usize, u64) {
    let index = counter % WINDOW_BITS;
    ((index / WORD_BITS) as usize, 1 << (index % WORD_BITS))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::{BodyDigest, RunId};
    use proptest::prelude::*;
    use std::collections::HashSet;

    const SKEW_MAX: Duration = Duration::from_mins(5);
    const NOW_MS: u64 = 1_000_000_000;

    fn seal(session: u16, counter: u64) -> RequestSeal {
        let mut id = [0; 16];
        id[..2].copy_from_slice(&session.to_be_bytes());
        RequestSeal {
            timestamp_ms: NOW_MS,
            session: SessionId(id),
            counter,
            run: RunId([1; 16]),
            body: BodyDigest([0; 32]),
        }
    }

    fn admit(window: &mut ReplayWindow, seal: &RequestSeal) -> Result<(), Refusal> {
        let is_past = window.is_past(seal);
        let admitted = window.admit(seal, NOW_MS, SKEW_MAX);
        assert_eq!(is_past, admitted == Err(Refusal::Replayed));
        admitted
    }

    #[test]
    fn a_request_is_admitted_once_per_session_in_any_order() {
        let mut window = ReplayWindow::default();
        for counter in [5, 3, 4, 9, 1, WINDOW_BITS + 8] {
            assert_eq!(admit(&mut window, &seal(1, counter)), Ok(()));
            assert_eq!(
                admit(&mut window, &seal(1, counter)),
                Err(Refusal::Replayed)
            );
        }
        assert_eq!(
            admit(&mut window, &seal(1, 8)),
            Err(Refusal::Replayed),
            "older than the window"
        );
        assert_eq!(
            admit(&mut window, &seal(1, 10)),
            Ok(()),
            "the oldest of the window"
        );
        assert_eq!(admit(&mut window, &seal(2, 5)), Ok(()), "another session");
    }

    #[test]
    fn extreme_counters_do_not_overflow() {
        let mut window = ReplayWindow::default();
        for counter in [0, u64::MAX, u64::MAX - 1] {
            assert_eq!(admit(&mut window, &seal(1, counter)), Ok(()));
        }
        assert_eq!(admit(&mut window, &seal(1, 0)), Err(Refusal::Replayed));
    }

    #[test]
    fn sessions_are_bounded_and_forgotten_only_when_their_requests_are_too_old() {
        let mut window = ReplayWindow::default();
        for session in 0..u16::try_from(SESSION_COUNT_MAX).unwrap() {
            assert_eq!(admit(&mut window, &seal(session, 1)), Ok(()));
        }
        assert_eq!(
            admit(&mut window, &seal(5000, 1)),
            Err(Refusal::TooManySessions)
        );
        let just_inside = NOW_MS + 300_000;
        assert_eq!(
            window.admit(&seal(5000, 1), just_inside, SKEW_MAX),
            Err(Refusal::TooManySessions)
        );
        let newer = RequestSeal {
            timestamp_ms: NOW_MS + 1,
            ..seal(5000, 1)
        };
        assert_eq!(window.admit(&newer, just_inside + 1, SKEW_MAX), Ok(()));
    }

    #[test]
    fn a_session_that_was_forgotten_is_never_taken_for_a_new_one() {
        let mut window = ReplayWindow::default();
        assert_eq!(admit(&mut window, &seal(1, 1)), Ok(()));
        let later_ms = NOW_MS + 300_001;
        let later = RequestSeal {
            timestamp_ms: later_ms,
            ..seal(2, 1)
        };
        assert_eq!(window.admit(&later, later_ms, SKEW_MAX), Ok(()));
        for now_ms in [later_ms, NOW_MS, 0] {
            let again = window.admit(&seal(1, 1), now_ms, SKEW_MAX);
            assert_eq!(again, Err(Refusal::Replayed));
            assert!(window.is_past(&seal(1, 1)));
        }
        let new = RequestSeal {
            timestamp_ms: NOW_MS + 1,
            ..seal(3, 1)
        };
        assert_eq!(window.admit(&new, NOW_MS, SKEW_MAX), Ok(()));
    }

    proptest! {
        #[test]
        fn agrees_with_a_set_of_everything_seen(
            steps in prop::collection::vec((0..300_u64, 0..3_u64), 1..200),
        ) {
            let (mut window, mut seen) = (ReplayWindow::default(), HashSet::new());
            for (offset, scale) in steps {
                // Far jumps by multiples of the window reach the same bits.
                let counter = offset + scale * WINDOW_BITS;
                let highest = seen.iter().max().copied().unwrap_or(0);
                let is_new = counter + WINDOW_BITS > highest && seen.insert(counter);
                prop_assert_eq!(admit(&mut window, &seal(1, counter)).is_ok(), is_new);
            }
        }
    }
}
