//! Small files that must survive a crash: the one place of this crate that writes them.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Who may read a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Everybody whom the directory lets in.
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
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the durable file module of the crate"
    )]
    std::fs::rename(&unfinished, directory.join(name))?;
    File::open(directory)?.sync_all()
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
            #[expect(
                clippy::disallowed_methods,
                reason = "this is the durable file module of the crate"
            )]
            std::fs::rename(from.join(&name), to.join(&name))?;
        }
        File::open(to)?.sync_all()?;
    }
    std::fs::remove_dir(from)
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
