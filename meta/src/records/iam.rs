//! Users and their access keys.

use serde::{Deserialize, Serialize};

use crate::codec::Record;
use crate::ids::{AccessKey, CanonicalId, Email, UserName};

/// A user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserRecord {
    /// Unique.
    pub name: UserName,
    /// Unique and never reused: what buckets and objects name as their owner.
    pub canonical_id: CanonicalId,
    /// Unique where given.
    pub email: Option<Email>,
    /// Shown beside the canonical id.
    pub display_name: String,
    /// When the user was created, in milliseconds since 1970.
    pub created_at_ms: u64,
    /// The user's access keys, oldest first.
    pub access_keys: Vec<AccessKey>,
}

impl Record for UserRecord {
    const NAME: &'static str = "user record";
}

/// An access key as it is stored: the secret is sealed under the master key, bound to the access key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SealedKey {
    pub(crate) user: CanonicalId,
    pub(crate) user_name: UserName,
    pub(crate) created_at_ms: u64,
    pub(crate) nonce: [u8; 24],
    pub(crate) sealed_secret: Vec<u8>,
}

impl Record for SealedKey {
    const NAME: &'static str = "access key record";
}

/// A known text sealed under the master key, so that a wrong one is noticed at start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KeyCheck {
    pub(crate) nonce: [u8; 24],
    pub(crate) sealed: Vec<u8>,
}

impl Record for KeyCheck {
    const NAME: &'static str = "master key check";
}

/// The indexes of users by canonical id and by e-mail address hold the name.
impl Record for UserName {
    const NAME: &'static str = "user index record";
}
