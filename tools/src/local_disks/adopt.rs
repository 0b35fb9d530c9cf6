//! Carries a plan out as far as it writes: new identities, then the roster.

use std::path::{Path, PathBuf};

use cairn_storage_node::{ClusterId, DiskId, LocalDisk};

use super::error::DisksError;
use super::mount_point::is_mount_point;
use super::plan::{Action, Plan};
use super::roster::{KnownDisk, Roster};
use crate::durable_file;

/// All disks of this process, whether they are there or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Adopted {
    /// Whose they are.
    pub(crate) cluster_id: ClusterId,
    /// In the order of the directories.
    pub(crate) disks: Vec<AdoptedDisk>,
}

/// A disk and whether it is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AdoptedDisk {
    /// Who it is.
    pub(crate) disk_id: DiskId,
    /// Where it is, or will be.
    pub(crate) path: PathBuf,
    /// Whether it can be opened now.
    pub(crate) is_present: bool,
    /// Whether a file system is mounted there; `None` if it is not there, or cannot be told.
    pub(crate) is_mount_point: Option<bool>,
}

impl Adopted {
    /// Directories of the disks that are there.
    pub(crate) fn present(&self) -> Vec<&Path> {
        self.disks
            .iter()
            .filter(|disk| disk.is_present)
            .map(|disk| disk.path.as_path())
            .collect()
    }

    /// Directories of the disks that are not there.
    pub(crate) fn absent(&self) -> Vec<PathBuf> {
        let absent = self.disks.iter().filter(|disk| !disk.is_present);
        absent.map(|disk| disk.path.clone()).collect()
    }

    /// The list of disks, if it differs from the last one.
    fn next_roster(&self, last: Option<&Roster>) -> Option<Roster> {
        let disks: Vec<KnownDisk> = self
            .disks
            .iter()
            .map(|disk| KnownDisk {
                disk_id: disk.disk_id,
                path: disk.path.clone(),
                is_mount_point: disk.is_mount_point.or_else(|| {
                    let known = last?.disks.iter().find(|known| known.path == disk.path)?;
                    known.is_mount_point
                }),
            })
            .collect();
        if last.is_some_and(|last| last.disks == disks) {
            return None;
        }
        Some(Roster {
            revision: last.map_or(1, |last| last.revision + 1),
            cluster_id: self.cluster_id,
            disks,
        })
    }

    /// Writes the list of disks to all that are there, if it differs from the last one.
    ///
    /// # Errors
    /// When it could be written nowhere.
    pub(crate) fn write_roster(self, last: Option<&Roster>) -> Result<Self, DisksError> {
        if let Some(next) = self.next_roster(last) {
            next.write(&self.present())?;
        }
        Ok(self)
    }
}

/// Gives directories that become disks their identity. Where one cannot be written that replaces a disk, the disk is missed
/// as before: as many may be as the plan found missing, and a bad replacement is no reason to stop the store.
///
/// # Errors
/// When another directory cannot be written. Those done before stay adopted: the next start goes on from there.
pub(crate) fn adopt(plan: &Plan, cluster_id: ClusterId) -> Result<Adopted, DisksError> {
    for disk in &plan.dropped {
        tracing::warn!(disk_id = %disk.disk_id, path = %disk.path.display(), "a disk is no longer configured; what it held will be made again on others");
    }
    let mut disks = Vec::with_capacity(plan.actions.len());
    for (path, action) in &plan.actions {
        let (disk_id, is_present) = match action {
            Action::Open(disk_id) => (*disk_id, true),
            Action::Adopt => {
                let replaced = plan.replaced.iter().find(|disk| disk.path == *path);
                become_disk(path, cluster_id, replaced)?
            }
            Action::Await { disk_id, reason } => {
                tracing::warn!(%disk_id, path = %path.display(), %reason, "a disk is missing; going on without it");
                (*disk_id, false)
            }
        };
        disks.push(AdoptedDisk {
            disk_id,
            path: path.clone(),
            is_present,
            is_mount_point: is_present.then(|| is_mount_point(path).ok()).flatten(),
        });
    }
    Ok(Adopted { cluster_id, disks })
}

/// Makes the directory a disk, in place of `replaced` if that is one. Returns whose place it is, and whether there is a
/// disk.
fn become_disk(
    path: &Path,
    cluster_id: ClusterId,
    replaced: Option<&KnownDisk>,
) -> Result<(DiskId, bool), DisksError> {
    match (format(path, cluster_id), replaced) {
        (Ok(disk_id), Some(old)) => {
            tracing::warn!(disk_id = %old.disk_id, path = %path.display(), "a disk was replaced by an empty one; it will be refilled");
            Ok((disk_id, true))
        }
        (Ok(disk_id), None) => Ok((disk_id, true)),
        (Err(error), Some(old)) => {
            tracing::error!(disk_id = %old.disk_id, %error, "the replacement of a disk cannot be used; going on without it");
            Ok((old.disk_id, false))
        }
        (Err(error), None) => Err(error),
    }
}

