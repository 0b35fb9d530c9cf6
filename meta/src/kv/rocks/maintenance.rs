//! The background thread: spare journal files, checkpoints, new copies in place of lost ones, merging when it is quiet,
//! verification.
//!
//! All of it touches disks that may hang: what is done with places is done on threads that may be lost ([`watched`]), or
//! the thread would do none of it any more for the other disks.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::time::{Duration, Instant};

use super::checkpoint;
use super::failover::copy_closed_files;
use super::journal_copy::{has_no_room, is_of_the_process, prepare_spare, says_nothing_of_copies};
use super::options::checkpoint_due_bytes;
use super::place::Place;
use super::quiet::Quiet;
use super::roster::PlaceId;
use super::shared::{Live, PlaceFailure, Shared, Suspicion};
use super::status::add;
use super::verification::{Pace, Verification};
use super::watched::{Unfinished, watched};
use super::writer::{Control, Request, Rotated};
use crate::durable_file::{self, CopyError};

/// How long a place that failed is left alone.
const RETRY_AFTER: Duration = Duration::from_mins(1);
/// How often the thread looks when nobody wakes it.
const INTERVAL: Duration = Duration::from_secs(1);

/// Why work on places came to nothing.
#[derive(Debug)]
pub(crate) enum Setback {
    /// It failed.
    Failed(io::Error),
    /// What was to be copied from the primary cannot be read. Nothing is said of the place that it was for.
    Unread(io::Error),
    /// Nobody wants it any more: the store stops, or RocksDB has moved.
    Unwanted,
    /// A disk hangs, and is given up by now. Nothing is said of other disks that the work was about.
    Hung,
}

impl From<io::Error> for Setback {
    fn from(error: io::Error) -> Self {
        Self::Failed(error)
    }
}

impl From<CopyError> for Setback {
    fn from(error: CopyError) -> Self {
        match error {
            CopyError::Source(error) => Self::Unread(error),
            CopyError::Target(error) => Self::Failed(error),
            CopyError::Stopped(_) => Self::Unwanted,
        }
    }
}

/// Why no copy could be made in a place.
#[derive(Debug)]
enum Obstacle {
    /// That place failed.
    Candidate(Suspicion),
    /// What it was to get could not be read.
    Primary(Arc<Live>, io::Error),
    /// Neither of them.
    Elsewhere(String),
}

impl Obstacle {
    /// What became of work for `candidate` with what `live` has.
    fn new(candidate: &Place, live: &Arc<Live>, setback: Setback) -> Self {
        match setback {
            Setback::Failed(error) => {
                let path = candidate.path.display();
                Self::Candidate(Suspicion::failed(format!("{path}: {error}")))
            }
            Setback::Unread(error) => Self::Primary(Arc::clone(live), error),
            Setback::Unwanted => Self::Elsewhere("RocksDB has moved meanwhile".to_owned()),
            // Which one is noted already.
            Setback::Hung => Self::Elsewhere("a disk did not answer in time".to_owned()),
        }
    }
}

/// The maintenance thread's state.
#[derive(Debug)]
pub(crate) struct Maintenance {
    pub(crate) shared: Arc<Shared>,
    pub(crate) writer: SyncSender<Request>,
    pub(crate) wake: Receiver<()>,
    pub(crate) cluster_id: [u8; 16],
    pub(crate) file_size_bytes: u64,
    pub(crate) checkpoint_after_bytes: u64,
    pub(crate) bytes_per_second_max: u64,
    /// When a disk was full last, or the process short of something: whatever needs room waits a while then.
    pub(crate) had_no_room_at: Option<Instant>,
    /// When a checkpoint failed, and of which generation of RocksDB: the next try waits a while then, unless that has moved.
    pub(crate) checkpoint_failed: Option<(u64, Instant)>,
    /// The same of a new copy, where it was not the fault of the place that was to have it.
    pub(crate) copy_failed: Option<(u64, Instant)>,
    /// Below so many bytes of journal no checkpoint is tried: each try closes a journal file, which only a success gives
    /// back.
    pub(crate) checkpoint_from_bytes: u64,
    pub(crate) quiet: Quiet,
    pub(crate) verification: Verification,
}

