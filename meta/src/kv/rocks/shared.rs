//! What the callers, the writer thread and the maintenance thread share. Every lock is held for a few instructions.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

use super::database::{Database, ReadError};
use super::place::Place;
use super::roster::{DatabaseId, PlaceId};
use super::status::Counters;

/// Most reads of one RocksDB that wait for its disk: more than a disk works on at a time, and few of the 512 threads that
/// the blocking pool may have.
pub(crate) const DISK_READS_MAX: usize = 64;

/// The RocksDB that serves.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) database: Database,
    pub(crate) id: DatabaseId,
    pub(crate) place: Arc<Place>,
    /// Rises with every failover.
    pub(crate) generation: u64,
    /// Room for reads that may wait for its disk; closed when another RocksDB serves.
    pub(crate) disk_reads: Arc<Semaphore>,
    /// Whether a thread asks the disk if it answers.
    is_probed: AtomicBool,
    /// Counts its answers.
    answers: watch::Sender<u64>,
}

impl Live {
    /// A RocksDB that is to serve.
    pub(crate) fn new(
        (id, database): (DatabaseId, Database),
        place: Arc<Place>,
        generation: u64,
    ) -> Self {
        Self {
            database,
            id,
            place,
            generation,
            disk_reads: Arc::new(Semaphore::new(DISK_READS_MAX)),
            is_probed: AtomicBool::new(false),
            answers: watch::Sender::new(0),
        }
    }

    /// Whether the disk answers within `limit`. However many ask, one thread may be lost to it.
    pub(crate) async fn answers(self: &Arc<Self>, limit: Duration) -> bool {
        let mut answers = self.answers.subscribe();
        if !self.is_probed.swap(true, Ordering::SeqCst) {
            let live = Arc::clone(self);
            let probing = std::thread::Builder::new()
                .name("meta-probe".to_owned())
                .spawn(move || {
                    // That it fails is an answer too.
                    drop(live.place.probe());
                    // Before it is told: who asks from here on asks anew.
                    live.is_probed.store(false, Ordering::SeqCst);
                    live.answers.send_modify(|count| *count += 1);
                });
            if probing.is_err() {
                self.is_probed.store(false, Ordering::SeqCst);
                return true;
            }
        }
        timeout(limit, answers.changed()).await.is_ok()
    }
}

/// What speaks against the RocksDB that serves.
#[derive(Debug, Clone)]
pub(crate) struct Suspicion {
    pub(crate) detail: String,
    /// A call into it did not return in time.
    pub(crate) is_hung: bool,
}

impl Suspicion {
    /// A call failed.
    pub(crate) fn failed(error: impl std::fmt::Display) -> Self {
        Self {
            detail: error.to_string(),
            is_hung: false,
        }
    }

    /// A call did not return in time.
    pub(crate) fn hung() -> Self {
        Self {
            detail: "it did not answer in time".to_owned(),
            is_hung: true,
        }
    }
}

impl From<&ReadError> for Suspicion {
    fn from(error: &ReadError) -> Self {
        match error {
            ReadError::NeedsDisk => Self::hung(),
            ReadError::Failed(error) => Self::failed(error),
        }
    }
}

/// Shared state.
#[derive(Debug)]
pub(crate) struct Shared {
    live: RwLock<Arc<Live>>,
    generation: watch::Sender<u64>,
    view: Mutex<View>,
    is_stopping: Mutex<bool>,
    stop: Condvar,
    /// All places seen at start.
    pub(crate) places: Vec<Arc<Place>>,
    pub(crate) holder_count_wanted: usize,
    /// How long a disk may take to answer.
    pub(crate) copy_timeout: Duration,
    pub(crate) counters: Counters,
    pub(crate) queue_depth: AtomicUsize,
    pub(crate) queued_bytes: AtomicUsize,
}

