//! Identities of multipart uploads and of the manifests they leave behind.

use std::fmt;

use cairn_rpc::random::random_bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{InvalidName, identity::hex_identity};

/// Names one multipart upload: the millisecond it was initiated in (6 bytes, big-endian), then 10 random bytes.
///
/// Byte order is therefore the order of initiation, which is the order S3 lists the uploads of one key in, and
/// an upload is found by its key and id alone.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UploadId(pub [u8; 16]);

impl UploadId {
    /// A new one; times past the year 10889 are cut off there.
    pub fn generate(initiated_ms: u64) -> Self {
        let mut bytes = [0; 16];
        let (time, random) = bytes.split_at_mut(6);
        let [_, _, low @ ..] = initiated_ms.min((1 << 48) - 1).to_be_bytes();
        time.copy_from_slice(&low);
        random.copy_from_slice(&random_bytes::<10>());
        Self(bytes)
    }

    /// When the upload was initiated, in milliseconds since 1970.
    pub fn initiated_ms(self) -> u64 {
        u64::try_from(u128::from_be_bytes(self.0) >> 80).unwrap_or(u64::MAX)
    }
}

hex_identity!(UploadId, 16);

/// Names the list of parts of one completed multipart upload. It is the upload's id: one upload, one manifest.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ManifestId(pub [u8; 16]);

impl From<UploadId> for ManifestId {
    fn from(id: UploadId) -> Self {
        Self(id.0)
    }
}

hex_identity!(ManifestId, 16);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upload_ids_sort_by_initiation() {
        let early = UploadId::generate(1_000);
        let late = UploadId::generate(1_001);
        assert!(early < late);
        assert_eq!(late.initiated_ms(), 1_001);
        assert_ne!(UploadId::generate(5), UploadId::generate(5));
        assert_eq!(UploadId::generate(u64::MAX).initiated_ms(), (1 << 48) - 1);
    }
}
