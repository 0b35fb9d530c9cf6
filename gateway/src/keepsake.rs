//! What is kept with the last chunk of an object or part, for the day when the metadata has to be rebuilt from the
//! disks: all that only the client and the metadata knew. `docs/formats/keepsake.md` has the bytes: a version byte,
//! then postcard.
//!
//! A completed upload has no chunk of its own: what it is made of is kept with a datum without bytes.

use bytes::Bytes;
use cairn_meta::{BucketName, BucketRecord, CanonicalId, PartNumber, SystemHeaders, UploadId};
use serde::{Deserialize, Serialize};

use crate::checksum::{Checksum, ChecksumAlgorithm};

/// First byte of what is written now.
const FORMAT_VERSION: u8 = 2;
/// First byte of what was written before buckets, owners and completions were kept.
const FORMAT_VERSION_CONTENT_ONLY: u8 = 1;

/// Everything that is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keepsake {
    /// The bytes and what was sent with them.
    pub content: Content,
    /// Where they belong; `None` if it was written by a Cairn that did not keep it yet.
    pub origin: Option<Origin>,
    /// Of which parts the object is made, if it is.
    pub completion: Option<Completion>,
}

/// The bytes and what was sent with them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// Of the object or part.
    pub size_bytes: u64,
    /// Of the bytes; of the parts' MD5s for a completion.
    pub md5: [u8; 16],
    /// Name of the algorithm; [`Content::checksum`] is both in one.
    pub checksum_algorithm: String,
    /// A CRC is big-endian.
    pub checksum: Vec<u8>,
    /// As in `x-amz-storage-class`; empty for a part.
    pub storage_class: String,
    /// The standard headers.
    pub headers: SystemHeaders,
    /// Names without prefix, and values.
    pub user_metadata: Vec<(String, String)>,
    /// Keys and values.
    pub tags: Vec<(String, String)>,
}

/// Where an object or part belongs, and since when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// When it was there whole, in milliseconds since 1970: its `Last-Modified`, and what orders the versions of a
    /// key on a rebuild.
    pub kept_at_ms: u64,
    /// Who owns the object.
    pub owner: CanonicalId,
    /// The bucket's name; its id is in the descriptor.
    pub bucket_name: BucketName,
    /// Who owns the bucket.
    pub bucket_owner: CanonicalId,
    /// When the bucket was created, in milliseconds since 1970.
    pub bucket_created_at_ms: u64,
    /// The location constraint the bucket was created with.
    pub bucket_region: String,
}

/// That an upload was completed, and with which parts. Their order is that of their numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Completion {
    /// The upload.
    pub upload_id: UploadId,
    /// Whether the object's checksum is one of its parts' checksums.
    pub is_composite: bool,
    /// Bit `n % 8` (the lowest is 0) of byte `n / 8` says whether part `n + 1` belongs to the object: at most 1,250
    /// bytes, so that 10,000 parts fit into one descriptor.
    parts: Vec<u8>,
}

/// Why a keepsake cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeepsakeError {
    /// Nothing was kept.
    #[error("nothing is kept with it")]
    Absent,
    /// Written by a newer Cairn.
    #[error("what is kept with it has the unknown format version {version}")]
    UnknownVersion {
        /// Its first byte.
        version: u8,
    },
    /// Not a keepsake.
    #[error("what is kept with it does not decode")]
    Malformed,
}

impl Content {
    /// Content without headers, metadata and tags.
    pub fn new(size_bytes: u64, md5: [u8; 16], checksum: &Checksum) -> Self {
        Self {
            size_bytes,
            md5,
            checksum_algorithm: checksum.algorithm().name().to_owned(),
            checksum: checksum.as_bytes().to_vec(),
            storage_class: String::new(),
            headers: SystemHeaders::default(),
            user_metadata: Vec::new(),
            tags: Vec::new(),
        }
    }

    /// The checksum that is stored with the object or part; `None` if it is none that is known.
    pub fn checksum(&self) -> Option<Checksum> {
        Checksum::new(
            ChecksumAlgorithm::from_name(&self.checksum_algorithm)?,
            &self.checksum,
        )
    }
}

impl Origin {
    /// An object of `owner` in `bucket`.
    pub fn new(bucket: &BucketRecord, owner: CanonicalId, kept_at_ms: u64) -> Self {
        Self {
            kept_at_ms,
            owner,
            bucket_name: bucket.name.clone(),
            bucket_owner: bucket.owner,
            bucket_created_at_ms: bucket.created_at_ms,
            bucket_region: bucket.region.clone(),
        }
    }
}

impl Completion {
    /// Of these parts.
    pub fn new(
        upload_id: UploadId,
        is_composite: bool,
        numbers: impl IntoIterator<Item = PartNumber>,
    ) -> Self {
        let mut parts = Vec::new();
        for number in numbers {
            let bit = usize::from(number.get() - 1);
            if parts.len() <= bit / 8 {
                parts.resize(bit / 8 + 1, 0u8);
            }
            if let Some(byte) = parts.get_mut(bit / 8) {
                *byte |= 1 << (bit % 8);
            }
        }
        Self {
            upload_id,
            is_composite,
            parts,
        }
    }

    /// The numbers of the parts, ascending.
    pub fn part_numbers(&self) -> impl Iterator<Item = PartNumber> + '_ {
        (1..=u16::MAX)
            .zip(
                self.parts
                    .iter()
                    .flat_map(|byte| (0..8).map(move |bit| byte >> bit & 1 == 1)),
            )
            .filter(|(_, is_listed)| *is_listed)
            .filter_map(|(number, _)| PartNumber::new(number).ok())
    }
}

