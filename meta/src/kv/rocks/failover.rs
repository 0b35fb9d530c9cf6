//! Changes of the roster while running: copies lost, copies added, RocksDB moved to another disk.
//!
//! Invariants: when a place was given up, the roster without it is durable on every place that can be reached before
//! anything is acknowledged that the place does not have; the last holder is never given up, unless an append failed on it.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use super::database::add_background_threads;
use super::deputy::Deputy;
use super::holder::{Command, Failure};
use super::journal_copy;
use super::journal_file::file_name;
use super::journal_log::{JournalLog, LogError};
use super::place::Place;
use super::recover::is_restorable;
use super::restore::{RestoreError, Restored, restore};
use super::revival::Revival;
use super::roster::{PlaceId, Primary};
use super::roster_round::{RosterFailure, RosterRound};
use super::shared::{Live, PlaceFailure, Suspicion};
use super::status::add;
use super::watched::{Unfinished, still_wanted, watched};
use super::writer::Writer;
use crate::durable_file::{self, CopyError};

/// A checkpoint may be replaced by a newer one while it is being read.
const RESTORE_ATTEMPTS_MAX: usize = 3;

impl Writer {
    /// Goes on without the holders that failed. Where all did, and are kept, the store is broken.
    pub(crate) fn settle(&mut self, failures: Result<Vec<Failure>, String>) -> Result<(), String> {
        let failures = failures.or_else(|reason| self.break_down(reason))?;
        if failures.is_empty() {
            return Ok(());
        }
        for failure in failures {
            self.note_failure(&failure.place, &failure.error.to_string(), failure.is_hung);
        }
        self.reorganize()
    }

    /// As [`Writer::settle`], where nobody waits for the outcome.
    pub(crate) fn settle_or_log(&mut self, failures: Result<Vec<Failure>, String>) {
        let is_known = self.broken.is_some();
        if let Err(reason) = self.settle(failures)
            && !is_known
        {
            tracing::error!(reason, "metadata cannot be committed");
        }
    }

    /// Nothing can be committed until [`Writer::revive`] has mended it.
    fn break_down<T>(&mut self, reason: String) -> Result<T, String> {
        self.broken = Some(reason.clone());
        self.shared.view().broken.clone_from(&self.broken);
        Err(reason)
    }

    /// Gives one holder up, if there is another, and RocksDB is still where it was when that was asked for: what did not
    /// come of copying from one says nothing of the place where the next one is.
    pub(crate) fn give_up(&mut self, id: PlaceId, generation: u64, suspicion: &Suspicion) {
        if self.holders.len() < 2 || self.shared.live().generation != generation {
            return;
        }
        if let Some(place) = self.holders.remove(id) {
            self.note_failure(&place, &suspicion.detail, suspicion.is_hung);
            if let Err(reason) = self.reorganize() {
                tracing::error!(reason, "metadata cannot be committed");
            }
        }
    }

    /// A read or check of the live RocksDB failed. With another copy at hand it is given up; without one it is kept,
    /// because most of it may still be readable.
    pub(crate) fn suspect(&mut self, generation: u64, suspicion: &Suspicion) {
        let is_current = self.shared.live().generation == generation;
        if is_current
            && self.holders.len() > 1
            && let Err(reason) = self.fail_over(suspicion)
        {
            tracing::error!(reason, "metadata cannot be committed");
        }
    }

    /// Gives the primary up and moves RocksDB to another holder. If there is none, the store is broken until RocksDB,
    /// which may have had no room, takes what is in the journal.
    pub(crate) fn fail_over(&mut self, suspicion: &Suspicion) -> Result<(), String> {
        if self.holders.len() < 2 {
            tracing::error!(reason = suspicion.detail, "metadata cannot be committed");
            return self.break_down(suspicion.detail.clone());
        }
        let live = self.shared.live();
        self.holders.remove(live.place.id);
        self.note_failure(&live.place, &suspicion.detail, suspicion.is_hung);
        drop(live);
        self.reorganize()
    }

    /// Tries again what failed when the store broke. All then goes on in new files: what the old ones end with may not
    /// have been taken by all.
    pub(crate) fn revive(&mut self) {
        if self.holders.len() == 0 || Instant::now() < self.revival.due {
            return;
        }
        let revived = self
            .catch_up()
            .and_then(|()| self.reorganize())
            .and_then(|()| {
                self.broken = None;
                self.rotate()
            });
        if revived
            .or_else(|reason| self.break_down::<()>(reason))
            .is_err()
        {
            return self.revival.postpone();
        }
        self.shared.view().broken = None;
        self.revival = Revival::new();
        tracing::info!("metadata can be committed again");
    }

