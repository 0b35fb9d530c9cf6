//! Work that was enqueued in the commit that made it necessary. What is to be done is in the keys.

use serde::{Deserialize, Serialize};

use crate::codec::Record;
use crate::ids::WriteId;

/// Something to delete.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DeletionRecord {
    /// The write that enqueued it: how a writer whose commit had an unknown outcome finds out.
    pub(crate) enqueued_by: WriteId,
}

impl Record for DeletionRecord {
    const NAME: &'static str = "deletion record";
}

/// A chunk to look after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RepairRecord {
    /// When it was enqueued, in milliseconds since 1970.
    pub(crate) enqueued_at_ms: u64,
    /// Tells a second enqueuing from the first, so that finishing the first does not lose the second.
    pub(crate) ticket: WriteId,
}

impl Record for RepairRecord {
    const NAME: &'static str = "repair record";
}
