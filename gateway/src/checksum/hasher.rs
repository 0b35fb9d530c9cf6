//! Computing a checksum piece by piece.

use crc_fast::CrcAlgorithm;
use sha1::Sha1;
use sha2::{Digest, Sha256};

use super::{Checksum, ChecksumAlgorithm};

/// The running state of one checksum.
#[derive(Debug, Clone)]
pub struct ChecksumHasher {
    algorithm: ChecksumAlgorithm,
    state: State,
}

#[derive(Debug, Clone)]
enum State {
    Crc(Box<crc_fast::Digest>),
    Sha1(Sha1),
    Sha256(Sha256),
}

pub(super) const fn crc_algorithm(algorithm: ChecksumAlgorithm) -> Option<CrcAlgorithm> {
    match algorithm {
        ChecksumAlgorithm::Crc32 => Some(CrcAlgorithm::Crc32IsoHdlc),
        ChecksumAlgorithm::Crc32c => Some(CrcAlgorithm::Crc32Iscsi),
        ChecksumAlgorithm::Crc64Nvme => Some(CrcAlgorithm::Crc64Nvme),
        ChecksumAlgorithm::Sha1 | ChecksumAlgorithm::Sha256 => None,
    }
}

/// Takes the low bytes of a CRC as the library returns it, in the order S3 writes them.
pub(super) fn crc_value(algorithm: ChecksumAlgorithm, crc: u64) -> Checksum {
    let mut bytes = [0; 32];
    let all = crc.to_be_bytes();
    let kept = all
        .iter()
        .skip(all.len() - algorithm.size_bytes().min(all.len()));
    for (to, from) in bytes.iter_mut().zip(kept) {
        *to = *from;
    }
    Checksum { algorithm, bytes }
}

impl ChecksumHasher {
    /// A fresh state.
    pub fn new(algorithm: ChecksumAlgorithm) -> ChecksumHasher {
        let state = match (crc_algorithm(algorithm), algorithm) {
            (Some(crc), _) => State::Crc(Box::new(crc_fast::Digest::new(crc))),
            (None, ChecksumAlgorithm::Sha1) => State::Sha1(Sha1::new()),
            (None, _) => State::Sha256(Sha256::new()),
        };
        ChecksumHasher { algorithm, state }
    }

    /// The checksum of bytes that are all there.
    pub fn of(algorithm: ChecksumAlgorithm, bytes: &[u8]) -> Checksum {
        let mut hasher = ChecksumHasher::new(algorithm);
        hasher.update(bytes);
        hasher.finish()
    }

    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.state {
            State::Crc(digest) => digest.update(bytes),
            State::Sha1(digest) => digest.update(bytes),
            State::Sha256(digest) => digest.update(bytes),
        }
    }

    /// The checksum of all bytes added.
    pub fn finish(self) -> Checksum {
        let mut bytes = [0; 32];
        match self.state {
            State::Crc(digest) => return crc_value(self.algorithm, digest.finalize()),
            State::Sha1(digest) => {
                for (to, from) in bytes.iter_mut().zip(digest.finalize()) {
                    *to = from;
                }
            }
            State::Sha256(digest) => bytes = digest.finalize().into(),
        }
        Checksum {
            algorithm: self.algorithm,
            bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The check values of the CRC catalogue, and FIPS 180's.
    #[test]
    fn known_values() {
        let hex_of =
            |algorithm| hex::encode(ChecksumHasher::of(algorithm, b"123456789").as_bytes());
        assert_eq!(hex_of(ChecksumAlgorithm::Crc32), "cbf43926");
        assert_eq!(hex_of(ChecksumAlgorithm::Crc32c), "e3069283");
        assert_eq!(hex_of(ChecksumAlgorithm::Crc64Nvme), "ae8b14860a799888");
        assert_eq!(
            hex_of(ChecksumAlgorithm::Sha1),
            "f7c3bc1d808e04732adf679965ccc34ca7ae3441"
        );
        assert_eq!(
            hex_of(ChecksumAlgorithm::Sha256),
            "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225"
        );
    }
}
