//! What is kept with the last chunk of an object or part, for the day when the metadata has to be rebuilt from the
//! disks: all that only the client knew. `docs/formats/keepsake.md` has the bytes: a version byte, then postcard.

use bytes::Bytes;
use cairn_meta::SystemHeaders;
use serde::Serialize;

use super::object_attributes::ObjectAttributes;
use crate::body::DigestSet;

/// First byte.
const FORMAT_VERSION: u8 = 1;

#[derive(Debug, Serialize)]
struct Keepsake<'a> {
    size_bytes: u64,
    md5: [u8; 16],
    checksum_algorithm: &'static str,
    checksum: &'a [u8],
    storage_class: &'a str,
    headers: &'a SystemHeaders,
    user_metadata: &'a [(String, String)],
    tags: &'a [(String, String)],
}

/// The bytes to keep. Headers are bounded, so they always fit.
pub(super) fn encode(digests: &DigestSet, attributes: &ObjectAttributes) -> Bytes {
    let keepsake = Keepsake {
        size_bytes: digests.size_bytes,
        md5: digests.md5,
        checksum_algorithm: digests.checksum.algorithm().name(),
        checksum: digests.checksum.as_bytes(),
        storage_class: &attributes.storage_class,
        headers: &attributes.headers,
        user_metadata: &attributes.user_metadata,
        tags: &attributes.tags,
    };
    let mut bytes = Vec::with_capacity(128);
    bytes.push(FORMAT_VERSION);
    // Writing plain data to memory cannot fail; were it to, the keepsake would be unreadable, not wrong.
    postcard::to_extend(&keepsake, bytes)
        .map(Bytes::from)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checksum::{ChecksumAlgorithm, ChecksumHasher};

    #[test]
    fn the_bytes_of_version_1() {
        let digests = DigestSet {
            size_bytes: 5,
            md5: [1; 16],
            sha256: None,
            checksum: ChecksumHasher::of(ChecksumAlgorithm::Crc32, b"hello"),
            checksum_was_declared: false,
        };
        let attributes = ObjectAttributes {
            storage_class: "STANDARD".to_owned(),
            user_metadata: vec![("a".to_owned(), "b".to_owned())],
            ..ObjectAttributes::default()
        };
        assert_eq!(
            hex::encode(encode(&digests, &attributes)),
            "0105010101010101010101010101010101010543524333320436\
             10a686085354414e444152440001016101620\
             0"
            .replace(' ', "")
        );
    }
}