impl Maintenance {
    /// Works until the store stops.
    pub(crate) fn run(mut self) {
        loop {
            match self
                .wake
                .recv_timeout(INTERVAL.min(self.verification.pause()))
            {
                Ok(()) | Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => return,
            }
            if self.shared.pause(Duration::ZERO) {
                return;
            }
            self.prepare_spares();
            self.replace_lost_copy();
            if self.is_checkpoint_due() {
                self.checkpoint();
            }
            self.merge_if_quiet();
            self.verify_if_due();
        }
    }

    fn merge_if_quiet(&mut self) {
        let journal_bytes = self.shared.counters.journal_bytes.load(Ordering::Relaxed);
        let Some(is_quiet) = self.quiet.look(journal_bytes, Instant::now()) else {
            return;
        };
        let live = self.shared.live();
        let database = Arc::clone(&live);
        let merged = self.work_on(&[&live.place], move |_| {
            let Live {
                database, place, ..
            } = database.as_ref();
            // Merging may write all of it anew. Nobody needs that as much as room for what is committed.
            let has_room = place.check_room(database.live_bytes()).is_ok();
            database
                .merge_if_quiet(is_quiet && has_room)
                .map_err(io::Error::other)
        });
        if let Err(Setback::Failed(error)) = merged {
            tracing::warn!(%error, "the metadata database was not merged");
        }
    }

    fn prepare_spares(&mut self) {
        if self.waits_for_room() {
            return;
        }
        let generation = self.shared.live().generation;
        let holders = self.shared.view().holders.clone();
        for place in holders {
            let (dir, size_bytes) = (place.journal_dir(), self.file_size_bytes);
            match self.work_on(&[&place], move |_| prepare_spare(&dir, size_bytes)) {
                // Nothing that it has is the worse for it, and what it is written to has its space already.
                Err(Setback::Failed(error)) if says_nothing_of_copies(&error) => {
                    self.tell_postponed(&place, &error);
                }
                Err(Setback::Failed(error)) => {
                    self.give_up(&place, generation, Suspicion::failed(error));
                }
                Ok(()) | Err(_) => {}
            }
        }
    }

    fn waits_for_room(&self) -> bool {
        self.had_no_room_at
            .is_some_and(|at| at.elapsed() < RETRY_AFTER)
    }

    fn tell_postponed(&mut self, place: &Place, error: &io::Error) {
        if has_no_room(error) {
            tracing::warn!(path = %place.path.display(), %error, "a disk has no room for the metadata journal");
        } else {
            tracing::warn!(path = %place.path.display(), %error, "work on the metadata journal has to wait");
        }
        self.had_no_room_at = Some(Instant::now());
    }

    fn waits_after(&self, failure: Option<(u64, Instant)>) -> bool {
        failure.is_some_and(|(generation, at)| {
            generation == self.shared.live().generation && at.elapsed() < RETRY_AFTER
        })
    }

    fn is_checkpoint_due(&self) -> bool {
        let journal_bytes = self.shared.view().journal_bytes;
        if self.waits_for_room()
            || self.waits_after(self.checkpoint_failed)
            || journal_bytes < self.checkpoint_from_bytes
        {
            return false;
        }
        let database_bytes = self.shared.live().database.live_bytes();
        let due_bytes = checkpoint_due_bytes(self.checkpoint_after_bytes, database_bytes);
        journal_bytes >= due_bytes
    }

