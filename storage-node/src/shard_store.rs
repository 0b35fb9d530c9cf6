//! The contract of one disk, wherever it is.

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;

use async_trait::async_trait;
use bytes::Bytes;

use crate::{DiskId, ShardId, VerifiedBytes};

/// Largest payload of one shard: a whole chunk (4 MiB), which is what a single copy holds.
pub const SHARD_SIZE_BYTES_MAX: usize = 4 << 20;
/// Largest descriptor of one shard.
pub const DESCRIPTOR_SIZE_BYTES_MAX: usize = 64 << 10;
/// Most shards in one page of a listing.
pub const LIST_LIMIT_MAX: usize = 10_000;

/// One disk that stores shards. Implemented by the local disk, the HTTP client and the in-memory model;
/// wrappers (fault injection) implement it too.
///
/// All calls are cancellation-safe in this sense: a dropped `put` may or may not have stored the shard (it is
/// then an orphan that collection finds), and never stores a part of one.
#[async_trait]
pub trait ShardStore: Send + Sync + fmt::Debug + 'static {
    /// The identity written on the disk.
    fn disk_id(&self) -> DiskId;

    /// Stores one shard whole, or nothing. Putting an id that exists replaces it (repair does so).
    ///
    /// With [`Durability::Synced`] the shard is durable on return. With [`Durability::Buffered`] it is readable
    /// on return and durable once [`ShardStore::sync`] of the ticket (or of any later one) succeeds.
    ///
    /// # Errors
    /// [`ShardError::DiskFull`], [`ShardError::DiskFailed`], [`ShardError::Unreachable`],
    /// [`ShardError::Busy`], [`ShardError::TooLarge`].
    async fn put(&self, shard: ShardPut, durability: Durability)
    -> Result<WriteTicket, ShardError>;

    /// Returns when all that was put before `ticket` (and `ticket` itself) is durable.
    ///
    /// # Errors
    /// [`ShardError::Restarted`] if the store restarted since the ticket was given: the writes may be lost and
    /// must be repeated. Otherwise as for `put`.
    async fn sync(&self, ticket: WriteTicket) -> Result<(), ShardError>;

    /// Reads `range` (end excluded) of a shard's payload; touches and verifies only the 64 KiB blocks it covers.
    ///
    /// # Errors
    /// [`ShardError::NotFound`], [`ShardError::Corrupt`], [`ShardError::OutOfRange`], or the disk's failure.
    async fn get(&self, id: ShardId, range: Range<u32>) -> Result<VerifiedBytes, ShardError>;

    /// Deletes durably; ids that do not exist are no error. Frees space now or by later compaction.
    ///
    /// # Errors
    /// The disk's failure. Some of the shards may have been deleted.
    async fn delete(&self, ids: &[ShardId]) -> Result<(), ShardError>;

    /// The shards after `after` in id order, at most `limit` (which is capped at 10,000).
    ///
    /// # Errors
    /// The disk's failure.
    async fn list(&self, after: Option<ShardId>, limit: usize) -> Result<ShardPage, ShardError>;

    /// Reads and verifies a whole shard, header included, without sending it.
    ///
    /// # Errors
    /// As for `get`.
    async fn verify(&self, id: ShardId) -> Result<ShardStat, ShardError>;

    /// Size, age and descriptor of a shard, or `None` if there is none.
    ///
    /// # Errors
    /// The disk's failure.
    async fn stat(&self, id: ShardId) -> Result<Option<ShardStat>, ShardError>;

    /// Capacity, health and counters, as of now; free space as of a moment ago.
    ///
    /// # Errors
    /// [`ShardError::Unreachable`] when a remote disk's node does not answer; a local disk always answers at once.
    async fn status(&self) -> Result<DiskStatus, ShardError>;
}

/// What is stored by one `put`.
#[derive(Debug, Clone)]
pub struct ShardPut {
    /// The shard's name.
    pub id: ShardId,
    /// Opaque to this crate; lets a lost metadata database be rebuilt from the disks. At most 64 KiB.
    pub descriptor: Bytes,
    /// At most [`SHARD_SIZE_BYTES_MAX`] bytes; may be empty.
    pub payload: Bytes,
}

impl ShardPut {
    /// Refuses what no store accepts, before anything is written.
    ///
    /// # Errors
    /// [`ShardError::TooLarge`].
    pub fn check_limits(&self) -> Result<(), ShardError> {
        for (size_bytes, limit_bytes) in [
            (self.payload.len(), SHARD_SIZE_BYTES_MAX),
            (self.descriptor.len(), DESCRIPTOR_SIZE_BYTES_MAX),
        ] {
            if size_bytes > limit_bytes {
                return Err(ShardError::TooLarge {
                    size_bytes,
                    limit_bytes,
                });
            }
        }
        Ok(())
    }
}

