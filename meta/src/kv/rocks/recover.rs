//! Recovery at start: RocksDB at the end of the newest log, and the copies with it.
//!
//! RocksDB replays what it lacks, or is restored from a copy; holders that lack the end of the log get it; a RocksDB
//! that a failure moved elsewhere returns to the metadata directory.

use std::path::PathBuf;
use std::sync::Arc;

use rocksdb::Cache;

use super::checkpoint;
use super::database::{Database, Missing};
use super::journal_log::{JournalLog, LogError};
use super::options::{OpenError, RocksKvOptions, Start};
use super::place::Place;
use super::restore::{Restored, restore};
use super::roster::{DatabaseId, Primary, Roster};
use super::watched::{Unfinished, watched};
use crate::durable_file;

/// RocksDB and the copies that go with it.
pub(super) struct Recovered {
    pub(super) primary: Arc<Place>,
    pub(super) database: Database,
    pub(super) id: DatabaseId,
    /// Places whose journal is whole and ends where RocksDB does, beside the primary.
    pub(super) copies: Vec<Arc<Place>>,
    pub(super) start: Start,
}

/// The RocksDB that the roster names.
struct OpenedLive {
    place: Arc<Place>,
    database: Database,
    id: DatabaseId,
    /// How many records it lacked.
    record_count: u64,
}

/// The logs of the holders that can be read. A place whose disk hangs is left out of `places`: whatever is done there
/// would wait for it.
pub(super) fn read_logs(
    options: &RocksKvOptions,
    roster: &Roster,
    places: &mut Vec<Arc<Place>>,
    notes: &mut Vec<String>,
) -> Vec<(Arc<Place>, JournalLog)> {
    let mut logs = Vec::new();
    places.retain(|place| {
        if !roster.holders.contains(&place.id) {
            return true;
        }
        let (dir, cluster_id) = (place.journal_dir(), options.cluster_id);
        let asked = std::slice::from_ref(place);
        let read = watched(asked, options.copy_timeout, move |_| {
            JournalLog::read(&dir, cluster_id)
        });
        match read {
            Ok(Ok(log)) => logs.push((Arc::clone(place), log)),
            Ok(Err(error)) => notes.push(error.to_string()),
            Err(Unfinished::Failed(error)) => {
                notes.push(format!("{}: {error}", place.path.display()));
            }
            Err(Unfinished::Silent(place)) => {
                let path = place.path.display();
                notes.push(format!("{path} is not used: it did not answer in time"));
                return false;
            }
        }
        true
    });
    logs
}

/// Brings RocksDB to the end of the newest of `logs`, and the other holders with it.
pub(super) fn recover(
    options: &RocksKvOptions,
    roster: &Roster,
    places: &[Arc<Place>],
    mut logs: Vec<(Arc<Place>, JournalLog)>,
    cache: &Cache,
    notes: &mut Vec<String>,
) -> Result<Recovered, OpenError> {
    let next = logs
        .iter()
        .map(|(_, log)| log.next())
        .max()
        .ok_or_else(|| OpenError::Damaged {
            details: notes.clone(),
        })?;

    complete(options, &mut logs, next, notes);
    let live = open_live(roster, places, &logs, next, cache);
    let (primary, database, id, start) = match live {
        Ok(live) => return_home(options, places, live, cache, notes),
        Err(reason) => restore_anywhere(options, places, &logs, next, cache, reason, notes)?,
    };
    let applied = database.applied().map_err(|error| OpenError::Damaged {
        details: vec![error.to_string()],
    })?;
    let copies = up_to_date_copies(options, &logs, &primary, applied.sequence + 1, notes);
    Ok(Recovered {
        primary,
        database,
        id,
        copies,
        start,
    })
}

/// Gives the end of the longest log to those that lack it: all were written at once, and a crash may have kept the last
/// record from any of them. Whichever place is left then has all that was acknowledged.
fn complete(
    options: &RocksKvOptions,
    logs: &mut [(Arc<Place>, JournalLog)],
    next: u64,
    notes: &mut Vec<String>,
) {
    let longest = |(_, log): &&(Arc<Place>, JournalLog)| log.next() == next;
    let sources: Vec<JournalLog> = logs
        .iter()
        .filter(longest)
        .map(|(_, log)| log.clone())
        .collect();
    for (place, log) in logs.iter_mut().filter(|(_, log)| log.next() < next) {
        for source in &sources {
            if source.first() > log.next() || !log.agrees_with(source) {
                continue;
            }
            match append_missing(options, place, log, source, next) {
                Ok(completed) => {
                    *log = completed;
                    break;
                }
                Err(error) => notes.push(format!("{}: {error}", place.path.display())),
            }
        }
    }
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
    checkpoint::build(&live.database, &live.place)?;
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
        let ends_at = restored.applied.sequence;
        restored.discard();
        Err(format!(
            "its copy ends at record {ends_at} of {}",
            applied.sequence
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
                Ok(restored) => {
                    details.push(format!(
                        "{} ends at record {}",
                        source.path.display(),
                        restored.applied.sequence
                    ));
                    restored.discard();
                }
                Err(error) => details.push(format!("{}: {error}", source.path.display())),
            }
        }
    }
    details.append(notes);
    Err(OpenError::Damaged { details })
}

/// The holders whose journal ends with `next`.
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
        let is_complete = log.next() == next;
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
pub(crate) fn is_restorable(place: &Place, log: &JournalLog) -> bool {
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
) -> Result<JournalLog, LogError> {
    let dir = place.journal_dir();
    for file in source
        .files
        .iter()
        .filter(|file| file.next_sequence > log.next() || file.first_sequence > log.next())
    {
        let target = dir.join(file.path.file_name().unwrap_or_default());
        durable_file::replace_with_copy(&file.path, &target, &mut |_| Ok(())).map_err(|error| {
            LogError::Io {
                path: target,
                source: error.into(),
            }
        })?;
    }
    let completed = JournalLog::read(&dir, options.cluster_id)?;
    if completed.next() == next {
        Ok(completed)
    } else {
        Err(LogError::Damaged {
            path: dir,
            detail: format!("it ends before record {}", completed.next()),
        })
    }
}
