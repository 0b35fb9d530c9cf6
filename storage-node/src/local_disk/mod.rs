//! A disk in this machine: one directory, one writer thread, one compaction thread.
//!
//! ```text
//! <disk>/cairn-disk.json   who the disk is; locked while it is open      disk_identity.rs
//! <disk>/segments/*.seg    the log: all shards and tombstones            segment/, docs/formats/segment.md
//! <disk>/index/            RocksDB, rebuilt from the segments at need    index/
//! ```
//!
//! A put is hashed (a large one away from the caller's thread), queued, written and synced by the [`writer`] together
//! with whatever else waits, and answered. A read looks the shard up in the index and reads the segment file directly; it
//! never waits for the writer. What memory cannot answer is left to threads that may wait, a bounded number for each
//! disk: one that hangs keeps its own callers waiting, and nobody else. [`recovery`] says what a crash can leave
//! behind, [`compactor`] how space returns.
//!
//! Failures: a full disk refuses puts and goes on with the rest, also while its index has no room. After any other failed
//! write or sync the disk takes no writes until it is opened again, and nothing is retried on it; what it has is still
//! read. When the directory vanishes, or the index is damaged, it does nothing at all until then. A device that blocks
//! without an error fails nothing: [`open_calls`] notices, and the disk says that it hangs for as long as it does.
//! Segments are written through [`FileCalls`] alone, which is where tests make a disk fail.

mod active_segment;
mod compaction;
mod compactor;
mod open_calls;
mod options;
mod read_buffers;
mod reader;
mod recovery;
mod request;
mod space;
mod state;
#[cfg(test)]
mod tests;
mod writer;

use std::ops::Range;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use cairn_rpc::clock::{Clock as _, SystemClock};
use cairn_rpc::io_thread;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

pub use options::{LocalDiskOptions, OpenError};

use crate::disk_identity::{DiskIdentity, IdentityError};
use crate::durable_file::{self, FileCalls, SystemCalls};
use crate::index::SegmentStats;
use crate::segment::PreparedRecord;
use crate::{
    ClusterId, DiskId, DiskStatus, Durability, LIST_LIMIT_MAX, ShardError, ShardId, ShardPage,
    ShardPut, ShardStat, ShardStore, VerifiedBytes, WriteTicket,
};
use compactor::Compactor;
use reader::Reader;
use request::{DELETE_COUNT_MAX, Queued, Request, Task};
use state::DiskState;
use writer::Writer;

/// A put waits at most so long for a place in the queue; then the disk is too slow for what is asked of it.
const QUEUE_WAIT_MAX: Duration = Duration::from_secs(2);

/// Room in the channel for compaction's own requests, one at a time, and for closing.
const BACKGROUND_REQUESTS_MAX: usize = 8;

/// Created and removed to see whether a disk takes writes.
const PROBE_FILE: &str = "cairn-write-probe";

/// Calls of [`LocalDisk::compact`] that may wait at a time.
const COMPACTION_WAITERS_MAX: usize = 16;

/// One open local disk.
///
/// Dropping it syncs, stops its threads and waits for them; [`LocalDisk::close`] does the same without blocking
/// the caller's thread, and reports errors.
#[derive(Debug)]
pub struct LocalDisk {
    disk: Arc<DiskState>,
    reader: Reader,
    requests: SyncSender<Queued>,
    threads: Mutex<Option<Threads>>,
}

#[derive(Debug)]
struct Threads {
    /// Asks the compactor to say when nothing is left to do; dropping it stops the thread.
    compactor_control: SyncSender<oneshot::Sender<()>>,
    compactor: JoinHandle<()>,
    writer: JoinHandle<Result<(), ShardError>>,
}

impl LocalDisk {
    /// Makes the directory `path` (created if missing) a new, empty disk of a cluster.
    ///
    /// # Errors
    /// [`IdentityError::AlreadyFormatted`], [`IdentityError::Io`].
    pub fn format(path: impl AsRef<Path>, cluster_id: ClusterId) -> Result<DiskId, IdentityError> {
        let now_ms = SystemClock.now_ms();
        DiskIdentity::create(path.as_ref(), cluster_id, now_ms).map(|identity| identity.disk_id)
    }

    /// Opens a disk, recovers what its last run left, and starts its threads. Blocks: making a lost index anew reads
    /// all records of up to 64 KiB, and of each larger one a few KiB, which costs a rotating disk a seek.
    ///
    /// # Errors
    /// [`OpenError`]; nothing is overwritten on a disk that is refused.
    pub fn open(options: LocalDiskOptions) -> Result<Self, OpenError> {
        Self::open_with(options, Arc::new(SystemCalls))
    }

