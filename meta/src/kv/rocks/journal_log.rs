//! The log of one place: its journal files as one run of records.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::database::{Applied, Database, DatabaseError};
use super::journal_copy;
use super::journal_file::{JournalFile, file_name};
use super::record::Salt;
use crate::durable_file;

/// A whole log: from `first` on, each record follows the one before.
#[derive(Debug, Clone)]
pub(crate) struct JournalLog {
    /// Its files, ascending.
    pub(crate) files: Vec<LogFile>,
}

/// One file of a log.
#[derive(Debug, Clone)]
pub(crate) struct LogFile {
    /// Where.
    pub(crate) path: PathBuf,
    /// Its first record, if it has one.
    pub(crate) first_sequence: u64,
    /// One above its last record.
    pub(crate) next_sequence: u64,
    salt: Salt,
    last_hash: Option<[u8; 32]>,
}

/// Why a place's journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LogError {
    /// Bytes are missing or changed in the middle.
    #[error("{path} is damaged: {detail}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// It cannot be read.
    #[error("{path}: {source}")]
    Io {
        /// The directory.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// RocksDB holds a record that the log has differently: they are of two histories.
    #[error("RocksDB and the journal in {path} disagree about record {sequence}")]
    Diverged {
        /// The file.
        path: PathBuf,
        /// The record.
        sequence: u64,
    },
    /// RocksDB failed.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl LogFile {
    /// Reads and verifies the file that begins with `first_sequence`.
    fn read(dir: &Path, first_sequence: u64, cluster_id: [u8; 16]) -> Result<Self, LogError> {
        let path = dir.join(file_name(first_sequence));
        let damaged = |detail: String| LogError::Damaged {
            path: path.clone(),
            detail,
        };
        let file = JournalFile::read(&path)
            .map_err(|source| LogError::Io {
                path: dir.to_owned(),
                source,
            })?
            .filter(|file| {
                file.head.first_sequence == first_sequence && file.head.cluster_id == cluster_id
            })
            .ok_or_else(|| damaged("its header is not valid".to_owned()))?;
        let extent = file.extent();
        if extent.is_damaged {
            return Err(damaged(format!(
                "record {} is not valid, later ones are",
                extent.next_sequence
            )));
        }
        Ok(Self {
            first_sequence,
            next_sequence: extent.next_sequence,
            salt: file.head.salt,
            last_hash: file.records().last().map(|record| record.hash),
            path,
        })
    }

    fn ends_early(&self) -> LogError {
        LogError::Damaged {
            path: self.path.clone(),
            detail: format!("it ends before record {}", self.next_sequence),
        }
    }
}

/// Reads the file that begins with `first_sequence`, from the disk, and fails unless all records before `next_sequence`,
/// with which the next file begins, are in it; returns its size. `progress` is called with that first, and may wait or
/// fail.
pub(crate) fn verify_closed(
    dir: &Path,
    (first_sequence, next_sequence): (u64, u64),
    cluster_id: [u8; 16],
    progress: &mut dyn FnMut(usize) -> io::Result<()>,
) -> Result<u64, LogError> {
    let path = dir.join(file_name(first_sequence));
    let mut prepare = || {
        let size_bytes = fs::metadata(&path)?.len();
        progress(usize::try_from(size_bytes).unwrap_or(usize::MAX))?;
        durable_file::forget_cached(&path)?;
        Ok(size_bytes)
    };
    let size_bytes = prepare().map_err(|source| LogError::Io {
        path: path.clone(),
        source,
    })?;
    let file = LogFile::read(dir, first_sequence, cluster_id)?;
    if file.next_sequence == next_sequence {
        Ok(size_bytes)
    } else {
        Err(file.ends_early())
    }
}

impl From<LogError> for io::Error {
    fn from(error: LogError) -> Self {
        match error {
            LogError::Io { source, .. } => source,
            other => Self::new(io::ErrorKind::InvalidData, other),
        }
    }
}

impl JournalLog {
    /// Reads and verifies all journal files in `dir`.
    pub(crate) fn read(dir: &Path, cluster_id: [u8; 16]) -> Result<Self, LogError> {
        let failed = |source| LogError::Io {
            path: dir.to_owned(),
            source,
        };
        let mut files: Vec<LogFile> = Vec::new();
        for first_sequence in journal_copy::list(dir).map_err(failed)? {
            let file = LogFile::read(dir, first_sequence, cluster_id)?;
            if let Some(before) = files
                .last()
                .filter(|before| before.next_sequence != first_sequence)
            {
                return Err(before.ends_early());
            }
            files.push(file);
        }
        if files.is_empty() {
            return Err(LogError::Damaged {
                path: dir.to_owned(),
                detail: "it has no journal files".to_owned(),
            });
        }
        Ok(Self { files })
    }

