//! What a [`RocksKv`](super::RocksKv) is opened with, and what opening reports.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// The most that is journalled between two checkpoints: replayed in about a second.
pub const CHECKPOINT_AFTER_BYTES_MAX: u64 = 128 << 20;

/// Where the store lives and how large its parts may grow.
#[derive(Debug, Clone)]
pub struct RocksKvOptions {
    /// The metadata directory: where RocksDB lives unless its disk was lost.
    pub dir: PathBuf,
    /// Directories on other disks that may hold journal copies, in order of preference.
    pub copies: Vec<PathBuf>,
    /// How many of them hold one (`m`): so many disks may vanish.
    pub copy_count: usize,
    /// Of all these, those whose disk is known not to be there: nothing is made in what stands in its place.
    pub unavailable: Vec<PathBuf>,
    /// Start even though so many places are missing that they may have newer records, which are given up then. For one
    /// start, by somebody who knows that the missing disks are lost or older.
    pub accept_missing_copies: bool,
    /// Whose metadata this is; a directory of another cluster is refused.
    pub cluster_id: [u8; 16],
    /// What the epochs of an empty store begin behind: 0, or for a store that takes the place of a lost one more than
    /// that can have counted, so that a copy of the old one that turns up is recognized as stale.
    pub epoch_before_first: u64,
    /// Size of a journal file. Small in tests; each place keeps a few.
    pub journal_file_size_bytes: u64,
    /// A checkpoint is made after so many bytes of journal, and a larger database waits for as many as it has itself,
    /// up to [`CHECKPOINT_AFTER_BYTES_MAX`]. Bounds the journals of small stores.
    pub checkpoint_after_bytes: u64,
    /// How fast a checkpoint is copied to other disks, or read to verify it, at most.
    pub checkpoint_bytes_per_second_max: u64,
    /// RocksDB's block cache, which also holds index and filter blocks.
    pub block_cache_bytes: usize,
    /// A store to which hardly anything was written for so long is quiet: RocksDB then merges what it has left for later.
    pub quiet_after: Duration,
    /// In about this time all checkpoints and journals of the copies are read once, to see whether they are whole.
    pub verify_every: Duration,
    /// A disk that has not answered for so long is given up, whether it has a journal copy or RocksDB.
    pub copy_timeout: Duration,
}

impl RocksKvOptions {
    /// A store in `dir` alone, with default sizes.
    pub fn new(dir: impl Into<PathBuf>, cluster_id: [u8; 16]) -> Self {
        Self {
            dir: dir.into(),
            copies: Vec::new(),
            copy_count: 0,
            unavailable: Vec::new(),
            accept_missing_copies: false,
            cluster_id,
            epoch_before_first: 0,
            // Most of a second of full load, so that rotation (about 1 ms) does not show; written at first start.
            journal_file_size_bytes: 4 << 20,
            // What RocksDB keeps in memory before it writes by itself: a checkpoint adds little to that.
            checkpoint_after_bytes: 16 << 20,
            checkpoint_bytes_per_second_max: 64 << 20,
            block_cache_bytes: 32 << 20,
            quiet_after: Duration::from_secs(5),
            verify_every: Duration::from_hours(7 * 24),
            copy_timeout: Duration::from_secs(10),
        }
    }
}

/// How much journal is due for a checkpoint of a database of `database_bytes`: copying it then costs at most about as
/// much as writing the journal did, and the journal takes no more space than the database or `after_bytes`.
pub(crate) fn checkpoint_due_bytes(after_bytes: u64, database_bytes: u64) -> u64 {
    database_bytes
        .min(CHECKPOINT_AFTER_BYTES_MAX)
        .max(after_bytes)
}

/// What opening found and did; to be logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenReport {
    /// How the store came up.
    pub start: Start,
    /// The last journal record; everything up to it is served.
    pub sequence: u64,
    /// The epoch that begins with this start.
    pub epoch: u64,
    /// The place whose RocksDB serves.
    pub primary: PathBuf,
    /// The places with a complete journal copy, beside the primary.
    pub copies: Vec<PathBuf>,
    /// Places that were known and are not there.
    pub missing: Vec<PathBuf>,
    /// What was found damaged, stale or out of date, and was dealt with.
    pub notes: Vec<String>,
}

