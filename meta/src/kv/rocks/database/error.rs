//! Why RocksDB did not do it, to the store and to its readers.

use std::path::PathBuf;

use rocksdb::ErrorKind;

use super::super::record::MalformedPayload;
use crate::kv::KvError;

/// Why RocksDB did not do it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DatabaseError {
    /// RocksDB failed.
    #[error("RocksDB in {path}: {source}")]
    Rocks {
        /// Its directory.
        path: PathBuf,
        /// What it says.
        source: rocksdb::Error,
    },
    /// A journal record cannot be understood.
    #[error(transparent)]
    Payload(#[from] MalformedPayload),
    /// Our own record in it cannot be understood.
    #[error("RocksDB in {path} holds no valid record of what was applied")]
    Applied {
        /// Its directory.
        path: PathBuf,
    },
}

/// Why a read gave nothing.
#[derive(Debug)]
pub(crate) enum ReadError {
    /// What is in memory does not tell, and the disk was not asked or has not answered.
    NeedsDisk,
    /// RocksDB failed.
    Failed(KvError),
}

impl From<ReadError> for KvError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::NeedsDisk => Self::Unavailable {
                detail: "the disk did not answer in time".to_owned(),
            },
            ReadError::Failed(error) => error,
        }
    }
}

/// What a reader is told.
pub(super) fn read_error(error: &rocksdb::Error) -> KvError {
    match error.kind() {
        ErrorKind::Corruption => KvError::Corrupt {
            detail: error.to_string(),
        },
        _ => KvError::Unavailable {
            detail: error.to_string(),
        },
    }
}
