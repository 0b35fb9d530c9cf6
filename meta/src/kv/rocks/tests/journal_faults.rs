//! Journals that fail, or wait, when a test says so.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use super::super::holder::{OpenJournal, directory_journal};
use super::super::journal_copy::JournalCopy;
use super::super::journal_file::FileHead;
use super::super::{OpenError, RocksKv};
use super::harness::Disks;

/// What a failing append leaves in the file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Leaves {
    #[default]
    Nothing,
    HalfTheRecord,
    TheRecord,
}

/// Makes the journals at some paths fail or wait.
#[derive(Debug, Default)]
pub(super) struct Faults {
    leaves: Leaves,
    waiting_rotation: u64,
    failing_rotation: u64,
    fails: AtomicBool,
    is_full: AtomicBool,
    appends_after_failure: AtomicU64,
    waits: Mutex<bool>,
    resumed: Condvar,
    /// Rotations so far.
    rotations: AtomicU64,
}

impl Faults {
    /// Appends that fail leave this.
    pub(super) fn leaving(self, leaves: Leaves) -> Self {
        Self { leaves, ..self }
    }

    /// This rotation, counted from 1, waits with the appends until they are resumed.
    pub(super) fn waiting_in_rotation(self, waiting_rotation: u64) -> Self {
        Self {
            waiting_rotation,
            ..self
        }
    }

    /// This one fails.
    pub(super) fn failing_in_rotation(self, failing_rotation: u64) -> Self {
        Self {
            failing_rotation,
            ..self
        }
    }

    /// There is no room for another file until some is made.
    pub(super) fn without_room(self) -> Self {
        self.fill();
        self
    }

    pub(super) fn fill(&self) {
        self.is_full.store(true, Ordering::SeqCst);
    }

    pub(super) fn make_room(&self) {
        self.is_full.store(false, Ordering::SeqCst);
    }

    fn check_room(&self) -> io::Result<()> {
        if self.is_full.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    /// Appends fail from now on.
    pub(super) fn fail(&self) {
        self.fails.store(true, Ordering::SeqCst);
    }

    /// They do not any more.
    pub(super) fn mend(&self) {
        self.fails.store(false, Ordering::SeqCst);
    }

    /// How many came to a journal of which one had failed.
    pub(super) fn appends_after_failure(&self) -> u64 {
        self.appends_after_failure.load(Ordering::SeqCst)
    }

    /// Appends wait from now on.
    pub(super) fn hold(&self) {
        *self.waits.lock().unwrap() = true;
    }

    /// They go on.
    pub(super) fn resume(&self) {
        *self.waits.lock().unwrap() = false;
        self.resumed.notify_all();
    }

    fn wait(&self) {
        drop(
            self.resumed
                .wait_while(self.waits.lock().unwrap(), |waits| *waits)
                .unwrap(),
        );
    }

    pub(super) fn rotation_count(&self) -> u64 {
        self.rotations.load(Ordering::SeqCst)
    }
}

struct FaultyJournal {
    has_failed: bool,
    inner: Box<dyn JournalCopy>,
    faults: Arc<Faults>,
}

impl JournalCopy for FaultyJournal {
    fn rotate(&mut self, head: &FileHead, size_bytes: u64) -> io::Result<()> {
        let rotation = self.faults.rotations.fetch_add(1, Ordering::SeqCst) + 1;
        if rotation == self.faults.waiting_rotation {
            self.faults.wait();
        }
        if rotation == self.faults.failing_rotation {
            return Err(io::Error::other("injected"));
        }
        self.faults.check_room()?;
        self.inner.rotate(head, size_bytes)
    }

    fn prepare(&mut self) -> io::Result<()> {
        self.faults.check_room()?;
        self.inner.prepare()
    }

    fn append(&mut self, frame: &[u8]) -> io::Result<()> {
        self.faults.wait();
        if self.has_failed {
            self.faults
                .appends_after_failure
                .fetch_add(1, Ordering::SeqCst);
        }
        if self.faults.fails.load(Ordering::SeqCst) {
            self.has_failed = true;
            match self.faults.leaves {
                Leaves::HalfTheRecord => self.inner.append(&frame[..frame.len() / 2])?,
                Leaves::TheRecord => self.inner.append(frame)?,
                Leaves::Nothing => {}
            }
            return Err(io::Error::other("injected"));
        }
        self.inner.append(frame)
    }

    fn cut(&mut self, sequence: u64) -> io::Result<()> {
        self.inner.cut(sequence)
    }

    fn check(&mut self) -> io::Result<()> {
        self.inner.check()
    }
}

fn faulty(path: PathBuf, faults: &Arc<Faults>) -> OpenJournal {
    let (real, faults) = (directory_journal(), Arc::clone(faults));
    Arc::new(move |dir, file_size_bytes| {
        let inner = real(dir, file_size_bytes)?;
        if dir.starts_with(&path) {
            return Ok(Box::new(FaultyJournal {
                has_failed: false,
                inner,
                faults: Arc::clone(&faults),
            }));
        }
        Ok(inner)
    })
}

impl Disks {
    /// Opens the store, with these faults in its journals below `path`.
    pub(super) fn open_with_faults(&self, path: &Path, faults: Faults) -> (RocksKv, Arc<Faults>) {
        self.try_open_with_faults(path, faults).unwrap()
    }

    pub(super) fn try_open_with_faults(
        &self,
        path: &Path,
        faults: Faults,
    ) -> Result<(RocksKv, Arc<Faults>), OpenError> {
        let faults = Arc::new(faults);
        let open_journal = faulty(path.to_owned(), &faults);
        let (store, _) = RocksKv::open_with(&self.options, open_journal)?;
        Ok((store, faults))
    }
}
