//! A holder: a place with a journal copy, and the thread that writes it.
//!
//! The writer sends one command to all holders and waits for all answers up to a deadline. Only the last answer of
//! such a round wakes it: between two of them it has nothing to do, and on few cores a thread that wakes for nothing
//! keeps a journal from being written. A holder that fails or misses the deadline is given up: its thread is
//! abandoned, because nothing can interrupt a call into a hung disk, and what it still writes is ignored, because it
//! is no longer on the roster.
//!
//! Nobody is given up if that left nobody: holders that are all silent are waited for, however long, and where all
//! refuse they are kept, unless it was an append. Only after that is it open what stands in their journals.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::mpsc::{self, SyncSender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use cairn_rpc::io_thread;

use super::journal_copy::{DirectoryJournal, JournalCopy, has_no_room, says_nothing_of_copies};
use super::journal_file::FileHead;
use super::place::Place;
use super::record::Frame;
use super::roster::PlaceId;
use super::shared::{Shared, Suspicion};

/// Makes the journal of a place; tests wrap the real one to inject faults.
pub(crate) type OpenJournal =
    Arc<dyn Fn(&Path, u64) -> io::Result<Box<dyn JournalCopy>> + Send + Sync>;

/// The real journal.
pub(crate) fn directory_journal() -> OpenJournal {
    Arc::new(|dir, file_size_bytes| {
        Ok(Box::new(DirectoryJournal::open(dir, file_size_bytes)?) as Box<dyn JournalCopy>)
    })
}

/// What all holders are told to do.
#[derive(Debug, Clone)]
pub(crate) enum Command {
    Rotate {
        head: Arc<FileHead>,
        size_bytes: u64,
    },
    Prepare,
    Append(Arc<Frame>),
    Cut(u64),
    Check,
}

impl Command {
    fn run(&self, journal: &mut dyn JournalCopy) -> io::Result<()> {
        match self {
            Self::Rotate { head, size_bytes } => journal.rotate(head, *size_bytes),
            Self::Prepare => journal.prepare(),
            Self::Append(frame) => journal.append(&frame.bytes),
            Self::Cut(sequence) => journal.cut(*sequence),
            Self::Check => journal.check(),
        }
    }

    /// Whether a journal on which this failed must not be written any more: nobody knows how it ends.
    fn is_final_when_it_fails(&self) -> bool {
        matches!(self, Self::Append(_))
    }
}

/// One command on its way: who has not answered yet, and what the others said.
#[derive(Debug, Default)]
struct Round {
    progress: Mutex<Progress>,
    is_over: Condvar,
}

#[derive(Debug, Default)]
struct Progress {
    waiting: Vec<PlaceId>,
    failures: Vec<(PlaceId, io::Error)>,
}

impl Round {
    fn progress(&self) -> MutexGuard<'_, Progress> {
        // Each change of it is one step: it is whole even where a thread panicked.
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the answer of one, and wakes who waits if it was the last.
    fn answer(&self, place: PlaceId, result: io::Result<()>) {
        let mut progress = self.progress();
        progress.waiting.retain(|id| *id != place);
        progress
            .failures
            .extend(result.err().map(|error| (place, error)));
        let is_over = progress.waiting.is_empty();
        drop(progress);
        if is_over {
            self.is_over.notify_one();
        }
    }

    /// Waits until all have answered, or `timeout` is over and those that are silent can be done without; returns who
    /// failed and who is silent. If they could not be done without at first, because all were silent, they have as long
    /// again after the first answer.
    fn wait(&self, timeout: Duration, can_go_on: impl Fn(&Progress) -> bool) -> Progress {
        let mut progress = self.progress();
        let mut could_go_on = true;
        loop {
            (progress, _) = self
                .is_over
                .wait_timeout_while(progress, timeout, |progress| !progress.waiting.is_empty())
                .unwrap_or_else(PoisonError::into_inner);
            let can_go_on = can_go_on(&progress);
            if progress.waiting.is_empty() || (could_go_on && can_go_on) {
                return std::mem::take(&mut progress);
            }
            could_go_on = can_go_on;
        }
    }
}