    /// Has RocksDB apply what was journalled when it could not.
    fn catch_up(&mut self) -> Result<(), String> {
        let primary = self.shared.live().place.id;
        if self.applied == self.sequence || !self.holders.ids().contains(&primary) {
            return Ok(());
        }
        let cluster_id = self.settings.cluster_id;
        let replayed = self.ask_database(move |live| -> Result<u64, LogError> {
            JournalLog::read(&live.place.journal_dir(), cluster_id)?.replay_into(&live.database)?;
            Ok(live.database.applied()?.sequence)
        });
        self.applied = replayed.map_err(|suspicion| suspicion.detail)?;
        if self.applied < self.sequence {
            return Err(format!(
                "the journal ends with record {} of {}",
                self.applied, self.sequence
            ));
        }
        self.shared.view().sequence = self.sequence;
        Ok(())
    }

    fn note_failure(&self, place: &Place, error: &str, is_hung: bool) {
        tracing::warn!(path = %place.path.display(), error, "a metadata copy was lost; redundancy is reduced");
        add(&self.shared.counters.copies_lost, 1);
        let failure = PlaceFailure {
            error: error.to_owned(),
            is_hung,
            at: Instant::now(),
        };
        self.shared.view().failures.insert(place.id, failure);
    }

    /// Makes the roster say what is, and moves RocksDB if its place is gone. On failure the store is broken, which
    /// [`Writer::revive`] tries to mend. One that was broken before stays so: this may not be all that it lacks.
    pub(crate) fn reorganize(&mut self) -> Result<(), String> {
        let result = self.try_reorganize();
        if let Err(reason) = &result {
            self.broken = Some(reason.clone());
        }
        let mut view = self.shared.view();
        view.epoch = self.roster.epoch;
        view.holders = self.holders.places();
        view.broken.clone_from(&self.broken);
        drop(view);
        self.wake_maintenance();
        result
    }

    fn try_reorganize(&mut self) -> Result<(), String> {
        let mut moved: Option<(Arc<Place>, Restored)> = None;
        loop {
            let holders = self.holders.ids();
            if holders.is_empty() {
                return Err("all places of the metadata journal failed".to_owned());
            }
            let live = self.shared.live();
            let serving = moved.as_ref().map_or(live.place.id, |(place, _)| place.id);
            if !holders.contains(&serving) {
                // A restore flushes.
                live.database.replace_threads();
                moved = Some(self.restore_on_a_holder()?);
            }
            let (place, database) = moved
                .as_ref()
                .map_or((live.place.id, live.id), |(place, restored)| {
                    (place.id, restored.id)
                });
            self.roster.primary = Some(Primary { place, database });
            let lost = self.publish_roster();
            if lost.is_empty() {
                break;
            }
            if lost.len() == holders.len() {
                if let Some((_, restored)) = moved {
                    restored.discard();
                }
                let reasons: Vec<String> = lost.into_iter().map(|failure| failure.error).collect();
                return Err(format!(
                    "no roster could be written: {}",
                    reasons.join("; ")
                ));
            }
            if let Some((place, restored)) = &moved
                && lost.iter().any(|failure| failure.id == place.id)
            {
                restored.database.abandon();
                restored.database.replace_threads();
            }
            for RosterFailure { id, error, is_hung } in lost {
                if let Some(place) = self.holders.remove(id) {
                    self.note_failure(&place, &error, is_hung);
                }
            }
        }
        if let Some((place, restored)) = moved {
            self.move_to(place, restored);
        }
        Ok(())
    }

    /// Serves from a RocksDB that was restored, and that the roster names.
    fn move_to(&mut self, place: Arc<Place>, restored: Restored) {
        let generation = self.shared.live().generation + 1;
        self.sequence = restored.applied.sequence;
        self.applied = restored.applied.sequence;
        tracing::warn!(
            path = %place.path.display(), sequence = self.sequence,
            "the metadata database moved to another disk"
        );
        self.shared.view().sequence = self.sequence;
        add(&self.shared.counters.failovers, 1);
        let database = (restored.id, restored.database);
        self.shared
            .replace_live(Live::new(database, place, generation));
        // The one so far may be lost with the disk that it asked.
        self.deputy = Deputy::default();
    }

