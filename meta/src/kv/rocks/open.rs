//! Opening: looks at all places, decides which history is the newest, brings RocksDB and the copies up to it.
//!
//! Nothing is written before it is clear that the newest acknowledged record is among what was seen:
//! - places that the newest roster names may be missing up to `m`, and more than `m` of those that it was sent to must be
//!   seen: up to `m` of them may have been away when a newer roster was written, and would take all others for lost;
//! - at least one holder of that roster must be there. (While running, a roster goes to all reachable places before
//!   anything is acknowledged under it.)
//!
//! The first can be set aside by [`RocksKvOptions::accept_missing_copies`]; then a new history begins. Places with
//! another history than the newest, or with a roster that the newest does not follow from, are not overwritten but moved
//! aside, since they may have what is nowhere else.
//!
//! Then: the log of the newest roster's holders that goes furthest is the history. All of them have every acknowledged
//! record; they may differ in the last group, which was in flight. RocksDB replays what it lacks, or is restored;
//! holders that lack the end get it; and a new epoch begins with new files, so that nothing is ever appended behind a
//! torn record. A RocksDB that a failure moved elsewhere returns to the metadata directory on this occasion.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rocksdb::Cache;

use super::begin::{BeginFrom, Opened, begin, remove_leftovers};
use super::database::{Database, Missing, block_cache};
use super::holder::OpenJournal;
use super::options::{OpenError, RocksKvOptions, Start};
use super::place::{Place, Sight, inspect};
use super::recover::{Recovered, read_logs, recover};
use super::roster::{DatabaseId, HistoryId, Newest, PlaceFile, PlaceId, Roster, newest};
use super::watched::each_path;

/// How far a start that gives up what the missing places may have goes ahead of them: no store changes its roster that
/// often, so that they do not win when they come back.
const EPOCHS_AHEAD: u64 = 1 << 32;

/// What was found at the configured paths.
struct Survey {
    known: Vec<(Arc<Place>, PlaceFile)>,
    vacant: Vec<PathBuf>,
    missing: Vec<(PathBuf, String)>,
}

/// The history to go on with.
struct Chosen {
    roster: Roster,
    /// Places of it that are not there.
    missing: Vec<PathBuf>,
    /// There is none yet.
    is_fresh: bool,
    /// The missing places may have newer records, and somebody has said to go on without them.
    gives_up_others: bool,
}

pub(super) fn open(
    options: &RocksKvOptions,
    open_journal: OpenJournal,
    queue_len: usize,
) -> Result<Opened, OpenError> {
    let survey = survey(options)?;
    let Chosen {
        mut roster,
        missing,
        is_fresh,
        gives_up_others,
    } = choose(options, &survey)?;
    let cache = block_cache(options.block_cache_bytes);

    // From here on directories are changed.
    let mut notes: Vec<String> = survey
        .missing
        .iter()
        .map(|(path, reason)| format!("{} is not usable: {reason}", path.display()))
        .collect();
    let mut places = set_other_histories_aside(survey.known, &roster, &mut notes);
    if is_fresh || gives_up_others {
        roster.history = Some(HistoryId::random());
    }
    if gives_up_others {
        roster.epoch += EPOCHS_AHEAD;
    }
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
        let logs = read_logs(options, &roster, &mut places, &mut notes);
        // Makes room for a restored RocksDB where one came to nothing before.
        remove_leftovers(&places, roster.primary, &mut notes);
        recover(options, &roster, &places, logs, &cache, &mut notes)?
    };
    let from = BeginFrom {
        roster,
        configured_count: order.len(),
        places,
        missing,
        notes,
        cache,
    };
    begin(options, open_journal, queue_len, from, recovered)
}

/// All configured directories, the metadata directory first.
fn configured_paths(options: &RocksKvOptions) -> Vec<PathBuf> {
    let paths = std::iter::once(&options.dir).chain(&options.copies);
    paths.cloned().collect()
}

/// Where a path leads, as far as it can be followed: the directory itself may not be there yet.
fn resolved(path: &Path) -> PathBuf {
    let through_parent = || {
        let parent = std::fs::canonicalize(path.parent()?).ok()?;
        Some(parent.join(path.file_name()?))
    };
    std::fs::canonicalize(path)
        .ok()
        .or_else(through_parent)
        .unwrap_or_else(|| path.to_owned())
}

