//! Opening: looks at all places, decides which history is the newest, brings RocksDB and the copies up to it.
//!
//! Nothing is written before it is clear that the newest acknowledged record is among what was seen:
//! - places that the newest roster names may be missing up to `m`, no more;
//! - at least one holder of that roster must be there. (While running, a roster goes to all reachable places before
//!   anything is acknowledged under it.)
//!
//! Then: the log of the newest roster's holders that goes furthest is the history. All of them have every acknowledged
//! record; they may differ in the last group, which was in flight. RocksDB replays what it lacks, or is restored;
//! holders that lack the end get it; and a new epoch begins with new files, so that nothing is ever appended behind a
//! torn record. A RocksDB that a failure moved elsewhere returns to the metadata directory on this occasion.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc;

use rocksdb::Cache;

use super::checkpoint;
use super::database::{Database, Missing};
use super::holder::{Holders, OpenJournal};
use super::journal_copy;
use super::journal_file::FileHead;
use super::journal_log::{JournalLog, LogError};
use super::maintenance::build;
use super::options::{OpenError, OpenReport, RocksKvOptions, Start};
use super::place::{Place, Sight, inspect};
use super::restore::{Restored, restore};
use super::roster::{DatabaseId, Newest, PlaceFile, PlaceId, Primary, Roster, newest};
use super::shared::{Live, Shared};
use super::writer::{Request, Writer, WriterSettings};
use crate::durable_file;

/// An opened store whose threads do not run yet.
pub(super) struct Opened {
    pub(super) writer: Writer,
    pub(super) shared: Arc<Shared>,
    pub(super) requests: mpsc::SyncSender<Request>,
    pub(super) wake: mpsc::Receiver<()>,
    pub(super) report: OpenReport,
}

/// What was found at the configured paths.
struct Survey {
    known: Vec<(Arc<Place>, PlaceFile)>,
    vacant: Vec<PathBuf>,
    missing: Vec<(PathBuf, String)>,
}

/// The RocksDB that the roster names.
struct OpenedLive {
    place: Arc<Place>,
    database: Database,
    id: DatabaseId,
    /// How many records it lacked.
    record_count: u64,
}

/// RocksDB and the copies that go with it.
struct Recovered {
    primary: Arc<Place>,
    database: Database,
    id: DatabaseId,
    /// Places whose journal is whole and ends where RocksDB does, beside the primary.
    copies: Vec<Arc<Place>>,
    start: Start,
    notes: Vec<String>,
}

pub(super) fn open(
    options: &RocksKvOptions,
    open_journal: OpenJournal,
    queue_len: usize,
) -> Result<Opened, OpenError> {
    let survey = survey(options)?;
    let files: Vec<PlaceFile> = survey.known.iter().map(|(_, file)| file.clone()).collect();
    let cache = Cache::new_lru_cache(options.block_cache_bytes);
    let (roster, is_fresh) = match newest(&files) {
        Newest::Roster(roster) => (roster, false),
        Newest::None => (Roster::initial(options.epoch_before_first), true),
        Newest::Split { epoch, places } => {
            let places = survey
                .known
                .iter()
                .filter(|(place, _)| places.contains(&place.id));
            return Err(OpenError::Split {
                epoch,
                places: places.map(|(place, _)| place.path.clone()).collect(),
            });
        }
    };
    let seen: Vec<PlaceId> = survey.known.iter().map(|(place, _)| place.id).collect();
    let missing = roster.missing(&seen);
    refuse_if_newest_may_be_missing(&survey, &roster, &missing, is_fresh, options.copy_count)?;

    // From here on directories are changed.
    let mut places: Vec<Arc<Place>> = survey.known.into_iter().map(|(place, _)| place).collect();
    let mut notes: Vec<String> = survey
        .missing
        .into_iter()
        .map(|(path, reason)| format!("{} is not usable: {reason}", path.display()))
        .collect();
    for path in survey.vacant {
        match Place::claim(&path, options.cluster_id) {
            Ok(place) => places.push(Arc::new(place)),
            Err(error) if is_fresh || path == options.dir => return Err(error),
            Err(error) => notes.push(error.to_string()),
        }
    }
    let order = configured_paths(options);
    places.sort_by_key(|place| order.iter().position(|path| *path == place.path));

    let recovered = if is_fresh {
        create(options, &places, &cache)?
    } else {
        recover(options, &roster, &places, &cache)?
    };
    notes.extend(recovered.notes);
    begin(
        options,
        open_journal,
        queue_len,
        BeginFrom {
            roster,
            places,
            missing,
            notes,
            cache,
        },
        Recovered {
            notes: Vec::new(),
            ..recovered
        },
    )
}

