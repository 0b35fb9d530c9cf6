//! Who a disk is: `cairn-disk.json` in its directory, written once when the disk is adopted.
//!
//! The file is JSON with exactly these fields:
//! ```json
//! {"format_version":1,"disk_id":"32 hex digits","cluster_id":"32 hex digits","created_at_ms":1700000000000}
//! ```
//! It is never rewritten: a file that cannot be understood stops the start instead of being replaced, because
//! behind it may be somebody's data. An exclusive `flock` on the same file keeps a second process, or a second
//! mount of the same directory, away.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use cairn_rpc::random::random_bytes;
use rustix::fs::FlockOperation;
use rustix::io::Errno;

use crate::{ClusterId, DiskId, durable_file};

/// Name of the identity file in a disk's directory.
pub const IDENTITY_FILE_NAME: &str = "cairn-disk.json";

/// The identity file before it has its name: all that is left in a directory where a crash or a full disk interrupted
/// [`DiskIdentity::create`]. The next attempt removes it.
pub const IDENTITY_DRAFT_NAME: &str = "cairn-disk.draft";

/// The only layout of a disk's directory that this program knows.
const FORMAT_VERSION: u32 = 1;

/// The identity is a few hundred bytes; whatever is larger is something else.
const IDENTITY_SIZE_BYTES_MAX: u64 = 64 << 10;

/// What is written in a disk's identity file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskIdentity {
    /// The disk itself; random.
    pub disk_id: DiskId,
    /// The cluster that adopted it.
    pub cluster_id: ClusterId,
    /// When, in milliseconds since the Unix epoch.
    pub created_at_ms: u64,
}

