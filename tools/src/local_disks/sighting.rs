//! What is at each data directory. Looking changes nothing.

use std::io;
use std::path::{Path, PathBuf};

use cairn_storage_node::{DiskIdentity, IDENTITY_DRAFT_NAME, IdentityError};

use super::error::DisksError;
use super::fstab::Fstab;
use super::mount_point::is_mount_point;

/// What does not make a directory occupied: what a fresh file system has, and what is left when making it a disk was
/// interrupted.
const HARMLESS_NAMES: [&str; 2] = ["lost+found", IDENTITY_DRAFT_NAME];

/// One data directory and what is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Site {
    /// As configured.
    pub(crate) path: PathBuf,
    /// What is there.
    pub(crate) sighting: Sighting,
}

/// What was found at a data directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Sighting {
    /// A disk.
    Disk(DiskIdentity),
    /// An empty directory.
    Vacant {
        /// Whether a file system is mounted there.
        is_mount_point: bool,
    },
    /// No disk, where `/etc/fstab` says that a file system belongs and none is mounted.
    Unmounted,
    /// No directory.
    Absent,
    /// A directory, or an identity in it, that cannot be read: the disk below it is broken or being mounted.
    Unreadable(String),
}

/// Looks at all directories.
///
/// # Errors
/// When a directory is occupied by something else, given twice, in another one of them, or has an identity file that is
/// not understood.
pub(crate) fn look(paths: &[PathBuf], fstab: &Fstab) -> Result<Vec<Site>, DisksError> {
    let mut sites = Vec::with_capacity(paths.len());
    let mut seen: Vec<(PathBuf, &PathBuf)> = Vec::with_capacity(paths.len());
    for path in paths {
        // What does not exist cannot be resolved; then the spelling is all there is to compare.
        let resolved = std::fs::canonicalize(path)
            .or_else(|_| std::path::absolute(path))
            .unwrap_or_else(|_| path.clone());
        if let Some((_, first)) = seen.iter().find(|(other, _)| *other == resolved) {
            return Err(DisksError::SameDirectory {
                first: (*first).clone(),
                second: path.clone(),
            });
        }
        for (other, other_path) in &seen {
            refuse_nested((&resolved, path), (other, other_path))?;
            refuse_nested((other, other_path), (&resolved, path))?;
        }
        let sighting = match sighting(path)? {
            Sighting::Absent
            | Sighting::Vacant {
                is_mount_point: false,
            } if fstab.is_unmounted(path) || fstab.is_unmounted(&resolved) => Sighting::Unmounted,
            sighting => sighting,
        };
        seen.push((resolved, path));
        sites.push(Site {
            path: path.clone(),
            sighting,
        });
    }
    Ok(sites)
}

/// Both as they were resolved and as they were given. What is mounted inside of a disk is another disk.
fn refuse_nested(
    (inner, inner_path): (&Path, &Path),
    (outer, outer_path): (&Path, &Path),
) -> Result<(), DisksError> {
    if inner.starts_with(outer) && !is_mount_point(inner).unwrap_or(false) {
        return Err(DisksError::Nested {
            inner: inner_path.to_owned(),
            outer: outer_path.to_owned(),
        });
    }
    Ok(())
}

fn sighting(path: &Path) -> Result<Sighting, DisksError> {
    let entries = match std::fs::read_dir(path).and_then(Iterator::collect::<io::Result<Vec<_>>>) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Sighting::Absent),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            return Err(DisksError::io(path, error));
        }
        Err(error) => return Ok(Sighting::Unreadable(error.to_string())),
    };
    let stranger = match DiskIdentity::read(path) {
        Ok(Some(identity)) => return Ok(Sighting::Disk(identity)),
        Ok(None) => entries
            .iter()
            .map(std::fs::DirEntry::file_name)
            .find(|name| HARMLESS_NAMES.iter().all(|harmless| name != harmless)),
        // A dying disk may still list its directory.
        Err(error @ IdentityError::Io { .. }) => {
            return Ok(Sighting::Unreadable(error.to_string()));
        }
        Err(error) => return Err(error.into()),
    };
    match stranger {
        Some(stranger) => Err(DisksError::Occupied {
            path: path.to_owned(),
            stranger: stranger.to_string_lossy().into_owned(),
        }),
        None => Ok(Sighting::Vacant {
            is_mount_point: is_mount_point(path).map_err(|error| DisksError::io(path, error))?,
        }),
    }
}

#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    reason = "what a test makes and damages need not be durable"
)]
mod tests {
    use super::*;
    use cairn_storage_node::{ClusterId, IDENTITY_FILE_NAME, LocalDisk};

