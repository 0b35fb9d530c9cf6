//! Buckets.

use serde::{Deserialize, Serialize};

use crate::codec::Record;
use crate::ids::{BucketId, BucketName, CanonicalId};

/// A bucket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BucketRecord {
    /// Never reused: what is stored in the bucket is keyed by it.
    pub id: BucketId,
    /// Its name, unique among all accounts.
    pub name: BucketName,
    /// Who created it.
    pub owner: CanonicalId,
    /// When, in milliseconds since 1970.
    pub created_at_ms: u64,
    /// The location constraint it was created with.
    pub region: String,
    /// Whether writes keep old versions.
    pub versioning: Versioning,
    /// Whether somebody is trying to delete it.
    pub state: BucketState,
}

impl Record for BucketRecord {
    const NAME: &'static str = "bucket record";
}

/// A bucket's versioning, as S3 defines it. There is no way back to `Never`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Versioning {
    /// Never configured: each key has at most its null version.
    Never,
    /// Each write makes a version.
    Enabled,
    /// Each write replaces the null version; other versions stay.
    Suspended,
}

/// Whether the bucket is in use or about to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum BucketState {
    /// In use.
    Live,
    /// Somebody is looking whether it is empty. A write may still come first: it sets the state back to `Live`
    /// in its own commit, which makes the deletion fail.
    Deleting {
        /// Random for each attempt, so that one attempt cannot be taken for another.
        attempt: u64,
    },
}
