//! The checksum algorithms and their values.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// An algorithm clients can choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ChecksumAlgorithm {
    /// CRC-32 (ISO-HDLC), as in zip and gzip.
    Crc32,
    /// CRC-32C (Castagnoli).
    Crc32c,
    /// CRC-64/NVME: what S3 computes when nothing is asked for.
    Crc64Nvme,
    /// SHA-1.
    Sha1,
    /// SHA-256.
    Sha256,
}

/// What a checksum of a multipart object covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ChecksumKind {
    /// All bytes of the object.
    FullObject,
    /// The checksums of its parts, one after another.
    Composite,
}

impl ChecksumAlgorithm {
    /// Every algorithm.
    pub const ALL: [ChecksumAlgorithm; 5] = [
        ChecksumAlgorithm::Crc32,
        ChecksumAlgorithm::Crc32c,
        ChecksumAlgorithm::Crc64Nvme,
        ChecksumAlgorithm::Sha1,
        ChecksumAlgorithm::Sha256,
    ];

    /// As in `x-amz-checksum-algorithm` and in XML.
    pub const fn name(self) -> &'static str {
        match self {
            ChecksumAlgorithm::Crc32 => "CRC32",
            ChecksumAlgorithm::Crc32c => "CRC32C",
            ChecksumAlgorithm::Crc64Nvme => "CRC64NVME",
            ChecksumAlgorithm::Sha1 => "SHA1",
            ChecksumAlgorithm::Sha256 => "SHA256",
        }
    }

    /// The header or trailer that carries the value.
    pub const fn header(self) -> &'static str {
        match self {
            ChecksumAlgorithm::Crc32 => "x-amz-checksum-crc32",
            ChecksumAlgorithm::Crc32c => "x-amz-checksum-crc32c",
            ChecksumAlgorithm::Crc64Nvme => "x-amz-checksum-crc64nvme",
            ChecksumAlgorithm::Sha1 => "x-amz-checksum-sha1",
            ChecksumAlgorithm::Sha256 => "x-amz-checksum-sha256",
        }
    }

    /// The XML element that carries the value.
    pub const fn xml_element(self) -> &'static str {
        match self {
            ChecksumAlgorithm::Crc32 => "ChecksumCRC32",
            ChecksumAlgorithm::Crc32c => "ChecksumCRC32C",
            ChecksumAlgorithm::Crc64Nvme => "ChecksumCRC64NVME",
            ChecksumAlgorithm::Sha1 => "ChecksumSHA1",
            ChecksumAlgorithm::Sha256 => "ChecksumSHA256",
        }
    }

    /// The size of a value in bytes.
    pub const fn size_bytes(self) -> usize {
        match self {
            ChecksumAlgorithm::Crc32 | ChecksumAlgorithm::Crc32c => 4,
            ChecksumAlgorithm::Crc64Nvme => 8,
            ChecksumAlgorithm::Sha1 => 20,
            ChecksumAlgorithm::Sha256 => 32,
        }
    }

    /// Whether it costs so little (50 GiB/s) that no thread need be spared it.
    pub(crate) const fn is_crc(self) -> bool {
        super::hasher::crc_algorithm(self).is_some()
    }

    /// Finds an algorithm by its name, in any case.
    pub fn from_name(name: &str) -> Option<ChecksumAlgorithm> {
        ChecksumAlgorithm::ALL
            .into_iter()
            .find(|algorithm| algorithm.name().eq_ignore_ascii_case(name))
    }

    /// Finds an algorithm by its header, in any case.
    pub fn from_header(header: &str) -> Option<ChecksumAlgorithm> {
        ChecksumAlgorithm::ALL
            .into_iter()
            .find(|algorithm| algorithm.header().eq_ignore_ascii_case(header))
    }

    /// The kind S3 takes for a multipart upload that names the algorithm only.
    pub const fn default_kind(self) -> ChecksumKind {
        match self {
            ChecksumAlgorithm::Crc64Nvme => ChecksumKind::FullObject,
            ChecksumAlgorithm::Crc32
            | ChecksumAlgorithm::Crc32c
            | ChecksumAlgorithm::Sha1
            | ChecksumAlgorithm::Sha256 => ChecksumKind::Composite,
        }
    }

    /// Whether a multipart upload may use this algorithm in this way.
    pub const fn supports(self, kind: ChecksumKind) -> bool {
        match (self, kind) {
            (ChecksumAlgorithm::Crc64Nvme, ChecksumKind::FullObject)
            | (ChecksumAlgorithm::Sha1 | ChecksumAlgorithm::Sha256, ChecksumKind::Composite)
            | (ChecksumAlgorithm::Crc32 | ChecksumAlgorithm::Crc32c, _) => true,
            (ChecksumAlgorithm::Crc64Nvme, ChecksumKind::Composite)
            | (ChecksumAlgorithm::Sha1 | ChecksumAlgorithm::Sha256, ChecksumKind::FullObject) => {
                false
            }
        }
    }
}