/// What the writer thread tells the others.
#[derive(Debug, Clone, Default)]
pub(crate) struct View {
    pub(crate) sequence: u64,
    pub(crate) epoch: u64,
    pub(crate) holders: Vec<Arc<Place>>,
    pub(crate) failures: BTreeMap<PlaceId, PlaceFailure>,
    pub(crate) broken: Option<String>,
    /// A commit was refused because no disk had room for another journal file, and none has got one since.
    pub(crate) lacks_room: bool,
    /// Since the last checkpoint: the records, and what is unused of closed files.
    pub(crate) journal_bytes: u64,
    pub(crate) checkpointed_at: Option<Instant>,
}

/// Why a place was given up.
#[derive(Debug, Clone)]
pub(crate) struct PlaceFailure {
    pub(crate) error: String,
    pub(crate) is_hung: bool,
    pub(crate) at: Instant,
}

impl Shared {
    pub(crate) fn new(
        live: Live,
        places: Vec<Arc<Place>>,
        holder_count_wanted: usize,
        copy_timeout: Duration,
    ) -> Self {
        Self {
            live: RwLock::new(Arc::new(live)),
            generation: watch::Sender::new(0),
            view: Mutex::default(),
            is_stopping: Mutex::new(false),
            stop: Condvar::new(),
            places,
            holder_count_wanted,
            copy_timeout,
            counters: Counters::default(),
            queue_depth: AtomicUsize::new(0),
            queued_bytes: AtomicUsize::new(0),
        }
    }

    /// The RocksDB to read from. A reader keeps the one it began with.
    pub(crate) fn live(&self) -> Arc<Live> {
        Arc::clone(&self.live.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Readers from now on use `live`. The old one is closed by whoever lets go of it last, without waiting for it.
    pub(crate) fn replace_live(&self, live: Live) {
        let generation = live.generation;
        let old = {
            let mut current = self.live.write().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *current, Arc::new(live))
        };
        old.database.abandon();
        self.generation.send_replace(generation);
        // Whoever waits to read from it goes to the new one, which he finds by now.
        old.disk_reads.close();
    }

    /// Fails when another RocksDB serves: what is made of a given-up one must not replace what others have.
    pub(crate) fn still_serves(&self, live: &Live) -> io::Result<()> {
        if self.live().generation == live.generation {
            return Ok(());
        }
        Err(io::Error::new(
            io::ErrorKind::Interrupted,
            "the metadata database moved meanwhile",
        ))
    }

    /// Tells when [`Live::generation`] changes.
    pub(crate) fn generations(&self) -> watch::Receiver<u64> {
        self.generation.subscribe()
    }

    /// The writer's view.
    pub(crate) fn view(&self) -> MutexGuard<'_, View> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Background work ends as soon as it looks.
    pub(crate) fn begin_stop(&self) {
        *self
            .is_stopping
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = true;
        self.stop.notify_all();
    }

    /// Waits, or less if the store stops; returns whether it does.
    pub(crate) fn pause(&self, duration: Duration) -> bool {
        let stopping = self
            .is_stopping
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let (stopping, _) = self
            .stop
            .wait_timeout_while(stopping, duration, |is_stopping| !*is_stopping)
            .unwrap_or_else(PoisonError::into_inner);
        *stopping
    }

    /// Takes room in the queue.
    pub(crate) fn enqueue(self: &Arc<Self>, size_bytes: usize) -> QueueSlot {
        self.queue_depth.fetch_add(1, Ordering::Relaxed);
        self.queued_bytes.fetch_add(size_bytes, Ordering::Relaxed);
        QueueSlot {
            shared: Arc::clone(self),
            size_bytes,
        }
    }
}

/// Room in the queue, until dropped.
#[derive(Debug)]
pub(crate) struct QueueSlot {
    shared: Arc<Shared>,
    size_bytes: usize,
}

impl Drop for QueueSlot {
    fn drop(&mut self) {
        self.shared.queue_depth.fetch_sub(1, Ordering::Relaxed);
        self.shared
            .queued_bytes
            .fetch_sub(self.size_bytes, Ordering::Relaxed);
    }
}
