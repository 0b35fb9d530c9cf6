//! [`KvStore`] over RocksDB, with a journal on `m + 1` disks: metadata survives what data survives.
//!
//! ```text
//! commit ──► bounded queue ──► writer thread ──► one record, written and synced on all holders at once
//!                                           └──► RocksDB (no log of its own) ──► acknowledged
//! get, scan ──► RocksDB, from memory inline, else on the blocking pool; they never wait for the writer
//! maintenance thread: checkpoints to the copies, then shorter journals; new copies for lost ones; reads the copies now and
//!   then
//! ```
//! Words: a *place* is a directory on one disk; *holders* are the places with a complete journal copy; the *primary* is
//! the holder whose RocksDB serves; the *roster* says which is which, and is written to all places ([`roster`]).
//!
//! It must not know: what keys and values mean.
//!
//! The bytes are in `docs/formats/journal.md`, the reasons in `docs/adr/0002-metadata-journal.md`.

mod begin;
mod checkpoint;
mod database;
mod deputy;
mod failover;
mod holder;
mod journal_copy;
mod journal_file;
mod journal_log;
mod maintenance;
mod open;
mod options;
mod place;
mod quiet;
mod reads;
mod record;
mod recover;
mod restore;
mod revival;
mod roster;
mod roster_round;
mod shared;
mod status;
mod verification;
mod verifying;
mod watched;
mod writer;

#[cfg(test)]
mod tests;

use std::sync::atomic::Ordering;
use std::sync::mpsc::{SyncSender, TrySendError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use async_trait::async_trait;
use bytes::Bytes;
use cairn_rpc::io_thread;
use tokio::sync::oneshot;

use super::{Batch, KvError, KvStore, Scan, ScanPage, Write, check_batch_limits};
use database::Reach;
use holder::{OpenJournal, directory_journal};
use maintenance::Maintenance;
use quiet::Quiet;
use shared::Shared;
use status::add;
use verification::Verification;
use writer::{Control, Pending, Request};

pub use options::{CHECKPOINT_AFTER_BYTES_MAX, OpenError, OpenReport, RocksKvOptions, Start};
pub use status::{PlaceStatus, RocksKvCounters, RocksKvStatus};

/// Most commits that wait: two groups. Applying 64 of them takes as long as a sync, a quarter of a millisecond, so that the
/// last of them waits a few milliseconds.
const QUEUE_LEN: usize = 1024;
/// Most bytes of commits that wait, beside the first.
const QUEUED_BYTES_MAX: usize = 64 << 20;
/// Scans up to this limit run on the caller's thread (tens of microseconds) if memory suffices; larger ones on the blocking
/// pool.
const INLINE_SCAN_LIMIT: usize = 64;

/// The RocksDB backend. Closing it waits for its threads.
#[derive(Debug)]
pub struct RocksKv {
    shared: Arc<Shared>,
    requests: SyncSender<Request>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl RocksKv {
    /// Opens the store, restoring it from a copy if need be. Blocks: seconds when much is to be restored.
    ///
    /// # Errors
    /// [`OpenError`], having overwritten nothing, when the newest metadata may be missing, or directories are not what
    /// they should be.
    pub fn open(options: &RocksKvOptions) -> Result<(Self, OpenReport), OpenError> {
        Self::open_with(options, directory_journal())
    }

    fn open_with(
        options: &RocksKvOptions,
        open_journal: OpenJournal,
    ) -> Result<(Self, OpenReport), OpenError> {
        let opened = open::open(options, open_journal, QUEUE_LEN)?;
        let maintenance = Maintenance {
            shared: Arc::clone(&opened.shared),
            writer: opened.requests.clone(),
            wake: opened.wake,
            cluster_id: options.cluster_id,
            file_size_bytes: options.journal_file_size_bytes,
            checkpoint_after_bytes: options.checkpoint_after_bytes,
            bytes_per_second_max: options.checkpoint_bytes_per_second_max,
            had_no_room_at: None,
            checkpoint_failed: None,
            copy_failed: None,
            checkpoint_from_bytes: 0,
            quiet: Quiet::new(options.quiet_after, Instant::now()),
            verification: Verification::new(options.verify_every),
        };
        let writer = opened.writer;
        let failed = |source| OpenError::Io {
            path: options.dir.clone(),
            source,
        };
        let threads = vec![
            io_thread::spawn("meta-writer", move || writer.run()).map_err(failed)?,
            io_thread::spawn("meta-maintenance", move || maintenance.run()).map_err(failed)?,
        ];
        let store = Self {
            shared: opened.shared,
            requests: opened.requests,
            threads: Mutex::new(threads),
        };
        Ok((store, opened.report))
    }

    /// Finishes the commits that were accepted, flushes, and ends the threads. Commits from then on are
    /// [`KvError::Unavailable`]; reads go on.
    pub fn close(&self) {
        self.shared.begin_stop();
        let threads =
            std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        if threads.is_empty() {
            return;
        }
        // An error means that the writer has ended already.
        self.requests
            .send(Request::Control(Control::Stop))
            .unwrap_or_default();
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a metadata thread panicked");
            }
        }
    }

    /// What it is doing and how well.
    pub fn status(&self) -> RocksKvStatus {
        let live = self.shared.live();
        let view = self.shared.view().clone();
        let places = self.shared.places.iter().map(|place| PlaceStatus {
            path: place.path.clone(),
            is_holder: view.holders.iter().any(|holder| holder.id == place.id),
            failure: view
                .failures
                .get(&place.id)
                .map(|failure| failure.error.clone()),
            free_bytes: place.free_bytes(),
        });
        RocksKvStatus {
            sequence: view.sequence,
            epoch: view.epoch,
            primary: live.place.path.clone(),
            places: places.collect(),
            holder_count_wanted: self.shared.holder_count_wanted,
            broken: view.broken,
            has_room: !view.lacks_room,
            queue_depth: self.shared.queue_depth.load(Ordering::Relaxed),
            journal_bytes: view.journal_bytes,
            checkpoint_age: view.checkpointed_at.map(|at| at.elapsed()),
            counters: self.shared.counters.read(),
        }
    }
}