/// All configured directories, the metadata directory first, each once.
fn configured_paths(options: &RocksKvOptions) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = Vec::new();
    for path in std::iter::once(&options.dir).chain(&options.copies) {
        if !paths.contains(path) {
            paths.push(path.clone());
        }
    }
    paths
}

fn survey(options: &RocksKvOptions) -> Result<Survey, OpenError> {
    let mut survey = Survey {
        known: Vec::new(),
        vacant: Vec::new(),
        missing: Vec::new(),
    };
    for path in configured_paths(options) {
        match inspect(&path, options.cluster_id)? {
            Sight::Known(place, file) => {
                if let Some((first, _)) =
                    survey.known.iter().find(|(other, _)| other.id == place.id)
                {
                    return Err(OpenError::Duplicate {
                        first: first.path.clone(),
                        second: place.path,
                    });
                }
                survey.known.push((Arc::new(place), file));
            }
            Sight::Vacant(path) => survey.vacant.push(path),
            Sight::Missing { path, reason } => survey.missing.push((path, reason)),
        }
    }
    Ok(survey)
}

fn refuse_if_newest_may_be_missing(
    survey: &Survey,
    roster: &Roster,
    missing: &[PathBuf],
    is_fresh: bool,
    copy_count: usize,
) -> Result<(), OpenError> {
    if is_fresh {
        // A first start needs all directories: one that is missing may hold everything.
        return match survey.missing.first() {
            None => Ok(()),
            Some((path, reason)) => Err(OpenError::Io {
                path: path.clone(),
                source: std::io::Error::other(reason.clone()),
            }),
        };
    }
    if missing.len() > copy_count {
        return Err(OpenError::TooManyMissing {
            missing: missing.to_vec(),
            allowed: copy_count,
        });
    }
    if !survey
        .known
        .iter()
        .any(|(place, _)| roster.holders.contains(&place.id))
    {
        let paths = roster
            .holders
            .iter()
            .filter_map(|id| roster.places.get(id).cloned());
        return Err(OpenError::HoldersMissing {
            holders: paths.collect(),
        });
    }
    Ok(())
}

/// A first start: an empty RocksDB, and empty journals on it and the first `m` candidates.
fn create(
    options: &RocksKvOptions,
    places: &[Arc<Place>],
    cache: &Cache,
) -> Result<Recovered, OpenError> {
    let mut holders = places.iter().take(options.copy_count + 1);
    let primary = holders
        .next()
        .map(Arc::clone)
        .ok_or_else(|| OpenError::Damaged {
            details: Vec::new(),
        })?;
    let copies: Vec<Arc<Place>> = holders.map(Arc::clone).collect();
    for place in std::iter::once(&primary).chain(&copies) {
        place.wipe_copy().map_err(|source| OpenError::Io {
            path: place.path.clone(),
            source,
        })?;
    }
    let id = DatabaseId::random();
    let database =
        Database::open(&primary.database_dir(id), Missing::Create, cache).map_err(|error| {
            OpenError::Io {
                path: primary.path.clone(),
                source: std::io::Error::other(error),
            }
        })?;
    Ok(Recovered {
        primary,
        database,
        id,
        copies,
        start: Start::Fresh,
        notes: Vec::new(),
    })
}

/// Brings RocksDB to the end of the newest log, and the other holders with it.
fn recover(
    options: &RocksKvOptions,
    roster: &Roster,
    places: &[Arc<Place>],
    cache: &Cache,
) -> Result<Recovered, OpenError> {
    let mut notes = Vec::new();
    let mut logs: Vec<(Arc<Place>, JournalLog)> = Vec::new();
    for place in places
        .iter()
        .filter(|place| roster.holders.contains(&place.id))
    {
        match JournalLog::read(&place.journal_dir(), options.cluster_id) {
            Ok(log) => logs.push((Arc::clone(place), log)),
            Err(error) => notes.push(error.to_string()),
        }
    }
    let next = logs
        .iter()
        .map(|(_, log)| log.next())
        .max()
        .ok_or_else(|| OpenError::Damaged {
            details: notes.clone(),
        })?;

    let live = open_live(roster, places, &logs, next, cache);
    let (primary, database, id, start) = match live {
        Ok(live) => return_home(options, places, live, cache, &mut notes),
        Err(reason) => restore_anywhere(options, places, &logs, next, cache, reason, &mut notes)?,
    };
    let applied = database.applied().map_err(|error| OpenError::Damaged {
        details: vec![error.to_string()],
    })?;
    let copies = up_to_date_copies(options, &logs, &primary, applied.sequence + 1, &mut notes);
    Ok(Recovered {
        primary,
        database,
        id,
        copies,
        start,
        notes,
    })
}