    /// Sequence of the oldest record it may hold.
    pub(crate) fn first(&self) -> u64 {
        self.files.first().map_or(0, |file| file.first_sequence)
    }

    /// One above its last record.
    pub(crate) fn next(&self) -> u64 {
        self.files.last().map_or(0, |file| file.next_sequence)
    }

    /// Whether it holds all that follows `sequence`.
    pub(crate) fn continues(&self, sequence: u64) -> bool {
        self.first() <= sequence + 1
    }

    /// Whether no file that both have shows another history.
    pub(crate) fn agrees_with(&self, other: &Self) -> bool {
        self.files.iter().all(|file| {
            other
                .files
                .iter()
                .filter(|twin| twin.first_sequence == file.first_sequence)
                .all(|twin| {
                    let is_same_length = twin.next_sequence == file.next_sequence;
                    twin.salt == file.salt && (!is_same_length || twin.last_hash == file.last_hash)
                })
        })
    }

    /// Applies all records that `database` lacks, through the last; returns how many.
    pub(crate) fn replay_into(&self, database: &Database) -> Result<u64, LogError> {
        let mut applied = database.applied()?;
        let mut record_count = 0;
        let start = applied.sequence;
        for file in self.files.iter().filter(|file| file.next_sequence > start) {
            let damaged = |detail: String| LogError::Damaged {
                path: file.path.clone(),
                detail,
            };
            let read = JournalFile::read(&file.path)
                .map_err(|source| LogError::Io {
                    path: file.path.clone(),
                    source,
                })?
                .ok_or_else(|| damaged("its header is not valid any more".to_owned()))?;
            for record in read.records() {
                if record.sequence == applied.sequence && record.hash != applied.hash {
                    return Err(LogError::Diverged {
                        path: file.path.clone(),
                        sequence: record.sequence,
                    });
                }
                if record.sequence == applied.sequence + 1 {
                    applied = Applied {
                        sequence: record.sequence,
                        hash: record.hash,
                    };
                    database.apply(record.payload, applied)?;
                    record_count += 1;
                }
            }
            // It was whole when the log was read: what does not verify any more is no end.
            if applied.sequence + 1 < file.next_sequence {
                return Err(damaged(format!(
                    "record {} is not valid any more",
                    applied.sequence + 1
                )));
            }
        }
        Ok(record_count)
    }
}

#[cfg(test)]
mod tests {
    use super::super::database::{Missing, block_cache};
    use super::super::journal_copy::{DirectoryJournal, JournalCopy};
    use super::super::journal_file::{FILE_HEAD_BYTES, FileHead};
    use super::super::record::RecordBuilder;
    use super::super::tests::flip_bit;
    use super::*;
    use crate::kv::Write;

    const CLUSTER: [u8; 16] = [7; 16];
    /// Each of the log's records.
    const RECORD_BYTES: usize = 56 + 1 + 4 + 3;

    /// A log of three records in a directory, and an empty database.
    fn log_and_database(dir: &Path) -> (JournalLog, Database) {
        let mut journal = DirectoryJournal::open(dir, 16 << 10).unwrap();
        let head = FileHead {
            cluster_id: CLUSTER,
            salt: [1; 16],
            epoch: 1,
            first_sequence: 1,
        };
        journal.rotate(&head, 16 << 10).unwrap();
        for sequence in 1..=3 {
            let mut builder = RecordBuilder::new();
            builder.push(&Write::Delete { key: "key".into() });
            let frame = builder.finish(&head.salt, 1, sequence);
            journal.append(&frame.bytes).unwrap();
        }
        let log = JournalLog::read(dir, CLUSTER).unwrap();
        let cache = block_cache(1 << 20);
        let database = Database::open(&dir.join("db"), Missing::Create, &cache).unwrap();
        (log, database)
    }

    #[test]
    fn a_log_is_replayed_through_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let (log, database) = log_and_database(dir.path());
        assert_eq!(log.replay_into(&database).unwrap(), 3);
        assert_eq!(database.applied().unwrap().sequence, 3);
        assert_eq!(log.replay_into(&database).unwrap(), 0);
    }

    /// In the header, and in each of the records, the last one too.
    #[test]
    fn what_cannot_be_read_any_more_is_not_taken_for_the_end_of_the_log() {
        let records = [0, 1, 2].map(|index| FILE_HEAD_BYTES + index * RECORD_BYTES);
        for offset in std::iter::once(0).chain(records) {
            let dir = tempfile::tempdir().unwrap();
            let (log, database) = log_and_database(dir.path());
            flip_bit(&dir.path().join(file_name(1)), offset);
            let outcome = log.replay_into(&database);
            assert!(
                matches!(outcome, Err(LogError::Damaged { .. })),
                "offset {offset}: {outcome:?}"
            );
        }
    }
}