impl Keepsake {
    /// The bytes to keep. Headers are bounded, so they always fit.
    pub fn encode(&self) -> Bytes {
        let written = match &self.origin {
            Some(origin) => postcard::to_extend(
                &(&self.content, origin, &self.completion),
                vec![FORMAT_VERSION],
            ),
            None => postcard::to_extend(&self.content, vec![FORMAT_VERSION_CONTENT_ONLY]),
        };
        // Writing plain data to memory cannot fail; were it to, the keepsake would be unreadable, not wrong.
        written.map(Bytes::from).unwrap_or_default()
    }

    /// The inverse of [`Keepsake::encode`].
    ///
    /// # Errors
    /// [`KeepsakeError`] if the bytes are no keepsake of a known version.
    pub fn decode(bytes: &[u8]) -> Result<Self, KeepsakeError> {
        let (version, body) = bytes.split_first().ok_or(KeepsakeError::Absent)?;
        let (keepsake, rest) = match *version {
            FORMAT_VERSION_CONTENT_ONLY => {
                let (content, rest) =
                    postcard::take_from_bytes(body).map_err(|_| KeepsakeError::Malformed)?;
                let keepsake = Self {
                    content,
                    origin: None,
                    completion: None,
                };
                (keepsake, rest)
            }
            FORMAT_VERSION => {
                let ((content, origin, completion), rest) =
                    postcard::take_from_bytes(body).map_err(|_| KeepsakeError::Malformed)?;
                let keepsake = Self {
                    content,
                    origin: Some(origin),
                    completion,
                };
                (keepsake, rest)
            }
            version => return Err(KeepsakeError::UnknownVersion { version }),
        };
        if rest.is_empty() {
            Ok(keepsake)
        } else {
            Err(KeepsakeError::Malformed)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checksum::ChecksumHasher;
    use proptest::prelude::*;

    /// Written by version 1: on disks, and to be read for ever.
    const VERSION_1: &str = "0105010101010101010101010101010101010543524333320436\
                             10a686085354414e4441524400010161016200";

    fn content() -> Content {
        Content {
            storage_class: "STANDARD".to_owned(),
            user_metadata: vec![("a".to_owned(), "b".to_owned())],
            ..Content::new(
                5,
                [1; 16],
                &ChecksumHasher::of(ChecksumAlgorithm::Crc32, b"hello"),
            )
        }
    }

    fn origin() -> Origin {
        Origin {
            kept_at_ms: 300,
            owner: CanonicalId([0xc0; 32]),
            bucket_name: BucketName::parse("bucket").unwrap(),
            bucket_owner: CanonicalId([0xb0; 32]),
            bucket_created_at_ms: 2,
            bucket_region: "eu".to_owned(),
        }
    }

    fn number(number: u16) -> PartNumber {
        PartNumber::new(number).unwrap()
    }

    #[test]
    fn version_1_is_still_read() {
        let keepsake = Keepsake::decode(&hex::decode(VERSION_1).unwrap()).unwrap();
        let expected = Keepsake {
            content: content(),
            origin: None,
            completion: None,
        };
        assert_eq!(keepsake, expected);
        assert_eq!(hex::encode(keepsake.encode()), VERSION_1);
    }

    /// The bytes in the documentation. They are on disks: a change here is a new format version.
    #[test]
    fn the_bytes_of_version_2() {
        let completion = Completion::new(UploadId([0x0f; 16]), true, [number(1), number(10)]);
        let keepsake = Keepsake {
            content: content(),
            origin: Some(origin()),
            completion: Some(completion),
        };
        let expected = [
            "02",
            VERSION_1.strip_prefix("01").unwrap(),
            "ac02",           // kept at
            &"c0".repeat(32), // owner
            "066275636b6574", // bucket
            &"b0".repeat(32), // its owner
            "02",             // its creation
            "026575",         // its region
            "01",             // a completion
            &"0f".repeat(16), // of this upload
            "01",             // composite
            "020102",         // parts 1 and 10
        ];
        assert_eq!(hex::encode(keepsake.encode()), expected.concat());
        assert_eq!(Keepsake::decode(&keepsake.encode()), Ok(keepsake));
    }

    #[test]
    fn nothing_other_versions_and_leftovers_are_refused() {
        assert_eq!(Keepsake::decode(&[]), Err(KeepsakeError::Absent));
        assert_eq!(
            Keepsake::decode(&[3, 0]),
            Err(KeepsakeError::UnknownVersion { version: 3 })
        );
        let mut bytes = hex::decode(VERSION_1).unwrap();
        bytes.push(0);
        assert_eq!(Keepsake::decode(&bytes), Err(KeepsakeError::Malformed));
    }

    proptest! {
        #[test]
        fn part_numbers_come_back(numbers in proptest::collection::btree_set(1u16..=10_000, 0..50)) {
            let completion = Completion::new(UploadId([1; 16]), false, numbers.iter().copied().map(number));
            prop_assert!(completion.parts.len() <= 1250);
            let back: Vec<u16> = completion.part_numbers().map(PartNumber::get).collect();
            prop_assert_eq!(back, numbers.into_iter().collect::<Vec<_>>());
        }

        #[test]
        fn arbitrary_bytes_never_panic(version in 0u8..4, mut bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            bytes.insert(0, version);
            drop(Keepsake::decode(&bytes).map(|keepsake| keepsake.content.checksum()));
        }
    }
}
