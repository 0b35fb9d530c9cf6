//! What came of it: for the person who has to decide what to do next, and for programs.

use serde::Serialize;

/// Most incomplete objects that are listed; all are counted.
pub(super) const INCOMPLETE_LISTED_MAX: usize = 100_000;

/// What was written back and what could not be.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct RecoveryReport {
    /// The buckets, by name.
    pub buckets: Vec<RecoveredBucket>,
    /// Objects that are there again.
    pub object_count: u64,
    /// Their sizes together.
    pub object_bytes: u64,
    /// Whole objects that were replaced by later ones; their shards are collected.
    pub superseded_count: u64,
    /// Uploads that were in progress, or whose completion was not found; they are lost, their parts are collected.
    pub unfinished_upload_count: u64,
    /// Chunks that lack shards and are made whole once the store runs.
    pub chunks_to_repair_count: u64,
    /// Shards whose record cannot be read.
    pub unreadable_shard_count: u64,
    /// Objects of which something is missing.
    pub incomplete_count: u64,
    /// The first of them.
    pub incomplete: Vec<IncompleteObject>,
}

/// A bucket that is there again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RecoveredBucket {
    /// Its name.
    pub name: String,
    /// The canonical id of its owner.
    pub owner: String,
}

/// An object, or what may have been one, that is not there again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct IncompleteObject {
    /// The name of its bucket.
    pub bucket: String,
    /// Its key.
    pub key: String,
    /// Which datum, in hex: what its shards are called.
    pub data_id: String,
    /// When it was written, in milliseconds since 1970.
    pub written_at_ms: u64,
    /// Whether an earlier version of the key is there instead.
    pub is_earlier_version_there: bool,
    /// What is missing.
    pub reason: String,
}

impl RecoveryReport {
    /// Whether nothing was found incomplete.
    pub fn is_whole(&self) -> bool {
        self.incomplete_count == 0
    }
}
