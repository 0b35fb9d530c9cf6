//! When a store that is broken is looked at next.

use std::time::{Duration, Instant};

/// The shortest time between two attempts to mend a broken store.
const REVIVAL_PAUSE_MIN: Duration = Duration::from_secs(1);
/// The longest time between two attempts to mend a broken store: each may restore all of it.
const REVIVAL_PAUSE_MAX: Duration = Duration::from_mins(1);

/// When a broken store is looked at next: after pauses that grow.
#[derive(Debug)]
pub(crate) struct Revival {
    pub(crate) due: Instant,
    pause: Duration,
}

impl Revival {
    /// At once.
    pub(crate) fn new() -> Self {
        Self {
            due: Instant::now(),
            pause: REVIVAL_PAUSE_MIN,
        }
    }

    pub(crate) fn postpone(&mut self) {
        self.due = Instant::now() + self.pause;
        self.pause = (self.pause * 2).min(REVIVAL_PAUSE_MAX);
    }
}
