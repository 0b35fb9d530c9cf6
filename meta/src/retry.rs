//! Trying again after a conflict: bounded, and with jitter, so that writers of one key do not march in step.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cairn_rpc::random::random_bytes;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::error::MetaError;

/// Attempts before a caller is told that a record is contended. With the delays below that is one to two seconds:
/// 64 writers of one key, a commit of 1 ms each, are all through well before.
const ATTEMPTS_MAX: u32 = 40;
/// The first delay is up to this; about the time of one commit on a good disk.
const DELAY_FIRST_US: u64 = 500;
/// Delays double up to this.
const DELAY_MAX_US: u64 = 64_000;

/// What the delays of all operations are drawn from: seeded by the machine, or by a test that wants to be replayed.
/// Clones are one.
#[derive(Debug, Clone)]
pub(crate) struct Jitter {
    rng: Arc<Mutex<StdRng>>,
}

impl Jitter {
    pub(crate) fn new(seed: Option<u64>) -> Self {
        let rng = seed.map_or_else(|| StdRng::from_seed(random_bytes()), StdRng::seed_from_u64);
        Self {
            rng: Arc::new(Mutex::new(rng)),
        }
    }

    /// The attempts of a new operation.
    pub(crate) fn attempts(&self) -> Attempts<'_> {
        Attempts {
            jitter: self,
            conflicts: 0,
        }
    }

    fn draw_us(&self, longest_us: u64) -> u64 {
        let mut rng = self.rng.lock().unwrap_or_else(PoisonError::into_inner);
        rng.random_range(0..=longest_us)
    }
}

/// Counts the attempts of one operation.
#[derive(Debug)]
pub(crate) struct Attempts<'a> {
    jitter: &'a Jitter,
    conflicts: u32,
}

impl Attempts<'_> {
    /// Waits before the next attempt.
    ///
    /// # Errors
    /// [`MetaError::Contended`] when there have been enough.
    pub(crate) async fn after_conflict(&mut self) -> Result<(), MetaError> {
        self.conflicts += 1;
        if self.conflicts >= ATTEMPTS_MAX {
            return Err(MetaError::Contended);
        }
        let longest = DELAY_FIRST_US
            .saturating_mul(1 << self.conflicts.min(16))
            .min(DELAY_MAX_US);
        tokio::time::sleep(Duration::from_micros(self.jitter.draw_us(longest))).await;
        Ok(())
    }
}
