//! What all threads of one open disk share.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use cairn_rpc::random::random_bytes;
use tokio::sync::Semaphore;

use crate::disk_identity::LockedIdentity;
use crate::durable_file::is_shortage;
use crate::index::{Index, IndexError, LogState};
use crate::segment::{Place, RecordShape, SegmentNumber, SegmentTable};
use crate::{DiskHealth, DiskId, ShardError};

use super::LocalDiskOptions;
use super::open_calls::OpenCalls;
use super::space::{FREE_BYTES_MIN, FileSystemSpace, Space};

/// One open disk. The identity's lock is held as long as anybody uses this, or RocksDB closes.
#[derive(Debug)]
pub(super) struct DiskState {
    pub(super) options: LocalDiskOptions,
    /// Fresh at each open, so that tickets of an earlier run are recognized.
    pub(super) run: u64,
    pub(super) index: Index,
    pub(super) segments: SegmentTable,
    /// Segments of which the disk could not read everything when it was opened. The index may lack records of theirs: so they
    /// stay, and so does every tombstone.
    pub(super) unread: BTreeSet<SegmentNumber>,
    pub(super) counters: Counters,
    /// All writes up to this position are synced.
    pub(super) synced_position: AtomicU64,
    /// One permit per request that may wait for the writer.
    pub(super) queue_slots: Arc<Semaphore>,
    /// One permit per byte that may wait for the writer.
    pub(super) queue_bytes: Arc<Semaphore>,
    pub(super) is_full: AtomicBool,
    /// Of the writer, and of reads that wait for the disk.
    pub(super) open_calls: Arc<OpenCalls>,
    /// As it was measured last.
    file_system: Mutex<FileSystemSpace>,
    bookkeeping: Mutex<Bookkeeping>,
    failure: OnceLock<Failure>,
    /// Last, as fields are dropped in their order: whoever gets the lock finds nobody else at the files.
    pub(super) identity: LockedIdentity,
}

/// Why a disk is out of service.
#[derive(Debug)]
struct Failure {
    reason: String,
    is_readable: bool,
}

/// Statistics of segments, and what is to be done about them. Locked for moments only, and never while one waits for the
/// disk: the status is told from it on threads that must not wait.
#[derive(Debug, Default)]
pub(super) struct Bookkeeping {
    /// As it is now, which the index learns at its next save.
    pub(super) log: LogState,
    /// Segments whose statistics changed since they were last written to the index.
    pub(super) touched: BTreeSet<SegmentNumber>,
    /// Payloads that nobody needs any more, and whose successor is durable.
    pub(super) dead_payloads: Vec<(Place, RecordShape)>,
    /// How far each open segment is known to be synced. Only the tests of crashes look: they tear what is behind.
    pub(super) synced_tails: BTreeMap<SegmentNumber, u64>,
    /// Segments that are appended to.
    pub(super) active: BTreeSet<SegmentNumber>,
}

impl DiskState {
    pub(super) fn new(
        options: LocalDiskOptions,
        identity: LockedIdentity,
        index: Index,
        segments: SegmentTable,
        log: LogState,
        unread: BTreeSet<SegmentNumber>,
        file_system: FileSystemSpace,
    ) -> Self {
        let queue_slots = Arc::new(Semaphore::new(options.queue_count_max));
        let queue_bytes = Arc::new(Semaphore::new(options.queue_bytes_max));
        Self {
            options,
            run: u64::from_ne_bytes(random_bytes()),
            index,
            segments,
            unread,
            counters: Counters::default(),
            synced_position: AtomicU64::new(0),
            queue_slots,
            queue_bytes,
            is_full: AtomicBool::new(false),
            open_calls: Arc::default(),
            file_system: Mutex::new(file_system),
            bookkeeping: Mutex::new(Bookkeeping {
                log,
                ..Bookkeeping::default()
            }),
            failure: OnceLock::new(),
            identity,
        }
    }

    pub(super) fn disk_id(&self) -> DiskId {
        self.identity.identity.disk_id
    }

