//! Which shard is where: RocksDB in `<disk>/index/`, and in front of it the entries that are not yet durable.
//!
//! Invariants:
//! - RocksDB holds nothing of a record that is not synced in its segment: entries wait in `pending` until then.
//!   So a crash can make the index older than the segments, never newer.
//! - Entries, and the tails up to which segments are indexed, are saved in one write batch; the write-ahead log
//!   is off, and RocksDB loses a suffix of batches at most. Recovery replays segments from those tails.
//! - The directory is a cache: it can be deleted at any time when the disk is closed.
//!
//! What is in RocksDB is in [`rows`], what an entry and its segments' statistics say in [`entry`] and [`stats`]. An index is
//! opened in [`open`], asked in [`lookup`] and [`listing`], and written in [`pending`].

mod entry;
mod error;
mod listing;
mod log_state;
mod lookup;
mod open;
mod options;
mod pending;
mod rows;
mod stats;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::RwLock;

use rocksdb::{DB, ReadOptions, WriteOptions};

pub(crate) use entry::{IndexEntry, LiveShard, PlacedRecord, apply, remember};
pub(crate) use error::IndexError;
pub(crate) use log_state::LogState;
pub(crate) use stats::{SegmentStats, SegmentStatsMap, account};

use crate::ShardId;

/// The index of one disk.
pub(crate) struct Index {
    db: DB,
    writes: WriteOptions,
    /// For lookups that must not wait for the disk.
    cached_reads: ReadOptions,
    pending: RwLock<BTreeMap<ShardId, Option<IndexEntry>>>,
}

impl fmt::Debug for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Index")
            .field("path", &self.db.path())
            .finish_non_exhaustive()
    }
}
