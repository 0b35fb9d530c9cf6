//! The checksum of a multipart object from those of its parts, without reading the parts again.

use super::hasher::{crc_algorithm, crc_value};
use super::{Checksum, ChecksumAlgorithm, ChecksumHasher};

/// A part's checksum and size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartChecksum {
    /// The checksum of the part's bytes.
    pub checksum: Checksum,
    /// How many those are.
    pub size_bytes: u64,
}

/// The composite checksum: the algorithm over the parts' raw values, one after another. S3 shows it with
/// `-N` appended, N being the number of parts.
pub fn composite(algorithm: ChecksumAlgorithm, parts: &[PartChecksum]) -> Checksum {
    let mut hasher = ChecksumHasher::new(algorithm);
    for part in parts {
        hasher.update(part.checksum.as_bytes());
    }
    hasher.finish()
}

/// The checksum of the whole object: for CRCs only, which are linear. `None` for other algorithms, or if a
/// part's checksum is of another algorithm.
pub fn full_object(algorithm: ChecksumAlgorithm, parts: &[PartChecksum]) -> Option<Checksum> {
    let crc = crc_algorithm(algorithm)?;
    let mut whole = number(&ChecksumHasher::of(algorithm, b""));
    for part in parts {
        if part.checksum.algorithm() != algorithm {
            return None;
        }
        whole = crc_fast::checksum_combine(crc, whole, number(&part.checksum), part.size_bytes);
    }
    Some(crc_value(algorithm, whole))
}

fn number(checksum: &Checksum) -> u64 {
    checksum
        .as_bytes()
        .iter()
        .fold(0, |number, byte| (number << 8) | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parts(algorithm: ChecksumAlgorithm, pieces: &[Vec<u8>]) -> Vec<PartChecksum> {
        pieces
            .iter()
            .map(|piece| PartChecksum {
                checksum: ChecksumHasher::of(algorithm, piece),
                size_bytes: piece.len() as u64,
            })
            .collect()
    }

    #[test]
    fn a_composite_is_the_checksum_of_checksums() {
        let pieces = [b"a".to_vec(), b"b".to_vec()];
        let parts = parts(ChecksumAlgorithm::Sha256, &pieces);
        let joined: Vec<u8> = parts
            .iter()
            .flat_map(|part| part.checksum.as_bytes().to_vec())
            .collect();
        assert_eq!(
            composite(ChecksumAlgorithm::Sha256, &parts),
            ChecksumHasher::of(ChecksumAlgorithm::Sha256, &joined)
        );
        assert_eq!(full_object(ChecksumAlgorithm::Sha256, &parts), None);
    }

    #[test]
    fn parts_of_another_algorithm_are_not_combined() {
        let parts = parts(ChecksumAlgorithm::Crc32, &[b"a".to_vec()]);
        assert_eq!(full_object(ChecksumAlgorithm::Crc32c, &parts), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn combined_crcs_equal_the_crc_of_the_whole(
            pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 0..6),
        ) {
            for algorithm in [ChecksumAlgorithm::Crc32, ChecksumAlgorithm::Crc32c, ChecksumAlgorithm::Crc64Nvme] {
                let whole: Vec<u8> = pieces.concat();
                prop_assert_eq!(
                    full_object(algorithm, &parts(algorithm, &pieces)),
                    Some(ChecksumHasher::of(algorithm, &whole))
                );
            }
        }
    }
}