    pub(super) fn bookkeeping(&self) -> MutexGuard<'_, Bookkeeping> {
        // Statistics are advisory between two syncs; after a panic the writer is gone and the disk has failed.
        self.bookkeeping
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the disk out of service until it is reopened. The first reason stays.
    pub(super) fn fail(&self, reason: impl Into<String>) -> ShardError {
        self.fail_with(Failure {
            reason: reason.into(),
            is_readable: false,
        })
    }

    /// As [`Self::fail`], after a write or sync that failed: nothing is written any more, since nobody knows what the
    /// kernel did with the pages. What was acknowledged is where it was, and reads are verified: they go on.
    pub(super) fn fail_writes(&self, reason: impl Into<String>) -> ShardError {
        self.fail_with(Failure {
            reason: reason.into(),
            is_readable: true,
        })
    }

    fn fail_with(&self, failure: Failure) -> ShardError {
        let reason = failure.reason.clone();
        if self.failure.set(failure).is_ok() {
            tracing::error!(disk_id = %self.disk_id(), path = %self.options.path.display(), reason, "disk failed");
        }
        self.failed_error()
    }

    /// What a lookup that failed means: nothing for the disk where the process is short of something, else as
    /// [`Self::fail_index`].
    pub(super) fn lookup_error(&self, error: &IndexError) -> ShardError {
        if error.is_shortage() {
            self.busy_error()
        } else {
            self.fail_index(error)
        }
    }

    /// What a flush of the index that failed means: it can be tried again where the disk is full, else as
    /// [`Self::fail_index`].
    pub(super) fn flush_error(&self, error: &IndexError) -> ShardError {
        if error.is_full() {
            self.filled_up()
        } else {
            self.fail_index(error)
        }
    }

    /// As [`Self::fail_writes`]; the index is a cache, so the next open starts without it, unless nothing is wrong with it.
    /// What the disk could not read or write of it counts as damage then: it would be asked for again after each open. A disk
    /// that is out of order as a whole does not take the mark. Only an index that is damaged for certain is not asked any more.
    pub(super) fn fail_index(&self, error: &IndexError) -> ShardError {
        if error.is_full() || error.is_shortage() || error.is_read_only() {
            return self.fail_writes(error.to_string());
        }
        let is_damage = error.is_damage();
        if !is_damage && self.has_failed() {
            return self.failed_error();
        }
        if let Err(replaced) = self.check_in_place() {
            return replaced;
        }
        let marked = Index::request_rebuild(&self.options.path);
        let detail = if let Err(err) = marked {
            format!("; delete the index directory by hand ({err})")
        } else {
            String::new()
        };
        let reason = format!("{error}; reopening the disk rebuilds its index{detail}");
        if is_damage {
            self.fail(reason)
        } else {
            self.fail_writes(reason)
        }
    }

    /// Why the disk failed, if it did.
    pub(super) fn failure_reason(&self) -> Option<String> {
        self.failure.get().map(|failure| failure.reason.clone())
    }

    /// Whether the directory is still this disk's; it has failed if not. Right before whatever changes a file by its name: it
    /// could be another disk's, mounted over this one.
    pub(super) fn check_in_place(&self) -> Result<(), ShardError> {
        let checked = self.identity.check_in_place();
        checked.map_err(|reason| self.fail(reason))
    }

    /// `Err` once the disk has failed.
    pub(super) fn check_alive(&self) -> Result<(), ShardError> {
        if self.failure.get().is_some() {
            Err(self.failed_error())
        } else {
            Ok(())
        }
    }

    /// `Err` once nothing can be read any more.
    pub(super) fn check_readable(&self) -> Result<(), ShardError> {
        match self.failure.get() {
            Some(failure) if !failure.is_readable => Err(self.failed_error()),
            _ => Ok(()),
        }
    }

    /// Whether requests are waiting: background work steps back.
    pub(super) fn is_busy(&self) -> bool {
        self.queue_slots.available_permits() < self.options.queue_count_max
    }

    pub(super) fn has_failed(&self) -> bool {
        self.failure.get().is_some()
    }

    pub(super) fn failed_error(&self) -> ShardError {
        ShardError::DiskFailed {
            disk_id: self.disk_id(),
            path: self.options.path.clone(),
            detail: self
                .failure
                .get()
                .map_or("the disk is closed", |failure| &failure.reason)
                .to_owned(),
        }
    }

