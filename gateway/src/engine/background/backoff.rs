//! Spares passes that would find what the last one left: nothing that could be done before disks come or go.

use std::time::Duration;

use tokio::time::Instant;

/// A pass that left something behind is repeated this much later: what hindered it may have been a moment's matter.
const AGAIN_AFTER_MIN: Duration = Duration::from_secs(5);
/// The wait doubles up to this. What changed without a sign from the disks is found by then.
const AGAIN_AFTER_MAX: Duration = Duration::from_mins(10);

/// When the next pass over everything is due. `S` is the state on which depends what a pass can do.
#[derive(Debug)]
pub(super) struct Backoff<S> {
    /// The last pass, if it left something behind.
    last: Option<LastPass<S>>,
}

#[derive(Debug)]
struct LastPass<S> {
    state: S,
    wait: Duration,
    ended_at: Instant,
}

impl<S: PartialEq> Backoff<S> {
    pub(super) fn new() -> Self {
        Self { last: None }
    }

    /// Whether a pass in this state may do more than the last one.
    pub(super) fn is_due(&self, state: &S, now: Instant) -> bool {
        self.last
            .as_ref()
            .is_none_or(|last| last.state != *state || now >= last.ended_at + last.wait)
    }

    /// Learns how many things a pass left behind that began in this state.
    pub(super) fn passed(&mut self, state: S, left_behind_count: usize, now: Instant) {
        let wait = match &self.last {
            Some(last) if last.state == state => (last.wait * 2).min(AGAIN_AFTER_MAX),
            _ => AGAIN_AFTER_MIN,
        };
        self.last = (left_behind_count > 0).then_some(LastPass {
            state,
            wait,
            ended_at: now,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn passes_that_leave_something_behind_become_rarer_until_the_state_changes() {
        let mut now = Instant::now();
        let mut backoff = Backoff::new();
        assert!(backoff.is_due(&"six disks", now));
        for seconds in [5, 10, 20, 40, 80, 160, 320, 600, 600] {
            backoff.passed("six disks", 1, now);
            now += Duration::from_secs(seconds);
            assert!(!backoff.is_due(&"six disks", now - Duration::from_secs(1)));
            assert!(backoff.is_due(&"seven disks", now - Duration::from_secs(1)));
            assert!(backoff.is_due(&"six disks", now));
        }
        backoff.passed("seven disks", 1, now);
        assert!(backoff.is_due(&"seven disks", now + AGAIN_AFTER_MIN));
        backoff.passed("seven disks", 0, now);
        assert!(backoff.is_due(&"seven disks", now));
    }
}
