//! What the store tells about itself, for metrics and `cairn admin`.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Why commits are refused while all disks are full.
pub(crate) const NO_ROOM: &str = "no disk has room for another file of the metadata journal";

/// The state at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RocksKvStatus {
    /// The last journal record that was acknowledged.
    pub sequence: u64,
    /// Of the roster.
    pub epoch: u64,
    /// The place whose RocksDB serves.
    pub primary: PathBuf,
    /// All places known.
    pub places: Vec<PlaceStatus>,
    /// How many places should hold the journal (`m + 1`, or as many as are configured).
    pub holder_count_wanted: usize,
    /// Why nothing can be committed, if so.
    pub broken: Option<String>,
    /// Whether the last commit that needed another journal file found a disk with room for it. It is looked for
    /// again every second.
    pub has_room: bool,
    /// Commits that wait.
    pub queue_depth: usize,
    /// Bytes of journal since the last checkpoint, with what is unused of closed files.
    pub journal_bytes: u64,
    /// Since the last checkpoint of this process.
    pub checkpoint_age: Option<Duration>,
    /// Counted since the start.
    pub counters: RocksKvCounters,
}

impl RocksKvStatus {
    /// How many places hold the whole journal.
    pub fn holder_count(&self) -> usize {
        self.places.iter().filter(|place| place.is_holder).count()
    }

    /// Why commits are refused, if they are.
    pub fn refusal(&self) -> Option<&str> {
        match &self.broken {
            Some(broken) => Some(broken),
            None => (!self.has_room).then_some(NO_ROOM),
        }
    }

    /// What is left on the fullest disk that holds the journal; `None` until the first look.
    pub fn free_bytes_min(&self) -> Option<u64> {
        let holders = self.places.iter().filter(|place| place.is_holder);
        holders.filter_map(|place| place.free_bytes).min()
    }

    /// Whether fewer disks may vanish than was asked for.
    pub fn is_reduced(&self) -> bool {
        self.holder_count() < self.holder_count_wanted
    }
}

/// One place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlaceStatus {
    /// Where.
    pub path: PathBuf,
    /// Whether it holds the whole journal: a holder never lags.
    pub is_holder: bool,
    /// Why it was given up last, if it was and has not come back.
    pub failure: Option<String>,
    /// What was left on its disk when it was looked at last, a second ago while it is a holder.
    pub free_bytes: Option<u64>,
}

/// What was counted since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RocksKvCounters {
    /// Commits acknowledged.
    pub commits: u64,
    /// Commits refused because a check failed.
    pub conflicts: u64,
    /// Commits refused because too many were waiting.
    pub busy: u64,
    /// Commits refused because no disk had room for the journal.
    pub refused_no_room: u64,
    /// Journal records, each one sync on every holder.
    pub groups: u64,
    /// Bytes of them.
    pub journal_bytes: u64,
    /// Commit groups that were acknowledged with fewer copies than wanted.
    pub reduced_groups: u64,
    /// Copies given up.
    pub copies_lost: u64,
    /// Copies made.
    pub copies_established: u64,
    /// Times that RocksDB moved to another disk while running.
    pub failovers: u64,
    /// Checkpoints made.
    pub checkpoints: u64,
    /// Bytes that they copied.
    pub checkpoint_bytes: u64,
    /// Bytes of copies, their journals too, that were read again to verify them.
    pub verified_bytes: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) commits: AtomicU64,
    pub(crate) conflicts: AtomicU64,
    pub(crate) busy: AtomicU64,
    pub(crate) refused_no_room: AtomicU64,
    pub(crate) groups: AtomicU64,
    pub(crate) journal_bytes: AtomicU64,
    pub(crate) reduced_groups: AtomicU64,
    pub(crate) copies_lost: AtomicU64,
    pub(crate) copies_established: AtomicU64,
    pub(crate) failovers: AtomicU64,
    pub(crate) checkpoints: AtomicU64,
    pub(crate) checkpoint_bytes: AtomicU64,
    pub(crate) verified_bytes: AtomicU64,
}

/// Counts.
pub(crate) fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}

impl Counters {
    pub(crate) fn read(&self) -> RocksKvCounters {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        RocksKvCounters {
            commits: read(&self.commits),
            conflicts: read(&self.conflicts),
            busy: read(&self.busy),
            refused_no_room: read(&self.refused_no_room),
            groups: read(&self.groups),
            journal_bytes: read(&self.journal_bytes),
            reduced_groups: read(&self.reduced_groups),
            copies_lost: read(&self.copies_lost),
            copies_established: read(&self.copies_established),
            failovers: read(&self.failovers),
            checkpoints: read(&self.checkpoints),
            checkpoint_bytes: read(&self.checkpoint_bytes),
            verified_bytes: read(&self.verified_bytes),
        }
    }
}
