//! The one thread that commits: group after group, validated, journalled, applied, acknowledged.
//!
//! Invariants:
//! - checks of a batch are evaluated against RocksDB and the writes of earlier batches of its group, so that all
//!   commits are in one order, which is the journal's;
//! - a commit is acknowledged only when its record is durable on every holder that the newest roster lists (the other
//!   places have no journal), and applied, so that a read that starts afterwards sees it;
//! - one record is in flight at a time: a valid record behind an invalid one is damage and not a torn tail;
//! - no call of this thread waits for one disk for longer than the time-out while another disk could serve: journals are
//!   written by threads of their own, and of RocksDB only what answers from memory is called here, the rest by a deputy.
//!
//! Journalling the next group while this one is applied was left out: applying 64 batches costs about as much as one
//! sync, both together allow far more commits per second than one machine serves requests.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};

use bytes::Bytes;
use cairn_rpc::random::random_bytes;
use tokio::sync::oneshot;

use super::database::{Applied, Reach, ReadError};
use super::deputy::Deputy;
use super::holder::{Command, Holders, Rotation};
use super::journal_file::{FILE_HEAD_BYTES, FileHead};
use super::place::Place;
use super::record::{Frame, RecordBuilder};
use super::revival::Revival;
use super::roster::{PlaceId, Roster};
use super::shared::{Live, QueueSlot, Shared, Suspicion};
use super::status::{NO_ROOM, add};
use crate::block_file::BLOCK_BYTES;
use crate::kv::{Batch, Check, KvError, Write};

/// Most commits in one group: bounds the time the first of them waits for the last to be validated.
const GROUP_COUNT_MAX: usize = 512;
/// No batch is added to a group of this size; a record is at most this and one batch.
const GROUP_BYTES_MAX: usize = 4 << 20;
/// How often places are looked at when nothing is written.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// A commit that waits.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) batch: Batch,
    pub(crate) answer: oneshot::Sender<Result<(), KvError>>,
    pub(crate) slot: QueueSlot,
}

/// What the writer thread is asked.
#[derive(Debug)]
pub(crate) enum Request {
    Commit(Pending),
    Control(Control),
}

/// What others than committers ask.
#[derive(Debug)]
pub(crate) enum Control {
    /// Begin new files.
    Rotate {
        answer: SyncSender<Result<Rotated, String>>,
    },
    /// Give up journal files up to `sequence`, unless there was a failover since.
    Cut {
        sequence: u64,
        places: Vec<PlaceId>,
        generation: u64,
    },
    /// `place` has a checkpoint and all closed files through `copied_through`: make it a holder.
    AddCopy {
        place: Arc<Place>,
        copied_through: u64,
        generation: u64,
        answer: SyncSender<Result<(), Suspicion>>,
    },
    /// A place cannot be worked on any more, unless there was a failover since.
    GiveUp {
        place: PlaceId,
        generation: u64,
        suspicion: Suspicion,
    },
    /// A read of this generation's RocksDB failed.
    Suspect {
        generation: u64,
        suspicion: Suspicion,
    },
    /// Finish.
    Stop,
}

/// What a rotation closed.
#[derive(Debug)]
pub(crate) struct Rotated {
    /// The last record in the closed files.
    pub(crate) sequence: u64,
    /// What [`View::journal_bytes`](super::shared::View::journal_bytes) says of the closed files.
    pub(crate) journal_bytes: u64,
    /// The RocksDB that has applied it, beside the closed files. One that served before the rotation may have neither:
    /// it may have failed meanwhile.
    pub(crate) live: Arc<Live>,
}

/// The writer thread's state.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) shared: Arc<Shared>,
    pub(crate) requests: Receiver<Request>,
    pub(crate) maintenance: SyncSender<()>,
    pub(crate) holders: Holders,
    pub(crate) roster: Roster,
    pub(crate) settings: WriterSettings,
    /// Of the file being written.
    pub(crate) head: Arc<FileHead>,
    pub(crate) offset: u64,
    /// How large it was made.
    pub(crate) size_bytes: u64,
    /// Last record in the journal.
    pub(crate) sequence: u64,
    /// Last record in RocksDB; less than `sequence` only inside `persist` and while broken.
    pub(crate) applied: u64,
    /// Why nothing can be committed.
    pub(crate) broken: Option<String>,
    /// Asks RocksDB what may need its disk.
    pub(crate) deputy: Deputy,
    /// When a broken store is looked at next.
    pub(crate) revival: Revival,
}

/// What does not change.
#[derive(Clone)]
pub(crate) struct WriterSettings {
    pub(crate) cluster_id: [u8; 16],
    pub(crate) file_size_bytes: u64,
    pub(crate) cache: rocksdb::Cache,
}

