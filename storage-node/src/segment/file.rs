//! Open segment files, shared by readers, the writer and compaction.

use std::collections::{BTreeSet, HashMap};
use std::io::{self, IoSliceMut};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use rustix::io::ReadWriteFlags;

use super::{RecordKey, SegmentNumber};
use crate::DiskId;
use crate::durable_file::{DataFile, FileCalls};

/// One open segment. Whoever holds it can read it to the end, even after compaction removed its name.
#[derive(Debug)]
pub(crate) struct SegmentFile {
    pub(crate) number: SegmentNumber,
    pub(crate) path: PathBuf,
    pub(crate) file: DataFile,
    pub(crate) key: RecordKey,
}

impl SegmentFile {
    pub(crate) fn len(&self) -> io::Result<u64> {
        Ok(self.file.for_reading().metadata()?.len())
    }

    /// Whether the name is gone: somebody removed the file, or the whole directory.
    pub(crate) fn is_unlinked(&self) -> io::Result<bool> {
        Ok(rustix::fs::fstat(self.file.for_reading())?.st_nlink == 0)
    }

    /// Fills `buf` from `offset`, waiting for the disk; `UnexpectedEof` where the file is too short.
    pub(crate) fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.for_reading().read_exact_at(buf, offset)
    }

    /// Reads up to `len` bytes; fewer at the end of the file.
    pub(crate) fn read_up_to(&self, len: usize, offset: u64) -> io::Result<Vec<u8>> {
        self.file.read_up_to(len, offset)
    }

    /// Fills `buf` only if the page cache has all of it: `false` means that a thread that may wait must do it.
    pub(crate) fn read_cached(&self, buf: &mut [u8], offset: u64) -> bool {
        let len = buf.len();
        let read = rustix::io::preadv2(
            self.file.for_reading(),
            &mut [IoSliceMut::new(buf)],
            offset,
            ReadWriteFlags::NOWAIT,
        );
        read == Ok(len)
    }
}

/// Open segments by number, opened when they are needed; at most [`OPEN_SEGMENTS_MAX`] stay open.
#[derive(Debug)]
pub(crate) struct SegmentTable {
    directory: PathBuf,
    disk_id: DiskId,
    calls: Arc<dyn FileCalls>,
    open: Mutex<OpenSegments>,
}

#[derive(Debug, Default)]
struct OpenSegments {
    files: HashMap<SegmentNumber, Arc<SegmentFile>>,
    /// In order of number, so that the oldest are closed first: young data is read most.
    order: BTreeSet<SegmentNumber>,
}

/// 128 segments of 256 MiB are 32 GiB of a disk without reopening (which costs some microseconds). Six disks in one
/// process hold 768 of them and 384 files of their indexes, for which a process raises its limit of open files.
const OPEN_SEGMENTS_MAX: usize = 128;

impl SegmentTable {
    /// All files opened or created here are written through `calls`.
    pub(crate) fn new(directory: PathBuf, disk_id: DiskId, calls: Arc<dyn FileCalls>) -> Self {
        Self {
            directory,
            disk_id,
            calls,
            open: Mutex::default(),
        }
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(crate) fn path(&self, number: SegmentNumber) -> PathBuf {
        self.directory.join(number.file_name())
    }

    /// The segment if it is open already.
    pub(crate) fn opened(&self, number: SegmentNumber) -> Option<Arc<SegmentFile>> {
        self.lock().files.get(&number).map(Arc::clone)
    }

    /// The segment, opened if it is not, which may wait for the disk; `NotFound` if there is no such file.
    pub(crate) fn open(&self, number: SegmentNumber) -> io::Result<Arc<SegmentFile>> {
        if let Some(found) = self.opened(number) {
            return Ok(found);
        }
        let file = DataFile::open(&self.path(number), Arc::clone(&self.calls))?;
        self.insert(number, file)
    }

    /// Creates the segment, which must not exist, beginning with `header`; durable on return, name and all.
    pub(crate) fn create(
        &self,
        number: SegmentNumber,
        header: Bytes,
    ) -> io::Result<Arc<SegmentFile>> {
        let file = DataFile::create(&self.path(number), header, Arc::clone(&self.calls))?;
        self.insert(number, file)
    }

    fn insert(&self, number: SegmentNumber, file: DataFile) -> io::Result<Arc<SegmentFile>> {
        let key = RecordKey::new(self.disk_id, number);
        let opened = Arc::new(SegmentFile {
            number,
            path: self.path(number),
            file,
            key,
        });
        let mut open = self.lock();
        let mut dropped = vec![open.files.insert(number, Arc::clone(&opened))];
        open.order.insert(number);
        while open.files.len() > OPEN_SEGMENTS_MAX {
            let Some(oldest) = open.order.pop_first() else {
                break;
            };
            dropped.push(open.files.remove(&oldest));
        }
        drop(open);
        // As in `forget`.
        drop(dropped);
        // Removed and forgotten between being opened and being put here? Then nobody forgets it again, and its space
        // would not come back.
        if opened.is_unlinked()? {
            self.forget(number);
        }
        Ok(opened)
    }

    /// Forgets a segment whose file was removed; readers that hold it go on.
    pub(crate) fn forget(&self, number: SegmentNumber) {
        let mut open = self.lock();
        let forgotten = open.files.remove(&number);
        open.order.remove(&number);
        drop(open);
        // Not under the lock, which readers take who must not wait: closing a file without a name frees its space.
        drop(forgotten);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, OpenSegments> {
        // Each critical section leaves the two collections in step, so a panic elsewhere does not matter.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::durable_file::{self, SystemCalls};

    #[test]
    fn a_segment_that_was_removed_while_it_was_opened_is_not_kept() {
        let dir = tempfile::tempdir().unwrap();
        let table = SegmentTable::new(
            dir.path().to_owned(),
            DiskId([1; 16]),
            Arc::new(SystemCalls),
        );
        let number = SegmentNumber(1);
        table.create(number, Bytes::new()).unwrap();
        assert_eq!(table.lock().files.len(), 1);
        // Between the steps of `open`, those of removing it.
        let file = DataFile::open(&table.path(number), Arc::clone(&table.calls)).unwrap();
        durable_file::remove_file(&table.path(number)).unwrap();
        table.forget(number);
        let opened = table.insert(number, file).unwrap();
        assert_eq!(opened.number, number);
        assert_eq!(table.lock().files.len(), 0);
    }
}
