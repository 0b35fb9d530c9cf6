//! Every change this crate makes to a file system, in one place.
//!
//! The rules that the rest of the crate relies on:
//! - a name is durable only after its directory was synced, so creating, replacing and removing include that sync;
//! - data is durable only after [`DataFile::sync_data`] returned `Ok`; after an error nothing may be retried on that
//!   file, because the kernel may already have dropped the pages it could not write.
#![expect(
    clippy::disallowed_methods,
    reason = "this is the home that the lint sends everybody to"
)]

mod data_file;
mod writeback;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::Arc;

pub(crate) use data_file::{
    DataFile, FULL, FileCalls, SHORTAGES, SystemCalls, is_full, is_shortage, is_unreadable,
};

/// Creates one directory if it is missing, and makes its name durable: that it is there says nothing of that.
pub(crate) fn create_dir(path: &Path) -> io::Result<()> {
    match fs::create_dir(path) {
        Err(err) if err.kind() != io::ErrorKind::AlreadyExists || !path.is_dir() => Err(err),
        made => match sync_parent(path) {
            // Somebody else's, made by whoever may read its parent, as a mount point is.
            Err(err) if made.is_err() && err.kind() == io::ErrorKind::PermissionDenied => Ok(()),
            synced => synced,
        },
    }
}

/// Puts a whole file in the place of `path`, which must not exist; a crash leaves all of it or nothing.
///
/// The name is taken by a hard link and not by a rename, which would silently replace what is there.
pub(crate) fn publish_file(path: &Path, contents: &[u8]) -> io::Result<()> {
    let draft = path.with_extension("draft");
    remove_if_exists(&draft)?;
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&draft)?;
    file.write_all(contents)?;
    file.sync_all()?;
    fs::hard_link(&draft, path)?;
    fs::remove_file(&draft)?;
    sync_parent(path)
}

/// Removes a file and makes that durable.
pub(crate) fn remove_file(path: &Path) -> io::Result<()> {
    fs::remove_file(path)?;
    sync_parent(path)
}

/// As [`remove_file`], and content if there is no such file: an attempt before may have got that far.
pub(crate) fn ensure_removed(path: &Path) -> io::Result<()> {
    remove_if_exists(path)?;
    sync_parent(path)
}

/// Removes a directory with all that is in it, if it exists, and makes that durable.
pub(crate) fn remove_dir_all(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Ok(()) => sync_parent(path),
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(err) => Err(err),
    }
}

/// Creates an empty marker file if it is missing, durably.
pub(crate) fn touch(path: &Path) -> io::Result<()> {
    match File::create_new(path) {
        Ok(file) => file.sync_all()?,
        Err(err) if err.kind() == io::ErrorKind::AlreadyExists => {}
        Err(err) => return Err(err),
    }
    sync_parent(path)
}

/// What is tried to be written by a probe: more than an index takes to be opened.
const PROBE_BYTES: usize = 1 << 20;

/// Creates a file, makes it durable and removes it again: whether what holds it takes writes, and has room for some.
pub(crate) fn probe(path: &Path, calls: Arc<dyn FileCalls>) -> io::Result<()> {
    // A process that was killed in between may have left one.
    remove_if_exists(path)?;
    // File systems that compress have room for zeros when they are full.
    let mut contents = vec![0; PROBE_BYTES];
    blake3::Hasher::new().finalize_xof().fill(&mut contents);
    let written = DataFile::create(path, contents.into(), calls).map(drop);
    // What did not fit is not left there either.
    written.and(ensure_removed(path))
}

/// Makes the names in a directory durable.
pub(crate) fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => sync_dir(parent),
        _ => sync_dir(Path::new(".")),
    }
}

fn remove_if_exists(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(err) if err.kind() != io::ErrorKind::NotFound => Err(err),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn publishing_never_replaces_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("identity.json");
        publish_file(&path, b"first").unwrap();
        assert_eq!(
            publish_file(&path, b"second").unwrap_err().kind(),
            io::ErrorKind::AlreadyExists
        );
        assert_eq!(fs::read(&path).unwrap(), b"first");
    }

    #[test]
    fn a_probe_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("probe");
        File::create_new(&path).unwrap();
        probe(&path, Arc::new(SystemCalls)).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
