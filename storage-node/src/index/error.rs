//! Why the index could not answer, and whether the index itself is to blame.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rocksdb::ErrorKind;
use rustix::io::Errno;

use crate::durable_file::{FULL, SHORTAGES, is_full, is_shortage, is_unreadable};

/// Why the index could not answer.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum IndexError {
    /// RocksDB refused.
    #[error("index: {0}")]
    Database(#[from] rocksdb::Error),
    /// A value is not one of ours.
    #[error("index: a value of {0} cannot be read")]
    Value(&'static str),
    /// The file system refused, beside what RocksDB does.
    #[error("{path}: {source}")]
    Io {
        path: PathBuf,
        source: Arc<io::Error>,
    },
}

impl IndexError {
    /// Whether the process or the machine is short of something: then nothing is wrong with the index.
    pub(crate) fn is_shortage(&self) -> bool {
        match self {
            Self::Database(error) => names_one_of(&SHORTAGES, error.as_ref()),
            Self::Io { source, .. } => is_shortage(source),
            Self::Value(_) => false,
        }
    }

    /// Whether the disk has no room: then nothing is wrong with the index either.
    pub(crate) fn is_full(&self) -> bool {
        match self {
            Self::Database(error) => names_one_of(&FULL, error.as_ref()),
            Self::Io { source, .. } => is_full(source),
            Self::Value(_) => false,
        }
    }

    /// Whether the file system takes no writes: then nothing is wrong with the index either.
    pub(crate) fn is_read_only(&self) -> bool {
        match self {
            Self::Database(error) => names_one_of(&[Errno::ROFS], error.as_ref()),
            Self::Io { source, .. } => Errno::from_io_error(source) == Some(Errno::ROFS),
            Self::Value(_) => false,
        }
    }

    /// Whether RocksDB has no room and looks for some by itself, every five seconds: until then it refuses to be written to,
    /// and loses nothing. Where a quota is used up it does not look, and refuses until it is opened again.
    pub(crate) fn waits_for_room(&self) -> bool {
        match self {
            Self::Database(error) => names_one_of(&[Errno::NOSPC], error.as_ref()),
            Self::Io { .. } | Self::Value(_) => false,
        }
    }

    /// Whether an index that cannot be opened or caught up is at fault itself, so that a new one in its place helps. A full
    /// disk, one that takes no writes, or somebody else's lock leave it as good as it was. So may a disk that cannot read it
    /// now, and a new one costs reading all of the disk.
    pub(crate) fn is_damage(&self) -> bool {
        if self.is_shortage() || self.is_unreadable() {
            return false;
        }
        match self {
            Self::Database(error) => match error.kind() {
                ErrorKind::Corruption
                | ErrorKind::InvalidArgument
                | ErrorKind::NotFound
                | ErrorKind::NotSupported => true,
                // Of a file that is not there.
                ErrorKind::IOError => names_one_of(&[Errno::NOENT], error.as_ref()),
                _ => false,
            },
            Self::Value(_) => true,
            Self::Io { .. } => false,
        }
    }

    /// Whether the disk did not give what was asked for.
    fn is_unreadable(&self) -> bool {
        match self {
            Self::Database(error) => names_one_of(&[Errno::IO], error.as_ref()),
            Self::Io { source, .. } => is_unreadable(source),
            Self::Value(_) => false,
        }
    }

    pub(super) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        |source| Self::Io {
            path: path.to_owned(),
            source: Arc::new(source),
        }
    }
}

/// RocksDB passes the errno of a system call on as text alone, at the end of its message: of an I/O error, or of corruption
/// that it inferred from one.
fn names_one_of(errnos: &[Errno], message: &str) -> bool {
    let message = message.trim_end();
    errnos.iter().any(|errno| {
        let text = io::Error::from(*errno).to_string();
        // Without the number that Rust adds.
        let text = text.split(" (os error").next();
        text.is_some_and(|text| message.ends_with(text))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shortage_and_a_full_disk_are_known_by_what_rocksdb_says_of_them() {
        for (message, is_shortage, is_full) in [
            (
                "IO error: While open a file for random read: /d/index/000012.sst: Too many open files",
                true,
                false,
            ),
            (
                "IO error: While open a file for appending: /d: Too many open files in system",
                true,
                false,
            ),
            (
                "IO error: While mmap: /d: Cannot allocate memory",
                true,
                false,
            ),
            (
                "IO error: No space left on device: While appending to file: /d/index/000012.sst: No space left on device",
                false,
                true,
            ),
            (
                "IO error: While appending to file: /d/index/000012.sst: Disk quota exceeded",
                false,
                true,
            ),
            (
                "IO error: While pread: /d: Input/output error",
                false,
                false,
            ),
            ("Corruption: block checksum mismatch", false, false),
        ] {
            assert_eq!(names_one_of(&SHORTAGES, message), is_shortage, "{message}");
            assert_eq!(names_one_of(&FULL, message), is_full, "{message}");
        }
    }
}