/// Why a disk's directory was refused. Every message names the file and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// The directory has no identity: it was never adopted, or another file system is mounted there.
    #[error(
        "{path} does not exist: the directory is not a Cairn disk; check that the right file system is mounted, or adopt it as a new disk"
    )]
    Missing {
        /// The identity file.
        path: PathBuf,
    },
    /// The file is not an identity.
    #[error(
        "{path} is damaged ({detail}); restore it from a copy, or move the whole directory away to start with an empty disk. Nothing was changed"
    )]
    Damaged {
        /// The identity file.
        path: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
    /// Written by a newer program.
    #[error(
        "{path} has format version {found}, this program knows up to {FORMAT_VERSION}; start a newer version of Cairn"
    )]
    NewerFormat {
        /// The identity file.
        path: PathBuf,
        /// The version found.
        found: u32,
    },
    /// The disk belongs to another cluster.
    #[error(
        "{path} belongs to cluster {found}, this is cluster {expected}; attach the disk to its own cluster, or move the directory away"
    )]
    OtherCluster {
        /// The identity file.
        path: PathBuf,
        /// The cluster named there.
        found: ClusterId,
        /// Ours.
        expected: ClusterId,
    },
    /// Another disk was expected at this place.
    #[error(
        "{path} is disk {found}, but disk {expected} was expected here; check which file system is mounted"
    )]
    OtherDisk {
        /// The identity file.
        path: PathBuf,
        /// The disk named there.
        found: DiskId,
        /// The one expected.
        expected: DiskId,
    },
    /// A process holds the lock.
    #[error(
        "{path} is locked: the disk is in use by another process, or given twice; stop the other one first"
    )]
    InUse {
        /// The identity file.
        path: PathBuf,
    },
    /// The directory already is a disk.
    #[error("{path} exists already: the directory is a Cairn disk and will not be formatted again")]
    AlreadyFormatted {
        /// The identity file.
        path: PathBuf,
    },
    /// The file system refused.
    #[error(
        "{path} cannot be accessed: {source}; check that the file system is mounted and the permissions"
    )]
    Io {
        /// The identity file or directory.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

impl DiskIdentity {
    /// The identity of the disk in `directory`; `None` if there is no identity file (or no directory).
    ///
    /// # Errors
    /// [`IdentityError::Damaged`], [`IdentityError::NewerFormat`], [`IdentityError::Io`].
    pub fn read(directory: &Path) -> Result<Option<Self>, IdentityError> {
        let path = directory.join(IDENTITY_FILE_NAME);
        match File::open(&path) {
            Ok(file) => Self::parse(file, path).map(Some),
            Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(IdentityError::Io { path, source }),
        }
    }

    /// Makes `directory` (created if missing, its parent must exist) a disk with a fresh random id.
    ///
    /// # Errors
    /// [`IdentityError::AlreadyFormatted`], [`IdentityError::Io`].
    pub fn create(
        directory: &Path,
        cluster_id: ClusterId,
        now_ms: u64,
    ) -> Result<Self, IdentityError> {
        let path = directory.join(IDENTITY_FILE_NAME);
        let identity = Self {
            disk_id: DiskId(random_bytes()),
            cluster_id,
            created_at_ms: now_ms,
        };
        let publish = || {
            durable_file::create_dir(directory)?;
            durable_file::publish_file(&path, identity.to_json().as_bytes())
        };
        match publish() {
            Ok(()) => Ok(identity),
            Err(err) if err.kind() == io::ErrorKind::AlreadyExists => {
                Err(IdentityError::AlreadyFormatted { path })
            }
            Err(source) => Err(IdentityError::Io { path, source }),
        }
    }

    fn to_json(self) -> String {
        serde_json::json!({
            "format_version": FORMAT_VERSION,
            "disk_id": self.disk_id.to_string(),
            "cluster_id": self.cluster_id.to_string(),
            "created_at_ms": self.created_at_ms,
        })
        .to_string()
    }

    fn parse(mut file: File, path: PathBuf) -> Result<Self, IdentityError> {
        let mut text = Vec::new();
        match file
            .by_ref()
            .take(IDENTITY_SIZE_BYTES_MAX)
            .read_to_end(&mut text)
        {
            Ok(_) => Self::from_json(&text).map_err(|fault| fault.at(path)),
            Err(source) => Err(IdentityError::Io { path, source }),
        }
    }

    fn from_json(text: &[u8]) -> Result<Self, Fault> {
        // The version is looked at first and alone: a newer file may have other fields.
        let Version { format_version } =
            serde_json::from_slice(text).map_err(|err| Fault::Damaged(err.to_string()))?;
        if format_version > FORMAT_VERSION {
            return Err(Fault::Newer(format_version));
        }
        let fields: Fields =
            serde_json::from_slice(text).map_err(|err| Fault::Damaged(err.to_string()))?;
        Ok(Self {
            disk_id: fields
                .disk_id
                .parse()
                .map_err(|err| Fault::Damaged(format!("disk_id: {err}")))?,
            cluster_id: fields
                .cluster_id
                .parse()
                .map_err(|err| Fault::Damaged(format!("cluster_id: {err}")))?,
            created_at_ms: fields.created_at_ms,
        })
    }
}

/// The identity of a disk that this process holds alone, for as long as the value lives.
#[derive(Debug)]
pub(crate) struct LockedIdentity {
    pub(crate) identity: DiskIdentity,
    path: PathBuf,
    file: File,
}

impl LockedIdentity {
    /// Takes the lock and reads the identity.
    pub(crate) fn acquire(directory: &Path) -> Result<Self, IdentityError> {
        let path = directory.join(IDENTITY_FILE_NAME);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(err) if err.kind() == io::ErrorKind::NotFound => {
                return Err(IdentityError::Missing { path });
            }
            Err(source) => return Err(IdentityError::Io { path, source }),
        };
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Err(IdentityError::InUse { path }),
            Err(errno) => {
                return Err(IdentityError::Io {
                    path,
                    source: errno.into(),
                });
            }
        }
        let reader = file.try_clone().map_err(|source| IdentityError::Io {
            path: path.clone(),
            source,
        })?;
        let identity = DiskIdentity::parse(reader, path.clone())?;
        Ok(Self {
            identity,
            path,
            file,
        })
    }

    /// Refuses a disk of another cluster, or another disk than the expected one.
    pub(crate) fn expect(
        &self,
        cluster: ClusterId,
        disk: Option<DiskId>,
    ) -> Result<(), IdentityError> {
        if self.identity.cluster_id != cluster {
            let path = self.path.clone();
            return Err(IdentityError::OtherCluster {
                path,
                found: self.identity.cluster_id,
                expected: cluster,
            });
        }
        match disk {
            Some(expected) if expected != self.identity.disk_id => Err(IdentityError::OtherDisk {
                path: self.path.clone(),
                found: self.identity.disk_id,
                expected,
            }),
            _ => Ok(()),
        }
    }

    /// Fails if the path no longer leads to the file that was locked: the directory was removed, replaced, or
    /// another file system was mounted over it.
    pub(crate) fn check_in_place(&self) -> Result<(), String> {
        let held = rustix::fs::fstat(&self.file)
            .map_err(|errno| format!("{}: {errno}", self.path.display()))?;
        match rustix::fs::stat(&self.path) {
            Ok(found) if found.st_ino == held.st_ino && found.st_dev == held.st_dev => Ok(()),
            Ok(_) => Err(format!(
                "{} is another file than at start",
                self.path.display()
            )),
            Err(errno) => Err(format!("{} is gone: {errno}", self.path.display())),
        }
    }
}

