//! Every change this crate makes to a file system, in one place.
//!
//! The rules that the rest of the crate relies on:
//! - a name is durable only after its directory was synced, so creating, replacing and removing include that sync;
//! - data is durable only after [`sync_data`] returned `Ok`; after an error nothing may be retried on that file,
//!   because the kernel may already have dropped the pages it could not write.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice, Write as _};
use std::ops::Range;
use std::path::Path;

use bytes::Bytes;
use rustix::fs::FallocateFlags;
use rustix::io::Errno;

/// Creates one directory if it is missing, and makes its name durable.
pub(crate) fn create_dir(path: &Path) -> io::Result<()> {
    match fs::create_dir(path) {
        Ok(()) => sync_parent(path),
        Err(err) if err.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(err) => Err(err),
    }
}

/// Creates a file that must not exist, holding `contents`; data and name are durable on return.
pub(crate) fn create_file(path: &Path, contents: &[u8]) -> io::Result<File> {
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .open(path)?;
    file.write_all(contents)?;
    file.sync_all()?;
    sync_parent(path)?;
    Ok(file)
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
    match create_file(path, &[]) {
        Err(err) if err.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other.map(drop),
    }
}

/// Writes all of `parts` one after the other from `offset`; not durable before [`sync_data`].
pub(crate) fn write_parts_at(file: &File, parts: &[Bytes], mut offset: u64) -> io::Result<()> {
    for group in parts.chunks(IO_VECTORS_MAX) {
        let mut slices: Vec<IoSlice<'_>> = group.iter().map(|part| IoSlice::new(part)).collect();
        let mut rest = slices.as_mut_slice();
        IoSlice::advance_slices(&mut rest, 0);
        while !rest.is_empty() {
            let written = match rustix::io::pwritev(file, rest, offset) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => written,
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(errno.into()),
            };
            offset += written as u64;
            IoSlice::advance_slices(&mut rest, written);
        }
    }
    Ok(())
}

/// Writes zeros over `range`: blocks written once are synced later without a journal commit.
pub(crate) fn write_zeros(file: &File, range: Range<u64>) -> io::Result<()> {
    static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
    let mut offset = range.start;
    while offset < range.end {
        let len = usize::try_from(range.end - offset)
            .unwrap_or(usize::MAX)
            .min(ZEROS.len());
        let part = ZEROS.get(..len).unwrap_or(&ZEROS);
        write_parts_at(file, &[Bytes::from_static(part)], offset)?;
        offset += part.len() as u64;
    }
    Ok(())
}

/// Allocates space for `range`, growing the file. `Ok` where the file system cannot preallocate: it is a
/// matter of speed, and a full disk then shows at the write.
pub(crate) fn allocate(file: &File, range: Range<u64>) -> io::Result<()> {
    loop {
        match rustix::fs::fallocate(
            file,
            FallocateFlags::empty(),
            range.start,
            range.end - range.start,
        ) {
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Gives the space of `range` back to the file system; it reads as zeros afterwards. `Ok(false)` where that is
/// not possible.
pub(crate) fn punch_hole(file: &File, range: Range<u64>) -> io::Result<bool> {
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    loop {
        match rustix::fs::fallocate(file, flags, range.start, range.end - range.start) {
            Ok(()) => return Ok(true),
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => return Ok(false),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Cuts the file to `len` bytes, durably.
pub(crate) fn truncate(file: &File, len: u64) -> io::Result<()> {
    file.set_len(len)?;
    file.sync_all()
}

/// Makes all that was written to the file durable (and of its metadata what reading it back needs).
pub(crate) fn sync_data(file: &File) -> io::Result<()> {
    file.sync_data()
}

/// Makes the names in a directory durable.
pub(crate) fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Linux accepts at most this many buffers per call (`IOV_MAX`).
const IO_VECTORS_MAX: usize = 1024;

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
    fn parts_are_written_in_order_however_many() {
        let dir = tempfile::tempdir().unwrap();
        let file = create_file(&dir.path().join("f"), b"0123").unwrap();
        let parts: Vec<Bytes> = (0..3000_u32)
            .map(|n| Bytes::from(n.to_be_bytes().to_vec()))
            .collect();
        write_parts_at(&file, &parts, 4).unwrap();
        let expected: Vec<u8> = b"0123"
            .iter()
            .copied()
            .chain((0..3000_u32).flat_map(u32::to_be_bytes))
            .collect();
        assert_eq!(fs::read(dir.path().join("f")).unwrap(), expected);
    }

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
}