impl std::fmt::Debug for WriterSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WriterSettings")
            .field("file_size_bytes", &self.file_size_bytes)
            .finish_non_exhaustive()
    }
}

impl Writer {
    /// A writer for what follows record `sequence`. It has no file yet: the first thing it must do is rotate.
    pub(crate) fn behind(
        sequence: u64,
        shared: Arc<Shared>,
        (requests, maintenance): (Receiver<Request>, SyncSender<()>),
        holders: Holders,
        roster: Roster,
        settings: WriterSettings,
    ) -> Self {
        let no_file = FileHead {
            cluster_id: settings.cluster_id,
            salt: [0; 16],
            epoch: 0,
            first_sequence: 0,
        };
        Self {
            shared,
            requests,
            maintenance,
            holders,
            roster,
            settings,
            head: Arc::new(no_file),
            offset: 0,
            size_bytes: 0,
            sequence,
            applied: sequence,
            broken: None,
            deputy: Deputy::default(),
            revival: Revival::new(),
        }
    }

    /// Serves until told to stop.
    pub(crate) fn run(mut self) {
        let mut checked_at = Instant::now();
        let mut control = None;
        loop {
            match control.take().map_or_else(
                || self.requests.recv_timeout(CHECK_INTERVAL),
                |control| Ok(Request::Control(control)),
            ) {
                Ok(Request::Commit(first)) => control = self.commit_group(first),
                Ok(Request::Control(Control::Stop)) | Err(RecvTimeoutError::Disconnected) => break,
                Ok(Request::Control(other)) => self.control(other),
                Err(RecvTimeoutError::Timeout) => {}
            }
            if checked_at.elapsed() >= CHECK_INTERVAL {
                self.check_places();
                checked_at = Instant::now();
            }
        }
        // RocksDB then holds everything, and the next start has nothing to replay.
        if let Err(Suspicion { detail, is_hung }) = self.ask_database(|live| live.database.flush())
        {
            tracing::warn!(
                detail,
                "the metadata database was not flushed; the journal holds the rest"
            );
            if is_hung {
                self.shared.live().database.abandon();
            }
        }
        self.holders.close();
    }

    fn control(&mut self, control: Control) {
        match control {
            Control::Rotate { answer } => {
                let result = self.rotate().map(|()| Rotated {
                    sequence: self.sequence,
                    journal_bytes: self.shared.view().journal_bytes,
                    live: self.shared.live(),
                });
                answer.try_send(result).unwrap_or_default();
            }
            Control::Cut {
                sequence,
                places,
                generation,
            } => self.cut(sequence, &places, generation),
            Control::AddCopy {
                place,
                copied_through,
                generation,
                answer,
            } => {
                let result = self.add_copy(&place, copied_through, generation);
                answer.try_send(result).unwrap_or_default();
            }
            Control::GiveUp {
                place,
                generation,
                suspicion,
            } => self.give_up(place, generation, &suspicion),
            Control::Suspect {
                generation,
                suspicion,
            } => self.suspect(generation, &suspicion),
            Control::Stop => {}
        }
    }

    /// Commits `first` and all that wait behind it; returns the control request that ended the group, if one did.
    fn commit_group(&mut self, first: Pending) -> Option<Control> {
        let mut group = Group::default();
        let mut control = None;
        let mut next = Some(first);
        while let Some(pending) = next.take() {
            group.add(pending, self);
            if group.verdicts.len() >= GROUP_COUNT_MAX || group.record.len() >= GROUP_BYTES_MAX {
                break;
            }
            match self.requests.try_recv() {
                Ok(Request::Commit(pending)) => next = Some(pending),
                Ok(Request::Control(other)) => control = Some(other),
                Err(_) => {}
            }
        }
        while let Some((generation, suspicion)) = group.suspicion.take() {
            self.suspect(generation, &suspicion);
            if self.shared.live().generation == generation {
                break;
            }
            // Nothing of the group is in the journal yet: what one RocksDB did not tell, the next one may.
            group = group.again(self);
        }
        let Group {
            record, verdicts, ..
        } = group;
        let outcome = match &self.broken {
            Some(reason) => Err(KvError::Unavailable {
                detail: reason.clone(),
            }),
            // Nothing is to be written: whether it could be.
            None if record.is_empty() => self.has_room(),
            None => self.persist(record),
        };
        self.answer(verdicts, &outcome);
        control
    }

    fn has_room(&self) -> Result<(), KvError> {
        if self.shared.view().lacks_room {
            let detail = NO_ROOM.to_owned();
            return Err(KvError::Unavailable { detail });
        }
        Ok(())
    }

