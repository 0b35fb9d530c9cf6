//! What bytes are received for: whose they will be, where, and what is stored with them.

use cairn_meta::{BucketRecord, DataOwner, ObjectKey, PartOwner};

use super::object_attributes::ObjectAttributes;
use crate::body::DigestSet;
use crate::checksum::Checksum;
use crate::keepsake::{Content, Keepsake, Origin};

/// Where an object or part goes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Destination<'a> {
    pub(super) bucket: &'a BucketRecord,
    pub(super) key: &'a ObjectKey,
    pub(super) part: Option<PartOwner>,
    /// What is stored with an object; nothing is with a part.
    pub(super) attributes: &'a ObjectAttributes,
}

impl Destination<'_> {
    pub(super) fn data_owner(&self) -> DataOwner {
        DataOwner {
            bucket: self.bucket.id,
            key: self.key.clone(),
            part: self.part,
        }
    }

    /// What is kept on the disks of what was received until `now_ms`; `checksum` is the one that is stored.
    pub(super) fn keepsake(
        &self,
        digests: &DigestSet,
        checksum: &Checksum,
        now_ms: u64,
    ) -> Keepsake {
        Keepsake {
            content: self.attributes.content(Content::new(
                digests.size_bytes,
                digests.md5,
                checksum,
            )),
            origin: Some(Origin::new(self.bucket, self.bucket.owner, now_ms)),
            completion: None,
        }
    }
}