    pub(super) fn full_error(&self) -> ShardError {
        ShardError::DiskFull {
            disk_id: self.disk_id(),
        }
    }

    /// A write found no room: the disk says so until it is looked at again.
    pub(super) fn filled_up(&self) -> ShardError {
        self.is_full.store(true, Ordering::Relaxed);
        self.full_error()
    }

    pub(super) fn busy_error(&self) -> ShardError {
        ShardError::Busy {
            disk_id: self.disk_id(),
        }
    }

    /// Looks at the file system: how much may be written, and how much there is. May wait for the disk.
    pub(super) fn measure_space(&self) -> Result<Space, ShardError> {
        let path = &self.options.path;
        match FileSystemSpace::measure(path) {
            Ok(found) => *self.file_system() = found,
            Err(err) if is_shortage(&err) => {}
            Err(err) => {
                return Err(self.fail(format!(
                    "asking for free space in {}: {err}",
                    path.display()
                )));
            }
        }
        Ok(self.space())
    }

    /// As the file system was when it was measured last, and the disk is now.
    pub(super) fn space(&self) -> Space {
        let found = *self.file_system();
        Space::decide(&self.options, found, self.bookkeeping().used_bytes())
    }

    fn file_system(&self) -> MutexGuard<'_, FileSystemSpace> {
        self.file_system
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn health(&self, free_bytes: u64) -> DiskHealth {
        if self.is_hung() {
            // Before all else: also a disk that failed must not be closed now.
            DiskHealth::Hung
        } else if self.has_failed() {
            DiskHealth::Failed
        } else if free_bytes < FREE_BYTES_MIN || self.is_full.load(Ordering::Relaxed) {
            DiskHealth::Full
        } else {
            DiskHealth::Healthy
        }
    }

    fn is_hung(&self) -> bool {
        let longest = self.open_calls.longest();
        longest.is_some_and(|longest| longest >= self.options.hung_after)
    }
}

/// Takes the disk out of service if the thread that holds it panics. The disk would pass for healthy and refuse
/// everything, and nobody would open it again.
#[derive(Debug)]
pub(super) struct PanicGuard {
    disk: Arc<DiskState>,
    thread: &'static str,
}

impl PanicGuard {
    pub(super) fn new(disk: &Arc<DiskState>, thread: &'static str) -> Self {
        Self {
            disk: Arc::clone(disk),
            thread,
        }
    }
}

impl Drop for PanicGuard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // What was acknowledged is where it was, so it can be read.
            let thread = self.thread;
            self.disk
                .fail_writes(format!("the {thread} thread panicked"));
        }
    }
}

impl Bookkeeping {
    /// Bytes that the segments occupy.
    pub(super) fn used_bytes(&self) -> u64 {
        self.log
            .stats
            .values()
            .map(crate::index::SegmentStats::used_bytes)
            .sum()
    }
}

/// Counters since the disk was opened.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) put_count: AtomicU64,
    pub(super) get_count: AtomicU64,
    pub(super) delete_count: AtomicU64,
    pub(super) sync_count: AtomicU64,
    pub(super) corrupt_count: AtomicU64,
    pub(super) bytes_written: AtomicU64,
    pub(super) bytes_read: AtomicU64,
    pub(super) compacted_bytes: AtomicU64,
    pub(super) compaction_corrupt_count: AtomicU64,
    pub(super) recovered_count: AtomicU64,
}

impl Counters {
    pub(super) fn snapshot(&self) -> BTreeMap<String, u64> {
        [
            ("put_count", &self.put_count),
            ("get_count", &self.get_count),
            ("delete_count", &self.delete_count),
            ("sync_count", &self.sync_count),
            ("corrupt_count", &self.corrupt_count),
            ("bytes_written", &self.bytes_written),
            ("bytes_read", &self.bytes_read),
            ("compacted_bytes", &self.compacted_bytes),
            ("compaction_corrupt_count", &self.compaction_corrupt_count),
            ("recovered_count", &self.recovered_count),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.load(Ordering::Relaxed)))
        .collect()
    }
}

/// Adds to a counter: nothing is ordered by it.
pub(super) fn count(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}

/// Where the disk's segments are.
pub(super) fn segments_directory(options: &LocalDiskOptions) -> PathBuf {
    options.path.join("segments")
}
