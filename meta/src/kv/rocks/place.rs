//! A place: one directory on one disk that may hold a journal copy, checkpoints, and the live RocksDB.
//!
//! ```text
//! cairn-meta.json             identity and roster, see `roster`
//! cairn-meta.json.tmp         the one before, which the next is written over
//! LOCK                        flock, held while open
//! journal/                    see `journal_copy` and `journal_file`
//! checkpoint-<sequence>/      see `checkpoint`
//! db-<id>/                    the live RocksDB, in the primary only
//! superseded-<epoch>/         all of these as they were, of a history that is not continued
//! probe                       empty; written to see whether a disk answers
//! ```
//! Invariant: nothing is created in a directory that holds files but no `cairn-meta.json`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::journal_copy;
use super::options::OpenError;
use super::roster::{DatabaseId, PLACE_FILE_NAME, PlaceFile, PlaceId, Roster};
use crate::durable_file::{self, LockFile, UNFINISHED_SUFFIX};

const LOCK_NAME: &str = "LOCK";
const DATABASE_PREFIX: &str = "db-";
const CHECKPOINT_PREFIX: &str = "checkpoint-";
const JOURNAL_NAME: &str = "journal";
const SUPERSEDED_PREFIX: &str = "superseded-";
/// An empty file, written to see whether the disk answers.
const PROBE_NAME: &str = "probe";
/// Files with a roster are filled up to a multiple of this: the next one may be longer, and must find its space. With all
/// ancestors and a hundred places it takes less.
const PLACE_FILE_STEP_BYTES: usize = 16 << 10;
/// What a checkpoint leaves free on a disk: two journal files, which with the spare ones suffice until it is complete. No
/// more, because it is what gives journal files back.
const JOURNAL_ROOM_BYTES: u64 = 8 << 20;

/// A directory that is ours, locked.
#[derive(Debug)]
pub(crate) struct Place {
    /// Stays with the directory.
    pub(crate) id: PlaceId,
    /// Where it is now.
    pub(crate) path: PathBuf,
    cluster_id: [u8; 16],
    free_bytes: AtomicU64,
    /// Makes it one on a full disk, for those who look.
    #[cfg(test)]
    pub(crate) is_full: std::sync::atomic::AtomicBool,
    _lock: LockFile,
}

/// [`Place::free_bytes`] before the first look.
const NOT_LOOKED_AT: u64 = u64::MAX;

/// What was found at a configured path.
#[derive(Debug)]
pub(crate) enum Sight {
    /// A place of this cluster.
    Known(Place, Box<PlaceFile>),
    /// Nothing, or an empty directory: may be claimed.
    Vacant(PathBuf),
    /// Not there or not readable: the disk may come back.
    Missing { path: PathBuf, reason: String },
}

impl Sight {
    fn missing(path: &Path, reason: String) -> Self {
        Self::Missing {
            path: path.to_owned(),
            reason,
        }
    }
}

/// Looks at `path` without changing anything but the lock file of a known place.
pub(crate) fn inspect(path: &Path, cluster_id: [u8; 16]) -> Result<Sight, OpenError> {
    let entries = match fs::read_dir(path).and_then(Iterator::collect::<io::Result<Vec<_>>>) {
        Ok(entries) => entries,
        Err(error) => return inspect_unlisted(path, &error),
    };
    let is_place = |entry: &fs::DirEntry| entry.file_name() == PLACE_FILE_NAME;
    if entries.iter().any(is_place) {
        inspect_place(path, cluster_id)
    } else {
        inspect_unclaimed(path, &entries)
    }
}

/// What is to be made of a path where no directory can be listed.
fn inspect_unlisted(path: &Path, error: &io::Error) -> Result<Sight, OpenError> {
    match error.kind() {
        io::ErrorKind::NotFound if path.parent().is_some_and(Path::is_dir) => {
            Ok(Sight::Vacant(path.to_owned()))
        }
        io::ErrorKind::NotADirectory => Err(OpenError::Unrecognized {
            path: path.to_owned(),
        }),
        _ => Ok(Sight::missing(path, error.to_string())),
    }
}

