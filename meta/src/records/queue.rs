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
    /// What speaks for it.
    pub(crate) reason: RepairReason,
}

/// Why a chunk is to be looked after.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RepairReason {
    /// Its record tells what it lacks: shards that are placed nowhere, or on disks that are lost.
    Missing,
    /// A shard was found missing or corrupt where it should be: which one, only a look at all of them tells.
    Suspected,
    /// As [`RepairReason::Suspected`], and a look at all of them has begun since: what is suspected from now on may have
    /// been whole when it was looked at.
    LookedInto,
}

impl RepairReason {
    /// Whether an entry for this reason makes another one, for `other`, unnecessary.
    pub(crate) fn covers(self, other: Self) -> bool {
        match self {
            Self::Suspected => true,
            Self::Missing | Self::LookedInto => other == Self::Missing,
        }
    }
}

impl Record for RepairRecord {
    const NAME: &'static str = "repair record";
    const FORMAT_VERSION: u8 = 2;

    /// Version 1 had no reason: whatever it was, a look at all shards finds it.
    fn take_older(version: u8, body: &[u8]) -> Option<postcard::Result<(Self, &[u8])>> {
        let first = |((enqueued_at_ms, ticket), rest)| {
            let record = Self {
                enqueued_at_ms,
                ticket,
                reason: RepairReason::Suspected,
            };
            (record, rest)
        };
        (version == 1).then(|| postcard::take_from_bytes(body).map(first))
    }
}