#[derive(Debug)]
struct Holder {
    place: Arc<Place>,
    commands: SyncSender<(Arc<Round>, Command)>,
    thread: Option<JoinHandle<()>>,
}

/// A holder that was given up.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) place: Arc<Place>,
    pub(crate) error: io::Error,
    /// It did not answer: its thread may still be in a call.
    pub(crate) is_hung: bool,
}

/// How a rotation of all holders went, or the preparation of one.
#[derive(Debug)]
pub(crate) struct Rotation {
    /// Whether anybody has done it. Otherwise those that are left still write the old file.
    pub(crate) is_done: bool,
    /// Who was given up, see [`Holders::round`].
    pub(crate) failures: Result<Vec<Failure>, String>,
}

/// Who failed at a command and why; the last says that it did not answer.
type Refusal = (PlaceId, io::Error, bool);

/// All places with a journal copy.
#[derive(Debug)]
pub(crate) struct Holders {
    by_place: BTreeMap<PlaceId, Holder>,
    shared: Arc<Shared>,
    open_journal: OpenJournalDebug,
    file_size_bytes: u64,
}

#[derive(Clone)]
struct OpenJournalDebug(OpenJournal);

impl std::fmt::Debug for OpenJournalDebug {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OpenJournal")
    }
}

impl Holders {
    /// None yet.
    pub(crate) fn new(
        open_journal: OpenJournal,
        file_size_bytes: u64,
        shared: Arc<Shared>,
    ) -> Self {
        Self {
            by_place: BTreeMap::new(),
            shared,
            open_journal: OpenJournalDebug(open_journal),
            file_size_bytes,
        }
    }

    /// Adds a place whose journal directory is complete; the next command to it must be a rotation.
    pub(crate) fn add(&mut self, place: Arc<Place>) -> Result<(), Suspicion> {
        let open_journal = Arc::clone(&self.open_journal.0);
        let (dir, file_size_bytes) = (place.journal_dir(), self.file_size_bytes);
        let (commands, inbox) = mpsc::sync_channel::<(Arc<Round>, Command)>(1);
        let (opened, is_open) = mpsc::sync_channel(1);
        let id = place.id;
        let looked_at = Arc::clone(&place);
        let thread = io_thread::spawn("meta-journal", move || {
            // Nobody listens any more after the deadline.
            let mut journal = match open_journal(&dir, file_size_bytes) {
                Ok(journal) => {
                    opened.send(Ok(())).unwrap_or_default();
                    journal
                }
                Err(error) => return opened.send(Err(error)).unwrap_or_default(),
            };
            while let Ok((round, command)) = inbox.recv() {
                let result = command.run(journal.as_mut());
                if matches!(command, Command::Check) {
                    looked_at.measure_free_bytes();
                }
                let is_over = result.is_err() && command.is_final_when_it_fails();
                round.answer(id, result);
                if is_over {
                    return;
                }
            }
        })
        .map_err(Suspicion::failed)?;
        is_open
            .recv_timeout(self.shared.copy_timeout)
            .map_err(|_| Suspicion::hung())?
            .map_err(Suspicion::failed)?;
        self.by_place.insert(
            id,
            Holder {
                place,
                commands,
                thread: Some(thread),
            },
        );
        Ok(())
    }

    /// Gives a place up, for whatever reason its owner has.
    pub(crate) fn remove(&mut self, id: PlaceId) -> Option<Arc<Place>> {
        self.by_place.remove(&id).map(|holder| holder.place)
    }

    /// Who they are.
    pub(crate) fn ids(&self) -> Vec<PlaceId> {
        self.by_place.keys().copied().collect()
    }

    /// Their places.
    pub(crate) fn places(&self) -> Vec<Arc<Place>> {
        self.by_place
            .values()
            .map(|holder| Arc::clone(&holder.place))
            .collect()
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.by_place.len()
    }

    /// Has all holders do `command` at the same time, and waits for all. Those that fail are removed and returned.
    ///
    /// # Errors
    /// All failed, at something else than an append, and none was removed.
    pub(crate) fn round(&mut self, command: &Command) -> Result<Vec<Failure>, String> {
        let all = self.ids();
        self.round_of(&all, command)
    }

