//! Identities of object versions.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{InvalidName, WriteId};

/// Names one version of one key.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum VersionId {
    /// The version `null`: written while the bucket's versioning was never enabled, or suspended. At most one per key.
    Null,
    /// Written while versioning was enabled: the version's sequence number (8 bytes, big-endian), which is also
    /// where its record is found, then its [`WriteId`].
    Id([u8; 16]),
}

impl VersionId {
    /// The identity of the version with this sequence number.
    pub(crate) fn from_sequence(sequence: u64, write_id: WriteId) -> Self {
        let mut bytes = [0; 16];
        let (high, low) = bytes.split_at_mut(8);
        high.copy_from_slice(&sequence.to_be_bytes());
        low.copy_from_slice(&write_id.0);
        Self::Id(bytes)
    }

    /// The sequence number inside the identity; `None` for the null version, whose identity says nothing of it.
    pub(crate) fn sequence(self) -> Option<u64> {
        match self {
            Self::Null => None,
            Self::Id(bytes) => u64::try_from(u128::from_be_bytes(bytes) >> 64).ok(),
        }
    }
}

impl fmt::Display for VersionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Id(bytes) => f.write_str(&hex::encode(bytes)),
        }
    }
}

impl fmt::Debug for VersionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VersionId({self})")
    }
}

impl FromStr for VersionId {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        if text == "null" {
            return Ok(Self::Null);
        }
        let mut bytes = [0; 16];
        hex::decode_to_slice(text, &mut bytes)
            .map_err(|_| InvalidName("Invalid version id specified"))?;
        Ok(Self::Id(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_round_trips() {
        let id = VersionId::from_sequence(0x0102, WriteId([7; 8]));
        assert_eq!(id.to_string(), "00000000000001020707070707070707");
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(id.sequence(), Some(0x0102));
        assert_eq!("null".parse(), Ok(VersionId::Null));
        assert!("nul".parse::<VersionId>().is_err());
    }
}
