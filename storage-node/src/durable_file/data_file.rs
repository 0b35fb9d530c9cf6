//! An open file that data are written into, and the system calls below it.
//!
//! [`DataFile`] has the loops (short writes, interruptions, pieces); [`FileCalls`] is what it asks of the system, and
//! the place where a disk fails: tests put their own below. Of reading only what walks over whole files is here, because
//! a block that cannot be read must not stop it; other reads are answered by others when they fail.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use rustix::fs::{Advice, FallocateFlags};
use rustix::io::Errno;

use super::{sync_parent, writeback};

/// Linux accepts at most this many buffers per call (`IOV_MAX`).
const IO_VECTORS_MAX: usize = 1024;

/// The system calls by which data reach a file and become durable. Each says of itself what it did: nothing here
/// retries.
pub(crate) trait FileCalls: fmt::Debug + Send + Sync {
    /// Writes the first bytes of `parts` at `offset`, and says how many.
    fn write(&self, file: &File, parts: &[IoSlice<'_>], offset: u64) -> io::Result<usize>;

    /// Reads into the first bytes of `buf` from `offset`, and says how many.
    fn read(&self, file: &File, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        file.read_at(buf, offset)
    }

    /// Begins to write `range` to the disk, durable or not. An error may be told here and never again.
    fn start_writeback(&self, file: &File, range: &Range<u64>) -> io::Result<()> {
        writeback::start(file, range)
    }

    /// Makes all that was written durable (and of the file's metadata what reading it back needs).
    fn sync_data(&self, file: &File) -> io::Result<()>;

    /// Sets the length, and makes all durable.
    fn truncate(&self, file: &File, len: u64) -> io::Result<()>;

    /// Allocates or, with [`FallocateFlags::PUNCH_HOLE`], frees the space of `range`.
    fn allocate(&self, file: &File, flags: FallocateFlags, range: Range<u64>) -> io::Result<()>;
}

/// Whether a read failed because the disk cannot read some block: a bad sector, most often. Others can be read.
pub(crate) fn is_unreadable(err: &io::Error) -> bool {
    Errno::from_io_error(err) == Some(Errno::IO)
}

/// Whether a call failed because the process or the machine is short of open files or memory. That passes, and says
/// nothing of the disk.
pub(crate) fn is_shortage(err: &io::Error) -> bool {
    Errno::from_io_error(err).is_some_and(|errno| SHORTAGES.contains(&errno))
}

/// What calls fail with then.
pub(crate) const SHORTAGES: [Errno; 3] = [Errno::MFILE, Errno::NFILE, Errno::NOMEM];

/// Whether a call failed because the disk, or what may be used of it, is full. That passes as well.
pub(crate) fn is_full(err: &io::Error) -> bool {
    Errno::from_io_error(err).is_some_and(|errno| FULL.contains(&errno))
}

/// What calls fail with then.
pub(crate) const FULL: [Errno; 2] = [Errno::NOSPC, Errno::DQUOT];

/// The real ones.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SystemCalls;

impl FileCalls for SystemCalls {
    fn write(&self, file: &File, parts: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        Ok(rustix::io::pwritev(file, parts, offset)?)
    }

    fn sync_data(&self, file: &File) -> io::Result<()> {
        file.sync_data()
    }

    fn truncate(&self, file: &File, len: u64) -> io::Result<()> {
        file.set_len(len)?;
        file.sync_all()
    }

    fn allocate(&self, file: &File, flags: FallocateFlags, range: Range<u64>) -> io::Result<()> {
        let len = range.end - range.start;
        Ok(rustix::fs::fallocate(file, flags, range.start, len)?)
    }
}

/// A file for data.
#[derive(Debug)]
pub(crate) struct DataFile {
    file: File,
    calls: Arc<dyn FileCalls>,
}

impl DataFile {
    /// Creates a file that must not exist, holding `contents`; data and name are durable on return.
    pub(crate) fn create(
        path: &Path,
        contents: Bytes,
        calls: Arc<dyn FileCalls>,
    ) -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(path)?;
        let created = Self { file, calls };
        created.write_parts_at(&[contents], 0)?;
        created.sync_data()?;
        sync_parent(path)?;
        Ok(created)
    }

    /// Opens an existing file.
    pub(crate) fn open(path: &Path, calls: Arc<dyn FileCalls>) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        Ok(Self { file, calls })
    }

    /// The file, to be read and looked at.
    pub(crate) fn for_reading(&self) -> &File {
        &self.file
    }