    fn checkpoint(&mut self) {
        let begun = Instant::now();
        let live = self.shared.live();
        // Before a file is closed for it.
        match self.check_room_to_build(&live) {
            Err(Setback::Failed(error)) => return self.tell_postponed(&live.place, &error),
            Err(_) => return,
            Ok(()) => {}
        }
        let Rotated {
            sequence,
            journal_bytes,
            live,
        } = match self.rotate() {
            Ok(rotated) => rotated,
            // The writer was told to stop before us.
            Err(_) if self.shared.pause(Duration::ZERO) => return,
            Err(detail) => {
                tracing::warn!(detail, "no metadata checkpoint could be made");
                self.checkpoint_failed = Some((live.generation, Instant::now()));
                return;
            }
        };
        // A try that comes to nothing is repeated when this file would have been closed anyway.
        self.checkpoint_from_bytes = self.shared.view().journal_bytes + self.file_size_bytes;
        if let Err(setback) = self.build(&live) {
            if let Setback::Unread(error) = setback {
                tracing::warn!(%error, "no metadata checkpoint could be made");
                self.suspect(&live, &error);
            }
            self.checkpoint_failed = Some((live.generation, Instant::now()));
            return;
        }
        let holders = self.shared.view().holders.clone();
        let Some(copies) = self.publish_to_copies(&holders, &live, sequence) else {
            return;
        };
        if self.shared.still_serves(&live).is_err() {
            return;
        }
        self.remove_checkpoints_of_primary(&live);
        let mut cut = vec![live.place.id];
        cut.extend(copies);
        let is_on_all = cut.len() == holders.len();
        self.send(Control::Cut {
            sequence,
            places: cut,
            generation: live.generation,
        });
        if !is_on_all {
            return;
        }
        add(&self.shared.counters.checkpoints, 1);
        let mut view = self.shared.view();
        view.journal_bytes = view.journal_bytes.saturating_sub(journal_bytes);
        view.checkpointed_at = Some(Instant::now());
        drop(view);
        self.checkpoint_from_bytes = 0;
        tracing::info!(
            sequence,
            duration_ms = begun.elapsed().as_millis(),
            "made a metadata checkpoint"
        );
    }

    /// Copies the checkpoint that was built to the other holders; returns those that have it now, or `None` if there is
    /// no use in going on.
    fn publish_to_copies(
        &mut self,
        holders: &[Arc<Place>],
        live: &Arc<Live>,
        sequence: u64,
    ) -> Option<Vec<PlaceId>> {
        let mut copies = Vec::new();
        for place in holders.iter().filter(|place| place.id != live.place.id) {
            match self.publish(live, place, sequence) {
                Ok(()) => copies.push(place.id),
                Err(Setback::Unwanted) => return None,
                Err(_) if self.shared.pause(Duration::ZERO) => return None,
                Err(Setback::Unread(error)) => {
                    self.tell_unread(live, &error);
                    return None;
                }
                // Its older checkpoint and its journal, which is not cut, are as good a copy.
                Err(Setback::Failed(error)) if says_nothing_of_copies(&error) => {
                    self.tell_postponed(place, &error);
                }
                Err(Setback::Failed(error)) => {
                    self.give_up(place, live.generation, Suspicion::failed(error));
                }
                Err(Setback::Hung) => {}
            }
        }
        Some(copies)
    }

    /// The primary's own files are its checkpoint; an older one is from the time when it was a copy.
    fn remove_checkpoints_of_primary(&self, live: &Live) {
        let primary = Arc::clone(&live.place);
        let removed = self.work_on(&[&live.place], move |_| remove_checkpoints(&primary));
        if let Err(Setback::Failed(error)) = removed {
            tracing::warn!(%error, "old metadata checkpoints were not removed");
        }
    }

    /// Makes one candidate a holder, if holders are missing.
    fn replace_lost_copy(&mut self) {
        let generation = self.shared.live().generation;
        if self.waits_after(self.copy_failed) {
            return;
        }
        let Some(candidate) = self.candidate() else {
            return;
        };
        let path = candidate.path.display();
        tracing::info!(%path, "making a new metadata copy");
        let obstacle = match self.establish(&candidate) {
            Ok(()) => {
                add(&self.shared.counters.copies_established, 1);
                tracing::info!(%path, "a new metadata copy is complete");
                return;
            }
            Err(_) if self.shared.pause(Duration::ZERO) => return,
            Err(obstacle) => obstacle,
        };
        match obstacle {
            Obstacle::Candidate(suspicion) => {
                tracing::warn!(%path, detail = suspicion.detail, "no metadata copy could be made here");
                self.note_failure(&candidate, suspicion);
                return;
            }
            Obstacle::Primary(live, error) => self.tell_unread(&live, &error),
            Obstacle::Elsewhere(detail) => {
                tracing::warn!(%path, detail, "a new metadata copy has to wait");
            }
        }
        self.copy_failed = Some((generation, Instant::now()));
    }