    fn open_with(options: LocalDiskOptions, calls: Arc<dyn FileCalls>) -> Result<Self, OpenError> {
        let queue_len = options.queue_count_max + BACKGROUND_REQUESTS_MAX;
        let path = options.path.clone();
        let recovery::Recovered {
            disk,
            active,
            next_lsn,
        } = recovery::open(options, calls)?;
        let (requests, queue) = sync_channel(queue_len);
        let (compactor_control, control) = sync_channel(COMPACTION_WAITERS_MAX);
        let writer = Writer::new(Arc::clone(&disk), active, next_lsn);
        let compactor = Compactor::new(Arc::clone(&disk), requests.clone(), control);
        let io = |source| OpenError::Io {
            path: path.clone(),
            source,
        };
        let writer =
            io_thread::spawn("cairn-disk-writer", move || writer.run(&queue)).map_err(io)?;
        let compactor = io_thread::spawn("cairn-compactor", move || compactor.run()).map_err(io)?;
        let threads = Mutex::new(Some(Threads {
            compactor_control,
            compactor,
            writer,
        }));
        Ok(Self {
            reader: Reader::new(Arc::clone(&disk)),
            disk,
            requests,
            threads,
        })
    }

    /// Where the disk is.
    pub fn path(&self) -> &Path {
        &self.disk.options.path
    }

    /// Whether reads are served. After a failed write they are, until the disk is closed.
    pub fn is_readable(&self) -> bool {
        self.disk.check_readable().is_ok()
    }

    /// Whether the file system that holds the disk in `path` takes writes; a disk on one that does not cannot be opened.
    /// Blocks.
    ///
    /// # Errors
    /// Why it does not.
    pub fn check_writable(path: &Path) -> std::io::Result<()> {
        durable_file::probe(&path.join(PROBE_FILE), Arc::new(SystemCalls))
    }

    /// Makes everything durable, leaves the index so that the next open is quick, and stops the threads. Requests
    /// after this are refused. The directory stays locked until the value is dropped.
    ///
    /// # Errors
    /// [`ShardError::DiskFailed`]: what was not acknowledged as durable may be lost. [`ShardError::DiskFull`]: the index has
    /// no room for what the next open has to find out again.
    pub async fn close(&self) -> Result<(), ShardError> {
        let threads = self.take_threads();
        let requests = self.requests.clone();
        let disk = Arc::clone(&self.disk);
        let closed =
            tokio::task::spawn_blocking(move || close_threads(threads, &requests, &disk)).await;
        closed.unwrap_or_else(|_| Err(self.disk.failed_error()))
    }

    /// Waits until compaction finds nothing more that is worth its work. It runs without being asked, too.
    ///
    /// # Errors
    /// [`ShardError::DiskFailed`] if the disk failed or was closed, [`ShardError::Busy`] if too many wait already.
    pub async fn compact(&self) -> Result<(), ShardError> {
        // What was deleted just now becomes garbage only when the index is saved, which is after the answer.
        self.ask(Task::Sync).await?;
        let (done, waiting) = oneshot::channel();
        {
            let threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(threads) = threads.as_ref() else {
                return Err(self.disk.failed_error());
            };
            threads
                .compactor_control
                .try_send(done)
                .map_err(|err| match err {
                    TrySendError::Full(_) => self.disk.busy_error(),
                    TrySendError::Disconnected(_) => self.disk.failed_error(),
                })?;
        }
        waiting.await.map_err(|_| self.disk.failed_error())
    }

    fn take_threads(&self) -> Option<Threads> {
        self.threads
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    /// Queues a task for the writer and waits for its answer. Whoever does not wait takes back what the writer has not
    /// come to.
    async fn ask(&self, task: Task) -> Result<WriteTicket, ShardError> {
        self.disk.check_alive()?;
        let permits = self.admit(&task).await?;
        let (reply, answer) = oneshot::channel();
        let queued = Queued::from(Request {
            task,
            reply,
            permits: Some(permits),
        });
        let _withdrawal = queued.withdrawal();
        self.requests.try_send(queued).map_err(|err| match err {
            TrySendError::Full(_) => self.disk.busy_error(),
            TrySendError::Disconnected(_) => self.disk.failed_error(),
        })?;
        answer.await.map_err(|_| self.disk.failed_error())?
    }

    async fn admit(
        &self,
        task: &Task,
    ) -> Result<(OwnedSemaphorePermit, OwnedSemaphorePermit), ShardError> {
        let bytes_max = u64::try_from(self.disk.options.queue_bytes_max).unwrap_or(u64::MAX);
        let bytes = u32::try_from(task.weight_bytes().min(bytes_max)).unwrap_or(u32::MAX);
        let slot = acquire(&self.disk.queue_slots, 1).await;
        let bytes = acquire(&self.disk.queue_bytes, bytes).await;
        slot.zip(bytes).ok_or_else(|| self.disk.busy_error())
    }
}

/// Permits at once if there are any, else within [`QUEUE_WAIT_MAX`].
async fn acquire(semaphore: &Arc<Semaphore>, count: u32) -> Option<OwnedSemaphorePermit> {
    if let Ok(permit) = Arc::clone(semaphore).try_acquire_many_owned(count) {
        return Some(permit);
    }
    let waiting = tokio::time::timeout(
        QUEUE_WAIT_MAX,
        Arc::clone(semaphore).acquire_many_owned(count),
    )
    .await;
    waiting.ok()?.ok()
}

/// First the compactor, which needs the writer to finish what it is at; then the writer.
fn close_threads(
    threads: Option<Threads>,
    requests: &SyncSender<Queued>,
    disk: &DiskState,
) -> Result<(), ShardError> {
    let Some(Threads {
        compactor_control,
        compactor,
        writer,
    }) = threads
    else {
        return Ok(());
    };
    drop(compactor_control);
    let compactor = compactor.join();
    let (reply, _) = oneshot::channel();
    // If the writer is gone already, the join says why.
    let close = Request {
        task: Task::Close,
        reply,
        permits: None,
    };
    drop(requests.send(close.into()));
    match (compactor, writer.join()) {
        (Ok(()), Ok(closed)) => closed,
        _ => Err(disk.fail("a thread of the disk panicked".to_owned())),
    }
}

impl Drop for LocalDisk {
    fn drop(&mut self) {
        if let Err(err) = close_threads(self.take_threads(), &self.requests, &self.disk) {
            tracing::warn!(error = %err, "disk was not closed cleanly");
        }
    }
}

/// Hashing a payload up to this length on the caller's thread costs less than handing it to another one.
const INLINE_HASH_BYTES_MAX: usize = 256 << 10;

async fn prepare(shard: ShardPut) -> Option<PreparedRecord> {
    let ShardPut {
        id,
        descriptor,
        payload,
    } = shard;
    if payload.len() <= INLINE_HASH_BYTES_MAX {
        return Some(PreparedRecord::put(id, &descriptor, payload));
    }
    tokio::task::spawn_blocking(move || PreparedRecord::put(id, &descriptor, payload))
        .await
        .ok()
}

#[async_trait]
impl ShardStore for LocalDisk {
    fn disk_id(&self) -> DiskId {
        self.disk.disk_id()
    }

