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

use rocksdb::Cache;

use super::begin::{BeginFrom, Opened, begin};
use super::database::{Database, Missing};
use super::holder::OpenJournal;
use super::options::{OpenError, RocksKvOptions, Start};
use super::place::{Place, Sight, inspect};
use super::recover::{Recovered, recover};
use super::roster::{DatabaseId, Newest, PlaceFile, PlaceId, Roster, newest};

/// What was found at the configured paths.
struct Survey {
    known: Vec<(Arc<Place>, PlaceFile)>,
    vacant: Vec<PathBuf>,
    missing: Vec<(PathBuf, String)>,
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
        recover(options, &roster, &places, &cache, &mut notes)?
    };
    let from = BeginFrom {
        roster,
        places,
        missing,
        notes,
        cache,
    };
    begin(options, open_journal, queue_len, from, recovered)
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
    })
}