/// Opens the RocksDB that the roster names and replays what it lacks; says why if that cannot be done.
fn open_live(
    roster: &Roster,
    places: &[Arc<Place>],
    logs: &[(Arc<Place>, JournalLog)],
    next: u64,
    cache: &Cache,
) -> Result<OpenedLive, String> {
    let Primary {
        place: id,
        database,
    } = roster.primary.ok_or("there was no RocksDB")?;
    let path = roster
        .places
        .get(&id)
        .map(|path| path.display().to_string())
        .unwrap_or_default();
    let place = places
        .iter()
        .find(|place| place.id == id)
        .ok_or_else(|| format!("{path} is missing"))?;
    if !roster.holders.contains(&id) {
        return Err(format!("{path} was given up"));
    }
    let opened = Database::open(&place.database_dir(database), Missing::Refuse, cache)
        .map_err(|error| error.to_string())?;
    let applied = opened.applied().map_err(|error| error.to_string())?;
    let log = logs
        .iter()
        .map(|(_, log)| log)
        .filter(|log| log.next() == next && log.continues(applied.sequence))
        .min_by_key(|log| log.first());
    let record_count = match log {
        Some(log) => log
            .replay_into(&opened)
            .map_err(|error| error.to_string())?,
        None if applied.sequence + 1 >= next => 0,
        None => {
            return Err(format!(
                "{path} ends at record {} of {}, and no journal continues it",
                applied.sequence,
                next - 1
            ));
        }
    };
    // Its own journal may begin anew from here: RocksDB's files must hold what came before.
    opened.flush().map_err(|error| error.to_string())?;
    Ok(OpenedLive {
        place: Arc::clone(place),
        database: opened,
        id: database,
        record_count,
    })
}

/// Moves a RocksDB that a failure put elsewhere back to the metadata directory, if that is there again. Where this
/// cannot be done it stays where it is, and a note says why.
fn return_home(
    options: &RocksKvOptions,
    places: &[Arc<Place>],
    live: OpenedLive,
    cache: &Cache,
    notes: &mut Vec<String>,
) -> (Arc<Place>, Database, DatabaseId, Start) {
    let home = places.iter().find(|place| place.path == options.dir);
    if let Some(home) = home.filter(|home| home.id != live.place.id) {
        match copy_to(home, &live, options.cluster_id, cache) {
            Ok(copied) => {
                let from = live.place.path.clone();
                let start = Start::Returned { from };
                return (Arc::clone(home), copied.database, copied.id, start);
            }
            Err(reason) => notes.push(format!(
                "the metadata database stays in {} and does not return to {}: {reason}",
                live.place.path.display(),
                home.path.display()
            )),
        }
    }
    let start = match live.record_count {
        0 => Start::Clean,
        record_count => Start::Replayed { record_count },
    };
    (live.place, live.database, live.id, start)
}

/// Makes a copy of RocksDB in another place, by way of a checkpoint beside it. With that checkpoint and its journal
/// the place left behind is a complete copy, at every moment of the move: losing either disk loses nothing.
fn copy_to(
    target: &Place,
    live: &OpenedLive,
    cluster_id: [u8; 16],
    cache: &Cache,
) -> Result<Restored, String> {
    let applied = live.database.applied().map_err(|error| error.to_string())?;
    build(&live.database, &live.place)?;
    let identity = (cluster_id, live.id, applied.sequence);
    let build_dir = live.place.checkpoint_build_dir();
    checkpoint::publish(&build_dir, &live.place, identity, &mut |_| Ok(()))
        .map_err(|error| error.to_string())?;
    let restored =
        restore(&live.place, target, cluster_id, cache).map_err(|error| error.to_string())?;
    restored
        .database
        .flush()
        .map_err(|error| error.to_string())?;
    if restored.applied == applied {
        Ok(restored)
    } else {
        Err(format!(
            "its copy ends at record {} of {}",
            restored.applied.sequence, applied.sequence
        ))
    }
}