    fn candidate(&self) -> Option<Arc<Place>> {
        let view = self.shared.view();
        if view.broken.is_some() || view.holders.len() >= self.shared.holder_count_wanted {
            return None;
        }
        let may_serve = |place: &&Arc<Place>| {
            view.holders.iter().all(|holder| holder.id != place.id)
                && view
                    .failures
                    .get(&place.id)
                    .is_none_or(|failure| !failure.is_hung && failure.at.elapsed() >= RETRY_AFTER)
        };
        self.shared.places.iter().find(may_serve).map(Arc::clone)
    }

    /// What `place` has is removed only when it is known that there is something to copy to it.
    fn establish(&self, place: &Arc<Place>) -> Result<(), Obstacle> {
        let obstacle = |live: &Arc<Live>, setback| Obstacle::new(place, live, setback);
        let live = self.shared.live();
        let candidate = Arc::clone(place);
        self.work_on(&[place], move |_| candidate.check_identity())
            .map_err(|setback| obstacle(&live, setback))?;
        self.check_room_to_build(&live)
            .map_err(|setback| match setback {
                Setback::Failed(error) => {
                    Obstacle::Elsewhere(format!("{}: {error}", live.place.path.display()))
                }
                other => obstacle(&live, other),
            })?;
        self.verify_primary(&live)
            .map_err(|setback| obstacle(&live, setback))?;
        let candidate = Arc::clone(place);
        let database_bytes = live.database.live_bytes();
        self.work_on(&[place], move |_| {
            candidate.check_identity()?;
            candidate.wipe_copy()?;
            candidate.check_room(database_bytes)
        })
        .map_err(|setback| obstacle(&live, setback))?;
        let Rotated { sequence, live, .. } = self.rotate().map_err(Obstacle::Elsewhere)?;
        self.build(&live)
            .and_then(|()| self.publish(&live, place, sequence))
            .map_err(|setback| obstacle(&live, setback))?;
        // What was committed during the copying, so that little is left for when commits wait. (If RocksDB moved
        // meanwhile the writer says so: the generation is that of the checkpoint.)
        let through = self.rotate().map_err(Obstacle::Elsewhere)?.sequence;
        let (source, target) = (Arc::clone(&live.place), Arc::clone(place));
        self.work_on(&[&live.place, place], move |is_given_up| {
            copy_closed_files(&source, &target, sequence, through, is_given_up)
        })
        .map_err(|setback| obstacle(&live, setback))?;
        let (answer, result) = mpsc::sync_channel(1);
        self.send(Control::AddCopy {
            place: Arc::clone(place),
            copied_through: through,
            generation: live.generation,
            answer,
        });
        result
            .recv()
            .map_err(|_| Obstacle::Elsewhere("the store stops".to_owned()))?
            .map_err(Obstacle::Candidate)
    }

    /// Does `work`, unless one of `places`, which it is about, hangs: that one is given up then. The only holder is not,
    /// since there is nowhere to go.
    pub(crate) fn work_on<T: Send + 'static, E: Into<Setback> + Send + 'static>(
        &self,
        places: &[&Arc<Place>],
        work: impl FnOnce(&AtomicBool) -> Result<T, E> + Send + 'static,
    ) -> Result<T, Setback> {
        let holders = self.shared.view().holders.clone();
        let is_only_holder = |place: &Place| {
            holders.len() == 1 && holders.iter().any(|holder| holder.id == place.id)
        };
        let mut places: Vec<_> = places.iter().map(|place| Arc::clone(place)).collect();
        places.retain(|place| !is_only_holder(place));
        match watched(&places, self.shared.copy_timeout, work) {
            Ok(result) => result.map_err(Into::into),
            Err(Unfinished::Failed(error)) => Err(Setback::Failed(error)),
            Err(Unfinished::Silent(place)) => {
                if holders.iter().any(|holder| holder.id == place.id) {
                    // That it hangs has nothing to do with where RocksDB is.
                    self.give_up(&place, self.shared.live().generation, Suspicion::hung());
                } else {
                    self.note_failure(&place, Suspicion::hung());
                }
                Err(Setback::Hung)
            }
        }
    }