/// A directory that is no place: vacant, unless there is anything in it that is not ours.
fn inspect_unclaimed(path: &Path, entries: &[fs::DirEntry]) -> Result<Sight, OpenError> {
    let stranger = entries
        .iter()
        .find(|entry| !may_stand_in_vacant(&entry.file_name()));
    match stranger {
        Some(stranger) => Err(OpenError::Unrecognized {
            path: stranger.path(),
        }),
        None => Ok(Sight::Vacant(path.to_owned())),
    }
}

/// Locks a place and reads its file.
fn inspect_place(path: &Path, cluster_id: [u8; 16]) -> Result<Sight, OpenError> {
    let lock = match LockFile::try_lock(&path.join(LOCK_NAME)) {
        Ok(Some(lock)) => lock,
        Ok(None) => {
            return Err(OpenError::InUse {
                path: path.to_owned(),
            });
        }
        Err(error) => return Ok(Sight::missing(path, error.to_string())),
    };
    let file_path = path.join(PLACE_FILE_NAME);
    let file = match fs::read(&file_path)
        .map_err(|error| error.to_string())
        .and_then(|bytes| PlaceFile::parse(&bytes))
    {
        Ok(file) => file,
        Err(reason) => {
            let reason = format!("{}: {reason}", file_path.display());
            return Ok(Sight::missing(path, reason));
        }
    };
    if file.cluster_id != cluster_id {
        return Err(OpenError::ForeignCluster {
            path: path.to_owned(),
            found: hex::encode(file.cluster_id),
            expected: hex::encode(cluster_id),
        });
    }
    Ok(Sight::Known(
        Place {
            id: file.place,
            path: path.to_owned(),
            cluster_id,
            free_bytes: AtomicU64::new(NOT_LOOKED_AT),
            #[cfg(test)]
            is_full: std::sync::atomic::AtomicBool::new(false),
            _lock: lock,
        },
        Box::new(file),
    ))
}

/// Names that a claim interrupted by a crash, or a fresh file system, leaves behind.
fn may_stand_in_vacant(name: &std::ffi::OsStr) -> bool {
    name == LOCK_NAME
        || name == "lost+found"
        || name == format!("{PLACE_FILE_NAME}{UNFINISHED_SUFFIX}").as_str()
}

impl Place {
    /// Makes a vacant directory a place, with an identity of its own.
    pub(crate) fn claim(path: &Path, cluster_id: [u8; 16]) -> Result<Self, OpenError> {
        let failed = |source| OpenError::Io {
            path: path.to_owned(),
            source,
        };
        durable_file::create_dir(path).map_err(failed)?;
        let lock = LockFile::try_lock(&path.join(LOCK_NAME))
            .map_err(failed)?
            .ok_or_else(|| OpenError::InUse {
                path: path.to_owned(),
            })?;
        // Since it was looked at, another process may have claimed it, and ended.
        if fs::exists(path.join(PLACE_FILE_NAME)).map_err(failed)? {
            return Err(OpenError::InUse {
                path: path.to_owned(),
            });
        }
        let place = Self {
            id: PlaceId::random(),
            path: path.to_owned(),
            cluster_id,
            free_bytes: AtomicU64::new(NOT_LOOKED_AT),
            #[cfg(test)]
            is_full: std::sync::atomic::AtomicBool::new(false),
            _lock: lock,
        };
        place.write_file(&Roster::initial(0)).map_err(failed)?;
        Ok(place)
    }

    /// Makes `roster` the newest that this place has seen. Fails where the place is not any more: its path may lead to an
    /// empty mount point by now.
    pub(crate) fn write_roster(&self, roster: &Roster) -> io::Result<()> {
        self.check_identity()?;
        self.write_file(roster)
    }

