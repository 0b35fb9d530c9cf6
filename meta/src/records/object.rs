//! Object versions, delete markers, and the lists of parts of those that were uploaded in parts.
//!
//! The forms that every ordinary object has (an MD5 as ETag, storage class `STANDARD`, few headers) cost a byte or
//! nothing beyond their content: a small object's record is about 120 bytes.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::codec::Record;
use crate::ids::{CanonicalId, DataId, ManifestId, PartNumber, VersionId, WriteId};

/// Most parts in one manifest record: 10,000 parts are 20 records of about 40 KiB.
pub(crate) const MANIFEST_PARTS_PER_RECORD: usize = 500;

/// An object version or a delete marker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectRecord {
    /// Its identity among the versions of its key.
    pub version: VersionId,
    /// Orders the versions of a key: greater is newer. Decided at commit, whatever the clocks say.
    pub sequence: u64,
    /// The write that made it.
    pub write_id: WriteId,
    /// An object, or the mark that there is none.
    pub kind: ObjectKind,
    /// The body's size.
    pub size_bytes: u64,
    /// The ETag without quotes; empty for a delete marker.
    #[serde(with = "etag")]
    pub etag: String,
    /// In milliseconds since 1970; never earlier than that of the version it succeeded.
    pub last_modified_ms: u64,
    /// Who owns it.
    pub owner: CanonicalId,
    /// The storage class.
    #[serde(with = "storage_class")]
    pub storage_class: String,
    /// What was sent with it and comes back with it.
    pub headers: SystemHeaders,
    /// `x-amz-meta-*`: names in lower case without that prefix, in the order sent.
    pub user_metadata: Vec<(String, String)>,
    /// Tags in the order sent.
    pub tags: Vec<(String, String)>,
    /// The checksum that is returned on request.
    pub checksum: Option<ObjectChecksum>,
    /// Where the bytes are.
    pub body: ObjectBody,
}

impl ObjectRecord {
    /// Whether it is a delete marker.
    pub fn is_delete_marker(&self) -> bool {
        self.kind == ObjectKind::DeleteMarker
    }
}

impl Record for ObjectRecord {
    const NAME: &'static str = "object record";
}

/// What a version is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ObjectKind {
    /// An object.
    Object,
    /// The mark that the object was deleted.
    DeleteMarker,
}

/// Where an object's bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ObjectBody {
    /// There are none.
    Empty,
    /// In one datum.
    Single(DataId),
    /// In the parts that the manifest lists.
    Parts {
        /// The manifest.
        manifest: ManifestId,
        /// How many parts it lists.
        part_count: u32,
    },
}

/// One part of an object that was uploaded in parts, in the order of the object's bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestPart {
    /// Its number in the upload; ascending, not necessarily consecutive.
    pub part_number: PartNumber,
    /// Its size.
    pub size_bytes: u64,
    /// Where its bytes are; `None` if it has none.
    pub data_id: Option<DataId>,
    /// MD5 of its bytes.
    pub etag_md5: [u8; 16],
    /// Its checksum by the object's algorithm.
    pub checksum: Option<Vec<u8>>,
}

/// One record of a manifest: at most [`MANIFEST_PARTS_PER_RECORD`] parts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ManifestParts {
    pub(crate) parts: Vec<ManifestPart>,
}

impl ManifestParts {
    /// Names the datum that attests a completion. Its one entry is no part: only its data id means something, so that
    /// whoever deletes the data of a manifest deletes this one too.
    pub(crate) fn attestation(data_id: DataId) -> Self {
        Self {
            parts: vec![ManifestPart {
                part_number: PartNumber::FIRST,
                size_bytes: 0,
                data_id: Some(data_id),
                etag_md5: [0; 16],
                checksum: None,
            }],
        }
    }
}

impl Record for ManifestParts {
    const NAME: &'static str = "manifest record";
}

/// The head of a key in a bucket whose versioning was ever configured: what all changes of the key's versions go
/// through, so that they exclude each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KeyHead {
    /// At least the greatest sequence number of the key's versions.
    pub(crate) sequence_max: u64,
    /// The sequence number of the null version, where it is kept among the noncurrent ones.
    pub(crate) null_sequence: Option<u64>,
}

impl Record for KeyHead {
    const NAME: &'static str = "key head record";
}

/// A checksum of a whole object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectChecksum {
    /// By which algorithm.
    pub algorithm: ChecksumAlgorithm,
    /// Of what.
    pub kind: ChecksumKind,
    /// The digest; a CRC is big-endian.
    pub value: Vec<u8>,
    /// How many parts a composite checksum was made of.
    pub part_count: Option<u16>,
}