    /// Notes why a place that is no holder cannot be one. That it hangs is never forgotten: no call into it is repeated.
    fn note_failure(&self, place: &Place, suspicion: Suspicion) {
        let mut view = self.shared.view();
        if view
            .failures
            .get(&place.id)
            .is_some_and(|known| known.is_hung)
        {
            return;
        }
        let failure = PlaceFailure {
            error: suspicion.detail,
            is_hung: suspicion.is_hung,
            at: Instant::now(),
        };
        view.failures.insert(place.id, failure);
    }

    /// Begins new journal files.
    fn rotate(&self) -> Result<Rotated, String> {
        let (answer, result) = mpsc::sync_channel(1);
        self.send(Control::Rotate { answer });
        result.recv().map_err(|_| "the store stops".to_owned())?
    }

    /// Building a checkpoint flushes what is in memory. Where there is no room for that RocksDB is not asked for it: it would
    /// only say that it failed, and be taken for broken.
    fn check_room_to_build(&self, live: &Arc<Live>) -> Result<(), Setback> {
        let primary = Arc::clone(live);
        self.work_on(&[&live.place], move |_| {
            primary.place.check_room(primary.database.memory_bytes())
        })
    }

    fn build(&self, live: &Arc<Live>) -> Result<(), Setback> {
        let database = Arc::clone(live);
        self.work_on(&[&live.place], move |_| {
            checkpoint::build(&database.database, &database.place)
                .map_err(|error| CopyError::Source(io::Error::other(error)))
        })
    }

    fn publish(&self, live: &Arc<Live>, place: &Arc<Place>, sequence: u64) -> Result<(), Setback> {
        let mut publication = Publication {
            shared: Arc::clone(&self.shared),
            live: Arc::clone(live),
            target: Arc::clone(place),
            cluster_id: self.cluster_id,
            sequence,
            pace: self.pace(),
        };
        self.work_on(&[&live.place, place], move |is_given_up| {
            publication.run(is_given_up)
        })
    }

    /// Gives a place up for what came of work that began while RocksDB was in the one of `generation`.
    pub(crate) fn give_up(&self, place: &Place, generation: u64, suspicion: Suspicion) {
        self.send(Control::GiveUp {
            place: place.id,
            generation,
            suspicion,
        });
    }

    /// Says what speaks against the RocksDB of `live`.
    pub(crate) fn suspect(&self, live: &Live, error: &io::Error) {
        self.send(Control::Suspect {
            generation: live.generation,
            suspicion: Suspicion::failed(error),
        });
    }

    /// The files of `live` cannot be read to copy them: the fault is not with those that would have had the copy.
    fn tell_unread(&mut self, live: &Live, error: &io::Error) {
        if is_of_the_process(error) {
            return self.tell_postponed(&live.place, error);
        }
        tracing::warn!(path = %live.place.path.display(), %error, "the metadata database cannot be read to copy it");
        self.suspect(live, error);
    }

    pub(crate) fn send(&self, control: Control) {
        // The writer thread ends first only when the store stops; whoever waits for an answer notices then.
        self.writer
            .send(Request::Control(control))
            .unwrap_or_default();
    }
}

/// A checkpoint on its way to another disk.
struct Publication {
    shared: Arc<Shared>,
    live: Arc<Live>,
    target: Arc<Place>,
    cluster_id: [u8; 16],
    sequence: u64,
    pace: Pace,
}

impl Publication {
    fn run(&mut self, is_given_up: &AtomicBool) -> Result<(), CopyError> {
        let published = checkpoint::publish(
            &self.live.place.checkpoint_build_dir(),
            &self.target,
            (self.cluster_id, self.live.id, self.sequence),
            &mut |size_bytes| {
                self.pace.advance(size_bytes, is_given_up)?;
                self.shared.still_serves(&self.live)
            },
        )?;
        add(
            &self.shared.counters.checkpoint_bytes,
            published.copied_bytes,
        );
        tracing::debug!(
            path = %self.target.path.display(), copied_bytes = published.copied_bytes,
            reused_bytes = published.reused_bytes, "copied a metadata checkpoint"
        );
        Ok(())
    }
}

