//! Multipart uploads, their parts, and what is remembered of completed ones.

use serde::{Deserialize, Serialize};

use super::object::{self, ChecksumAlgorithm, ChecksumKind, ObjectRecord, SystemHeaders};
use crate::codec::Record;
use crate::ids::{BucketId, CanonicalId, DataId, ObjectKey, PartNumber, UploadId};

/// A multipart upload in progress.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadRecord {
    /// Its identity; begins with `initiated_ms`.
    pub id: UploadId,
    /// Who owns the object to be: the bucket's owner or the initiator.
    pub owner: CanonicalId,
    /// Who initiated it.
    pub initiator: CanonicalId,
    /// When, in milliseconds since 1970.
    pub initiated_ms: u64,
    /// The object's storage class.
    #[serde(with = "object::storage_class")]
    pub storage_class: String,
    /// The object's system headers.
    pub headers: SystemHeaders,
    /// The object's user metadata; names in lower case.
    pub user_metadata: Vec<(String, String)>,
    /// The object's tags.
    pub tags: Vec<(String, String)>,
    /// The checksum that parts carry and the object will have, if one was asked for.
    pub checksum: Option<(ChecksumAlgorithm, ChecksumKind)>,
}

impl Record for UploadRecord {
    const NAME: &'static str = "upload record";
}

/// One part of an upload in progress.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartRecord {
    /// Its number.
    pub part_number: PartNumber,
    /// Its size.
    pub size_bytes: u64,
    /// MD5 of its bytes: its ETag, in hex.
    pub etag_md5: [u8; 16],
    /// Its checksum by the upload's algorithm.
    pub checksum: Option<Vec<u8>>,
    /// Where its bytes are; `None` if it has none.
    pub data_id: Option<DataId>,
    /// When it was written, in milliseconds since 1970.
    pub last_modified_ms: u64,
}

impl Record for PartRecord {
    const NAME: &'static str = "part record";
}

/// What is remembered of a completed upload, so that the same Complete again gets the same answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompletedRecord {
    /// The bucket the upload was in.
    pub bucket: BucketId,
    /// The key it was for.
    pub key: ObjectKey,
    /// [`parts_digest`] of the parts it was completed with.
    pub parts_digest: [u8; 32],
    /// When it was completed, in milliseconds since 1970.
    pub completed_at_ms: u64,
    /// The object version that was made.
    pub object: ObjectRecord,
}

impl Record for CompletedRecord {
    const NAME: &'static str = "completed upload record";
}

/// Tells whether two Complete requests list the same parts: BLAKE3 over each part's number (2 bytes, big-endian)
/// and MD5, in order.
pub fn parts_digest(parts: impl IntoIterator<Item = (PartNumber, [u8; 16])>) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    for (number, md5) in parts {
        hasher.update(&number.get().to_be_bytes());
        hasher.update(&md5);
    }
    *hasher.finalize().as_bytes()
}
