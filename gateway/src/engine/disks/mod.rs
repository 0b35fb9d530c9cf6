//! The live cluster map: which disks there are, where they stand, and how they are doing.
//!
//! A snapshot ([`DiskMap`]) never changes and is shared without locks; disks join and leave by replacing it.
//! What changes by itself (health, free space) is inside each [`Disk`], learned from the periodic
//! [`Disks::refresh`] and, sooner, from the errors that calls run into.
//!
//! It does not look for disks: whoever assembles the process does, and calls [`Disks::update`].

mod condition;
mod disk;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use cairn_storage_node::{DiskId, ShardError, ShardStore};
use futures_util::future::join_all;
use tokio::time::Instant;

pub use condition::Availability;
pub(crate) use disk::ReadRank;
pub use disk::{Disk, DiskView};

use super::latency::Latency;
use super::placement::Candidate;

/// What is known of a disk when it joins.
#[derive(Debug, Clone)]
pub struct DiskEntry {
    /// Reaches it; says its identity.
    pub store: Arc<dyn ShardStore>,
    /// Where it is on its machine, for operators; empty if that is not known.
    pub path: String,
    /// The machine it is in.
    pub host: String,
    /// The zone the machine is in.
    pub zone: String,
    /// Whether reads cross the network.
    pub locality: Locality,
    /// Whether it takes new shards.
    pub role: DiskRole,
}

/// Whether a disk is in this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Locality {
    /// In this process: preferred for reads.
    Local,
    /// Behind a node's HTTP service.
    Remote,
}

/// What the administrator wants of a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskRole {
    /// Reads and writes.
    Active,
    /// Reads only; its shards are moved elsewhere.
    Draining,
}

/// The disks, now. Clones share one map.
#[derive(Debug, Clone)]
pub struct Disks {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    map: ArcSwap<DiskMap>,
    /// Disks that records name but that are in no map, with the time since when they are missed.
    missed_since: Mutex<HashMap<DiskId, Instant>>,
    /// Disks that no chunk named any more while they were away, with the time since when they were.
    left: Mutex<HashMap<DiskId, Instant>>,
    latencies: Arc<Latencies>,
}

/// Measured over all disks; by size where size matters more than the disk.
#[derive(Debug, Default)]
pub(crate) struct Latencies {
    pub(crate) small_get: Latency,
    pub(crate) large_get: Latency,
    pub(crate) put: Latency,
}

/// Beyond this many disks that are named and not there, the rest is not remembered: their absence restarts.
const MISSED_DISK_COUNT_MAX: usize = 10_000;

impl Latencies {
    /// A transfer beyond this takes longer than the seek before it.
    const SMALL_SIZE_BYTES_MAX: usize = 64 << 10;

    /// The measurements for gets of this size.
    pub(crate) fn get(&self, size_bytes: usize) -> &Latency {
        if size_bytes <= Self::SMALL_SIZE_BYTES_MAX {
            &self.small_get
        } else {
            &self.large_get
        }
    }
}

/// One state of the cluster.
#[derive(Debug, Default)]
pub struct DiskMap {
    disks: Vec<Arc<Disk>>,
    index_by_id: HashMap<DiskId, usize>,
}

impl Disks {
    /// A map of these disks; nothing is asked of them yet, see [`Disks::refresh`].
    pub fn new(entries: Vec<DiskEntry>) -> Self {
        let shared = Shared {
            map: ArcSwap::from_pointee(DiskMap::default()),
            missed_since: Mutex::default(),
            left: Mutex::default(),
            latencies: Arc::default(),
        };
        let disks = Self {
            shared: Arc::new(shared),
        };
        disks.update(entries);
        disks
    }