/// Restores from any holder into the metadata directory, or where that is not possible, beside the copy itself.
fn restore_anywhere(
    options: &RocksKvOptions,
    places: &[Arc<Place>],
    logs: &[(Arc<Place>, JournalLog)],
    next: u64,
    cache: &Cache,
    reason: String,
    notes: &mut Vec<String>,
) -> Result<(Arc<Place>, Database, DatabaseId, Start), OpenError> {
    let mut details = vec![reason.clone()];
    let preferred = places.iter().find(|place| place.path == options.dir);
    for (source, log) in logs.iter().filter(|(_, log)| log.next() == next) {
        for target in preferred.into_iter().chain(std::iter::once(source)) {
            let restored =
                restore(source, target, options.cluster_id, cache).and_then(|restored| {
                    restored.database.flush()?;
                    Ok(restored)
                });
            match restored {
                Ok(restored) if restored.applied.sequence + 1 == log.next() => {
                    let start = Start::Restored {
                        from: source.path.clone(),
                        reason,
                    };
                    return Ok((Arc::clone(target), restored.database, restored.id, start));
                }
                Ok(restored) => details.push(format!(
                    "{} ends at record {}",
                    source.path.display(),
                    restored.applied.sequence
                )),
                Err(error) => details.push(format!("{}: {error}", source.path.display())),
            }
        }
    }
    details.append(notes);
    Err(OpenError::Damaged { details })
}

/// The holders whose journal ends with `next`, after giving the last files to those that lack a torn end.
fn up_to_date_copies(
    options: &RocksKvOptions,
    logs: &[(Arc<Place>, JournalLog)],
    primary: &Arc<Place>,
    next: u64,
    notes: &mut Vec<String>,
) -> Vec<Arc<Place>> {
    let mut copies = Vec::new();
    for (place, log) in logs.iter().filter(|(place, _)| place.id != primary.id) {
        if !is_restorable(place, log) {
            notes.push(format!(
                "{} has a journal without a checkpoint before it; its copy will be made anew",
                place.path.display()
            ));
            continue;
        }
        let is_complete = log.next() == next
            || logs
                .iter()
                .filter(|(_, source)| {
                    source.next() == next && source.first() <= log.next() && log.agrees_with(source)
                })
                .any(
                    |(_, source)| match append_missing(options, place, log, source, next) {
                        Ok(()) => true,
                        Err(error) => {
                            notes.push(format!("{}: {error}", place.path.display()));
                            false
                        }
                    },
                );
        if is_complete && copies.len() < options.copy_count {
            copies.push(Arc::clone(place));
        } else if !is_complete {
            notes.push(format!(
                "the copy in {} is out of date and will be made anew",
                place.path.display()
            ));
        }
    }
    copies
}

/// Whether RocksDB could be made from this place alone. One whose own RocksDB served has no checkpoint.
fn is_restorable(place: &Place, log: &JournalLog) -> bool {
    let continues_checkpoint = |checkpoints: Vec<(u64, PathBuf)>| {
        checkpoints
            .iter()
            .any(|(sequence, _)| log.continues(*sequence))
    };
    log.continues(0) || place.checkpoints().is_ok_and(continues_checkpoint)
}

/// Copies the files that hold what `place` lacks from another copy; file names and contents are the same on all.
fn append_missing(
    options: &RocksKvOptions,
    place: &Place,
    log: &JournalLog,
    source: &JournalLog,
    next: u64,
) -> Result<(), LogError> {
    let dir = place.journal_dir();
    for file in source
        .files
        .iter()
        .filter(|file| file.next_sequence > log.next() || file.first_sequence > log.next())
    {
        let target = dir.join(file.path.file_name().unwrap_or_default());
        let mut unfinished = target.clone().into_os_string();
        unfinished.push(durable_file::UNFINISHED_SUFFIX);
        let unfinished = PathBuf::from(unfinished);
        durable_file::copy_file(&file.path, &unfinished, &mut |_| Ok(()))
            .and_then(|_| durable_file::rename(&unfinished, &target))
            .map_err(|source| LogError::Io {
                path: target,
                source,
            })?;
    }
    let completed = JournalLog::read(&dir, options.cluster_id)?;
    if completed.next() == next {
        Ok(())
    } else {
        Err(LogError::Damaged {
            path: dir,
            detail: format!("it ends before record {}", completed.next()),
        })
    }
}

struct BeginFrom {
    roster: Roster,
    places: Vec<Arc<Place>>,
    missing: Vec<PathBuf>,
    notes: Vec<String>,
    cache: Cache,
}