    fn answer(&self, verdicts: Vec<(Pending, Result<(), KvError>)>, outcome: &Result<(), KvError>) {
        let counters = &self.shared.counters;
        let lacks_room = outcome.is_err() && self.shared.view().lacks_room;
        for (pending, verdict) in verdicts {
            let Pending {
                batch,
                answer,
                slot,
            } = pending;
            let result = verdict.and_then(|()| outcome.clone());
            match &result {
                Ok(()) => add(&counters.commits, 1),
                Err(KvError::Conflict) => add(&counters.conflicts, 1),
                Err(KvError::Unavailable { .. }) if lacks_room && !batch.writes.is_empty() => {
                    add(&counters.refused_no_room, 1);
                }
                Err(_) => {}
            }
            drop(slot);
            // A caller that went away does not change what was committed.
            answer.send(result).unwrap_or_default();
        }
    }

    /// Makes a record durable and applies it.
    fn persist(&mut self, record: RecordBuilder) -> Result<(), KvError> {
        let len = record.len() as u64;
        if self.offset + len > self.size_bytes
            && let Err(detail) = self.rotate_for(len)
        {
            if self.broken.is_none() {
                self.tell_no_room(&detail);
            }
            return Err(KvError::Unavailable { detail });
        }
        let frame = Arc::new(record.finish(&self.head.salt, self.roster.epoch, self.sequence + 1));
        let failures = self.holders.round(&Command::Append(Arc::clone(&frame)));
        let unknown = |detail| KvError::UnknownOutcome { detail };
        if self.holders.len() > 0 {
            self.sequence = frame.sequence;
            self.offset += len;
        }
        self.settle(failures).map_err(unknown)?;

        // A failover replays the journal, with this record.
        if self.applied < frame.sequence {
            let applied = Applied {
                sequence: frame.sequence,
                hash: frame.hash,
            };
            match self.apply(&frame, applied) {
                Ok(()) => self.applied = frame.sequence,
                Err(suspicion) => self.fail_over(&suspicion).map_err(unknown)?,
            }
        }
        let counters = &self.shared.counters;
        add(&counters.groups, 1);
        add(&counters.journal_bytes, len);
        if self.holders.len() < self.shared.holder_count_wanted {
            add(&counters.reduced_groups, 1);
        }
        let mut view = self.shared.view();
        view.sequence = self.sequence;
        view.journal_bytes += len;
        Ok(())
    }

    /// Whether a check holds in RocksDB; [`ReadError::NeedsDisk`] says that its disk did not answer in time.
    fn holds(&mut self, Check { key, expected }: &Check) -> Result<bool, ReadError> {
        let live = self.shared.live();
        if let Ok(holds) = live.database.holds(key, expected.as_deref(), Reach::Memory) {
            return Ok(holds);
        }
        let (key, expected) = (key.clone(), expected.clone());
        self.deputy
            .make(self.shared.copy_timeout, move || {
                live.database.holds(&key, expected.as_deref(), Reach::Disk)
            })
            .unwrap_or(Err(ReadError::NeedsDisk))
    }

    /// Applies a record that is durable.
    fn apply(&mut self, frame: &Arc<Frame>, applied: Applied) -> Result<(), Suspicion> {
        let live = self.shared.live();
        if live
            .database
            .try_apply(frame.payload(), applied)
            .map_err(Suspicion::failed)?
        {
            return Ok(());
        }
        if self.holders.len() < 2 {
            // There is no other disk to go to, and this one may only be slow.
            return live
                .database
                .apply(frame.payload(), applied)
                .map_err(Suspicion::failed);
        }
        // Given up, it may still be applied later, to a RocksDB that nobody reads: the roster names another by then.
        let frame = Arc::clone(frame);
        self.ask_database(move |live| live.database.apply(frame.payload(), applied))
    }

    /// Calls the RocksDB that serves, where that may have to wait for its disk.
    pub(crate) fn ask_database<T, E>(
        &mut self,
        call: impl FnOnce(&Live) -> Result<T, E> + Send + 'static,
    ) -> Result<T, Suspicion>
    where
        T: Send + 'static,
        E: std::fmt::Display + Send + 'static,
    {
        let live = self.shared.live();
        self.deputy
            .make(self.shared.copy_timeout, move || call(&live))
            .ok_or_else(Suspicion::hung)?
            .map_err(Suspicion::failed)
    }

    /// Begins new files on all holders. When this fails although the store is not broken, all goes on in the old ones.
    pub(crate) fn rotate(&mut self) -> Result<(), String> {
        self.rotate_for(0)
    }

