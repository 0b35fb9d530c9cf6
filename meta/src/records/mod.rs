//! What is stored: the records, one file per subject. `docs/formats/metadata.md` has their bytes.

mod bucket;
mod cluster;
mod data;
mod iam;
mod lease;
mod object;
mod queue;
mod staged;
mod upload;

#[cfg(test)]
mod golden_tests;

pub use bucket::{BucketRecord, BucketState, Versioning};
pub(crate) use cluster::RebuildRecord;
pub use cluster::{ClusterRecord, DiskNode, DiskRecord, DiskState};
pub use data::{ChunkRecord, Coding, DataOwner, DataRecord, NewData, PartOwner};
pub use iam::UserRecord;
pub use lease::LeaseRecord;
pub use object::{
    ChecksumAlgorithm, ChecksumKind, ManifestPart, ObjectBody, ObjectChecksum, ObjectKind,
    ObjectRecord, SystemHeaders,
};
pub use staged::StagedBytes;
pub use upload::{CompletedRecord, PartRecord, UploadRecord, parts_digest};

pub(crate) use data::{CHUNKS_PER_RECORD, DataChunks, DataHead};
pub(crate) use iam::{KeyCheck, SealedKey};
pub(crate) use object::{KeyHead, MANIFEST_PARTS_PER_RECORD, ManifestParts};
pub use queue::RepairReason;
pub(crate) use queue::{DeletionRecord, RepairRecord};
pub(crate) use staged::StagedRecord;
