//! The disks that this process has known: `cairn-roster.json`, the same on each of them.
//!
//! ```json
//! {"format_version":1,"revision":3,"cluster_id":"…","disks":[{"disk_id":"…","path":"/mnt/disk1","is_mount_point":true}, …]}
//! ```
//! `is_mount_point` is not there in what older versions wrote.
//! The copy with the highest revision counts. A copy that is damaged or missing is made anew from it.

use std::path::{Path, PathBuf};

use cairn_storage_node::{ClusterId, DiskId};
use serde::{Deserialize, Serialize};

use super::error::DisksError;
use crate::durable_file::{self, Access};

const FILE_NAME: &str = "cairn-roster.json";
const FORMAT_VERSION: u32 = 1;

/// The known disks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Roster {
    /// Grows with each change.
    pub(crate) revision: u64,
    /// Of all its disks.
    pub(crate) cluster_id: ClusterId,
    /// Each once, in the order of the directories.
    pub(crate) disks: Vec<KnownDisk>,
}

/// A disk and where it was last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KnownDisk {
    /// Who it is.
    pub(crate) disk_id: DiskId,
    /// Where it was.
    pub(crate) path: PathBuf,
    /// Whether a file system was mounted there, if that is known.
    pub(crate) is_mount_point: Option<bool>,
}

#[derive(Serialize, Deserialize)]
struct Document {
    format_version: u32,
    revision: u64,
    cluster_id: String,
    disks: Vec<DocumentDisk>,
}

#[derive(Serialize, Deserialize)]
struct DocumentDisk {
    disk_id: String,
    path: PathBuf,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    is_mount_point: Option<bool>,
}

impl Roster {
    /// The newest copy among these disks' directories; `None` if there is none.
    ///
    /// # Errors
    /// When copies are there and none of them can be read.
    pub(crate) fn newest(directories: &[&Path]) -> Result<Option<Self>, DisksError> {
        let mut newest: Option<Self> = None;
        let mut damage = None;
        for directory in directories {
            match Self::read(directory) {
                Ok(Some(roster))
                    if newest
                        .as_ref()
                        .is_none_or(|newest| newest.revision < roster.revision) =>
                {
                    newest = Some(roster);
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(%error, "a copy of the list of disks cannot be read");
                    damage = Some(error);
                }
            }
        }
        match (newest, damage) {
            (None, Some(error)) => Err(error),
            (newest, _) => Ok(newest),
        }
    }

    /// Writes the roster to these directories.
    ///
    /// # Errors
    /// When it could be written nowhere.
    pub(crate) fn write(&self, directories: &[&Path]) -> Result<(), DisksError> {
        let bytes = self.encode();
        let mut failure = None;
        let mut written_count = 0usize;
        for directory in directories {
            match durable_file::replace(directory, FILE_NAME, &bytes, Access::Open) {
                Ok(()) => written_count += 1,
                Err(source) => {
                    let path = directory.join(FILE_NAME);
                    tracing::warn!(path = %path.display(), error = %source, "cannot write the list of disks");
                    failure = Some(DisksError::Io { path, source });
                }
            }
        }
        match failure {
            Some(error) if written_count == 0 => Err(error),
            _ => Ok(()),
        }
    }

    fn read(directory: &Path) -> Result<Option<Self>, DisksError> {
        let path = directory.join(FILE_NAME);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(DisksError::Io { path, source }),
        };
        Self::decode(&bytes)
            .map(Some)
            .map_err(|detail| DisksError::DamagedRoster { path, detail })
    }

    fn encode(&self) -> Vec<u8> {
        let disks = self.disks.iter().map(|disk| DocumentDisk {
            disk_id: disk.disk_id.to_string(),
            path: disk.path.clone(),
            is_mount_point: disk.is_mount_point,
        });
        let document = Document {
            format_version: FORMAT_VERSION,
            revision: self.revision,
            cluster_id: self.cluster_id.to_string(),
            disks: disks.collect(),
        };
        serde_json::json!(document).to_string().into_bytes()
    }

    fn decode(bytes: &[u8]) -> Result<Self, String> {
        let document: Document =
            serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if document.format_version != FORMAT_VERSION {
            return Err(format!(
                "format version {} is not known to this version of Cairn",
                document.format_version
            ));
        }
        let disk = |disk: DocumentDisk| {
            let disk_id = disk
                .disk_id
                .parse()
                .map_err(|_| format!("`{}` is no disk id", disk.disk_id))?;
            Ok::<_, String>(KnownDisk {
                disk_id,
                path: disk.path,
                is_mount_point: disk.is_mount_point,
            })
        };
        Ok(Self {
            revision: document.revision,
            cluster_id: document
                .cluster_id
                .parse()
                .map_err(|_| format!("`{}` is no cluster id", document.cluster_id))?,
            disks: document
                .disks
                .into_iter()
                .map(disk)
                .collect::<Result<_, _>>()?,
        })
    }
}

#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    reason = "what a test makes and damages need not be durable"
)]
mod tests {
    use super::*;

    fn roster(revision: u64) -> Roster {
        let disks = vec![KnownDisk {
            disk_id: DiskId([2; 16]),
            path: "/mnt/disk1".into(),
            is_mount_point: None,
        }];
        Roster {
            revision,
            cluster_id: ClusterId([1; 16]),
            disks,
        }
    }

    #[test]
    fn format_version_1_stays_readable() {
        let bytes = concat!(
            r#"{"format_version":1,"revision":7,"cluster_id":"01010101010101010101010101010101","#,
            r#""disks":[{"disk_id":"02020202020202020202020202020202","path":"/mnt/disk1"}]}"#
        );
        assert_eq!(Roster::decode(bytes.as_bytes()), Ok(roster(7)));
        assert_eq!(Roster::decode(&roster(7).encode()), Ok(roster(7)));
        let mut mounted = roster(7);
        mounted.disks[0].is_mount_point = Some(true);
        assert_eq!(Roster::decode(&mounted.encode()), Ok(mounted));
    }

    #[test]
    fn the_highest_revision_counts_and_damage_is_passed_over() {
        let root = tempfile::tempdir().unwrap();
        let dirs: Vec<PathBuf> = (0..3).map(|n| root.path().join(n.to_string())).collect();
        for dir in &dirs {
            std::fs::create_dir(dir).unwrap();
        }
        let [a, b, c] = dirs.iter().map(PathBuf::as_path).collect::<Vec<_>>()[..] else {
            panic!()
        };
        roster(3).write(&[a]).unwrap();
        roster(4).write(&[b]).unwrap();
        std::fs::File::create(c.join(FILE_NAME)).unwrap();
        assert_eq!(Roster::newest(&[a, b, c]).unwrap(), Some(roster(4)));
        assert!(matches!(
            Roster::newest(&[c]),
            Err(DisksError::DamagedRoster { .. })
        ));
        assert_eq!(Roster::newest(&[root.path()]).unwrap(), None);
    }
}
