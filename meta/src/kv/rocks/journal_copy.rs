//! One copy of the journal: the trait, and the directory of preallocated, recycled files behind it.
//!
//! Invariants: `append` returns after the bytes are on the disk and the file still has its name; after a
//! failure the copy is given up by its owner and never appended to again; a file is recycled or deleted only by
//! `cut`, which its owner calls after what it holds is durable elsewhere.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::journal_file::{FileHead, file_name, sequence_of_name};
use crate::block_file::BlockFile;
use crate::durable_file::{self, Inode};

/// Spare files kept for reuse. One is enough to rotate into; the second serves while the first is being used.
const SPARE_COUNT_MAX: usize = 2;
const SPARE_PREFIX: &str = "spare-";

/// A place that takes journal records. All calls block and come from one thread.
pub(crate) trait JournalCopy: Send {
    /// Begins a new file of at least `size_bytes`; the records before it stay. Durable on return. An error that
    /// [`has_no_room`] says that nothing was changed: the old file can still be written to.
    fn rotate(&mut self, head: &FileHead, size_bytes: u64) -> io::Result<()>;

    /// Makes sure that the next file of the usual size finds its space. Nothing else is changed, however often it is called.
    fn prepare(&mut self) -> io::Result<()>;

    /// Appends one framed record. Durable on return.
    fn append(&mut self, frame: &[u8]) -> io::Result<()>;

    /// Gives up the files all of whose records are at or below `sequence`.
    fn cut(&mut self, sequence: u64) -> io::Result<()>;

    /// Fails if the place can no longer be what it was: deleted, replaced, unmounted.
    fn check(&mut self) -> io::Result<()>;
}

/// A [`JournalCopy`] in a directory.
#[derive(Debug)]
pub(crate) struct DirectoryJournal {
    dir: PathBuf,
    dir_inode: Inode,
    file_size_bytes: u64,
    /// First sequences of the files here, ascending; the last is the one written.
    files: VecDeque<u64>,
    current: Option<BlockFile>,
}

impl DirectoryJournal {
    /// Takes over a directory with what is in it; nothing can be appended before the first `rotate`.
    pub(crate) fn open(dir: &Path, file_size_bytes: u64) -> io::Result<Self> {
        Ok(Self {
            dir: dir.to_owned(),
            dir_inode: durable_file::inode(dir)?,
            file_size_bytes,
            files: list(dir)?.into(),
            current: None,
        })
    }

    /// A spare file of at least so many bytes, made if there is none; it stays one until it is renamed.
    fn spare(&self, size_bytes: u64) -> io::Result<PathBuf> {
        for spare in spares(&self.dir)? {
            if fs::metadata(&spare)?.len() >= size_bytes {
                return Ok(spare);
            }
        }
        let spare = self.dir.join(format!("{SPARE_PREFIX}new"));
        // A disk that fills up leaves the unfinished file behind: the next attempt begins with its space.
        durable_file::create_zeroed(&spare, size_bytes)?;
        Ok(spare)
    }

    fn begin_file(&mut self, spare: &Path, head: &FileHead) -> io::Result<()> {
        let mut file = BlockFile::open(spare)?;
        // The new header makes whatever stands behind it unreadable before the name promises anything.
        file.append(&head.encode())?;
        durable_file::rename(spare, &self.dir.join(file_name(head.first_sequence)))?;
        if self.files.back() != Some(&head.first_sequence) {
            self.files.push_back(head.first_sequence);
        }
        self.current = Some(file);
        Ok(())
    }

    fn give_up(&self, first_sequence: u64) -> io::Result<()> {
        let path = self.dir.join(file_name(first_sequence));
        let size_bytes = match fs::metadata(&path) {
            // An earlier attempt got that far.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other?.len(),
        };
        // A file that was made larger for one huge record is not worth keeping.
        let is_usual = size_bytes == self.file_size_bytes;
        if is_usual && spares(&self.dir)?.len() < SPARE_COUNT_MAX {
            durable_file::rename(
                &path,
                &self.dir.join(format!("{SPARE_PREFIX}{first_sequence:020}")),
            )
        } else {
            durable_file::remove_file(&path)
        }
    }
}

impl JournalCopy for DirectoryJournal {
    fn rotate(&mut self, head: &FileHead, size_bytes: u64) -> io::Result<()> {
        let spare = self.spare(size_bytes)?;
        self.current = None;
        self.begin_file(&spare, head).map_err(|error| {
            // Of the kind that promises that nothing was changed.
            if has_no_room(&error) {
                io::Error::other(error)
            } else {
                error
            }
        })
    }

