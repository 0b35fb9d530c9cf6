//! A holder: a place with a journal copy, and the thread that writes it.
//!
//! The writer sends one command to all holders and waits for all answers up to a deadline. Only the last answer of
//! such a round wakes it: between two of them it has nothing to do, and on few cores a thread that wakes for nothing
//! keeps a journal from being written. A holder that fails or misses the deadline is given up: its thread is
//! abandoned, because nothing can interrupt a call into a hung disk, and what it still writes is ignored, because it
//! is no longer on the roster.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::mpsc::{self, SyncSender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::journal_copy::{DirectoryJournal, JournalCopy, has_no_room};
use super::journal_file::FileHead;
use super::place::Place;
use super::record::Frame;
use super::roster::PlaceId;
use super::shared::Suspicion;

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
    Rotate(Arc<FileHead>),
    Append(Arc<Frame>),
    Cut(u64),
    Check,
}

impl Command {
    fn run(&self, journal: &mut dyn JournalCopy) -> io::Result<()> {
        match self {
            Self::Rotate(head) => journal.rotate(head),
            Self::Append(frame) => journal.append(&frame.bytes),
            Self::Cut(sequence) => journal.cut(*sequence),
            Self::Check => journal.check(),
        }
    }

    /// Whether the journal is as it was before this failed with `error`, and may be written on.
    fn left_all_as_it_was(&self, error: &io::Error) -> bool {
        matches!(self, Self::Rotate(_)) && has_no_room(error)
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

    /// Waits until all have answered or `timeout` is over; returns who failed and who is still silent.
    fn wait(&self, timeout: Duration) -> Progress {
        let (mut progress, _) = self
            .is_over
            .wait_timeout_while(self.progress(), timeout, |progress| {
                !progress.waiting.is_empty()
            })
            .unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut progress)
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

/// How a rotation of all holders went.
#[derive(Debug)]
pub(crate) struct Rotation {
    /// Whether anybody has begun the new file. Otherwise those that are left still write the old one.
    pub(crate) has_begun: bool,
    /// Who was given up.
    pub(crate) failures: Vec<Failure>,
}

/// Who failed at a command and why; the last says that it did not answer.
type Refusal = (PlaceId, io::Error, bool);

/// All places with a journal copy.
#[derive(Debug)]
pub(crate) struct Holders {
    by_place: BTreeMap<PlaceId, Holder>,
    timeout: Duration,
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
    pub(crate) fn new(open_journal: OpenJournal, file_size_bytes: u64, timeout: Duration) -> Self {
        Self {
            by_place: BTreeMap::new(),
            timeout,
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
        let thread = std::thread::Builder::new()
            .name("meta-journal".to_owned())
            .spawn(move || {
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
                    let is_over = result
                        .as_ref()
                        .is_err_and(|error| !command.left_all_as_it_was(error));
                    round.answer(id, result);
                    if is_over {
                        return;
                    }
                }
            })
            .map_err(Suspicion::failed)?;
        is_open
            .recv_timeout(self.timeout)
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
    pub(crate) fn round(&mut self, command: &Command) -> Vec<Failure> {
        let all = self.ids();
        self.round_of(&all, command)
    }

    /// As [`Holders::round`], for some.
    pub(crate) fn round_of(&mut self, ids: &[PlaceId], command: &Command) -> Vec<Failure> {
        let refusals = self.ask(ids, command);
        self.give_up(refusals)
    }

    /// Begins a new file on all holders. One that has no room for it is given up if another has; where nobody has, all
    /// keep their old files: giving them up would leave nobody to write to when there is room again.
    pub(crate) fn rotate(&mut self, head: &Arc<FileHead>) -> Rotation {
        let all = self.ids();
        let mut refusals = self.ask(&all, &Command::Rotate(Arc::clone(head)));
        let has_begun = refusals.len() < all.len();
        if !has_begun {
            refusals.retain(|(_, error, is_hung)| *is_hung || !has_no_room(error));
        }
        Rotation {
            has_begun,
            failures: self.give_up(refusals),
        }
    }

    fn give_up(&mut self, refusals: Vec<Refusal>) -> Vec<Failure> {
        let given_up = refusals.into_iter().filter_map(|(id, error, is_hung)| {
            Some(Failure {
                place: self.remove(id)?,
                error,
                is_hung,
            })
        });
        given_up.collect()
    }

    /// Has these holders do `command` at the same time, and waits for all; returns those that did not do it.
    fn ask(&self, ids: &[PlaceId], command: &Command) -> Vec<Refusal> {
        let round = Arc::new(Round::default());
        let holders = ids.iter().filter_map(|id| self.by_place.get(id));
        // Nobody may be the last to answer before all are asked.
        round
            .progress()
            .waiting
            .extend(holders.clone().map(|holder| holder.place.id));
        for holder in holders {
            let command = (Arc::clone(&round), command.clone());
            if holder.commands.try_send(command).is_err() {
                let error = io::Error::other("its journal thread has ended");
                round.answer(holder.place.id, Err(error));
            }
        }
        let Progress { waiting, failures } = round.wait(self.timeout);
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
