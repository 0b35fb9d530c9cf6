//! A clock that is early or late, and that a test moves on.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use crate::clock::{Clock, SystemClock};

/// The machine's clock, moved.
#[derive(Debug, Default)]
pub struct MovedClock {
    offset_ms: AtomicI64,
}

impl MovedClock {
    /// One that is so far ahead of the machine's, or behind it.
    pub fn by_minutes(minutes: i64) -> Self {
        Self {
            offset_ms: AtomicI64::new(minutes * 60_000),
        }
    }

    /// Moves it on.
    pub fn advance(&self, by: Duration) {
        let by_ms = i64::try_from(by.as_millis()).expect("less than an age");
        self.offset_ms.fetch_add(by_ms, Ordering::Relaxed);
    }
}

impl Clock for MovedClock {
    fn now_ms(&self) -> u64 {
        let offset_ms = self.offset_ms.load(Ordering::Relaxed);
        SystemClock.now_ms().saturating_add_signed(offset_ms)
    }
}