    fn prepare(&mut self) -> io::Result<()> {
        self.spare(self.file_size_bytes).map(|_| ())
    }

    fn append(&mut self, frame: &[u8]) -> io::Result<()> {
        let current = self
            .current
            .as_mut()
            .ok_or_else(|| io::Error::other("the journal has no open file"))?;
        current.append(frame)
    }

    fn cut(&mut self, sequence: u64) -> io::Result<()> {
        // A file ends where the next begins.
        while let Some(&first) = self.files.front()
            && self.files.get(1).is_some_and(|&next| next <= sequence + 1)
        {
            // Not forgotten before: the next cut would leave it behind, and a gap after it.
            self.give_up(first)?;
            self.files.pop_front();
        }
        Ok(())
    }

    fn check(&mut self) -> io::Result<()> {
        if durable_file::inode(&self.dir)? != self.dir_inode {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                format!("{} is another directory now", self.dir.display()),
            ));
        }
        self.current
            .as_ref()
            .map_or(Ok(()), BlockFile::check_linked)
    }
}

/// Whether the disk, or what the process may take of it, is full.
pub(crate) fn has_no_room(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

/// Whether this process had too few descriptors, threads or memory: nothing is said of the disk then.
pub(crate) fn is_of_the_process(error: &io::Error) -> bool {
    [Errno::MFILE, Errno::NFILE, Errno::AGAIN, Errno::NOMEM]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// Whether a copy is as good as before although work on it failed with this.
pub(crate) fn says_nothing_of_copies(error: &io::Error) -> bool {
    has_no_room(error) || is_of_the_process(error)
}

/// Makes sure that the next rotation in `dir` finds a file. Called from a background thread; a rotation that
/// comes first makes its own.
pub(crate) fn prepare_spare(dir: &Path, file_size_bytes: u64) -> io::Result<()> {
    if spares(dir)?.is_empty() {
        durable_file::create_zeroed(
            &dir.join(format!("{SPARE_PREFIX}prepared")),
            file_size_bytes,
        )?;
    }
    Ok(())
}

/// Removes files that were not finished: of a crash, or of a disk that filled up, where others need what room there is. No
/// journal may be open in `dir`.
pub(crate) fn remove_unfinished(dir: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        if name.is_some_and(|name| name.ends_with(durable_file::UNFINISHED_SUFFIX)) {
            durable_file::remove_file(&path)?;
        }
    }
    Ok(())
}

/// First sequences of the journal files in `dir`, ascending.
pub(crate) fn list(dir: &Path) -> io::Result<Vec<u64>> {
    let mut sequences = Vec::new();
    for entry in fs::read_dir(dir)? {
        sequences.extend(entry?.file_name().to_str().and_then(sequence_of_name));
    }
    sequences.sort_unstable();
    Ok(sequences)
}

fn spares(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut spares = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        if name.starts_with(SPARE_PREFIX) && !name.ends_with(durable_file::UNFINISHED_SUFFIX) {
            spares.push(path);
        }
    }
    Ok(spares)
}

#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    reason = "what a test makes and damages need not be durable"
)]
mod tests {
    use super::super::journal_file::JournalFile;
    use super::super::record::RecordBuilder;
    use super::*;
    use crate::kv::Write;

    const FILE_SIZE_BYTES: u64 = 16 << 10;

    fn head(salt: u8, first_sequence: u64) -> FileHead {
        FileHead {
            cluster_id: [0; 16],
            salt: [salt; 16],
            epoch: 1,
            first_sequence,
        }
    }

    fn frame(salt: u8, sequence: u64) -> Vec<u8> {
        let mut builder = RecordBuilder::new();
        builder.push(&Write::Delete { key: "key".into() });
        builder.finish(&[salt; 16], 1, sequence).bytes
    }

    fn next_sequence(dir: &Path, first: u64) -> u64 {
        JournalFile::read(&dir.join(file_name(first)))
            .unwrap()
            .unwrap()
            .extent()
            .next_sequence
    }

