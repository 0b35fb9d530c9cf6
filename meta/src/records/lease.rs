//! Leases: who does a background job at the moment.

use serde::{Deserialize, Serialize};

use crate::codec::Record;

/// A lease as it is stored. There is no time in it: observers measure with their own monotonic clocks how long it
/// stays unchanged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseRecord {
    /// Who holds it; chosen by the holder, unique among processes.
    pub holder: String,
    /// Counts renewals and takeovers; never goes down while the record exists.
    pub renewals: u64,
}

impl Record for LeaseRecord {
    const NAME: &'static str = "lease record";
}