enum Fault {
    Damaged(String),
    Newer(u32),
}

impl Fault {
    fn at(self, path: PathBuf) -> IdentityError {
        match self {
            Self::Damaged(detail) => IdentityError::Damaged { path, detail },
            Self::Newer(found) => IdentityError::NewerFormat { path, found },
        }
    }
}

#[derive(serde::Deserialize)]
struct Version {
    format_version: u32,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    #[expect(
        dead_code,
        reason = "checked by `Version`; named here so that unknown fields can be denied"
    )]
    format_version: u32,
    disk_id: String,
    cluster_id: String,
    created_at_ms: u64,
}

#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    reason = "what a test makes and damages need not be durable"
)]
mod tests {
    use super::*;
    use std::io::Write as _;

    const CLUSTER: ClusterId = ClusterId([7; 16]);

    #[test]
    fn what_was_created_is_read_back() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(DiskIdentity::read(dir.path()).unwrap(), None);
        let made = DiskIdentity::create(dir.path(), CLUSTER, 42).unwrap();
        assert_eq!(DiskIdentity::read(dir.path()).unwrap(), Some(made));
    }

    #[test]
    fn a_disk_is_not_formatted_twice() {
        let dir = tempfile::tempdir().unwrap();
        DiskIdentity::create(dir.path(), CLUSTER, 0).unwrap();
        assert!(matches!(
            DiskIdentity::create(dir.path(), CLUSTER, 0),
            Err(IdentityError::AlreadyFormatted { .. })
        ));
    }

    #[test]
    fn what_an_interrupted_creation_leaves_is_its_draft_which_the_next_one_removes() {
        let dir = tempfile::tempdir().unwrap();
        let identity = dir.path().join(IDENTITY_FILE_NAME);
        let names = || -> Vec<_> {
            let entries = std::fs::read_dir(dir.path()).unwrap();
            entries.map(|entry| entry.unwrap().file_name()).collect()
        };
        // The draft cannot take the name.
        std::fs::create_dir(&identity).unwrap();
        DiskIdentity::create(dir.path(), CLUSTER, 0).unwrap_err();
        std::fs::remove_dir(&identity).unwrap();
        assert_eq!(names(), [IDENTITY_DRAFT_NAME]);
        DiskIdentity::create(dir.path(), CLUSTER, 0).unwrap();
        assert_eq!(names(), [IDENTITY_FILE_NAME]);
    }

    #[test]
    fn a_second_holder_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        DiskIdentity::create(dir.path(), CLUSTER, 0).unwrap();
        let held = LockedIdentity::acquire(dir.path()).unwrap();
        assert!(matches!(
            LockedIdentity::acquire(dir.path()),
            Err(IdentityError::InUse { .. })
        ));
        drop(held);
        LockedIdentity::acquire(dir.path()).unwrap();
    }

    fn overwrite(path: &Path, text: &str) {
        File::create(path)
            .unwrap()
            .write_all(text.as_bytes())
            .unwrap();
    }

    #[test]
    fn damaged_and_newer_files_are_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(IDENTITY_FILE_NAME);
        for text in ["", "{}", "{\"format_version\":1}", "not json"] {
            overwrite(&path, text);
            assert!(
                matches!(
                    LockedIdentity::acquire(dir.path()),
                    Err(IdentityError::Damaged { .. })
                ),
                "{text}"
            );
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
        let newer = "{\"format_version\":2,\"shape\":\"unknown\"}";
        overwrite(&path, newer);
        assert!(matches!(
            LockedIdentity::acquire(dir.path()),
            Err(IdentityError::NewerFormat { found: 2, .. })
        ));
    }

    #[test]
    fn a_replaced_directory_is_noticed() {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("disk");
        DiskIdentity::create(&dir, CLUSTER, 0).unwrap();
        let held = LockedIdentity::acquire(&dir).unwrap();
        held.check_in_place().unwrap();
        std::fs::remove_dir_all(&dir).unwrap();
        assert!(held.check_in_place().unwrap_err().contains("is gone"));
        DiskIdentity::create(&dir, CLUSTER, 0).unwrap();
        assert!(held.check_in_place().is_err());
    }
}
