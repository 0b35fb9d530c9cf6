//! Bytes whose checksum was compared: the only form in which shard payloads leave this crate.

use bytes::Bytes;

/// Payload bytes that matched the BLAKE3 hashes stored with their shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedBytes(Bytes);

impl VerifiedBytes {
    /// Only code that has just compared the hashes of every block of `bytes` may call this.
    pub(crate) fn after_check(bytes: Bytes) -> Self {
        Self(bytes)
    }

    /// The bytes, now ordinary.
    pub fn into_bytes(self) -> Bytes {
        self.0
    }
}

impl std::ops::Deref for VerifiedBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}