impl Drop for RocksKv {
    fn drop(&mut self) {
        self.close();
    }
}

#[async_trait]
impl KvStore for RocksKv {
    async fn get(&self, key: &[u8]) -> Result<Option<Bytes>, KvError> {
        let live = self.shared.live();
        if let Ok(value) = live.database.get(key, Reach::Memory) {
            return Ok(value);
        }
        let key = Bytes::copy_from_slice(key);
        self.read_from_disk(live, move |database| database.get(&key, Reach::Disk))
            .await
    }

    async fn scan(&self, scan: Scan) -> Result<ScanPage, KvError> {
        let live = self.shared.live();
        if let Some(page) = live.database.recent_page(&scan) {
            return Ok(page);
        }
        if scan.limit <= INLINE_SCAN_LIMIT
            && let Ok(page) = live.database.scan(&scan, Reach::Memory)
        {
            return Ok(page);
        }
        self.read_from_disk(live, move |database| database.scan(&scan, Reach::Disk))
            .await
    }

    async fn commit(&self, batch: Batch) -> Result<(), KvError> {
        check_batch_limits(&batch)?;
        let size_bytes = size_bytes(&batch);
        let is_full = self.shared.queued_bytes.load(Ordering::Relaxed) + size_bytes
            > QUEUED_BYTES_MAX
            && self.shared.queue_depth.load(Ordering::Relaxed) > 0;
        let (answer, answered) = oneshot::channel();
        let slot = self.shared.enqueue(size_bytes);
        let sent = if is_full {
            Err(KvError::Busy)
        } else {
            self.requests
                .try_send(Request::Commit(Pending {
                    batch,
                    answer,
                    slot,
                }))
                .map_err(|error| match error {
                    TrySendError::Full(_) => KvError::Busy,
                    TrySendError::Disconnected(_) => KvError::Unavailable {
                        detail: "the store is closed".to_owned(),
                    },
                })
        };
        if let Err(error) = sent {
            if matches!(error, KvError::Busy) {
                add(&self.shared.counters.busy, 1);
            }
            return Err(error);
        }
        answered.await.unwrap_or_else(|_| {
            Err(KvError::UnknownOutcome {
                detail: "the store was closed before it answered".to_owned(),
            })
        })
    }
}

fn size_bytes(batch: &Batch) -> usize {
    let checks = batch
        .checks
        .iter()
        .map(|check| check.key.len() + check.expected.as_ref().map_or(0, Bytes::len));
    let writes = batch.writes.iter().map(|write| match write {
        Write::Put { key, value } => key.len() + value.len(),
        Write::Delete { key } => key.len(),
    });
    checks.chain(writes).sum()
}
