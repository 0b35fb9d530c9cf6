//! Shard storage on local disks: a library, an HTTP service and the client for it.
//!
//! Everything is reached through [`ShardStore`], one object per disk, so that a disk in this process and one
//! across the network look the same. The crate promises that a shard whose write was acknowledged as
//! [`Durability::Synced`] (or that a later [`ShardStore::sync`] covered) survives `kill -9` and power loss,
//! and that bytes which fail their BLAKE3 check are never handed out.
//!
//! It must not know: S3, buckets, object keys, erasure coding, metadata. A shard's descriptor is opaque here.

pub mod conformance;
mod disk_identity;
mod durable_file;
pub mod fault;
pub mod http;
mod ids;
mod index;
mod local_disk;
mod memory;
mod segment;
mod shard_store;
mod verified_bytes;

pub use disk_identity::{DiskIdentity, IDENTITY_DRAFT_NAME, IDENTITY_FILE_NAME, IdentityError};
pub use ids::{ClusterId, DataId, DiskId, ShardId};
pub use local_disk::{LocalDisk, LocalDiskOptions, OpenError};
pub use memory::MemoryShardStore;
pub use shard_store::{
    DESCRIPTOR_SIZE_BYTES_MAX, DiskHealth, DiskStatus, Durability, LIST_LIMIT_MAX,
    SHARD_SIZE_BYTES_MAX, ShardError, ShardPage, ShardPut, ShardStat, ShardStore, WriteTicket,
};
pub use verified_bytes::VerifiedBytes;