    /// As [`Writer::rotate`], with room for a record of `record_len` bytes. An append finds its space there already: where
    /// one fails nobody knows how the journal ends, while a new file that cannot be made changes nothing.
    fn rotate_for(&mut self, record_len: u64) -> Result<(), String> {
        if let Some(reason) = &self.broken {
            return Err(reason.clone());
        }
        let head = Arc::new(FileHead {
            cluster_id: self.settings.cluster_id,
            salt: random_bytes(),
            epoch: self.roster.epoch,
            first_sequence: self.sequence + 1,
        });
        let size_bytes = (FILE_HEAD_BYTES as u64 + record_len)
            .next_multiple_of(BLOCK_BYTES as u64)
            .max(self.settings.file_size_bytes);
        let rotation = self.holders.rotate(&head, size_bytes);
        if rotation.is_done {
            // What a closed file has no record in takes space all the same: files that are closed before they are full
            // would otherwise add up. One without any record is replaced by the new one.
            if self.offset > FILE_HEAD_BYTES as u64 {
                let unused_bytes = self.size_bytes.saturating_sub(self.offset);
                self.shared.view().journal_bytes += unused_bytes;
            }
            self.head = head;
            self.offset = FILE_HEAD_BYTES as u64;
            self.size_bytes = size_bytes;
        }
        self.settle(rotation.failures)?;
        if !rotation.is_done {
            return Err(NO_ROOM.to_owned());
        }
        self.tell_room();
        self.wake_maintenance();
        Ok(())
    }

    /// What was told by [`Writer::tell_no_room`] is over.
    fn tell_room(&mut self) {
        if std::mem::take(&mut self.shared.view().lacks_room) {
            tracing::info!("metadata can be committed again");
        }
    }

    /// A commit is refused because no disk has room: said once, until one has.
    pub(crate) fn tell_no_room(&mut self, reason: &str) {
        if !std::mem::replace(&mut self.shared.view().lacks_room, true) {
            tracing::error!(reason, "metadata cannot be committed");
        }
    }

    /// Looks for room after there was none. It cannot be left to the next commit: who is not ready is sent none. No file is
    /// begun: a record that is larger than usual may be refused again and again, and each time would use up a spare one.
    fn look_for_room(&mut self) {
        if !self.shared.view().lacks_room {
            return;
        }
        let Rotation { is_done, failures } = self.holders.prepare();
        self.settle_or_log(failures);
        if is_done && self.broken.is_none() {
            self.tell_room();
        }
    }

    fn cut(&mut self, sequence: u64, places: &[PlaceId], generation: u64) {
        if self.shared.live().generation == generation {
            let failures = self.holders.round_of(places, &Command::Cut(sequence));
            self.settle_or_log(failures);
        }
    }

    /// Looks whether the places are still what they were.
    fn check_places(&mut self) {
        let failures = self.holders.round(&Command::Check);
        let are_well = failures.is_ok();
        self.settle_or_log(failures);
        if self.broken.is_some() {
            if are_well {
                self.revive();
            }
        } else {
            self.look_for_room();
            self.tell_who_hangs();
            let generation = self.shared.live().generation;
            if let Err(suspicion) = self.ask_database(|live| live.database.check()) {
                self.suspect(generation, &suspicion);
            }
        }
    }

    /// Tells the maintenance thread to look; it looks once, however often it is told.
    pub(crate) fn wake_maintenance(&self) {
        self.maintenance.try_send(()).unwrap_or_default();
    }
}

/// The commits of one group while it is put together.
#[derive(Default)]
struct Group {
    record: RecordBuilder,
    /// Writes of this group, which RocksDB does not have yet.
    overlay: HashMap<Bytes, Option<Bytes>>,
    verdicts: Vec<(Pending, Result<(), KvError>)>,
    /// Of which generation RocksDB could not be asked, and why.
    suspicion: Option<(u64, Suspicion)>,
}

impl Group {
    /// The same commits, validated anew.
    fn again(self, writer: &mut Writer) -> Self {
        let mut group = Self::default();
        for (pending, _) in self.verdicts {
            group.add(pending, writer);
        }
        group
    }

    fn add(&mut self, pending: Pending, writer: &mut Writer) {
        let generation = writer.shared.live().generation;
        let verdict = match self.all_hold(&pending.batch.checks, writer) {
            Ok(true) => {
                for write in &pending.batch.writes {
                    self.record.push(write);
                    let (key, value) = match write {
                        Write::Put { key, value } => (key, Some(value.clone())),
                        Write::Delete { key } => (key, None),
                    };
                    self.overlay.insert(key.clone(), value);
                }
                Ok(())
            }
            Ok(false) => Err(KvError::Conflict),
            Err(error) => {
                self.suspicion = Some((generation, Suspicion::from(&error)));
                Err(error.into())
            }
        };
        self.verdicts.push((pending, verdict));
    }

    fn all_hold(&self, checks: &[Check], writer: &mut Writer) -> Result<bool, ReadError> {
        for check in checks {
            let holds = match self.overlay.get(&check.key) {
                Some(value) => *value == check.expected,
                None => writer.holds(check)?,
            };
            if !holds {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