    async fn put(
        &self,
        shard: ShardPut,
        durability: Durability,
    ) -> Result<WriteTicket, ShardError> {
        shard.check_limits()?;
        let record = prepare(shard)
            .await
            .ok_or_else(|| self.disk.failed_error())?;
        self.ask(Task::Put(record, durability)).await
    }

    async fn sync(&self, ticket: WriteTicket) -> Result<(), ShardError> {
        self.disk.check_alive()?;
        if ticket.run != self.disk.run {
            return Err(ShardError::Restarted {
                disk_id: self.disk_id(),
            });
        }
        if ticket.position <= self.disk.synced_position.load(Ordering::Acquire) {
            return Ok(());
        }
        self.ask(Task::Sync).await.map(drop)
    }

    async fn get(&self, id: ShardId, range: Range<u32>) -> Result<VerifiedBytes, ShardError> {
        self.reader.get(id, range).await
    }

    async fn delete(&self, ids: &[ShardId]) -> Result<(), ShardError> {
        if ids.is_empty() {
            return self.disk.check_alive();
        }
        for ids in ids.chunks(DELETE_COUNT_MAX) {
            self.ask(Task::Delete(ids.to_vec())).await?;
        }
        Ok(())
    }

    async fn list(&self, after: Option<ShardId>, limit: usize) -> Result<ShardPage, ShardError> {
        self.disk.check_alive()?;
        let limit = limit.min(LIST_LIMIT_MAX);
        // One more than asked for tells whether there are more.
        let look = move |disk: &DiskState| {
            disk.index
                .live_after(after, limit + 1)
                .map_err(|err| disk.lookup_error(&err))
        };
        let mut found = self.reader.wait_for(look).await?;
        let is_truncated = found.len() > limit;
        found.truncate(limit);
        let shards = found.into_iter().map(|(id, live)| ShardStat {
            id,
            size_bytes: live.shape.payload_len,
            written_at_ms: live.written_at_ms,
            descriptor: None,
        });
        Ok(ShardPage {
            shards: shards.collect(),
            is_truncated,
        })
    }

    async fn verify(&self, id: ShardId) -> Result<ShardStat, ShardError> {
        self.reader.verify(id).await
    }

    async fn stat(&self, id: ShardId) -> Result<Option<ShardStat>, ShardError> {
        self.reader.stat(id).await
    }

    async fn status(&self) -> Result<DiskStatus, ShardError> {
        // From memory alone: who asks wants to know of all disks, and must not wait for one that hangs. The writer
        // measures the space once a second.
        let space = self.disk.space();
        let bookkeeping = self.disk.bookkeeping();
        let stats = || bookkeeping.log.stats.values();
        Ok(DiskStatus {
            disk_id: self.disk_id(),
            path: self.path().display().to_string(),
            health: self.disk.health(space.free_bytes),
            failure: self.disk.failure_reason(),
            capacity_bytes: space.capacity_bytes,
            free_bytes: space.free_bytes,
            shard_bytes: stats().map(|stats| stats.live_payload_bytes).sum(),
            shard_count: stats().map(|stats| stats.live_count).sum(),
            garbage_bytes: stats().map(SegmentStats::garbage_bytes).sum(),
            counters: self.disk.counters.snapshot(),
        })
    }
}
