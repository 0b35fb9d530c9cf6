//! How a disk is opened, and why that may be refused.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cairn_rpc::clock::{Clock, SystemClock};

use crate::disk_identity::IdentityError;
use crate::{ClusterId, DiskId};

/// Settings of one disk. `LocalDiskOptions::new` gives the defaults.
#[derive(Debug, Clone)]
pub struct LocalDiskOptions {
    /// The disk's directory.
    pub path: PathBuf,
    /// The cluster that the disk must belong to.
    pub cluster_id: ClusterId,
    /// Refuse any other disk; `None` accepts each disk of the cluster.
    pub expected_disk_id: Option<DiskId>,
    /// Space that puts leave free, so that deletes, compaction and the index can go on when the disk is full.
    pub reserve_bytes: u64,
    /// Use no more of the file system than this.
    pub capacity_bytes_max: Option<u64>,
    /// A segment is closed when the next record does not fit. Not larger than the reserve allows: a disk that is full could
    /// not be compacted any more.
    pub segment_size_bytes: u64,
    /// Memory for index blocks and bloom filters.
    pub index_cache_bytes: usize,
    /// Requests that may wait for the writer.
    pub queue_count_max: usize,
    /// Bytes of shards that may wait for the writer.
    pub queue_bytes_max: usize,
    /// What compaction may read per second.
    pub compaction_bytes_per_second_max: u64,
    /// A disk passes for [hung](crate::DiskHealth::Hung) while a call into it has been under way for longer than this.
    pub hung_after: Duration,
    /// Gives the time that is written into records.
    pub clock: Arc<dyn Clock>,
}

impl LocalDiskOptions {
    /// The defaults for the disk in `path`.
    pub fn new(path: impl Into<PathBuf>, cluster_id: ClusterId) -> Self {
        Self {
            path: path.into(),
            cluster_id,
            expected_disk_id: None,
            // An index memtable, its compaction, and some segments to compact into.
            reserve_bytes: 128 << 20,
            capacity_bytes_max: None,
            segment_size_bytes: 256 << 20,
            index_cache_bytes: 16 << 20,
            queue_count_max: 1024,
            queue_bytes_max: 64 << 20,
            compaction_bytes_per_second_max: 64 << 20,
            // The longest that one step of the writer takes is syncing 64 MiB: even at 10 MiB/s this is less.
            hung_after: Duration::from_secs(10),
            clock: Arc::new(SystemClock),
        }
    }
}

/// What is left of a disk that is full without any reserve has room for the copies of such a segment.
const SEGMENT_SIZE_BYTES_MIN: u64 = 4 << 20;

impl LocalDiskOptions {
    /// Where segments end. On a full disk compaction may use three quarters of the reserve, and a segment that it chooses
    /// has up to 70 % to be copied: so a segment may be as large as the reserve.
    pub(super) fn segment_size_max(&self) -> u64 {
        let reserve_allows = self.reserve_bytes.max(SEGMENT_SIZE_BYTES_MIN);
        self.segment_size_bytes.min(reserve_allows)
    }
}

/// Why a disk could not be opened. Nothing was changed that a later open would miss.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The identity is missing, damaged, of another cluster, or in use.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// A segment was written by a newer program, or belongs to another disk.
    #[error("{path}: {detail}")]
    Segment {
        /// The segment's file.
        path: PathBuf,
        /// What is wrong, and what to do.
        detail: String,
    },
    /// The index can be neither opened nor rebuilt.
    #[error(
        "the index in {path} cannot be used ({detail}); check the disk, its free space and permissions, or delete that directory: it is rebuilt from the segments"
    )]
    Index {
        /// The index's directory.
        path: PathBuf,
        /// The cause.
        detail: String,
    },
    /// The file system refused.
    #[error("{path} cannot be accessed: {source}; check the disk and the permissions")]
    Io {
        /// Which file or directory.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
}
