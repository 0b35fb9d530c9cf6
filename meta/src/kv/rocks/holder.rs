//! A holder: a place with a journal copy, and the thread that writes it.
//!
//! The writer sends one command to all holders and waits for all answers up to a deadline. A holder that fails or
//! misses the deadline is given up: its thread is abandoned, because nothing can interrupt a call into a hung disk,
//! and what it still writes is ignored, because it is no longer on the roster.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, SyncSender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::journal_copy::{DirectoryJournal, JournalCopy};
use super::journal_file::FileHead;
use super::place::Place;
use super::record::Frame;
use super::roster::PlaceId;

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
}

struct Answer {
    place: PlaceId,
    round: u64,
    result: io::Result<()>,
}

#[derive(Debug)]
struct Holder {
    place: Arc<Place>,
    commands: SyncSender<(u64, Command)>,
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

/// All places with a journal copy.
#[derive(Debug)]
pub(crate) struct Holders {
    by_place: BTreeMap<PlaceId, Holder>,
    answers: Receiver<Answer>,
    answer: Sender<Answer>,
    round: u64,
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

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answer")
            .field("place", &self.place)
            .field("result", &self.result)
            .finish_non_exhaustive()
    }
}

impl Holders {
    /// None yet.
    pub(crate) fn new(open_journal: OpenJournal, file_size_bytes: u64, timeout: Duration) -> Self {
        // The channel is bounded by use: each holder has at most one command unanswered.
        let (answer, answers) = mpsc::channel();
        Self {
            by_place: BTreeMap::new(),
            answers,
            answer,
            round: 0,
            timeout,
            open_journal: OpenJournalDebug(open_journal),
            file_size_bytes,
        }
    }

    /// Adds a place whose journal directory is complete; the next command to it must be a rotation.
    pub(crate) fn add(&mut self, place: Arc<Place>) -> io::Result<()> {
        let mut journal = (self.open_journal.0)(&place.journal_dir(), self.file_size_bytes)?;
        let (commands, inbox) = mpsc::sync_channel::<(u64, Command)>(1);
        let (answer, id) = (self.answer.clone(), place.id);
        let thread = std::thread::Builder::new()
            .name("meta-journal".to_owned())
            .spawn(move || {
                while let Ok((round, command)) = inbox.recv() {
                    let result = command.run(journal.as_mut());
                    let is_failed = result.is_err();
                    if answer
                        .send(Answer {
                            place: id,
                            round,
                            result,
                        })
                        .is_err()
                        || is_failed
                    {
                        return;
                    }
                }
            })?;
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
        self.round += 1;
        let mut failures = Vec::new();
        let mut waiting = Vec::new();
        for id in ids {
            let Some(holder) = self.by_place.get(id) else {
                continue;
            };
            match holder.commands.try_send((self.round, command.clone())) {
                Ok(()) => waiting.push(*id),
                Err(_) => {
                    failures.push((*id, io::Error::other("its journal thread has ended"), false));
                }
            }
        }
        let deadline = Instant::now() + self.timeout;
        while !waiting.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.answers.recv_timeout(left) {
                Ok(answer) if answer.round == self.round => {
                    waiting.retain(|id| *id != answer.place);
                    if let Err(error) = answer.result {
                        failures.push((answer.place, error, false));
                    }
                }
                // A late answer of a holder that was given up.
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    for id in waiting.drain(..) {
                        let error =
                            io::Error::new(io::ErrorKind::TimedOut, "it did not answer in time");
                        failures.push((id, error, true));
                    }
                }
            }
        }
        failures
            .into_iter()
            .filter_map(|(id, error, is_hung)| {
                Some(Failure {
                    place: self.remove(id)?,
                    error,
                    is_hung,
                })
            })
            .collect()
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