fn remove_checkpoints(place: &Place) -> io::Result<()> {
    for (_, dir) in place.checkpoints()? {
        durable_file::remove_dir_all(&dir)?;
    }
    durable_file::remove_dir_all(&place.checkpoint_build_dir())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::database::{Database, Missing, block_cache};
    use super::super::roster::DatabaseId;
    use super::*;

    /// A place `name` and the RocksDB in it, which serves as `generation`.
    fn live(root: &Path, name: &str, generation: u64) -> Live {
        let place = Place::claim(&root.join(name), [7; 16]).unwrap();
        let id = DatabaseId::random();
        let dir = place.database_dir(id);
        let database = Database::open(&dir, Missing::Create, &block_cache(1 << 20)).unwrap();
        Live::new((id, database), Arc::new(place), generation)
    }

    fn publish(
        shared: &Arc<Shared>,
        live: &Arc<Live>,
        target: &Arc<Place>,
        sequence: u64,
    ) -> Result<(), CopyError> {
        let mut publication = Publication {
            shared: Arc::clone(shared),
            live: Arc::clone(live),
            target: Arc::clone(target),
            cluster_id: [7; 16],
            sequence,
            pace: Pace::new(Arc::clone(shared), u64::MAX),
        };
        publication.run(&AtomicBool::new(false))
    }

    #[test]
    fn a_checkpoint_of_a_database_that_was_left_replaces_none() {
        let root = tempfile::tempdir().unwrap();
        let target = Arc::new(Place::claim(&root.path().join("copy"), [7; 16]).unwrap());
        let first = live(root.path(), "first", 0);
        let shared = Shared::new(first, Vec::new(), 2, Duration::from_secs(30));
        let shared = Arc::new(shared);
        let first = shared.live();
        checkpoint::build(&first.database, &first.place).unwrap();
        publish(&shared, &first, &target, 1).unwrap();
        shared.replace_live(live(root.path(), "second", 1));
        let outcome = publish(&shared, &first, &target, 2);
        assert!(matches!(outcome, Err(CopyError::Stopped(_))), "{outcome:?}");
        let kept = [(1, target.checkpoint_dir(1))];
        assert_eq!(target.checkpoints().unwrap(), kept);
    }

    #[test]
    fn a_checkpoint_that_would_leave_no_room_for_journals_is_not_copied() {
        let root = tempfile::tempdir().unwrap();
        let target = Arc::new(Place::claim(&root.path().join("copy"), [7; 16]).unwrap());
        let first = live(root.path(), "first", 0);
        let shared = Arc::new(Shared::new(first, Vec::new(), 2, Duration::from_secs(30)));
        let first = shared.live();
        checkpoint::build(&first.database, &first.place).unwrap();
        target.is_full.store(true, Ordering::SeqCst);
        let outcome = publish(&shared, &first, &target, 1);
        assert!(
            matches!(&outcome, Err(CopyError::Target(error)) if has_no_room(error)),
            "{outcome:?}"
        );
        target.is_full.store(false, Ordering::SeqCst);

        // Nor is any of it, if it is larger than the disk.
        target.measure_free_bytes();
        let size_bytes = target.free_bytes().unwrap() + (1 << 30);
        let huge = first.place.checkpoint_build_dir().join("huge.sst");
        let huge = std::fs::File::create_new(huge).unwrap();
        rustix::fs::ftruncate(huge, size_bytes).unwrap();
        let identity = ([7; 16], first.id, 1);
        let build_dir = first.place.checkpoint_build_dir();
        let outcome = checkpoint::publish(&build_dir, &target, identity, &mut |size_bytes| {
            assert_eq!(size_bytes, 0);
            Ok(())
        });
        assert!(
            matches!(&outcome, Err(CopyError::Target(error)) if has_no_room(error)),
            "{outcome:?}"
        );
        assert_eq!(target.checkpoints().unwrap(), []);
    }
}