/// Looks at all configured directories at once: one on a disk that hangs is missing, when the others have answered.
fn survey(options: &RocksKvOptions) -> Result<Survey, OpenError> {
    let mut survey = Survey {
        known: Vec::new(),
        vacant: Vec::new(),
        missing: Vec::new(),
    };
    let paths = distinct_paths(options, &mut survey.missing)?;
    let cluster_id = options.cluster_id;
    let sights = each_path(&paths, options.copy_timeout, move |path| {
        inspect(&path, cluster_id)
    });
    for (path, sight) in paths.into_iter().zip(sights) {
        match sight.unwrap_or_else(|reason| Ok(Sight::Missing { path, reason }))? {
            Sight::Known(place, file) => {
                if let Some((first, _)) =
                    survey.known.iter().find(|(other, _)| other.id == place.id)
                {
                    return Err(OpenError::Duplicate {
                        first: first.path.clone(),
                        second: place.path,
                    });
                }
                survey.known.push((Arc::new(place), *file));
            }
            Sight::Vacant(path) => survey.vacant.push(path),
            Sight::Missing { path, reason } => survey.missing.push((path, reason)),
        }
    }
    Ok(survey)
}

/// The configured directories whose disks are there. No two of them may be the same one.
fn distinct_paths(
    options: &RocksKvOptions,
    missing: &mut Vec<(PathBuf, String)>,
) -> Result<Vec<PathBuf>, OpenError> {
    let paths = configured_paths(options);
    let resolved = each_path(&paths, options.copy_timeout, |path| resolved(&path));
    let mut found: Vec<(PathBuf, PathBuf)> = Vec::new();
    for (path, answer) in paths.into_iter().zip(resolved) {
        let target = match answer {
            Ok(target) => target,
            Err(reason) => {
                missing.push((path, reason));
                continue;
            }
        };
        if let Some((_, first)) = found.iter().find(|(other, _)| *other == target) {
            return Err(OpenError::SameDirectory {
                first: first.clone(),
                second: path,
            });
        }
        found.push((target, path));
    }
    let mut paths = Vec::new();
    for (_, path) in found {
        if options.unavailable.contains(&path) {
            missing.push((path, "its disk is not there".to_owned()));
        } else {
            paths.push(path);
        }
    }
    Ok(paths)
}

/// The places to work with. What another history than that of `roster` left in one is moved aside first; where that
/// fails, the place is left alone.
fn set_other_histories_aside(
    known: Vec<(Arc<Place>, PlaceFile)>,
    roster: &Roster,
    notes: &mut Vec<String>,
) -> Vec<Arc<Place>> {
    let mut places = Vec::new();
    for (place, file) in known {
        let found = &file.roster;
        // A holder has all of the newest history, whatever it had before.
        let is_other = found.epoch > 0
            && !(found.history == roster.history && roster.follows(found))
            && !roster.holders.contains(&place.id);
        if is_other {
            match place.set_aside(found.epoch) {
                Ok(None) => {}
                Ok(Some(kept)) => notes.push(format!(
                    "{} holds metadata of another history, which is not continued; it is kept in {}",
                    place.path.display(),
                    kept.display()
                )),
                Err(error) => {
                    notes.push(format!(
                        "{} holds metadata of another history and is not used, because it could not be moved aside: {error}",
                        place.path.display()
                    ));
                    continue;
                }
            }
        }
        places.push(place);
    }
    places
}

/// Decides which history is the newest, or refuses if it may be among what is missing.
fn choose(options: &RocksKvOptions, survey: &Survey) -> Result<Chosen, OpenError> {
    let files: Vec<PlaceFile> = survey.known.iter().map(|(_, file)| file.clone()).collect();
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
    let witnesses = survey
        .known
        .iter()
        .filter(|(_, file)| roster.has_witness(file));
    let place_count = witnesses.count() + missing.len();
    let allowed = missing_count_max(place_count, options.copy_count);
    let gives_up_others = missing.len() > allowed;
    if gives_up_others && !options.accept_missing_copies {
        return Err(OpenError::TooManyMissing {
            missing,
            allowed,
            place_count,
        });
    }
    refuse_if_newest_is_missing(survey, &roster, is_fresh)?;
    Ok(Chosen {
        roster,
        missing,
        is_fresh,
        gives_up_others,
    })
}

/// How many places may be missing at a start that nobody watches: as many as the copies allow for, while more than that
/// are seen. A roster after the newest one seen would have gone to all places that this one was sent to but at most
/// `copy_count`, so that one of those seen would have it; `place_count` are they and the missing ones. A place that failed
/// while the store ran is not on the roster any more and is not missed.
fn missing_count_max(place_count: usize, copy_count: usize) -> usize {
    copy_count.min(place_count.saturating_sub(copy_count + 1))
}

fn refuse_if_newest_is_missing(
    survey: &Survey,
    roster: &Roster,
    is_fresh: bool,
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
    })
}