/// How the store came up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// There was nothing anywhere: an empty store was created.
    Fresh,
    /// RocksDB held everything.
    Clean,
    /// RocksDB lacked the end of the journal.
    Replayed {
        /// So many records.
        record_count: u64,
    },
    /// RocksDB had moved to another disk when that of the metadata directory failed, and was moved back.
    Returned {
        /// The place where it was; it stays a copy.
        from: PathBuf,
    },
    /// RocksDB was missing, stale or damaged, and was made anew from a copy.
    Restored {
        /// The place it was restored from.
        from: PathBuf,
        /// What was wrong.
        reason: String,
    },
}

impl fmt::Display for OpenReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let primary = self.primary.display();
        match &self.start {
            Start::Fresh => write!(f, "created an empty metadata store in {primary}")?,
            Start::Clean => write!(f, "opened the metadata store in {primary}")?,
            Start::Replayed { record_count } => {
                write!(
                    f,
                    "opened the metadata store in {primary}, replayed {record_count} journal records"
                )?;
            }
            Start::Returned { from } => write!(
                f,
                "moved the metadata store back into {primary} from {}",
                from.display()
            )?,
            Start::Restored { from, reason } => write!(
                f,
                "restored the metadata store into {primary} from the copy in {} ({reason})",
                from.display()
            )?,
        }
        write!(
            f,
            "; sequence {}, epoch {}, {} copies",
            self.sequence,
            self.epoch,
            self.copies.len()
        )
    }
}

/// Why the store could not be opened; nothing was overwritten.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process uses the directory.
    #[error("{path} is in use by another process; stop it, or choose another directory")]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// The directory holds something that Cairn did not write.
    #[error(
        "{path} is not a metadata file of Cairn; nothing was changed. Choose an empty directory, or move the file away"
    )]
    Unrecognized {
        /// The file.
        path: PathBuf,
    },
    /// The directory belongs to another cluster.
    #[error(
        "{path} holds metadata of cluster {found}, this is cluster {expected}; check the configured directories"
    )]
    ForeignCluster {
        /// The directory.
        path: PathBuf,
        /// The cluster it belongs to.
        found: String,
        /// The cluster being started.
        expected: String,
    },
    /// Two directories carry one identity: one is a copy of the other.
    #[error(
        "{first} and {second} carry the same identity: one is a copy of the other; move the older one away"
    )]
    Duplicate {
        /// One of them.
        first: PathBuf,
        /// The other.
        second: PathBuf,
    },
    /// So many places are missing that the newest metadata may be on them.
    #[error(
        "metadata directories are missing: {}; at most {allowed} of {place_count} may be, or the newest metadata might not be among the others. \
         Bring the disks back and start again. Only if they are lost for good, or known to be older: start once with \
         --accept-missing-metadata-copies true, which gives up what only they have",
        display_paths(.missing)
    )]
    TooManyMissing {
        /// Where they were.
        missing: Vec<PathBuf>,
        /// How many may be.
        allowed: usize,
        /// How many are known, without those seen that would not have been told of newer metadata.
        place_count: usize,
    },
    /// One directory is configured twice.
    #[error(
        "{first} and {second} are the same directory: a copy beside the metadata themselves is none. Name each once"
    )]
    SameDirectory {
        /// One name of it.
        first: PathBuf,
        /// Another.
        second: PathBuf,
    },
    /// None of the places that hold the newest journal is there.
    #[error(
        "the newest metadata is in {}, and none of them is there; bring one of these disks back and start again",
        display_paths(.holders)
    )]
    HoldersMissing {
        /// Where the copies were.
        holders: Vec<PathBuf>,
    },
    /// Two groups of disks went on without each other.
    #[error(
        "metadata went two ways (epoch {epoch}): {} were used without each other. Move the directories of one side away and start again",
        display_paths(.places)
    )]
    Split {
        /// The epoch both claim.
        epoch: u64,
        /// The places of both sides.
        places: Vec<PathBuf>,
    },
    /// No complete copy is left.
    #[error("no complete copy of the metadata was found: {}", .details.join("; "))]
    Damaged {
        /// What is wrong with each place.
        details: Vec<String>,
    },
    /// No directory could be used.
    #[error("{path} cannot be used: {source}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
}

fn display_paths(paths: &[PathBuf]) -> String {
    paths
        .iter()
        .map(|path| path.display().to_string())
        .collect::<Vec<_>>()
        .join(", ")
}
