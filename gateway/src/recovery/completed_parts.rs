//! Which parts a completed upload is made of. Pure.
//!
//! Of one number several may be found: shards of an upload that was replaced, or interrupted when they were all there
//! and the commit was not.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use cairn_meta::{ManifestPart, PartNumber, PartRecord};

use crate::keepsake::{Completion, Content};
use crate::object_of_parts;

/// Combinations to try: all, if there are two parts of each of 16 numbers, more than clients have under way. The largest
/// upload takes 0.3 ms for each (160 KB of MD5), so 20 s for the object that is lost otherwise.
pub(super) const COMBINATION_COUNT_MAX: usize = 1 << 16;

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

/// The parts of the object in their order, from those that were found of its upload: of each number the latest, or
/// another combination, of which `combination_count_max` are tried.
///
/// # Errors
/// [`PartsError`]; the MD5 over the parts' MD5s proves that they are the right ones.
pub(super) fn completed_parts(
    completion: &Completion,
    content: &Content,
    found: Vec<PartRecord>,
    combination_count_max: usize,
) -> Result<Vec<ManifestPart>, PartsError> {
    let found = latest_first(found);
    let choices = completion
        .part_numbers()
        .map(|number| found.get(&number).ok_or(PartsError::Missing { number }))
        .collect::<Result<Vec<_>, _>>()?;
    let combination_count = choices
        .iter()
        .fold(1usize, |count, parts| count.saturating_mul(parts.len()));
    let checksum_len = content.checksum().map(|checksum| checksum.as_bytes().len());
    (0..combination_count.min(combination_count_max))
        .map(|combination| chosen(&choices, combination))
        .find(|parts| is_content(parts, content))
        .map(|parts| {
            let listed = parts.into_iter();
            listed
                .map(|part| manifest_part(part, checksum_len))
                .collect()
        })
        .ok_or(PartsError::Disagree)
}

/// What was found of each number, the latest first; of those with the same content only that.
fn latest_first(mut found: Vec<PartRecord>) -> BTreeMap<PartNumber, Vec<PartRecord>> {
    found.sort_by_key(|part| Reverse((part.last_modified_ms, part.data_id)));
    let mut by_number: BTreeMap<PartNumber, Vec<PartRecord>> = BTreeMap::new();
    for part in found {
        let parts = by_number.entry(part.part_number).or_default();
        let content = |part: &PartRecord| (part.etag_md5, part.size_bytes);
        if !parts.iter().any(|later| content(later) == content(&part)) {
            parts.push(part);
        }
    }
    by_number
}

/// One part of each number: the digits of `combination`, each to the base of how many there are, say which. 0 is the
/// latest of all.
fn chosen<'a>(choices: &[&'a Vec<PartRecord>], combination: usize) -> Vec<&'a PartRecord> {
    let mut rest = combination;
    let of_number = |parts: &&'a Vec<PartRecord>| {
        let index = rest.checked_rem(parts.len())?;
        rest /= parts.len();
        parts.get(index)
    };
    choices.iter().filter_map(of_number).collect()
}

/// Whether these parts are what was completed.
fn is_content(parts: &[&PartRecord], content: &Content) -> bool {
    let parts = || parts.iter().copied();
    parts().next().is_some()
        && object_of_parts::size_bytes(parts()) == content.size_bytes
        && object_of_parts::md5(parts()) == content.md5
}

fn manifest_part(part: &PartRecord, checksum_len: Option<usize>) -> ManifestPart {
    ManifestPart {
        part_number: part.part_number,
        size_bytes: part.size_bytes,
        data_id: part.data_id,
        etag_md5: part.etag_md5,
        // Written before the right one was kept, it may be by another algorithm.
        checksum: part
            .checksum
            .clone()
            .filter(|checksum| Some(checksum.len()) == checksum_len),
    }
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
        let numbers = parts.iter().map(|part| part.part_number);
        let checksum = ChecksumHasher::of(ChecksumAlgorithm::Crc64Nvme, b"");
        let (size_bytes, md5) = (
            object_of_parts::size_bytes(parts),
            object_of_parts::md5(parts),
        );
        (
            Completion::new(UploadId([1; 16]), false, numbers),
            Content::new(size_bytes, md5, &checksum),
        )
    }

    fn decide(listed: &[PartRecord], found: Vec<PartRecord>) -> Result<Vec<u16>, PartsError> {
        let (completion, content) = completed(listed);
        let parts = completed_parts(&completion, &content, found, 4)?;
        Ok(parts.iter().map(|part| part.part_number.get()).collect())
    }

    #[test]
    fn listed_parts_are_taken_in_order_and_others_left() {
        let listed = [part(1, 1), part(3, 3)];
        let found = vec![part(3, 3), part(2, 2), part(1, 1)];
        assert_eq!(decide(&listed, found), Ok(vec![1, 3]));
    }

    #[test]
    fn parts_that_are_not_the_latest_are_found_within_the_bound() {
        let later = |number, md5| PartRecord {
            last_modified_ms: 1,
            ..part(number, md5)
        };
        let listed = [part(1, 1), later(2, 2), part(3, 3)];
        let found = || {
            let others = [later(1, 7), part(2, 8), later(3, 9)];
            listed.iter().cloned().chain(others).collect::<Vec<_>>()
        };
        let (completion, content) = completed(&listed);
        let of = |count| completed_parts(&completion, &content, found(), count);
        let md5s: Vec<u8> = of(8).unwrap().iter().map(|part| part.etag_md5[0]).collect();
        assert_eq!(md5s, [1, 2, 3]);
        // Digits 1, 0 and 1, the first number's lowest: the sixth combination.
        assert!(of(6).is_ok());
        assert_eq!(of(5), Err(PartsError::Disagree));
    }

    #[test]
    fn parts_of_the_same_content_are_one_combination() {
        let again = PartRecord {
            last_modified_ms: 1,
            data_id: Some(DataId([9; 16])),
            ..part(1, 1)
        };
        let listed = [part(1, 1), part(2, 2)];
        let found = vec![part(1, 1), again, part(2, 2)];
        let (completion, content) = completed(&listed);
        let parts = completed_parts(&completion, &content, found, 1).unwrap();
        assert_eq!(parts[0].data_id, Some(DataId([9; 16])));
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
