//! What a put makes a version of.

use crate::ids::{CanonicalId, VersionId, WriteId};
use crate::records::{
    NewData, ObjectBody, ObjectChecksum, ObjectKind, ObjectRecord, SystemHeaders,
};

/// A version to be: everything but what is decided at commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewObject {
    /// When its body was there whole, in milliseconds since 1970: its `Last-Modified`. `None`: at the commit. That may be
    /// much later, and counts for what the commit sets going.
    pub modified_ms: Option<u64>,
    /// The body's size.
    pub size_bytes: u64,
    /// The ETag without quotes.
    pub etag: String,
    /// Who will own it.
    pub owner: CanonicalId,
    /// The storage class.
    pub storage_class: String,
    /// Its system headers.
    pub headers: SystemHeaders,
    /// Its user metadata: names in lower case.
    pub user_metadata: Vec<(String, String)>,
    /// Its tags.
    pub tags: Vec<(String, String)>,
    /// Its checksum.
    pub checksum: Option<ObjectChecksum>,
    /// Its bytes, whose shards are durable already; for an object made of parts the datum that attests its
    /// completion. `None`: there is none, as there was none for empty objects once. Chunks that lack shards are
    /// enqueued for repair by the put.
    pub data: Option<NewData>,
}

/// What is decided at commit.
#[derive(Debug, Clone, Copy)]
pub(super) struct Decided {
    pub(super) version: VersionId,
    pub(super) sequence: u64,
    pub(super) write_id: WriteId,
    pub(super) last_modified_ms: u64,
}

impl NewObject {
    pub(super) fn record(&self, body: ObjectBody, decided: Decided) -> ObjectRecord {
        ObjectRecord {
            version: decided.version,
            sequence: decided.sequence,
            write_id: decided.write_id,
            kind: ObjectKind::Object,
            size_bytes: self.size_bytes,
            etag: self.etag.clone(),
            last_modified_ms: decided.last_modified_ms,
            owner: self.owner,
            storage_class: self.storage_class.clone(),
            headers: self.headers.clone(),
            user_metadata: self.user_metadata.clone(),
            tags: self.tags.clone(),
            checksum: self.checksum.clone(),
            body,
        }
    }
}

/// The delete marker of `owner`.
pub(super) fn delete_marker(owner: CanonicalId, decided: Decided) -> ObjectRecord {
    ObjectRecord {
        version: decided.version,
        sequence: decided.sequence,
        write_id: decided.write_id,
        kind: ObjectKind::DeleteMarker,
        size_bytes: 0,
        etag: String::new(),
        last_modified_ms: decided.last_modified_ms,
        owner,
        storage_class: "STANDARD".to_owned(),
        headers: SystemHeaders::default(),
        user_metadata: Vec::new(),
        tags: Vec::new(),
        checksum: None,
        body: ObjectBody::Empty,
    }
}
