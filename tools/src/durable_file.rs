//! Small files that must survive a crash: the one place of this crate that writes them.
#![expect(
    clippy::disallowed_methods,
    reason = "this is the home that the lint sends everybody to"
)]

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Who may read a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Everybody whom the directory and the umask let in.
    Open,
    /// The owner alone (0600).
    Private,
}

/// Writes `directory/name` so that after a crash there is either the old file or the whole new one: new bytes are
/// synced under another name, which then takes the old one's place, and the directory is synced.
///
/// # Errors
/// What the file system said; the old file is then still there.
pub(crate) fn replace(
    directory: &Path,
    name: &str,
    bytes: &[u8],
    access: Access,
) -> io::Result<()> {
    let unfinished = directory.join(format!("{name}.unfinished"));
    let mode = match access {
        Access::Open => 0o644,
        Access::Private => 0o600,
    };
    // A leftover of an earlier crash might have other permissions: never written into, always made anew.
    match std::fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&unfinished)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&unfinished, directory.join(name))?;
    File::open(directory)?.sync_all()
}

/// Makes a directory, and those above it that are missing; the names of all of them are durable on return. A disk whose
/// own name is lost in a crash is lost with all that was synced below it. That a directory is there says nothing of its
/// name: an attempt before may have been killed ahead of the sync.
///
/// # Errors
/// What the file system said; some of the directories may be there then.
pub(crate) fn create_dir_all(path: &Path) -> io::Result<()> {
    let from_the_top: Vec<&Path> = path.ancestors().collect();
    for directory in from_the_top.into_iter().rev() {
        // The root has no name, and a relative path begins with nothing.
        if directory.parent().is_none() {
            continue;
        }
        let is_there = directory.is_dir();
        if !is_there {
            std::fs::create_dir(directory)?;
        }
        match sync_parent(directory) {
            Err(error) if is_there && is_of_others(&error) => {}
            synced => synced?,
        }
    }
    Ok(())
}

/// Whether a directory that cannot be synced for this reason is none that this process makes others in: it may not read
/// it, or it is on a file system that takes no writes.
fn is_of_others(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::PermissionDenied
            | io::ErrorKind::ReadOnlyFilesystem
            | io::ErrorKind::InvalidInput
    )
}

/// Removes a file, or a directory with all that is in it; it is gone for good on return.
///
/// # Errors
/// What the file system said; of a directory some may be gone.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        std::fs::remove_dir_all(path)?;
    } else {
        std::fs::remove_file(path)?;
    }
    sync_parent(path)
}

/// Moves all that is in `from` to `to`, on the same file system, the entry `last` after all others are durable there:
/// whoever finds `last` in `to` finds everything. Then removes `from`.
///
/// # Errors
/// What the file system said; some entries may be in `to` then, and `last` is not.
pub(crate) fn move_entries(from: &Path, to: &Path, last: &str) -> io::Result<()> {
    let entries = std::fs::read_dir(from)?.collect::<io::Result<Vec<_>>>()?;
    let (last, others): (Vec<_>, Vec<_>) = entries
        .iter()
        .map(std::fs::DirEntry::file_name)
        .partition(|name| name == last);
    for names in [others, last] {
        for name in names {
            std::fs::rename(from.join(&name), to.join(&name))?;
        }
        File::open(to)?.sync_all()?;
    }
    std::fs::remove_dir(from)
}

fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn entries_are_moved_and_their_directory_goes() {
        let dir = tempfile::tempdir().unwrap();
        let from = dir.path().join("from");
        std::fs::create_dir_all(from.join("tree")).unwrap();
        replace(&from, "last", b"1", Access::Open).unwrap();
        move_entries(&from, dir.path(), "last").unwrap();
        assert!(!from.exists() && dir.path().join("tree").is_dir());
        assert_eq!(std::fs::read(dir.path().join("last")).unwrap(), b"1");
    }

    #[test]
    fn directories_are_made_from_the_top_and_may_be_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b/c");
        create_dir_all(&path).unwrap();
        replace(&path, "kept", b"1", Access::Open).unwrap();
        create_dir_all(&path).unwrap();
        create_dir_all(Path::new("")).unwrap();
        assert_eq!(std::fs::read(path.join("kept")).unwrap(), b"1");
        let error = create_dir_all(&path.join("kept/d")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
    }

    #[test]
    fn files_and_whole_directories_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        create_dir_all(&dir.path().join("tree/branch")).unwrap();
        replace(dir.path(), "file", b"1", Access::Open).unwrap();
        for name in ["tree", "file"] {
            remove(&dir.path().join(name)).unwrap();
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        let error = remove(&dir.path().join("file")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn private_files_are_for_their_owner_whatever_was_there_before() {
        let dir = tempfile::tempdir().unwrap();
        File::create(dir.path().join("secret.unfinished")).unwrap();
        replace(dir.path(), "secret", b"one", Access::Private).unwrap();
        replace(dir.path(), "secret", b"two", Access::Private).unwrap();
        let path = dir.path().join("secret");
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
