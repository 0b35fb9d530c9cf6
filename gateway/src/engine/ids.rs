//! Conversion between the newtypes of the crates below, which know nothing of each other.
//!
//! Inside the engine a disk and a datum have the shard store's types; the metadata's appear only where records
//! are read and written.

use cairn_meta as meta;
use cairn_storage_node::{DataId, DiskId, ShardId};

/// The shard store's name of a datum.
pub(crate) fn data(id: meta::DataId) -> DataId {
    DataId(id.0)
}

/// The metadata's name of a datum.
pub(crate) fn meta_data(id: DataId) -> meta::DataId {
    meta::DataId(id.0)
}

/// The shard store's name of a disk.
pub(crate) fn disk(id: meta::DiskId) -> DiskId {
    DiskId(id.0)
}

/// The metadata's name of a disk.
pub(crate) fn meta_disk(id: DiskId) -> meta::DiskId {
    meta::DiskId(id.0)
}

/// One shard of one chunk. A chunk has at most [`super::geometry::SHARD_COUNT_MAX`] shards, so that the index fits.
pub(crate) fn shard(data_id: DataId, chunk_index: u32, shard_index: usize) -> ShardId {
    ShardId {
        data_id,
        chunk_index,
        shard_index: u8::try_from(shard_index).unwrap_or(u8::MAX),
    }
}