/// The checksum algorithms of S3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ChecksumAlgorithm {
    /// CRC-32 (ISO-HDLC).
    Crc32,
    /// CRC-32C (Castagnoli).
    Crc32c,
    /// CRC-64/NVME.
    Crc64Nvme,
    /// SHA-1.
    Sha1,
    /// SHA-256.
    Sha256,
}

/// What a checksum was computed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ChecksumKind {
    /// All bytes of the object.
    FullObject,
    /// The concatenated checksums of the parts.
    Composite,
}

/// The standard headers that S3 stores with an object.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SystemHeaders {
    /// `Content-Type`.
    pub content_type: Option<String>,
    /// `Cache-Control`.
    pub cache_control: Option<String>,
    /// `Content-Disposition`.
    pub content_disposition: Option<String>,
    /// `Content-Encoding`, without `aws-chunked`.
    pub content_encoding: Option<String>,
    /// `Content-Language`.
    pub content_language: Option<String>,
    /// `Expires`, as sent.
    pub expires: Option<String>,
    /// `x-amz-website-redirect-location`.
    pub website_redirect_location: Option<String>,
}

/// Stored as a list of (number of the header, value): absent headers cost nothing.
impl Serialize for SystemHeaders {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let all = [
            &self.content_type,
            &self.cache_control,
            &self.content_disposition,
            &self.content_encoding,
            &self.content_language,
            &self.expires,
            &self.website_redirect_location,
        ];
        let present: Vec<(u8, &String)> = (0..)
            .zip(all)
            .filter_map(|(number, value)| Some((number, value.as_ref()?)))
            .collect();
        present.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for SystemHeaders {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut headers = Self::default();
        for (number, value) in Vec::<(u8, String)>::deserialize(deserializer)? {
            let header = match number {
                0 => &mut headers.content_type,
                1 => &mut headers.cache_control,
                2 => &mut headers.content_disposition,
                3 => &mut headers.content_encoding,
                4 => &mut headers.content_language,
                5 => &mut headers.expires,
                6 => &mut headers.website_redirect_location,
                _ => return Err(de::Error::custom("unknown system header")),
            };
            *header = Some(value);
        }
        Ok(headers)
    }
}

/// An ETag is nearly always an MD5 in hex, with or without a number of parts: 17 bytes instead of 33.
mod etag {
    use super::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    enum Stored {
        Md5([u8; 16]),
        OfParts([u8; 16], u16),
        Text(String),
    }

    pub(super) fn serialize<S: Serializer>(etag: &str, serializer: S) -> Result<S::Ok, S::Error> {
        compact(etag)
            .unwrap_or_else(|| Stored::Text(etag.to_owned()))
            .serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<String, D::Error> {
        Stored::deserialize(deserializer).map(text)
    }

    /// Only what comes back exactly as it was is compacted.
    fn compact(etag: &str) -> Option<Stored> {
        let (digest, part_count) = match etag.split_once('-') {
            Some((digest, count)) => (digest, Some(count.parse().ok()?)),
            None => (etag, None),
        };
        let mut md5 = [0; 16];
        hex::decode_to_slice(digest, &mut md5).ok()?;
        let stored = part_count.map_or(Stored::Md5(md5), |count| Stored::OfParts(md5, count));
        (text_of(&stored) == etag).then_some(stored)
    }

    fn text_of(stored: &Stored) -> String {
        match stored {
            Stored::Md5(md5) => digits(md5),
            Stored::OfParts(md5, count) => format!("{}-{count}", digits(md5)),
            Stored::Text(text) => text.clone(),
        }
    }

    /// A listing has a thousand of them, and `hex::encode` makes its text character by character.
    fn digits(md5: &[u8; 16]) -> String {
        let mut digits = [0; 32];
        match hex::encode_to_slice(md5, &mut digits) {
            Ok(()) => String::from_utf8_lossy(&digits).into_owned(),
            Err(_) => hex::encode(md5),
        }
    }

    fn text(stored: Stored) -> String {
        if let Stored::Text(text) = stored {
            text
        } else {
            text_of(&stored)
        }
    }
}

/// `STANDARD` is stored as an empty string.
pub(super) mod storage_class {
    use super::{Deserialize, Deserializer, Serialize, Serializer};

    const STANDARD: &str = "STANDARD";

    pub(in crate::records) fn serialize<S: Serializer>(
        class: &str,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        if class == STANDARD { "" } else { class }.serialize(serializer)
    }

    pub(in crate::records) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<String, D::Error> {
        let class = String::deserialize(deserializer)?;
        Ok(if class.is_empty() {
            STANDARD.to_owned()
        } else {
            class
        })
    }
}
