//! Cairn's metadata: an ordered key-value contract with three verbs, and the namespace written once above it.
//!
//! Below: [`kv::KvStore`] with its backends (RocksDB with journal copies, the client of `cairn meta`, the
//! in-memory model). Above: buckets, object versions, uploads, users and keys, the deletion queue, leases and
//! the cluster map, as typed records.
//!
//! It must not know: HTTP of S3, XML, shards' bytes, storage nodes. Journal copies reach other disks through a
//! trait that the process wires up.

mod block_file;
mod buckets;
mod cluster;
mod codec;
mod data;
mod durable_file;
mod error;
mod iam;
mod ids;
mod keys;
pub mod kv;
mod leases;
mod master_key;
mod meta;
mod objects;
mod queues;
mod records;
mod recovery;
mod retry;
mod staging;
mod uploads;

pub use buckets::BucketPage;
pub use data::DataPage;
pub use error::{ConditionalError, DeleteError, MetaError, PutError};
pub use iam::{ACCESS_KEYS_PER_USER_MAX, KeyRecord, UserPage};
pub use ids::{
    AccessKey, BucketId, BucketName, CanonicalId, ClusterId, DataId, DiskId, DisplayName, Email,
    InvalidName, ManifestId, OBJECT_KEY_LEN_MAX, ObjectKey, PART_NUMBER_MAX, PartNumber, SecretKey,
    UploadId, UserName, VersionId, WriteId,
};
pub use leases::{Lease, LeaseState};
pub use master_key::MasterKey;
pub use meta::{DELETE_DELAY_DEFAULT, Meta};
pub use objects::{DeleteOutcome, ListEntry, ListPage, ListRequest, NewObject};
pub use queues::{
    DamagedEntry, Deletion, DueDeletions, QueueDepth, QueueDepths, Repair, RepairPage,
};
pub use records::{
    BucketRecord, BucketState, ChecksumAlgorithm, ChecksumKind, ChunkRecord, ClusterRecord, Coding,
    CompletedRecord, DataOwner, DataRecord, DiskNode, DiskRecord, DiskState, LeaseRecord,
    ManifestPart, NewData, ObjectBody, ObjectChecksum, ObjectKind, ObjectRecord, PartOwner,
    PartRecord, RepairReason, StagedBytes, SystemHeaders, UploadRecord, UserRecord, Versioning,
    parts_digest,
};
pub use recovery::{FoundObject, RECOVERED_GARBAGE_KEPT, Recovered};
pub use uploads::{
    COMPLETED_KEPT_MS, NewUpload, PartPage, Purged, UploadListEntry, UploadListPage,
    UploadListRequest,
};
