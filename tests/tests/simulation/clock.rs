//! The time of day in a simulation: as far from a beginning as the runtime's time is.

use cairn_rpc::clock::Clock;
use tokio::time::Instant;

/// In 2027.
const BEGAN_MS: u64 = 1_800_000_000_000;

/// Goes with the runtime's time, which stands still while something runs.
#[derive(Debug)]
pub(crate) struct SimulatedClock {
    began: Instant,
    skew_ms: i64,
}

impl SimulatedClock {
    pub(crate) fn new() -> Self {
        Self {
            began: Instant::now(),
            skew_ms: 0,
        }
    }

    /// The same, so much ahead.
    pub(crate) fn skewed_by(&self, skew_ms: i64) -> Self {
        Self { skew_ms, ..*self }
    }
}

impl Clock for SimulatedClock {
    fn now_ms(&self) -> u64 {
        let elapsed_ms = u64::try_from(self.began.elapsed().as_millis()).expect("less than an age");
        (BEGAN_MS + elapsed_ms).saturating_add_signed(self.skew_ms)
    }
}