    /// As [`Holders::round`], for some.
    pub(crate) fn round_of(
        &mut self,
        ids: &[PlaceId],
        command: &Command,
    ) -> Result<Vec<Failure>, String> {
        let refusals = self.ask(ids, command);
        self.give_up(refusals, command)
    }

    /// Begins a new file of so many bytes on all holders. One that has no room for it is given up if another has; where
    /// nobody has, all keep their old files: giving them up would leave nobody to write to when there is room again.
    pub(crate) fn rotate(&mut self, head: &Arc<FileHead>, size_bytes: u64) -> Rotation {
        let head = Arc::clone(head);
        self.rotate_by(&Command::Rotate { head, size_bytes }, |is_done, error| {
            !is_done && has_no_room(error)
        })
    }

    /// Looks who has room for another file of the usual size. Nobody is given up for having none.
    pub(crate) fn prepare(&mut self) -> Rotation {
        self.rotate_by(&Command::Prepare, |_, error| says_nothing_of_copies(error))
    }

    /// Has all holders do `command`, and gives up those that do not, unless they are to be kept with their error. That is
    /// told whether another has done it.
    fn rotate_by(
        &mut self,
        command: &Command,
        is_kept: impl Fn(bool, &io::Error) -> bool,
    ) -> Rotation {
        let all = self.ids();
        let mut refusals = self.ask(&all, command);
        let is_done = refusals.len() < all.len();
        refusals.retain(|(_, error, is_hung)| *is_hung || !is_kept(is_done, error));
        Rotation {
            is_done,
            failures: self.give_up(refusals, command),
        }
    }

    fn give_up(
        &mut self,
        refusals: Vec<Refusal>,
        command: &Command,
    ) -> Result<Vec<Failure>, String> {
        if refusals.len() == self.by_place.len() && !command.is_final_when_it_fails() {
            let reasons = refusals.iter().filter_map(|(id, error, _)| {
                let path = &self.by_place.get(id)?.place.path;
                Some(format!("{}: {error}", path.display()))
            });
            let reasons: Vec<String> = reasons.collect();
            if !reasons.is_empty() {
                return Err(reasons.join("; "));
            }
        }
        let given_up = refusals.into_iter().filter_map(|(id, error, is_hung)| {
            Some(Failure {
                place: self.remove(id)?,
                error,
                is_hung,
            })
        });
        Ok(given_up.collect())
    }

    /// Has these holders do `command` at the same time, and waits for all; returns those that did not do it.
    fn ask(&self, ids: &[PlaceId], command: &Command) -> Vec<Refusal> {
        let round = Arc::new(Round::default());
        let holders: Vec<&Holder> = ids.iter().filter_map(|id| self.by_place.get(id)).collect();
        // Nobody may be the last to answer before all are asked.
        round
            .progress()
            .waiting
            .extend(holders.iter().map(|holder| holder.place.id));
        for holder in &holders {
            let command = (Arc::clone(&round), command.clone());
            if holder.commands.try_send(command).is_err() {
                let error = io::Error::other("its journal thread has ended");
                round.answer(holder.place.id, Err(error));
            }
        }
        let Progress { waiting, failures } = round.wait(self.shared.copy_timeout, |progress| {
            let refused_count = progress.waiting.len() + progress.failures.len();
            refused_count < self.by_place.len() || self.shared.pause(Duration::ZERO)
        });
        let timed_out = || io::Error::new(io::ErrorKind::TimedOut, "it did not answer in time");
        let failures = failures
            .into_iter()
            .map(|(id, error)| (id, error, false))
            .chain(waiting.into_iter().map(|id| (id, timed_out(), true)));
        failures.collect()
    }

    /// Ends the threads of those still here and waits for them.
    pub(crate) fn close(self) {
        for mut holder in self.by_place.into_values() {
            drop(holder.commands);
            if let Some(thread) = holder.thread.take()
                && thread.join().is_err()
            {
                tracing::error!(path = %holder.place.path.display(), "a metadata journal thread panicked");
            }
        }
    }
}
