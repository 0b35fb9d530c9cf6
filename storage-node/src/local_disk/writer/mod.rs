//! The one thread that changes a disk: appends records, syncs them, and tells the index.
//!
//! It takes all requests that wait (a *group*), writes their records with few calls, syncs once for all that
//! asked for it, and answers. The order is what durability rests on:
//! 1. records written → visible to readers (the index's pending entries);
//! 2. segment synced → answered;
//! 3. *all* written segments synced → entries and tails saved to RocksDB in one batch. Were entries of one
//!    segment saved while another is not synced, a crash could lose a record that had replaced a durable one.
//! 4. entries saved, or refused for want of room → payloads that were replaced or deleted may be punched out: what replaced
//!    them is synced, and replayed after a crash.
//!
//! A group is in the log as a whole or not at all: nobody was told that any of it happened when a write failed. So all
//! its records go behind the tails that the segments had, and a segment is closed only between groups.
//!
//! Here is the loop. What a round collects is in [`group`], how requests become records in [`staging`], the files they
//! go to in [`open_segments`]; [`commit`] writes and answers, [`sync`] makes durable and saves the index, [`free_space`]
//! watches the disk, and [`retirement`] is what compaction needs besides.

mod commit;
mod free_space;
mod group;
mod open_segments;
mod retirement;
mod staging;
mod sync;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::active_segment::ActiveSegment;
use super::open_calls::OpenCall;
use super::request::{Queued, Request, Task};
use super::state::{DiskState, PanicGuard};
use crate::segment::{Place, RecordShape, RecordStamp, SegmentClass, SegmentNumber};
use crate::{ShardError, WriteTicket};
use free_space::CHECK_INTERVAL;
use group::{Group, answer, collect_group};

/// Buffered writes are synced at the latest when the disk was idle for so long.
const IDLE_SYNC_AFTER: Duration = Duration::from_millis(100);

/// Zeros are written after groups of at most this size; larger ones mean that there is better to do, and
/// amortize the journal commit anyway.
const QUIET_GROUP_COUNT: usize = 4;

#[derive(Debug)]
pub(super) struct Writer {
    disk: Arc<DiskState>,
    active: BTreeMap<SegmentClass, ActiveSegment>,
    next_lsn: u64,
    /// Position of the last accepted write; see `WriteTicket`.
    accepted: u64,
    unsynced_bytes: u64,
    /// Became garbage; punched once the index is saved.
    dead_payloads: Vec<(Place, RecordShape)>,
    /// Closed segments without a live shard, of which the files of the index know that.
    dead_segments: BTreeSet<SegmentNumber>,
    free_bytes: u64,
    checked_at: Option<Instant>,
    /// When the index last had no room for what waits for it; `None` if it took everything.
    save_refused_at: Option<Instant>,
    /// While the thread does anything that may wait for the disk.
    call: Option<OpenCall>,
}

/// What the writer does after a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    Continue,
    Close,
}

impl Writer {
    pub(super) fn new(
        disk: Arc<DiskState>,
        active: BTreeMap<SegmentClass, ActiveSegment>,
        next_lsn: u64,
    ) -> Self {
        Self {
            disk,
            active,
            next_lsn,
            accepted: 0,
            unsynced_bytes: 0,
            dead_payloads: Vec::new(),
            dead_segments: BTreeSet::new(),
            free_bytes: 0,
            checked_at: None,
            save_refused_at: None,
            call: None,
        }
    }

    /// Serves requests until asked to close, or until nobody can ask any more. Returns how closing went.
    pub(super) fn run(mut self, requests: &Receiver<Queued>) -> Result<(), ShardError> {
        let _guard = PanicGuard::new(&self.disk, "writer");
        loop {
            self.begin_call();
            self.check_disk();
            let idle_after = if self.has_unsaved() {
                IDLE_SYNC_AFTER
            } else {
                CHECK_INTERVAL
            };
            self.call = None;
            let received = requests.recv_timeout(idle_after);
            self.begin_call();
            match received {
                Ok(first) => {
                    let group = collect_group(first, requests);
                    if self.serve(group) == Next::Close {
                        return self.close();
                    }
                }
                Err(RecvTimeoutError::Timeout) => self.idle(),
                Err(RecvTimeoutError::Disconnected) => return self.close(),
            }
        }
    }

    /// Executes requests in order.
    pub(super) fn serve(&mut self, requests: Vec<Request>) -> Next {
        let is_quiet = requests.len() <= QUIET_GROUP_COUNT;
        let mut group = Group::default();
        for mut request in requests {
            if matches!(request.task, Task::Close) {
                drop(self.commit(group));
                return Next::Close;
            }
            if let Err(err) = self.disk.check_alive() {
                answer(request.reply, Err(err));
                continue;
            }
            match std::mem::replace(&mut request.task, Task::Sync) {
                task @ (Task::Seal(_) | Task::Retire(_) | Task::Forget(_)) => {
                    drop(self.commit(std::mem::take(&mut group)));
                    self.begin_call();
                    let result = self.maintain(task);
                    answer(request.reply, result.map(|()| self.ticket()));
                }
                task => match self.stage(&mut group, task) {
                    Ok(when) => group.waiting.push((request, when)),
                    Err(err) => answer(request.reply, Err(err)),
                },
            }
        }
        // Those who wait have been told.
        drop(self.commit(group));
        if is_quiet {
            self.zero_ahead();
        }
        Next::Continue
    }

    /// Nothing was asked for a while.
    pub(super) fn idle(&mut self) {
        if self.disk.has_failed() || self.sync_all().is_err() {
            return;
        }
        self.zero_ahead();
        // Here it costs nobody anything; else the next put would wait for the zeros.
        if !self.disk.has_failed()
            && self
                .active
                .get(&SegmentClass::Small)
                .is_some_and(ActiveSegment::has_unsynced_zeros)
        {
            // An error has been noted where it happened.
            drop(self.sync_class(SegmentClass::Small));
        }
    }

    /// Leaves the disk so that the next open has nothing to replay, and takes no more space than needed.
    fn close(&mut self) -> Result<(), ShardError> {
        self.disk.check_alive()?;
        self.sync_for(&[], true)?;
        for class in SegmentClass::ALL {
            self.seal(class)?;
        }
        self.save()?;
        self.disk
            .index
            .flush()
            .map_err(|err| self.disk.flush_error(&err))
    }

    /// Says that the disk has answered so far, and is asked something now. Each step of a round does: a round may be long,
    /// as one of thousands of deletes is, on a disk that is merely slow.
    fn begin_call(&mut self) {
        self.call = Some(self.disk.open_calls.begin());
    }

    fn next_stamp(&mut self) -> RecordStamp {
        let lsn = self.next_lsn;
        self.next_lsn += 1;
        RecordStamp {
            lsn,
            written_at_ms: self.disk.options.clock.now_ms(),
        }
    }

    fn ticket(&self) -> WriteTicket {
        WriteTicket {
            run: self.disk.run,
            position: self.accepted,
        }
    }
}
