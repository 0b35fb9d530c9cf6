//! Trying again after a conflict: bounded, and with jitter, so that writers of one key do not march in step.

use std::time::Duration;

use crate::error::MetaError;

/// Attempts before a caller is told that a record is contended. With the delays below that is one to two seconds:
/// 64 writers of one key, a commit of 1 ms each, are all through well before.
const ATTEMPTS_MAX: u32 = 40;
/// The first delay is up to this; about the time of one commit on a good disk.
const DELAY_FIRST_US: u64 = 500;
/// Delays double up to this.
const DELAY_MAX_US: u64 = 64_000;

/// Counts the attempts of one operation.
#[derive(Debug, Default)]
pub(crate) struct Attempts {
    conflicts: u32,
}

impl Attempts {
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
        tokio::time::sleep(Duration::from_micros(rand::random_range(0..=longest))).await;
        Ok(())
    }
}
