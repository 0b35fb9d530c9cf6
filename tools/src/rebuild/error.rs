//! Why metadata were not rebuilt. Each message says what to do.

use std::path::{Path, PathBuf};

use cairn_gateway::recovery::RecoveryError;
use cairn_meta::kv::rocks::OpenError;

use crate::command::CommandError;
use crate::local_disks::DisksError;

/// What kept it from being done. Nothing that was there was changed.
#[derive(Debug, thiserror::Error)]
pub(super) enum RebuildError {
    /// There is nothing to rebuild from.
    #[error(
        "none of the data directories is a disk of a store; give the directories that `cairn serve` was given"
    )]
    NoDisks,
    /// There are metadata.
    #[error(
        "{} holds metadata, which are newer and more than any rebuild can give: start `cairn serve`, which restores them \
         from any good copy. Only if it says that it cannot, move this directory away (do not delete it) and try again. \
         Nothing was changed",
        place.display()
    )]
    Exists {
        /// Where.
        place: PathBuf,
    },
    /// The data directories.
    #[error(transparent)]
    Disks(#[from] DisksError),
    /// The new metadata directory.
    #[error(transparent)]
    Database(#[from] OpenError),
    /// Reading or writing.
    #[error(transparent)]
    Recovery(#[from] RecoveryError),
    /// A file or directory cannot be used.
    #[error("{}: {source}; check the disk, the mount and the permissions", path.display())]
    Io {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A part of the program failed in a way it should not.
    #[error("{0}")]
    Internal(String),
}

impl RebuildError {
    pub(super) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }
}

impl From<RebuildError> for CommandError {
    fn from(error: RebuildError) -> Self {
        Self::failed(error.to_string())
    }
}
