//! Makes a RocksDB anew from a copy: its newest usable checkpoint, and the journal from there on.

use std::io;
use std::path::Path;

use rocksdb::Cache;

use super::checkpoint;
use super::database::{Applied, Database, DatabaseError, Missing};
use super::journal_log::{JournalLog, LogError};
use super::place::Place;
use super::roster::DatabaseId;
use crate::durable_file;

/// A restored database, not yet on any roster.
#[derive(Debug)]
pub(crate) struct Restored {
    pub(crate) id: DatabaseId,
    pub(crate) database: Database,
    pub(crate) applied: Applied,
}

/// Why a copy did not yield a database.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RestoreError {
    /// The journal cannot be used.
    #[error(transparent)]
    Log(#[from] LogError),
    /// Files cannot be read or written, or do not verify.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// RocksDB failed.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// There is a journal, but nothing that it continues.
    #[error("the journal begins with record {first}, and there is no checkpoint before it")]
    NoCheckpoint {
        /// Its first record.
        first: u64,
    },
}

/// Restores from `source` into a new database directory of `target` (which may be the same place).
pub(crate) fn restore(
    source: &Place,
    target: &Place,
    cluster_id: [u8; 16],
    cache: &Cache,
) -> Result<Restored, RestoreError> {
    let log = JournalLog::read(&source.journal_dir(), cluster_id)?;
    let mut last_error = None;
    for (_, dir) in source.checkpoints()? {
        match restore_from(Some(&dir), &log, target, cluster_id, cache) {
            Ok(restored) => return Ok(restored),
            Err(error) => last_error = Some(error),
        }
    }
    match last_error {
        _ if log.continues(0) => restore_from(None, &log, target, cluster_id, cache),
        Some(error) => Err(error),
        None => Err(RestoreError::NoCheckpoint { first: log.first() }),
    }
}

fn restore_from(
    checkpoint: Option<&Path>,
    log: &JournalLog,
    target: &Place,
    cluster_id: [u8; 16],
    cache: &Cache,
) -> Result<Restored, RestoreError> {
    let id = DatabaseId::random();
    let dir = target.database_dir(id);
    match restore_into(&dir, checkpoint, log, cluster_id, cache) {
        Ok((database, applied)) => Ok(Restored {
            id,
            database,
            applied,
        }),
        Err(error) => {
            remove(&dir);
            Err(error)
        }
    }
}

fn restore_into(
    dir: &Path,
    checkpoint: Option<&Path>,
    log: &JournalLog,
    cluster_id: [u8; 16],
    cache: &Cache,
) -> Result<(Database, Applied), RestoreError> {
    let missing = match checkpoint {
        Some(checkpoint) => {
            checkpoint::restore(checkpoint, cluster_id, dir)?;
            Missing::Refuse
        }
        None => Missing::Create,
    };
    let database = Database::open(dir, missing, cache)?;
    if !log.continues(database.applied()?.sequence) {
        return Err(RestoreError::NoCheckpoint { first: log.first() });
    }
    log.replay_into(&database)?;
    let applied = database.applied()?;
    Ok((database, applied))
}

impl Restored {
    /// Removes what nobody can use, so that attempts do not add up.
    pub(crate) fn discard(self) {
        let dir = self.database.path().to_owned();
        drop(self.database);
        remove(&dir);
    }
}

/// Removes a database directory that came to nothing, complete or not. What is left is removed at the next start.
fn remove(dir: &Path) {
    for dir in [dir, &checkpoint::unfinished(dir)] {
        if let Err(error) = durable_file::remove_dir_all(dir) {
            tracing::warn!(path = %dir.display(), %error, "a restored metadata database that is of no use was not removed");
        }
    }
}
