//! What the buckets were called. Pure.

use std::collections::{BTreeMap, BTreeSet};

use cairn_meta::{BucketId, BucketName, BucketRecord, BucketState, CanonicalId, Versioning};

use crate::identity::root_canonical_id;
use crate::keepsake::Origin;

/// The buckets that were found, as far as they are known.
#[derive(Debug, Default)]
pub(super) struct FoundBuckets(BTreeMap<BucketId, Option<BucketRecord>>);

/// A bucket as its objects tell.
pub(super) fn bucket(id: BucketId, origin: &Origin) -> BucketRecord {
    BucketRecord {
        id,
        name: origin.bucket_name.clone(),
        owner: origin.bucket_owner,
        created_at_ms: origin.bucket_created_at_ms,
        region: origin.bucket_region.clone(),
        versioning: Versioning::Never,
        state: BucketState::Live,
    }
}

/// A bucket of which only the id is known: named after it, and root's.
pub(super) fn nameless_bucket(id: BucketId) -> BucketRecord {
    BucketRecord {
        id,
        name: made_up_name(id),
        owner: root_canonical_id(),
        created_at_ms: 0,
        region: String::new(),
        versioning: Versioning::Never,
        state: BucketState::Live,
    }
}

impl FoundBuckets {
    /// Notes a bucket by one of its objects; `None` if that does not tell the bucket's name.
    pub(super) fn note(&mut self, id: BucketId, bucket: Option<&BucketRecord>) {
        let known = self.0.entry(id).or_default();
        if known.is_none() {
            *known = bucket.cloned();
        }
    }

    /// The name of a bucket.
    pub(super) fn name(&self, id: BucketId) -> BucketName {
        let known = self.0.get(&id).and_then(Option::as_ref);
        known.map_or_else(|| made_up_name(id), |bucket| bucket.name.clone())
    }

    /// All buckets with names of their own. Of two of one name the one that was created last has it: the other one was
    /// deleted, and what was found of it was not collected yet.
    pub(super) fn records(&self) -> Vec<BucketRecord> {
        let mut known: Vec<&BucketRecord> = self.0.values().flatten().collect();
        known.sort_by_key(|bucket| std::cmp::Reverse((bucket.created_at_ms, bucket.id)));
        let mut names = BTreeSet::new();
        let mut records: Vec<BucketRecord> = Vec::with_capacity(self.0.len());
        for bucket in known {
            let mut bucket = bucket.clone();
            if !names.insert(bucket.name.clone()) {
                bucket.name = made_up_name(bucket.id);
            }
            records.push(bucket);
        }
        let unknown = self.0.iter().filter(|(_, known)| known.is_none());
        records.extend(unknown.map(|(id, _)| nameless_bucket(*id)));
        records.sort_by(|one, other| one.name.cmp(&other.name));
        records
    }
}

/// Who owns what does not say whose it is.
pub(super) fn default_owner() -> CanonicalId {
    root_canonical_id()
}

#[expect(
    clippy::expect_used,
    reason = "letters, a hyphen and 16 hex digits are a bucket name"
)]
fn made_up_name(id: BucketId) -> BucketName {
    BucketName::parse(format!("recovered-{}", hex::encode(id.0))).expect("a valid name")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(id: u8, name: &str, created_at_ms: u64) -> BucketRecord {
        BucketRecord {
            name: BucketName::parse(name).unwrap(),
            created_at_ms,
            ..nameless_bucket(BucketId([id; 8]))
        }
    }

    fn names(buckets: &FoundBuckets) -> Vec<(u8, String)> {
        buckets
            .records()
            .iter()
            .map(|bucket| (bucket.id.0[0], bucket.name.to_string()))
            .collect()
    }

    #[test]
    fn a_bucket_made_again_has_the_name_and_the_deleted_one_another() {
        let mut buckets = FoundBuckets::default();
        for bucket in [known(2, "photos", 20), known(1, "photos", 10)] {
            buckets.note(bucket.id, Some(&bucket));
        }
        assert_eq!(
            names(&buckets),
            [
                (2, "photos".to_owned()),
                (1, "recovered-0101010101010101".to_owned())
            ]
        );
    }

    #[test]
    fn one_object_that_tells_the_name_is_enough() {
        let mut buckets = FoundBuckets::default();
        let id = BucketId([7; 8]);
        buckets.note(id, None);
        assert_eq!(
            names(&buckets),
            [(7, "recovered-0707070707070707".to_owned())]
        );
        buckets.note(id, Some(&known(7, "photos", 1)));
        buckets.note(id, None);
        assert_eq!(names(&buckets), [(7, "photos".to_owned())]);
        assert_eq!(buckets.name(id).as_str(), "photos");
    }
}
