//! The object engine: bytes of objects and parts on disks, and back.
//!
//! - [`Engine::store`] cuts a stream into chunks, codes each into shards, and puts those on distinct disks in
//!   distinct failure domains; on return all are durable. A few small writes at a time are staged instead (`staging`):
//!   their bytes become durable with their commit, and get their shards moments later.
//! - [`Engine::open_read`] gives any range back, from the shards that hold it or decoded from others.
//! - In the background, under leases: missing shards are made again (`repair`), those of disks that are lost or being
//!   emptied too (`leaving`), deleted data leave their disks (`deletion`), shards that nothing names are collected
//!   (`orphan_collection`), everything is read from time to time (`scrub`).
//!
//! What is decided is in pure functions ([`geometry`], [`placement`], `write_quorum`, `gather_step`, `hedge`,
//! `repair_plan`); the rest executes them. The engine knows nothing of HTTP, XML, or who may do what.
//!
//! The order that makes it safe: shards durable → metadata committed → only then old shards deleted.

mod background;
mod chunker;
mod cleanup;
mod coding;
mod core;
mod damage;
mod deletion;
pub mod descriptor;
mod disks;
mod entropy;
mod exclusion;
pub mod found_data;
pub mod geometry;
mod hedge;
mod ids;
mod latency;
mod leaving;
mod leftovers;
mod memory;
mod metrics;
mod options;
mod orphan_collection;
mod pace;
mod pins;
pub mod placement;
mod read;
mod rebuild;
mod repair;
mod repair_notices;
mod repair_plan;
mod scrub;
mod shard_deletes;
mod staging;
mod unstaging;
mod write;

#[cfg(test)]
mod tests;

pub use self::core::Engine;
pub use background::{Background, BackgroundOptions};
pub use deletion::DeletionReport;
pub use disks::{Availability, Disk, DiskEntry, DiskMap, DiskRole, DiskView, Disks, Locality};
pub use geometry::Geometry;
pub use metrics::{CounterSample, EngineMetrics};
pub use options::{CHUNK_SIZE_BYTES_MAX, EngineOptions};
pub use orphan_collection::{CollectionError, CollectionReport};
pub use read::{ReadError, ReadStream};
pub use repair::RepairReport;
pub use write::{CommitGuard, StoreError, StoredData};
