//! Why a start is refused: each message names the directory and says what to do.

use std::path::{Path, PathBuf};

use cairn_storage_node::{ClusterId, DiskId, IdentityError};

/// What is wrong with the data directories. Nothing was changed on any of them.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DisksError {
    /// A directory holds something else.
    #[error("{} is not empty and not a Cairn disk (it holds {stranger}, for example); give an empty directory, or the one you meant", path.display())]
    Occupied {
        /// The directory.
        path: PathBuf,
        /// What is in it.
        stranger: String,
    },
    /// Two directories are the same disk.
    #[error("{} and {} are the same disk ({disk_id}); give each disk once, and never work on a copy of one", first.display(), second.display())]
    Twice {
        /// One directory.
        first: PathBuf,
        /// The other.
        second: PathBuf,
        /// The identity in both.
        disk_id: DiskId,
    },
    /// Two directories are one.
    #[error("{} and {} are the same directory; give each disk once", first.display(), second.display())]
    SameDirectory {
        /// One spelling.
        first: PathBuf,
        /// The other.
        second: PathBuf,
    },
    /// A directory is on the disk of another.
    #[error(
        "{} is inside of {}, on the same file system; give directories that are not inside of each other, best one for each \
         physical disk. Nothing was changed",
        inner.display(), outer.display()
    )]
    Nested {
        /// The directory.
        inner: PathBuf,
        /// The one that it is in.
        outer: PathBuf,
    },
    /// Disks of two clusters.
    #[error(
        "{} belongs to cluster {found} and {} to cluster {expected}; attach each disk to its own cluster (the identity is in cairn-disk.json)",
        path.display(), other.display()
    )]
    TwoClusters {
        /// One directory.
        path: PathBuf,
        /// Its cluster.
        found: ClusterId,
        /// The other directory.
        other: PathBuf,
        /// Its cluster.
        expected: ClusterId,
    },
    /// Disks of another cluster than this process is configured for.
    #[error(
        "these disks belong to cluster {found}, and this process to cluster {expected}; check cluster_secret, or set \
         cluster_id. Nothing was changed"
    )]
    OtherCluster {
        /// Theirs.
        found: ClusterId,
        /// That of the configuration.
        expected: ClusterId,
    },
    /// The path is neither there nor known.
    #[error("{} does not exist and was no disk of this store before; create the directory to add a disk, or correct the path", path.display())]
    Unknown {
        /// The path.
        path: PathBuf,
    },
    /// The disk that was here is elsewhere, and there is no other one.
    #[error(
        "{}: {reason}, and the disk that was there is in another of the directories now; mount a disk there, or leave the \
         directory out. Nothing was changed",
        path.display()
    )]
    Vacated {
        /// The path.
        path: PathBuf,
        /// What is there instead.
        reason: String,
    },
    /// A new disk that is not mounted.
    #[error(
        "no file system is mounted at {}, and /etc/fstab names one for it or for a directory above; mount it and start again, \
         or take the line out to use what is below. Nothing was changed",
        path.display()
    )]
    Unmounted {
        /// The path.
        path: PathBuf,
    },
    /// More disks are away than may be.
    #[error(
        "{} disks of this store are not there, and only {allowed} may be missing: {}; mount them and start again. Nothing was changed",
        missing.len(), list(missing)
    )]
    TooManyMissing {
        /// Where they were.
        missing: Vec<PathBuf>,
        /// How many may be.
        allowed: usize,
    },
    /// An identity file cannot be used.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// A file or directory cannot be used.
    #[error("{}: {source}; check the disk, the mount and the permissions", path.display())]
    Io {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// No copy of the list of disks makes sense.
    #[error(
        "{} cannot be used, and no other disk has a copy: {detail}. It lists the disks of this process, so that a missing \
         one is noticed. If a newer version of Cairn wrote it, start that; otherwise see that all disks are there, delete \
         it, and start again: it is made anew. Nothing was changed",
        path.display()
    )]
    DamagedRoster {
        /// Which one.
        path: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
}

impl DisksError {
    pub(crate) fn io(path: &Path, source: std::io::Error) -> Self {
        Self::Io {
            path: path.to_owned(),
            source,
        }
    }
}

/// Paths as they stand in a sentence.
pub(crate) fn list(paths: &[PathBuf]) -> String {
    paths
        .iter()
        .map(|path| path.display().to_string())
        .collect::<Vec<_>>()
        .join(", ")
}
