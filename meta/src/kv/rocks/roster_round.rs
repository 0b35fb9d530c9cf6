//! One roster on its way to all places. Each writes it on a thread of its own that may be lost: any of the disks may
//! hang.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use super::place::Place;
use super::roster::{PlaceId, Roster};
use super::shared::Shared;

/// A place that did not take a roster.
#[derive(Debug)]
pub(super) struct RosterFailure {
    pub(super) id: PlaceId,
    pub(super) error: String,
    pub(super) is_hung: bool,
}

/// Which place has tried to write the roster, and what came of it.
type Answer = (PlaceId, io::Result<()>);

/// Who has not answered yet, and who did not take the roster.
#[derive(Debug)]
pub(super) struct RosterRound {
    waiting: Vec<Arc<Place>>,
    failed: Vec<RosterFailure>,
    answers: Receiver<Answer>,
}

impl RosterRound {
    /// Has all of `places` write the roster at the same time.
    pub(super) fn begin<'a>(roster: &Roster, places: impl Iterator<Item = &'a Arc<Place>>) -> Self {
        let (done, answers) = mpsc::channel();
        let mut round = Self {
            waiting: Vec::new(),
            failed: Vec::new(),
            answers,
        };
        for place in places {
            match write_on_a_thread(Arc::clone(place), roster.clone(), done.clone()) {
                Ok(()) => round.waiting.push(Arc::clone(place)),
                Err(error) => round.failed.push(RosterFailure {
                    id: place.id,
                    error: format!("no thread to write its roster on: {error}"),
                    is_hung: false,
                }),
            }
        }
        round
    }

    /// Waits for all answers up to the time-out; returns the places that did not take the roster. While those that are
    /// silent cannot be done without, because no holder took it, they are waited for until the store stops.
    pub(super) fn wait(mut self, holders: &[PlaceId], shared: &Shared) -> Vec<RosterFailure> {
        let mut deadline = Instant::now() + shared.copy_timeout;
        while !self.waiting.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.answers.recv_timeout(left) {
                Ok((id, result)) => self.settle(id, result),
                Err(RecvTimeoutError::Timeout)
                    if self.would_leave_nobody(holders) && !shared.pause(Duration::ZERO) =>
                {
                    deadline = Instant::now() + shared.copy_timeout;
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
            }
        }
        let silent = self.waiting.iter().map(|place| RosterFailure {
            id: place.id,
            error: "it did not answer in time".to_owned(),
            is_hung: true,
        });
        self.failed.extend(silent);
        self.failed
    }

    fn settle(&mut self, id: PlaceId, result: io::Result<()>) {
        self.failed.extend(result.err().map(|error| RosterFailure {
            id,
            error: error.to_string(),
            is_hung: false,
        }));
        self.waiting.retain(|place| place.id != id);
    }

    /// Whether no holder would be left without those that are silent.
    fn would_leave_nobody(&self, holders: &[PlaceId]) -> bool {
        let is_silent = |id: &PlaceId| self.waiting.iter().any(|place| place.id == *id);
        let has_failed = |id: &PlaceId| self.failed.iter().any(|failure| failure.id == *id);
        holders.iter().any(is_silent) && holders.iter().all(|id| is_silent(id) || has_failed(id))
    }
}

fn write_on_a_thread(place: Arc<Place>, roster: Roster, done: Sender<Answer>) -> io::Result<()> {
    std::thread::Builder::new()
        .name("meta-roster".to_owned())
        .spawn(move || {
            let (id, result) = (place.id, place.write_roster(&roster));
            // Whoever has all answers may close the store and open it again.
            drop(place);
            // Nobody listens any more after the deadline.
            done.send((id, result)).unwrap_or_default();
        })?;
    Ok(())
}