    /// Makes these the disks of the cluster. Those that stay keep what is known of them; of two entries with one
    /// identity the first counts.
    pub fn update(&self, entries: Vec<DiskEntry>) {
        let old = self.map();
        let mut new = DiskMap::default();
        let mut hosts = Numbers::default();
        let mut zones = Numbers::default();
        for entry in entries {
            let id = entry.store.disk_id();
            if new.index_by_id.contains_key(&id) {
                tracing::error!(disk_id = %id, "two disks have one identity; the second is not used");
                continue;
            }
            // Hosts of the same name in two zones are two hosts.
            let host_number = hosts.number(format!("{}\0{}", entry.zone, entry.host));
            let zone_number = zones.number(entry.zone.clone());
            let known = old.disk(id).filter(|disk| disk.is_reached_by(&entry.store));
            let latencies = Arc::clone(&self.shared.latencies);
            let disk = Disk::new(
                entry,
                [host_number, zone_number],
                known.map(|disk| disk.condition()),
                latencies,
            );
            new.index_by_id.insert(id, new.disks.len());
            new.disks.push(Arc::new(disk));
        }
        self.shared.map.store(Arc::new(new));
    }

    /// The disks as of now.
    pub fn map(&self) -> Arc<DiskMap> {
        self.shared.map.load_full()
    }

    /// Asks all disks for their status, in parallel; one that does not answer within `deadline` is unreachable.
    pub async fn refresh(&self, deadline: Duration) {
        let map = self.map();
        join_all(map.disks.iter().map(|disk| disk.refresh(deadline))).await;
    }

    /// For how long a disk has been away: failed, unreachable, or in no map. `None` if it is there.
    ///
    /// A disk in no map is missed from the first time this was asked: the process cannot know of earlier.
    pub fn away_for(&self, id: DiskId, now: Instant) -> Option<Duration> {
        self.away_since(id, now)
            .map(|since| now.saturating_duration_since(since))
    }

    /// Since when a disk has been away; tells one absence from a later one.
    pub(crate) fn away_since(&self, id: DiskId, now: Instant) -> Option<Instant> {
        let mut missed = self
            .shared
            .missed_since
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(disk) = self.map().disk(id) {
            missed.remove(&id);
            return disk.away_since();
        }
        if missed.len() >= MISSED_DISK_COUNT_MAX && !missed.contains_key(&id) {
            return Some(now);
        }
        Some(*missed.entry(id).or_insert(now))
    }

    /// Notes that no chunk names a disk any more that has been away since then.
    pub(crate) fn note_left(&self, id: DiskId, away_since: Instant) {
        self.left().insert(id, away_since);
    }

    /// Whether no chunk names a disk any more that is away. When it has been back, that has to be found anew.
    pub(crate) fn is_left(&self, id: DiskId, now: Instant) -> bool {
        let away_since = self.away_since(id, now);
        away_since.is_some() && self.left().get(&id) == away_since.as_ref()
    }

    fn left(&self) -> MutexGuard<'_, HashMap<DiskId, Instant>> {
        self.shared
            .left
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn latencies(&self) -> &Latencies {
        &self.shared.latencies
    }
}

impl DiskMap {
    /// The disk of this identity.
    pub fn disk(&self, id: DiskId) -> Option<&Arc<Disk>> {
        self.index_by_id
            .get(&id)
            .and_then(|index| self.disks.get(*index))
    }

    /// All disks, in the order of the entries.
    pub fn disks(&self) -> &[Arc<Disk>] {
        &self.disks
    }

    /// The disks that can take a shard now: the dependable ones, or with `Dependability::Any` those too that
    /// were slow a moment ago.
    pub(crate) fn candidates(&self, dependability: Dependability, now: Instant) -> Vec<Candidate> {
        self.disks
            .iter()
            .filter_map(|disk| disk.candidate(dependability, now))
            .collect()
    }
}

/// Which disks are good enough for a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dependability {
    /// Those that answered in time.
    InTime,
    /// All that are not known to fail.
    Any,
}

/// The answer of a disk that is in no map.
pub(crate) fn unknown_disk(disk_id: DiskId) -> ShardError {
    ShardError::Unreachable {
        disk_id,
        detail: "it left the cluster".to_owned(),
    }
}

/// Numbers names by first appearance.
#[derive(Debug, Default)]
struct Numbers(HashMap<String, u32>);

impl Numbers {
    fn number(&mut self, name: String) -> u32 {
        let next = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        *self.0.entry(name).or_insert(next)
    }
}

#[cfg(test)]
mod tests;