fn format(path: &Path, cluster_id: ClusterId) -> Result<DiskId, DisksError> {
    durable_file::create_dir_all(path).map_err(|error| DisksError::io(path, error))?;
    let disk_id = LocalDisk::format(path, cluster_id)?;
    tracing::info!(%disk_id, path = %path.display(), "adopted a disk");
    Ok(disk_id)
}

#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    reason = "what a test makes and damages need not be durable"
)]
mod tests {
    use super::*;
    use crate::local_disks::Tolerance;
    use crate::local_disks::fstab::Fstab;
    use crate::local_disks::plan::decide;
    use crate::local_disks::sighting::look;

    /// One start of a process, as far as it concerns its disks.
    fn start(paths: &[PathBuf], cluster: u8) -> Result<Adopted, DisksError> {
        let sites = look(paths, &Fstab::default())?;
        let directories: Vec<&Path> = paths.iter().map(PathBuf::as_path).collect();
        let roster = Roster::newest(&directories)?;
        let plan = decide(&sites, roster.as_ref(), |_| Tolerance::AtMost(1))?;
        let adopted = adopt(&plan, plan.cluster_id.unwrap_or(ClusterId([cluster; 16])))?;
        adopted.write_roster(roster.as_ref())
    }

    #[test]
    fn what_was_a_mount_point_is_remembered_while_the_disk_is_away() {
        let disk = |is_present, is_mount_point| AdoptedDisk {
            disk_id: DiskId([1; 16]),
            path: "/d1".into(),
            is_present,
            is_mount_point,
        };
        let adopted = |disk| Adopted {
            cluster_id: ClusterId([9; 16]),
            disks: vec![disk],
        };
        let mounted = adopted(disk(true, Some(true))).next_roster(None).unwrap();
        assert_eq!(mounted.disks[0].is_mount_point, Some(true));
        assert_eq!(adopted(disk(false, None)).next_roster(Some(&mounted)), None);
        let plain = adopted(disk(true, Some(false))).next_roster(Some(&mounted));
        assert_eq!(plain.unwrap().disks[0].is_mount_point, Some(false));
    }

    #[test]
    fn a_lost_disk_is_missed_comes_back_or_is_replaced() {
        let root = tempfile::tempdir().unwrap();
        let paths: Vec<PathBuf> = (0..3)
            .map(|n| root.path().join(format!("disk{n}")))
            .collect();
        let first = start(&paths, 1).unwrap();
        assert_eq!(start(&paths, 2).unwrap(), first);

        let away = root.path().join("away");
        std::fs::rename(&paths[0], &away).unwrap();
        let missed = start(&paths, 2).unwrap();
        assert_eq!(missed.disks[0].disk_id, first.disks[0].disk_id);
        assert!(!missed.disks[0].is_present);

        std::fs::rename(&away, &paths[0]).unwrap();
        assert_eq!(start(&paths, 2).unwrap(), first);

        std::fs::remove_dir_all(&paths[0]).unwrap();
        std::fs::create_dir(&paths[0]).unwrap();
        let replaced = start(&paths, 2).unwrap();
        assert_ne!(replaced.disks[0].disk_id, first.disks[0].disk_id);
        assert!(replaced.disks[0].is_present);
        assert_eq!(start(&paths, 2).unwrap(), replaced);
    }

    #[test]
    fn a_replacement_that_cannot_be_written_is_gone_on_without() {
        let root = tempfile::tempdir().unwrap();
        let mut paths: Vec<PathBuf> = (0..3)
            .map(|n| root.path().join(format!("disk{n}")))
            .collect();
        let first = start(&paths, 1).unwrap();
        // No identity can be drafted where a directory has the draft's name.
        let spoil = |path: &Path| std::fs::create_dir_all(path.join("cairn-disk.draft")).unwrap();
        std::fs::remove_dir_all(&paths[0]).unwrap();
        spoil(&paths[0]);
        let missed = start(&paths, 2).unwrap();
        assert_eq!(missed.disks[0].disk_id, first.disks[0].disk_id);
        assert!(!missed.disks[0].is_present);
        assert_eq!(missed.disks[1..], first.disks[1..]);

        std::fs::remove_dir(paths[0].join("cairn-disk.draft")).unwrap();
        let replaced = start(&paths, 2).unwrap();
        assert!(replaced.disks[0].is_present);
        assert_ne!(replaced.disks[0].disk_id, first.disks[0].disk_id);

        // A new one is not missed by anybody: who named it is told.
        paths.push(root.path().join("disk3"));
        spoil(&paths[3]);
        assert!(start(&paths, 2).is_err());
    }
}