    /// All holders have the same journal; the first that yields a database is taken. Those whose disk hangs are given up.
    fn restore_on_a_holder(&mut self) -> Result<(Arc<Place>, Restored), String> {
        let mut reasons = Vec::new();
        let holders = self.holders.ids();
        let mut places = self.shared.places.clone();
        // In the configured order.
        places.retain(|place| holders.contains(&place.id));
        for place in places {
            for attempt in 1..=RESTORE_ATTEMPTS_MAX {
                match self.restore_on(&place) {
                    Ok(Ok(restored)) if restored.applied.sequence >= self.sequence => {
                        return Ok((place, restored));
                    }
                    Ok(Ok(restored)) => {
                        reasons.push(format!(
                            "{} ends with record {} of {}",
                            place.path.display(),
                            restored.applied.sequence,
                            self.sequence
                        ));
                        restored.discard();
                    }
                    Ok(Err(error)) if attempt == RESTORE_ATTEMPTS_MAX => {
                        reasons.push(format!("{}: {error}", place.path.display()));
                    }
                    Ok(Err(_)) => {}
                    Err(Unfinished::Failed(error)) => reasons.push(error.to_string()),
                    Err(Unfinished::Silent(_)) => {
                        let Suspicion { detail, is_hung } = Suspicion::hung();
                        // The database that was being restored may have them.
                        add_background_threads();
                        self.holders.remove(place.id);
                        self.note_failure(&place, &detail, is_hung);
                        reasons.push(format!("{}: {detail}", place.path.display()));
                        break;
                    }
                }
            }
        }
        Err(format!("no copy could be restored: {}", reasons.join("; ")))
    }

    /// The last holder is waited for: there is nowhere else to go.
    fn restore_on(&self, place: &Arc<Place>) -> Result<Result<Restored, RestoreError>, Unfinished> {
        let (cluster_id, cache) = (self.settings.cluster_id, self.settings.cache.clone());
        let copy = Arc::clone(place);
        let mut places = vec![Arc::clone(place)];
        places.retain(|_| self.holders.len() > 1);
        watched(&places, self.shared.copy_timeout, move |_| {
            restore(&copy, &copy, cluster_id, &cache)
        })
    }

    /// Writes the roster of the next epoch to all places at the same time; returns the holders that did not take it. As
    /// with their journals, all of them are waited for if all are silent.
    fn publish_roster(&mut self) -> Vec<RosterFailure> {
        let holders = self.holders.ids();
        let failures = self.shared.view().failures.clone();
        self.advance_roster(&failures);

        let is_asked = |place: &&Arc<Place>| self.roster.asked.contains(&place.id);
        let asked = self.shared.places.iter().filter(is_asked);
        let failed = RosterRound::begin(&self.roster, asked).wait(&holders, &self.shared);

        let (lost, others): (Vec<_>, Vec<_>) = failed
            .into_iter()
            .partition(|failure| holders.contains(&failure.id));
        let mut view = self.shared.view();
        for RosterFailure { id, error, is_hung } in others {
            let at = Instant::now();
            view.failures
                .insert(id, PlaceFailure { error, is_hung, at });
        }
        lost
    }

    /// Makes the roster that of the next epoch, with the holders there are. `failures` are those known by now.
    fn advance_roster(&mut self, failures: &BTreeMap<PlaceId, PlaceFailure>) {
        let holders = self.holders.ids();
        self.roster.advance();
        // A place that failed before cannot have anything newer: when it is missing at the next start, that is no
        // reason for caution.
        self.roster.places = self
            .shared
            .places
            .iter()
            .filter(|place| !failures.contains_key(&place.id) || holders.contains(&place.id))
            .map(|place| (place.id, place.path.clone()))
            .collect();
        self.roster.holders = holders;
        // A call into a hung disk is not repeated: each would cost the whole time-out.
        let is_hung = |place: &Place| failures.get(&place.id).is_some_and(|known| known.is_hung);
        let places = self.shared.places.iter();
        self.roster.asked = places
            .filter(|place| !is_hung(place))
            .map(|place| place.id)
            .collect();
    }

    /// Writes a roster that does not count on places which were found to hang, if there are any: they are not sent the
    /// next one, and whoever sees them again must know that they speak for nothing.
    pub(crate) fn tell_who_hangs(&mut self) {
        let hangs = self
            .shared
            .view()
            .failures
            .iter()
            .any(|(id, failure)| failure.is_hung && self.roster.asked.contains(id));
        if hangs && let Err(reason) = self.reorganize() {
            tracing::error!(reason, "metadata cannot be committed");
        }
    }