    fn write_file(&self, roster: &Roster) -> io::Result<()> {
        let file = PlaceFile::new(self.cluster_id, self.id, roster.clone());
        let mut bytes = file.encode()?;
        bytes.resize(bytes.len().next_multiple_of(PLACE_FILE_STEP_BYTES), b' ');
        // A place that is full must learn of each roster all the same: it may be the only witness of who went on.
        durable_file::exchange_file(&self.path.join(PLACE_FILE_NAME), &bytes)
    }

    /// Fails unless the directory at the path is still this place: a disk may have been replaced by another.
    pub(crate) fn check_identity(&self) -> io::Result<()> {
        let bytes = fs::read(self.path.join(PLACE_FILE_NAME))?;
        let file = PlaceFile::parse(&bytes).map_err(io::Error::other)?;
        if file.place != self.id {
            return Err(io::Error::other(format!(
                "{} is another place now",
                self.path.display()
            )));
        }
        Ok(())
    }

    /// Returns when the disk has written something: whether that succeeded says no more than that it answers.
    pub(crate) fn probe(&self) -> io::Result<()> {
        durable_file::replace_file(&self.path.join(PROBE_NAME), &[])
    }

    /// Looks how much is free on the disk, for [`Place::free_bytes`]. Waits for the disk.
    pub(crate) fn measure_free_bytes(&self) {
        let free_bytes = rustix::fs::statvfs(&self.path).map_or(NOT_LOOKED_AT, |found| {
            found.f_bavail.saturating_mul(found.f_frsize)
        });
        #[cfg(test)]
        let free_bytes = if self.is_full.load(Ordering::SeqCst) {
            0
        } else {
            free_bytes
        };
        self.free_bytes.store(free_bytes, Ordering::Relaxed);
    }

    /// What was free at the last look.
    pub(crate) fn free_bytes(&self) -> Option<u64> {
        let free_bytes = self.free_bytes.load(Ordering::Relaxed);
        (free_bytes != NOT_LOOKED_AT).then_some(free_bytes)
    }

    /// Fails unless the disk has room for so many bytes beside what journals need meanwhile: commits come before
    /// checkpoints. Waits for the disk.
    pub(crate) fn check_room(&self, size_bytes: u64) -> io::Result<()> {
        self.measure_free_bytes();
        let needed_bytes = size_bytes.saturating_add(JOURNAL_ROOM_BYTES);
        if self
            .free_bytes()
            .is_none_or(|free_bytes| free_bytes >= needed_bytes)
        {
            return Ok(());
        }
        Err(io::ErrorKind::StorageFull.into())
    }

    /// Where the journal files are.
    pub(crate) fn journal_dir(&self) -> PathBuf {
        self.path.join(JOURNAL_NAME)
    }

    /// Where a RocksDB is or will be.
    pub(crate) fn database_dir(&self, id: DatabaseId) -> PathBuf {
        self.path.join(format!("{DATABASE_PREFIX}{id}"))
    }

    /// Where a checkpoint is or will be.
    pub(crate) fn checkpoint_dir(&self, sequence: u64) -> PathBuf {
        self.path.join(format!("{CHECKPOINT_PREFIX}{sequence:020}"))
    }

    /// Where RocksDB links its files before they are copied to other disks.
    pub(crate) fn checkpoint_build_dir(&self) -> PathBuf {
        self.path
            .join(format!("checkpoint-build{UNFINISHED_SUFFIX}"))
    }

