//! Which parts a completed upload is made of. Pure.

use std::collections::BTreeMap;

use cairn_meta::{ManifestPart, PartNumber, PartRecord};
use md5::{Digest, Md5};

use crate::keepsake::{Completion, Content};

/// Why the parts that were found are not those of the object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum PartsError {
    /// One was not found whole.
    #[error("part {number} of its upload is missing or incomplete")]
    Missing {
        /// Which.
        number: PartNumber,
    },
    /// Together they are not what was completed.
    #[error("the parts of its upload are not those it was completed with")]
    Disagree,
}

/// The parts of the object in their order, from those that were found of its upload.
///
/// # Errors
/// [`PartsError`]; the MD5 over the parts' MD5s proves that they are the right ones.
pub(super) fn completed_parts(
    completion: &Completion,
    content: &Content,
    found: Vec<PartRecord>,
) -> Result<Vec<ManifestPart>, PartsError> {
    let found: BTreeMap<PartNumber, PartRecord> = found
        .into_iter()
        .map(|part| (part.part_number, part))
        .collect();
    let checksum_len = content.checksum().map(|checksum| checksum.as_bytes().len());
    let mut parts = Vec::new();
    let mut size_bytes = 0u64;
    let mut md5 = Md5::new();
    for number in completion.part_numbers() {
        let part = found.get(&number).ok_or(PartsError::Missing { number })?;
        size_bytes = size_bytes.saturating_add(part.size_bytes);
        md5.update(part.etag_md5);
        parts.push(ManifestPart {
            part_number: number,
            size_bytes: part.size_bytes,
            data_id: part.data_id,
            etag_md5: part.etag_md5,
            // Written before the right one was kept, it may be by another algorithm.
            checksum: part
                .checksum
                .clone()
                .filter(|checksum| Some(checksum.len()) == checksum_len),
        });
    }
    let md5: [u8; 16] = md5.finalize().into();
    if parts.is_empty() || md5 != content.md5 || size_bytes != content.size_bytes {
        return Err(PartsError::Disagree);
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checksum::{ChecksumAlgorithm, ChecksumHasher};
    use cairn_meta::{DataId, UploadId};

    fn part(number: u16, md5: u8) -> PartRecord {
        PartRecord {
            part_number: PartNumber::new(number).unwrap(),
            size_bytes: u64::from(number),
            etag_md5: [md5; 16],
            checksum: Some(vec![0; 8]),
            data_id: Some(DataId([md5; 16])),
            last_modified_ms: 0,
        }
    }

    fn completed(parts: &[PartRecord]) -> (Completion, Content) {
        let md5 = Md5::digest(
            parts
                .iter()
                .flat_map(|part| part.etag_md5)
                .collect::<Vec<_>>(),
        );
        let numbers = parts.iter().map(|part| part.part_number);
        let checksum = ChecksumHasher::of(ChecksumAlgorithm::Crc64Nvme, b"");
        let size_bytes = parts.iter().map(|part| part.size_bytes).sum();
        (
            Completion::new(UploadId([1; 16]), false, numbers),
            Content::new(size_bytes, md5.into(), &checksum),
        )
    }

    fn decide(listed: &[PartRecord], found: Vec<PartRecord>) -> Result<Vec<u16>, PartsError> {
        let (completion, content) = completed(listed);
        let parts = completed_parts(&completion, &content, found)?;
        Ok(parts.iter().map(|part| part.part_number.get()).collect())
    }

    #[test]
    fn listed_parts_are_taken_in_order_and_others_left() {
        let listed = [part(1, 1), part(3, 3)];
        let found = vec![part(3, 3), part(2, 2), part(1, 1)];
        assert_eq!(decide(&listed, found), Ok(vec![1, 3]));
    }

    #[test]
    fn a_missing_part_is_named_and_a_wrong_one_noticed() {
        let listed = [part(1, 1), part(3, 3)];
        let number = PartNumber::new(3).unwrap();
        assert_eq!(
            decide(&listed, vec![part(1, 1)]),
            Err(PartsError::Missing { number })
        );
        assert_eq!(
            decide(&listed, vec![part(1, 1), part(3, 4)]),
            Err(PartsError::Disagree)
        );
        assert_eq!(decide(&[], vec![]), Err(PartsError::Disagree));
    }
}