/// When a `put` returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// After the disk has been synced.
    Synced,
    /// As soon as the shard is readable; the caller will `sync`.
    Buffered,
}

/// Proof that a write was accepted by one run of one disk; later tickets of a run compare greater.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
pub struct WriteTicket {
    /// Which run of the store (random, fresh at each open).
    pub run: u64,
    /// Position in the order of accepted writes of that run.
    pub position: u64,
}

/// What is known of a stored shard without reading its payload.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ShardStat {
    /// The shard's name.
    pub id: ShardId,
    /// Payload length.
    pub size_bytes: u32,
    /// When it was put, in milliseconds since the Unix epoch by the node's clock.
    pub written_at_ms: u64,
    /// As given to `put`; `None` in listings, which do not read records.
    pub descriptor: Option<Bytes>,
}

/// One page of a listing.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ShardPage {
    /// In id order.
    pub shards: Vec<ShardStat>,
    /// Whether there are shards after the last one here.
    pub is_truncated: bool,
}

/// Whether a disk can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum DiskHealth {
    /// Reads and writes.
    Healthy,
    /// Reads and deletes only: no space is left.
    Full,
    /// An I/O error, a failed sync or a vanished directory: takes no writes until it is reopened, and may not answer
    /// reads either.
    Failed,
    /// A call into the disk has not returned for long: neither reads nor writes can be counted on. The disk is as it was
    /// before once the call returns; until then, closing it would wait as well.
    Hung,
}

/// Capacity, health and counters of one disk.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct DiskStatus {
    /// The disk's identity.
    pub disk_id: DiskId,
    /// Where it is on its machine; empty if it is in no directory.
    pub path: String,
    /// Whether it can be used.
    pub health: DiskHealth,
    /// Why it failed, if it did.
    pub failure: Option<String>,
    /// Size of the file system.
    pub capacity_bytes: u64,
    /// What may still be written, the reserve already taken off.
    pub free_bytes: u64,
    /// Live payload bytes.
    pub shard_bytes: u64,
    /// Live shards.
    pub shard_count: u64,
    /// Bytes of deleted or replaced records that still occupy space.
    pub garbage_bytes: u64,
    /// Since the store was opened, by name: `put_count`, `get_count`, `delete_count`, `sync_count`,
    /// `corrupt_count`, `bytes_written`, `bytes_read`, `compacted_bytes`, `compaction_corrupt_count`, `recovered_count`.
    pub counters: std::collections::BTreeMap<String, u64>,
}

/// Why a disk could not do what was asked. One variant per thing a caller does differently.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ShardError {
    /// No such shard here: read it from others and repair.
    #[error("shard {id} is not on disk {disk_id}")]
    NotFound {
        /// Which shard.
        id: ShardId,
        /// Which disk.
        disk_id: DiskId,
    },
    /// Stored bytes do not match their hash: read it from others and repair.
    #[error("shard {id} on disk {disk_id} is corrupt: {detail}")]
    Corrupt {
        /// Which shard.
        id: ShardId,
        /// Which disk.
        disk_id: DiskId,
        /// What did not match.
        detail: String,
    },
    /// The range ends behind the payload: the caller's record of the size is wrong.
    #[error("range {start}..{end} is outside shard {id} of {size_bytes} bytes")]
    OutOfRange {
        /// Which shard.
        id: ShardId,
        /// First byte asked for.
        start: u32,
        /// End of the range, excluded.
        end: u32,
        /// The payload's length.
        size_bytes: u32,
    },
    /// Payload or descriptor beyond the limit: the caller's bug.
    #[error("shard of {size_bytes} bytes exceeds the limit of {limit_bytes}")]
    TooLarge {
        /// What was offered.
        size_bytes: usize,
        /// What is allowed.
        limit_bytes: usize,
    },
    /// No space: write elsewhere.
    #[error("disk {disk_id} is full; free space on it or add disks")]
    DiskFull {
        /// Which disk.
        disk_id: DiskId,
    },
    /// The disk is out of service until it is reopened: write elsewhere, repair.
    #[error("disk {disk_id} at {path} has failed: {detail}")]
    DiskFailed {
        /// Which disk.
        disk_id: DiskId,
        /// Its directory.
        path: PathBuf,
        /// The first error.
        detail: String,
    },
    /// The queue of the disk is full: try elsewhere, or later.
    #[error("disk {disk_id} has too many requests waiting")]
    Busy {
        /// Which disk.
        disk_id: DiskId,
    },
    /// The store was reopened since the ticket was given: repeat the writes.
    #[error("disk {disk_id} restarted since the write")]
    Restarted {
        /// Which disk.
        disk_id: DiskId,
    },
    /// A remote node did not answer in time or at all: the outcome is unknown.
    #[error("the node of disk {disk_id} is unreachable: {detail}")]
    Unreachable {
        /// Which disk.
        disk_id: DiskId,
        /// What happened.
        detail: String,
    },
}