impl ChecksumKind {
    /// As in `x-amz-checksum-type` and in XML.
    pub const fn name(self) -> &'static str {
        match self {
            ChecksumKind::FullObject => "FULL_OBJECT",
            ChecksumKind::Composite => "COMPOSITE",
        }
    }

    /// Finds a kind by its name.
    pub fn from_name(name: &str) -> Option<ChecksumKind> {
        [ChecksumKind::FullObject, ChecksumKind::Composite]
            .into_iter()
            .find(|kind| kind.name() == name)
    }
}

/// The value of a checksum: as many bytes as its algorithm makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Checksum {
    pub(super) algorithm: ChecksumAlgorithm,
    /// Zero beyond the algorithm's size.
    pub(super) bytes: [u8; 32],
}

impl Checksum {
    /// A value from its bytes; `None` if there are too few or too many for the algorithm.
    pub fn new(algorithm: ChecksumAlgorithm, value: &[u8]) -> Option<Checksum> {
        if value.len() != algorithm.size_bytes() {
            return None;
        }
        let mut bytes = [0; 32];
        bytes.get_mut(..value.len())?.copy_from_slice(value);
        Some(Checksum { algorithm, bytes })
    }

    /// A value as it stands in headers and XML.
    pub fn from_base64(algorithm: ChecksumAlgorithm, text: &str) -> Option<Checksum> {
        Checksum::new(algorithm, &STANDARD.decode(text.trim()).ok()?)
    }

    /// The algorithm that made it.
    pub fn algorithm(&self) -> ChecksumAlgorithm {
        self.algorithm
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes
            .get(..self.algorithm.size_bytes())
            .unwrap_or_default()
    }

    /// As it stands in headers and XML.
    pub fn to_base64(&self) -> String {
        STANDARD.encode(self.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_headers_lead_back_to_the_algorithm() {
        for algorithm in ChecksumAlgorithm::ALL {
            assert_eq!(
                ChecksumAlgorithm::from_name(algorithm.name()),
                Some(algorithm)
            );
            assert_eq!(
                ChecksumAlgorithm::from_header(algorithm.header()),
                Some(algorithm)
            );
            assert!(algorithm.supports(algorithm.default_kind()));
        }
        assert_eq!(
            ChecksumAlgorithm::from_name("crc32c"),
            Some(ChecksumAlgorithm::Crc32c)
        );
        assert_eq!(ChecksumAlgorithm::from_name("MD5"), None);
        assert_eq!(
            ChecksumKind::from_name("COMPOSITE"),
            Some(ChecksumKind::Composite)
        );
    }

    #[test]
    fn values_have_the_size_of_their_algorithm() {
        let crc = Checksum::from_base64(ChecksumAlgorithm::Crc32c, "sOO8/Q==").unwrap();
        assert_eq!(crc.as_bytes(), [0xb0, 0xe3, 0xbc, 0xfd]);
        assert_eq!(crc.to_base64(), "sOO8/Q==");
        assert_eq!(
            Checksum::from_base64(ChecksumAlgorithm::Crc64Nvme, "sOO8/Q=="),
            None
        );
        assert_eq!(Checksum::from_base64(ChecksumAlgorithm::Crc32c, "!"), None);
    }
}