    /// Makes a place a holder that has everything through `copied_through`: closes the files of all, copies what came
    /// since, and begins the next file on it too.
    pub(crate) fn add_copy(
        &mut self,
        place: &Arc<Place>,
        copied_through: u64,
        generation: u64,
    ) -> Result<(), Suspicion> {
        self.rotate().map_err(Suspicion::failed)?;
        // Looked at behind the rotation, which may have moved RocksDB: the place that it left need not have all
        // closed files.
        let live = self.shared.live();
        if live.generation != generation {
            return Err(Suspicion::failed("the metadata database moved meanwhile"));
        }
        let (source, target) = (Arc::clone(&live.place), Arc::clone(place));
        let through = self.sequence;
        self.work_on(place, &[&live.place], move |is_given_up| {
            copy_closed_files(&source, &target, copied_through, through, is_given_up)
                .map_err(|error| format!("{}: {error}", target.path.display()))
        })?;
        self.holders.add(Arc::clone(place))?;
        let rotate = Command::Rotate {
            head: Arc::clone(&self.head),
            size_bytes: self.size_bytes,
        };
        let mut failures = self
            .holders
            .round_of(&[place.id], &rotate)
            .map_err(Suspicion::failed)?;
        if let Some(failure) = failures.pop() {
            return Err(Suspicion {
                detail: failure.error.to_string(),
                is_hung: failure.is_hung,
            });
        }
        let (cluster_id, sequence) = (self.settings.cluster_id, self.sequence);
        let copy = Arc::clone(place);
        if let Err(suspicion) = self.work_on(place, &[], move |_| {
            check_complete(&copy, cluster_id, sequence)
        }) {
            self.holders.remove(place.id);
            return Err(suspicion);
        }
        self.shared.view().failures.remove(&place.id);
        self.reorganize().map_err(Suspicion::failed)?;
        let is_holder = self.holders.ids().contains(&place.id);
        is_holder
            .then_some(())
            .ok_or_else(|| Suspicion::failed("it did not take the roster"))
    }

    /// Does what takes long with a new copy's place, and `others`, while commits wait, unless one of them hangs. What is
    /// said is said of the new copy.
    fn work_on(
        &self,
        copy: &Arc<Place>,
        others: &[&Arc<Place>],
        work: impl FnOnce(&AtomicBool) -> Result<(), String> + Send + 'static,
    ) -> Result<(), Suspicion> {
        let mut places = vec![Arc::clone(copy)];
        places.extend(others.iter().map(|place| Arc::clone(place)));
        match watched(&places, self.shared.copy_timeout, work) {
            Ok(result) => result.map_err(Suspicion::failed),
            Err(Unfinished::Failed(error)) => Err(Suspicion::failed(error)),
            Err(Unfinished::Silent(place)) => Err(Suspicion {
                detail: format!("{} did not answer in time", place.path.display()),
                is_hung: place.id == copy.id,
            }),
        }
    }
}

/// Fails unless the place alone yields everything through `sequence`: nobody is a holder on trust.
fn check_complete(place: &Place, cluster_id: [u8; 16], sequence: u64) -> Result<(), String> {
    let log = JournalLog::read(&place.journal_dir(), cluster_id).map_err(|e| e.to_string())?;
    if log.next() == sequence + 1 && is_restorable(place, &log) {
        return Ok(());
    }
    Err(format!(
        "the copy in {} has records {} to {}, and needs all through {sequence}",
        place.path.display(),
        log.first(),
        log.next().saturating_sub(1)
    ))
}

/// Copies the closed journal files that hold records in `after + 1 ..= through`; nothing cuts them meanwhile. When it is
/// given up, because the source hangs, the target may be made a holder from elsewhere: nothing is written to it then.
pub(crate) fn copy_closed_files(
    source: &Place,
    target: &Place,
    after: u64,
    through: u64,
    is_given_up: &AtomicBool,
) -> Result<(), CopyError> {
    let firsts = journal_copy::list(&source.journal_dir()).map_err(CopyError::Source)?;
    if firsts.first().is_none_or(|&first| first > after + 1) {
        let path = source.path.display();
        return Err(CopyError::Source(io::Error::other(format!(
            "the journal in {path} begins too late"
        ))));
    }
    // A file ends where the next begins; the last one is being written, and is not copied.
    for pair in firsts.windows(2) {
        let [first, next] = *pair else { continue };
        if next > after + 1 && first <= through {
            let name = file_name(first);
            durable_file::replace_with_copy(
                &source.journal_dir().join(&name),
                &target.journal_dir().join(&name),
                &mut |_| still_wanted(is_given_up),
            )?;
        }
    }
    Ok(())
}