    /// Reads up to `len` bytes from `offset`; fewer at the end of the file.
    pub(crate) fn read_up_to(&self, len: usize, offset: u64) -> io::Result<Vec<u8>> {
        let mut buf = vec![0; len];
        let mut filled = 0;
        while let Some(rest) = buf.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.calls.read(&self.file, rest, offset + filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                Err(err) => return Err(err),
            }
        }
        buf.truncate(filled);
        Ok(buf)
    }

    /// Writes all of `parts` one after the other from `offset`; not durable before [`Self::sync_data`].
    pub(crate) fn write_parts_at(&self, parts: &[Bytes], mut offset: u64) -> io::Result<()> {
        for group in parts.chunks(IO_VECTORS_MAX) {
            let mut slices: Vec<IoSlice<'_>> =
                group.iter().map(|part| IoSlice::new(part)).collect();
            let mut rest = slices.as_mut_slice();
            IoSlice::advance_slices(&mut rest, 0);
            while !rest.is_empty() {
                let written = match self.calls.write(&self.file, rest, offset) {
                    Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                    Ok(written) => written,
                    Err(err) if err.kind() == io::ErrorKind::Interrupted => continue,
                    Err(err) => return Err(err),
                };
                offset += written as u64;
                IoSlice::advance_slices(&mut rest, written);
            }
        }
        Ok(())
    }

    /// Writes zeros over `range`: blocks written once are synced later without a journal commit.
    pub(crate) fn write_zeros(&self, range: Range<u64>) -> io::Result<()> {
        static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
        let mut offset = range.start;
        while offset < range.end {
            let len = usize::try_from(range.end - offset)
                .unwrap_or(usize::MAX)
                .min(ZEROS.len());
            let part = ZEROS.get(..len).unwrap_or(&ZEROS);
            self.write_parts_at(&[Bytes::from_static(part)], offset)?;
            offset += part.len() as u64;
        }
        Ok(())
    }

    /// Makes all that was written durable.
    pub(crate) fn sync_data(&self) -> io::Result<()> {
        self.calls.sync_data(&self.file)
    }

    /// Cuts the file to `len` bytes, durably.
    pub(crate) fn truncate(&self, len: u64) -> io::Result<()> {
        self.calls.truncate(&self.file, len)
    }

    /// Allocates space for `range`, growing the file. `Ok` where the file system cannot preallocate: it is a
    /// matter of speed, and a full disk then shows at the write.
    pub(crate) fn allocate(&self, range: Range<u64>) -> io::Result<()> {
        self.allocate_or_free(FallocateFlags::empty(), &range)
            .map(drop)
    }

    /// Gives the space of `range` back to the file system; it reads as zeros afterwards. `Ok(false)` where that is
    /// not possible.
    pub(crate) fn punch_hole(&self, range: &Range<u64>) -> io::Result<bool> {
        self.allocate_or_free(
            FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE,
            range,
        )
    }

    /// `Ok(false)` where the file system cannot do it.
    fn allocate_or_free(&self, flags: FallocateFlags, range: &Range<u64>) -> io::Result<bool> {
        loop {
            match self.calls.allocate(&self.file, flags, range.clone()) {
                Ok(()) => return Ok(true),
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                Err(err) => {
                    return match Errno::from_io_error(&err) {
                        Some(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(false),
                        _ => Err(err),
                    };
                }
            }
        }
    }

    /// Has the disk begin with what was written into `range`; `Ok` where that is not possible. An error is one of
    /// [`Self::sync_data`], which need not tell of it again.
    pub(crate) fn start_writeback(&self, range: &Range<u64>) -> io::Result<()> {
        match self.calls.start_writeback(&self.file, range) {
            // The last is what sandboxes say.
            Err(err)
                if matches!(
                    Errno::from_io_error(&err),
                    Some(Errno::OPNOTSUPP | Errno::NOSYS | Errno::PERM)
                ) =>
            {
                Ok(())
            }
            result => result,
        }
    }

    /// Has the page cache forget what it holds of the file and need not write any more, so that the next read
    /// shows what the disk has. After a failed sync the two may differ: the kernel calls pages clean that it could
    /// not write.
    pub(crate) fn forget_cached(&self) -> io::Result<()> {
        Ok(rustix::fs::fadvise(&self.file, 0, None, Advice::DontNeed)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_written_in_order_however_many() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let file =
            DataFile::create(&path, Bytes::from_static(b"0123"), Arc::new(SystemCalls)).unwrap();
        let parts: Vec<Bytes> = (0..3000_u32)
            .map(|n| Bytes::from(n.to_be_bytes().to_vec()))
            .collect();
        file.write_parts_at(&parts, 4).unwrap();
        let expected: Vec<u8> = b"0123"
            .iter()
            .copied()
            .chain((0..3000_u32).flat_map(u32::to_be_bytes))
            .collect();
        assert_eq!(std::fs::read(path).unwrap(), expected);
    }
}