    #[test]
    fn a_recycled_file_begins_empty() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = DirectoryJournal::open(dir.path(), FILE_SIZE_BYTES).unwrap();
        journal.rotate(&head(1, 1), FILE_SIZE_BYTES).unwrap();
        journal.append(&frame(1, 1)).unwrap();
        journal.append(&frame(1, 2)).unwrap();
        let used = durable_file::inode(&dir.path().join(file_name(1))).unwrap();
        journal.rotate(&head(2, 3), FILE_SIZE_BYTES).unwrap();
        journal.cut(2).unwrap();
        assert_eq!(list(dir.path()).unwrap(), [3]);
        journal.append(&frame(2, 3)).unwrap();
        journal.rotate(&head(3, 4), FILE_SIZE_BYTES).unwrap();
        assert_eq!(
            durable_file::inode(&dir.path().join(file_name(4))).unwrap(),
            used
        );
        assert_eq!(next_sequence(dir.path(), 4), 4);
        assert_eq!(next_sequence(dir.path(), 3), 4);
    }

    #[test]
    fn preparing_for_the_next_file_again_and_again_makes_one_spare() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = DirectoryJournal::open(dir.path(), FILE_SIZE_BYTES).unwrap();
        journal.rotate(&head(1, 1), FILE_SIZE_BYTES).unwrap();
        for _ in 0..3 {
            journal.prepare().unwrap();
            assert_eq!(spares(dir.path()).unwrap().len(), 1);
        }
        journal.append(&frame(1, 1)).unwrap();
        assert_eq!(next_sequence(dir.path(), 1), 2);
    }

    #[test]
    fn a_cut_keeps_files_with_later_records() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = DirectoryJournal::open(dir.path(), FILE_SIZE_BYTES).unwrap();
        for first in [1, 5, 9] {
            journal.rotate(&head(1, first), FILE_SIZE_BYTES).unwrap();
        }
        journal.cut(7).unwrap();
        assert_eq!(list(dir.path()).unwrap(), [5, 9]);
        journal.cut(100).unwrap();
        assert_eq!(list(dir.path()).unwrap(), [9]);
    }

    #[test]
    fn a_cut_that_failed_is_made_up_for_without_a_gap() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = DirectoryJournal::open(dir.path(), FILE_SIZE_BYTES).unwrap();
        for first in [1, 5, 9] {
            journal.rotate(&head(1, first), FILE_SIZE_BYTES).unwrap();
        }
        // What cannot be removed as a file is.
        let path = dir.path().join(file_name(1));
        fs::remove_file(&path).unwrap();
        fs::create_dir_all(path.join("in the way")).unwrap();
        assert!(journal.cut(8).is_err());
        assert!(journal.cut(8).is_err());
        assert_eq!(list(dir.path()).unwrap(), [1, 5, 9]);
        fs::remove_dir_all(&path).unwrap();
        journal.cut(8).unwrap();
        assert_eq!(list(dir.path()).unwrap(), [9]);
    }

    #[test]
    fn a_process_without_descriptors_says_nothing_of_the_disk() {
        for errno in [Errno::MFILE, Errno::NFILE, Errno::AGAIN, Errno::NOMEM] {
            assert!(is_of_the_process(&errno.into()));
        }
        for errno in [Errno::IO, Errno::NOSPC, Errno::ROFS] {
            assert!(!is_of_the_process(&errno.into()));
        }
    }

    #[test]
    fn a_file_for_a_large_record_has_room_for_it_from_the_beginning() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = DirectoryJournal::open(dir.path(), FILE_SIZE_BYTES).unwrap();
        prepare_spare(dir.path(), FILE_SIZE_BYTES).unwrap();
        journal.rotate(&head(1, 1), 64 << 10).unwrap();
        let size_bytes = || fs::metadata(dir.path().join(file_name(1))).unwrap().len();
        assert_eq!(size_bytes(), 64 << 10);
        let mut builder = RecordBuilder::new();
        builder.push(&Write::Put {
            key: "k".into(),
            value: vec![1; 50_000].into(),
        });
        journal
            .append(&builder.finish(&[1; 16], 1, 1).bytes)
            .unwrap();
        assert_eq!(next_sequence(dir.path(), 1), 2);
        assert_eq!(size_bytes(), 64 << 10);
        // The usual spare file is still there for usual records; the large one does not become another.
        journal.rotate(&head(2, 2), FILE_SIZE_BYTES).unwrap();
        journal.cut(1).unwrap();
        assert_eq!(list(dir.path()).unwrap(), [2]);
        assert!(spares(dir.path()).unwrap().is_empty());
    }

    #[test]
    fn a_deleted_directory_fails_the_check_and_the_append() {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("journal");
        fs::create_dir(&dir).unwrap();
        let mut journal = DirectoryJournal::open(&dir, FILE_SIZE_BYTES).unwrap();
        journal.rotate(&head(1, 1), FILE_SIZE_BYTES).unwrap();
        journal.check().unwrap();
        fs::remove_dir_all(&dir).unwrap();
        assert!(journal.check().is_err());
        assert!(journal.append(&frame(1, 1)).is_err());
    }
}