/// Begins the new epoch: new journal files on all holders, then the roster on all places.
fn begin(
    options: &RocksKvOptions,
    open_journal: OpenJournal,
    queue_len: usize,
    BeginFrom {
        roster,
        places,
        missing,
        mut notes,
        cache,
    }: BeginFrom,
    recovered: Recovered,
) -> Result<Opened, OpenError> {
    let primary = Arc::clone(&recovered.primary);
    let failed = |source| OpenError::Io {
        path: primary.path.clone(),
        source,
    };
    let applied = recovered
        .database
        .applied()
        .map_err(|error| failed(std::io::Error::other(error)))?;
    if !journal_continues(options, &roster, &recovered, applied.sequence) {
        // RocksDB's own files hold everything; a journal that does not end here would contradict the new one.
        durable_file::remove_dir_all(&primary.journal_dir())
            .and_then(|()| durable_file::create_dir(&primary.journal_dir()))
            .map_err(failed)?;
    }
    for place in &places {
        let live = (place.id == primary.id).then_some(recovered.id);
        if let Err(error) = place.remove_leftovers(live) {
            notes.push(format!("{}: {error}", place.path.display()));
        }
    }

    let holder_count_wanted = (options.copy_count + 1).min(places.len());
    let live = Live {
        database: recovered.database,
        id: recovered.id,
        place: Arc::clone(&primary),
        generation: 0,
    };
    let shared = Arc::new(Shared::new(live, places, holder_count_wanted));
    let mut holders = Holders::new(
        open_journal,
        options.journal_file_size_bytes,
        options.copy_timeout,
    );
    holders.add(Arc::clone(&primary)).map_err(failed)?;
    for copy in recovered.copies {
        if let Err(error) = holders.add(Arc::clone(&copy)) {
            notes.push(format!("{}: {error}", copy.path.display()));
        }
    }
    let (requests, inbox) = mpsc::sync_channel(queue_len);
    let (maintenance, wake) = mpsc::sync_channel(1);
    let mut writer = Writer {
        shared: Arc::clone(&shared),
        requests: inbox,
        maintenance,
        holders,
        roster: Roster {
            primary: Some(Primary {
                place: primary.id,
                database: recovered.id,
            }),
            ..roster
        },
        settings: WriterSettings {
            cluster_id: options.cluster_id,
            file_size_bytes: options.journal_file_size_bytes,
            timeout: options.copy_timeout,
            cache,
        },
        head: Arc::new(FileHead {
            cluster_id: options.cluster_id,
            salt: [0; 16],
            epoch: 0,
            first_sequence: 0,
        }),
        offset: 0,
        sequence: applied.sequence,
        applied: applied.sequence,
        broken: None,
    };
    writer
        .rotate()
        .and_then(|()| writer.reorganize())
        .map_err(|reason| failed(std::io::Error::other(reason)))?;
    let report = report(&shared, &writer, recovered.start, missing, notes);
    let closed_file_count = journal_copy::list(&shared.live().place.journal_dir())
        .map_err(failed)?
        .len()
        .saturating_sub(1);
    let mut view = shared.view();
    view.sequence = writer.sequence;
    // What stands in the journal already counts towards the next checkpoint, or short runs would never make one.
    view.journal_bytes = options
        .journal_file_size_bytes
        .saturating_mul(closed_file_count as u64);
    drop(view);
    Ok(Opened {
        writer,
        shared,
        requests,
        wake,
        report,
    })
}

/// Whether the primary's journal ends where RocksDB does, so that new files may follow.
fn journal_continues(
    options: &RocksKvOptions,
    roster: &Roster,
    recovered: &Recovered,
    sequence: u64,
) -> bool {
    let primary = &recovered.primary;
    match &recovered.start {
        Start::Fresh => true,
        Start::Restored { from, .. } if *from == primary.path => true,
        Start::Clean | Start::Replayed { .. } | Start::Returned { .. } | Start::Restored { .. } => {
            roster
                .primary
                .is_some_and(|previous| previous.place == primary.id)
                && JournalLog::read(&primary.journal_dir(), options.cluster_id)
                    .is_ok_and(|log| log.next() == sequence + 1)
        }
    }
}

fn report(
    shared: &Shared,
    writer: &Writer,
    start: Start,
    missing: Vec<PathBuf>,
    notes: Vec<String>,
) -> OpenReport {
    let primary = Arc::clone(&shared.live().place);
    let copies = writer
        .holders
        .places()
        .into_iter()
        .filter(|place| place.id != primary.id);
    OpenReport {
        start,
        sequence: writer.sequence,
        epoch: writer.roster.epoch,
        primary: primary.path.clone(),
        copies: copies.map(|place| place.path.clone()).collect(),
        missing,
        notes,
    }
}