    /// The checkpoints here by sequence, newest first.
    pub(crate) fn checkpoints(&self) -> io::Result<Vec<(u64, PathBuf)>> {
        let mut checkpoints = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let path = entry?.path();
            let sequence = path
                .file_name()
                .and_then(|name| name.to_str()?.strip_prefix(CHECKPOINT_PREFIX)?.parse().ok());
            checkpoints.extend(sequence.map(|sequence| (sequence, path)));
        }
        checkpoints.sort_unstable_by(|a, b| b.cmp(a));
        Ok(checkpoints)
    }

    /// Removes what a crash or a full disk left unfinished, and every RocksDB but `live`.
    pub(crate) fn remove_leftovers(&self, live: Option<DatabaseId>) -> io::Result<()> {
        journal_copy::remove_unfinished(&self.journal_dir())?;
        let live = live.map(|id| self.database_dir(id));
        for entry in fs::read_dir(&self.path)? {
            let path = entry?.path();
            let name = path
                .file_name()
                .and_then(|name| name.to_str())
                .unwrap_or_default();
            let is_database = name.starts_with(DATABASE_PREFIX) && live.as_ref() != Some(&path);
            let is_unfinished =
                name.starts_with(CHECKPOINT_PREFIX) && name.ends_with(UNFINISHED_SUFFIX);
            if is_database || is_unfinished {
                durable_file::remove_dir_all(&path)?;
            }
        }
        Ok(())
    }

    /// Moves a history that is not continued out of the way, into a directory that could be a place again; returns where
    /// it is, if there was anything. Nobody knows which of two histories is the one that people want back, so the last
    /// that lost is kept; one that lost before it is removed.
    ///
    /// Interrupted, it goes on at the next start: the place's own file is what was moved away, until a new roster is
    /// written over it.
    pub(crate) fn set_aside(&self, epoch: u64) -> io::Result<Option<PathBuf>> {
        let mut superseded = Vec::new();
        let mut older = Vec::new();
        let target = self.path.join(format!("{SUPERSEDED_PREFIX}{epoch}"));
        for entry in fs::read_dir(&self.path)? {
            let path = entry?.path();
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
                continue;
            };
            if name == JOURNAL_NAME
                || [DATABASE_PREFIX, CHECKPOINT_PREFIX]
                    .iter()
                    .any(|prefix| name.starts_with(prefix))
            {
                superseded.push((target.join(name), path));
            } else if name.starts_with(SUPERSEDED_PREFIX) && path != target {
                older.push(path);
            }
        }
        if superseded.is_empty() {
            return Ok(None);
        }
        durable_file::create_dir(&target)?;
        let file = fs::read(self.path.join(PLACE_FILE_NAME))?;
        durable_file::replace_file(&target.join(PLACE_FILE_NAME), &file)?;
        for (to, from) in superseded {
            durable_file::rename(&from, &to)?;
        }
        for path in older {
            durable_file::remove_dir_all(&path)?;
        }
        Ok(Some(target))
    }

    /// Removes journal, checkpoints and databases: before this place becomes a copy from scratch. Only called for
    /// places that the newest roster does not list as holders, and whose history is continued by the holders.
    pub(crate) fn wipe_copy(&self) -> io::Result<()> {
        self.remove_leftovers(None)?;
        for (_, checkpoint) in self.checkpoints()? {
            durable_file::remove_dir_all(&checkpoint)?;
        }
        durable_file::remove_dir_all(&self.journal_dir())?;
        durable_file::create_dir(&self.journal_dir())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_claimed_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("place");
        let place = Place::claim(&path, [7; 16]).unwrap();
        let id = place.id;
        drop(place);
        let again = Place::claim(&path, [7; 16]).unwrap_err();
        assert!(matches!(again, OpenError::InUse { .. }), "{again}");
        let Ok(Sight::Known(place, _)) = inspect(&path, [7; 16]) else {
            panic!("it is a place");
        };
        assert_eq!(place.id, id);
    }

    #[test]
    fn what_was_not_finished_is_removed_and_what_was_stays() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::claim(&dir.path().join("place"), [7; 16]).unwrap();
        place.remove_leftovers(None).unwrap();
        durable_file::create_dir(&place.journal_dir()).unwrap();
        let names = [
            "00000000000000000001.journal",
            "00000000000000000001.journal.tmp",
            "spare-new",
            "spare-new.tmp",
        ];
        let paths = names.map(|name| place.journal_dir().join(name));
        for path in &paths {
            durable_file::replace_file(path, b"").unwrap();
        }
        place.remove_leftovers(None).unwrap();
        let stays = paths.map(|path| path.exists());
        assert_eq!(stays, [true, false, true, false]);
    }
}
