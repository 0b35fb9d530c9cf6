//! The ordered key-value contract: `get`, `scan`, `commit`.
//!
//! Every backend keeps the same promises, and passes one conformance suite:
//! - keys are byte strings in lexicographic order; an absent key and an empty value are different things;
//! - `commit` is atomic, durable on return, and linearizable: its checks hold at one instant with its writes;
//! - a `get` or `scan` that starts after a commit was acknowledged sees it; a scan is one snapshot.

pub mod conformance;
mod limits;
mod memory;
pub mod remote;
pub mod rocks;
pub mod scan;

pub use limits::{BATCH_BYTES_MAX, check_batch_limits};
pub use memory::MemoryKv;

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;

/// Longest key a backend must accept. An escaped 1,024-byte object key with its prefix and suffix fits.
pub const KEY_LEN_MAX: usize = 4096;
/// Largest value a backend must accept: room for a manifest of 10,000 parts.
pub const VALUE_LEN_MAX: usize = 4 << 20;
/// Most records one scan returns, whatever its limit says.
pub const SCAN_LIMIT_MAX: usize = 10_000;
/// A scan stops early, truncated, once it holds this many bytes.
pub const SCAN_BYTES_MAX: usize = 4 << 20;

/// An ordered key-value store with three verbs.
#[async_trait]
pub trait KvStore: Send + Sync + fmt::Debug + 'static {
    /// The value of `key`, or `None`.
    ///
    /// # Errors
    /// [`KvError::Unavailable`] and [`KvError::Corrupt`]; reads have no unknown outcome.
    async fn get(&self, key: &[u8]) -> Result<Option<Bytes>, KvError>;

    /// The records of a range in order, as one snapshot.
    ///
    /// # Errors
    /// As for `get`.
    async fn scan(&self, scan: Scan) -> Result<ScanPage, KvError>;

    /// Applies all writes if all checks hold, durably; otherwise none. An empty batch asks whether batches are taken.
    ///
    /// # Errors
    /// [`KvError::Conflict`] when a check failed: nothing was written. [`KvError::UnknownOutcome`] when the batch
    /// may or may not have been applied: read before repeating.
    async fn commit(&self, batch: Batch) -> Result<(), KvError>;
}

/// Which records to read, in which order, how many.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Scan {
    /// First key of the range, included.
    pub start: Bytes,
    /// End of the range, excluded; `None` is the end of all keys.
    pub end: Option<Bytes>,
    /// Ascending or descending.
    pub direction: Direction,
    /// At most this many entries (groups count as one); capped at [`SCAN_LIMIT_MAX`].
    pub limit: usize,
    /// Collapse keys that share a prefix up to a delimiter into one entry each. Ascending scans only.
    pub group: Option<Grouping>,
}

/// How keys are collapsed: all keys that agree up to and including the first `delimiter` found at or after
/// `prefix_len` become one [`ScanEntry::Group`], found by one seek past it, so that the cost of a scan grows
/// with the page it returns and not with the keys it skips. (What S3 calls a common prefix.)
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Grouping {
    /// Where in the key the search for the delimiter begins, in bytes.
    pub prefix_len: usize,
    /// Not empty.
    pub delimiter: Bytes,
}

/// The order of a scan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Direction {
    /// Smallest key first.
    Ascending,
    /// Largest key first.
    Descending,
}

/// What a scan found.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct ScanPage {
    /// In scan order.
    pub entries: Vec<ScanEntry>,
    /// Whether the range holds more entries behind the last one here.
    pub is_truncated: bool,
}

/// One entry of a scan.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum ScanEntry {
    /// A record.
    Record {
        /// The whole key.
        key: Bytes,
        /// Its value.
        value: Bytes,
    },
    /// All keys with this prefix, which ends with the delimiter.
    Group {
        /// The shared beginning of the keys, from byte 0.
        prefix: Bytes,
    },
}

/// Checks and writes that are applied together or not at all.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Batch {
    /// All must hold.
    pub checks: Vec<Check>,
    /// Applied in order; a later write to the same key wins.
    pub writes: Vec<Write>,
}

impl Batch {
    /// Requires that `key` is absent (`expected` is `None`) or still has the value that was read.
    pub fn check(&mut self, key: impl Into<Bytes>, expected: Option<Bytes>) -> &mut Self {
        self.checks.push(Check {
            key: key.into(),
            expected,
        });
        self
    }

    /// Sets `key` to `value`.
    pub fn put(&mut self, key: impl Into<Bytes>, value: impl Into<Bytes>) -> &mut Self {
        self.writes.push(Write::Put {
            key: key.into(),
            value: value.into(),
        });
        self
    }

    /// Removes `key`, which may be absent.
    pub fn delete(&mut self, key: impl Into<Bytes>) -> &mut Self {
        self.writes.push(Write::Delete { key: key.into() });
        self
    }
}

/// A condition on one key, compared by value (records carry sequence numbers or random ids, so an equal value
/// is the same write: there is no ABA).
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Check {
    /// The key looked at.
    pub key: Bytes,
    /// `None`: the key must be absent.
    pub expected: Option<Bytes>,
}

/// One write of a batch.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Write {
    /// Sets the key.
    Put {
        /// The key.
        key: Bytes,
        /// Its new value.
        value: Bytes,
    },
    /// Removes the key.
    Delete {
        /// The key.
        key: Bytes,
    },
}

/// Why a call failed. One variant per thing a caller does differently.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum KvError {
    /// A check did not hold; nothing was written. Read again and decide anew.
    #[error("a concurrent change was committed first")]
    Conflict,
    /// Nothing was done; the same call may succeed later.
    #[error("metadata is unavailable: {detail}")]
    Unavailable {
        /// What happened.
        detail: String,
    },
    /// The commit may or may not have been applied.
    #[error("the outcome of a metadata commit is unknown: {detail}")]
    UnknownOutcome {
        /// What happened.
        detail: String,
    },
    /// Stored bytes are damaged; somebody must look.
    #[error("metadata is damaged: {detail}")]
    Corrupt {
        /// What, where, and what to do.
        detail: String,
    },
    /// Too many commits are waiting; answer 503 `SlowDown`.
    #[error("too many metadata commits are waiting")]
    Busy,
    /// A key, value or batch beyond the limits: the caller's bug.
    #[error("metadata record too large: {detail}")]
    TooLarge {
        /// What was too large.
        detail: String,
    },
}