    fn look(paths: &[PathBuf]) -> Result<Vec<Site>, DisksError> {
        super::look(paths, &Fstab::default())
    }

    #[test]
    fn each_kind_of_directory_is_told_apart() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        std::fs::create_dir_all(at("vacant").join("lost+found")).unwrap();
        LocalDisk::format(at("disk"), ClusterId([1; 16])).unwrap();
        let sites = look(&[at("vacant"), at("disk"), at("absent")]).unwrap();
        let [vacant, disk, absent] = sites.as_slice() else {
            panic!("{sites:?}")
        };
        let is_mount_point = false;
        assert_eq!(vacant.sighting, Sighting::Vacant { is_mount_point });
        assert!(
            matches!(disk.sighting, Sighting::Disk(identity) if identity.cluster_id == ClusterId([1; 16]))
        );
        assert_eq!(absent.sighting, Sighting::Absent);
    }

    #[test]
    fn a_directory_whose_adoption_was_interrupted_is_still_vacant() {
        let root = tempfile::tempdir().unwrap();
        // The identity cannot take its name: what is left is what a kill before that leaves.
        let identity = root.path().join(IDENTITY_FILE_NAME);
        std::fs::create_dir(&identity).unwrap();
        assert!(LocalDisk::format(root.path(), ClusterId([1; 16])).is_err());
        std::fs::remove_dir(&identity).unwrap();
        assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 1);
        let sites = look(&[root.path().to_owned()]).unwrap();
        assert!(
            matches!(sites[0].sighting, Sighting::Vacant { .. }),
            "{sites:?}"
        );
        LocalDisk::format(root.path(), ClusterId([1; 16])).unwrap();
        assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 1);
    }

    #[test]
    fn an_identity_that_cannot_be_read_is_a_disk_that_cannot_be_read() {
        let root = tempfile::tempdir().unwrap();
        // Reading a directory as a file fails as reading a bad sector does.
        std::fs::create_dir(root.path().join(IDENTITY_FILE_NAME)).unwrap();
        let sites = look(&[root.path().to_owned()]).unwrap();
        assert!(
            matches!(&sites[0].sighting, Sighting::Unreadable(reason) if reason.contains(IDENTITY_FILE_NAME)),
            "{sites:?}"
        );
    }

    #[test]
    fn what_fstab_wants_mounted_is_not_vacant_unless_it_is_a_disk_already() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        for name in ["mnt1", "mnt2", "plain"] {
            std::fs::create_dir(at(name)).unwrap();
        }
        LocalDisk::format(at("mnt2"), ClusterId([1; 16])).unwrap();
        std::os::unix::fs::symlink(at("mnt1"), at("link")).unwrap();
        let fstab = Fstab::of([at("mnt1"), at("mnt2")]);
        let sighting = |name: &str| {
            let sites = super::look(&[at(name)], &fstab).unwrap();
            sites[0].sighting.clone()
        };
        for unmounted in ["mnt1", "link", "mnt1/cairn"] {
            assert_eq!(sighting(unmounted), Sighting::Unmounted, "{unmounted}");
        }
        assert!(matches!(sighting("mnt2"), Sighting::Disk(_)));
        assert!(matches!(sighting("plain"), Sighting::Vacant { .. }));
        assert_eq!(sighting("absent"), Sighting::Absent);
    }

    #[test]
    fn a_directory_with_other_files_is_refused_by_name() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("photos")).unwrap();
        let message = look(&[root.path().to_owned()]).unwrap_err().to_string();
        assert!(
            message.contains("photos") && message.contains("empty directory"),
            "{message}"
        );
    }

    #[test]
    fn a_directory_in_another_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let (outer, inner) = (root.path().join("d"), root.path().join("d/e"));
        for order in [[&outer, &inner], [&inner, &outer]] {
            // Also before either is there.
            let nested = look(&order.map(PathBuf::clone));
            assert!(
                matches!(nested, Err(DisksError::Nested { inner: found, .. }) if found == inner)
            );
        }
        let beside = look(&[outer, root.path().join("de")]);
        assert!(beside.is_ok());
    }

    #[test]
    fn one_directory_under_two_names_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("d");
        std::fs::create_dir(&dir).unwrap();
        std::os::unix::fs::symlink(&dir, root.path().join("link")).unwrap();
        assert!(matches!(
            look(&[dir, root.path().join("link")]),
            Err(DisksError::SameDirectory { .. })
        ));
    }
}
