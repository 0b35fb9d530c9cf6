//! Identities of accounts.

use std::fmt;

use cairn_rpc::random::random_bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{InvalidName, identity::hex_identity};

/// Names one account, as S3's `Owner/ID` shows it: 64 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CanonicalId(pub [u8; 32]);

impl CanonicalId {
    /// A new one.
    pub fn random() -> Self {
        Self(random_bytes())
    }
}

hex_identity!(CanonicalId, 32);
