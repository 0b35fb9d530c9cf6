//! The live RocksDB: options, reads, and the one way that records reach it.
//!
//! Its own write-ahead log is off; the journal is the log. Its records get here in [`applied`] and nowhere else, and are
//! asked for in [`reads`], beyond what [`recent_records`] and [`recent_pages`] remember. Where RocksDB has them is told by [`layers`].
//!
//! A call into a disk that hangs does not return. What is served in the ordinary case therefore has a form that never
//! waits for the disk and says when it would have to: reads with [`Reach::Memory`], and [`Database::try_apply`]. All
//! others are for threads that may be lost.

mod applied;
mod background_threads;
mod cursor;
mod error;
mod keys;
mod layers;
mod options;
mod reads;
mod recent_pages;
mod recent_records;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rocksdb::checkpoint::Checkpoint;
use rocksdb::{Cache, DB, FlushOptions, ReadOptions, WriteOptions};

pub(crate) use applied::Applied;
pub(crate) use background_threads::add_background_threads;
pub(crate) use error::{DatabaseError, ReadError};
pub(crate) use layers::Layers;
pub(crate) use options::{Missing, block_cache};
pub(crate) use reads::Reach;

use options::options;
use reads::read_options;
use recent_pages::RecentPages;
use recent_records::RecentRecords;

/// An open RocksDB.
pub(crate) struct Database {
    /// `None` only while it is dropped.
    db: Option<DB>,
    path: PathBuf,
    is_abandoned: AtomicBool,
    has_replaced_threads: AtomicBool,
    /// Whether RocksDB merges from the first flushed file on, see `quiet`.
    pub(crate) merges_at_once: AtomicBool,
    recent_records: RecentRecords,
    recent_pages: RecentPages,
    memory_reads: ReadOptions,
    /// Of a write that waits where RocksDB wants it to.
    write_options: WriteOptions,
    /// Of one that fails instead.
    prompt_write_options: WriteOptions,
    /// Makes it a database on a disk that hangs.
    #[cfg(test)]
    pub(crate) hang: super::tests::Hang,
    /// Makes it one on a disk that is slow at what many blocks are needed for.
    #[cfg(test)]
    pub(crate) slow_scans: super::tests::Hang,
    /// Makes it one that takes no records, as when a flush found no room.
    #[cfg(test)]
    pub(crate) refuses: AtomicBool,
    /// Unless it is 0, not all of it can be read, and each try to do so counts.
    #[cfg(test)]
    pub(crate) unreadable_count: std::sync::atomic::AtomicUsize,
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Database")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl Database {
    /// Opens the database in `path`.
    pub(crate) fn open(
        path: &Path,
        missing: Missing,
        cache: &Cache,
    ) -> Result<Self, DatabaseError> {
        let db =
            DB::open(&options(missing, cache), path).map_err(|source| DatabaseError::Rocks {
                path: path.to_owned(),
                source,
            })?;
        let mut write_options = WriteOptions::default();
        write_options.disable_wal(true);
        let mut prompt_write_options = WriteOptions::default();
        prompt_write_options.disable_wal(true);
        prompt_write_options.set_no_slowdown(true);
        Ok(Self {
            db: Some(db),
            path: path.to_owned(),
            is_abandoned: AtomicBool::new(false),
            has_replaced_threads: AtomicBool::new(false),
            merges_at_once: AtomicBool::new(false),
            recent_records: RecentRecords::default(),
            recent_pages: RecentPages::default(),
            memory_reads: read_options(Reach::Memory),
            write_options,
            prompt_write_options,
            #[cfg(test)]
            hang: super::tests::Hang::default(),
            #[cfg(test)]
            slow_scans: super::tests::Hang::default(),
            #[cfg(test)]
            refuses: AtomicBool::new(false),
            #[cfg(test)]
            unreadable_count: std::sync::atomic::AtomicUsize::new(0),
        })
    }

    #[expect(
        clippy::expect_used,
        reason = "it is taken out when the database is dropped, and nobody can call it then"
    )]
    fn db(&self) -> &DB {
        self.db.as_ref().expect("an open database")
    }

    /// Called before whatever may have to wait for the disk.
    #[cfg_attr(
        not(test),
        expect(clippy::unused_self, reason = "only tests have disks that hang")
    )]
    fn touch_disk(&self) {
        #[cfg(test)]
        self.hang.wait();
    }

    /// Makes up for the threads of RocksDB that it may never let go of, if its disk hangs: before another database is
    /// opened in its stead. Once is enough.
    pub(crate) fn replace_threads(&self) {
        if !self.has_replaced_threads.swap(true, Ordering::SeqCst) {
            add_background_threads();
        }
    }

    /// Says that nobody waits for it any more: it will be closed on a thread of its own, because closing flushes, and
    /// its disk may hang.
    pub(crate) fn abandon(&self) {
        self.is_abandoned.store(true, Ordering::SeqCst);
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes all that was applied durable in RocksDB's own files.
    pub(crate) fn flush(&self) -> Result<(), DatabaseError> {
        self.touch_disk();
        let mut options = FlushOptions::default();
        options.set_wait(true);
        self.db()
            .flush_opt(&options)
            .map_err(|source| self.error(source))
    }

    /// Flushes, and links a consistent set of files into the new directory `path` on the same disk.
    pub(crate) fn checkpoint(&self, path: &Path) -> Result<(), DatabaseError> {
        self.touch_disk();
        Checkpoint::new(self.db())
            .and_then(|checkpoint| checkpoint.create_checkpoint(path))
            .map_err(|source| self.error(source))
    }

    /// Fails if its files are not there any more, or if a flush or compaction failed in the background: nothing can be
    /// written then.
    pub(crate) fn check(&self) -> std::io::Result<()> {
        self.touch_disk();
        std::fs::metadata(self.path.join("CURRENT"))?;
        match self.db().property_int_value("rocksdb.background-errors") {
            Ok(None | Some(0)) => Ok(()),
            Ok(Some(count)) => Err(std::io::Error::other(format!(
                "RocksDB had {count} background errors"
            ))),
            Err(error) => Err(std::io::Error::other(error)),
        }
    }

    #[cfg(test)]
    fn count_unreadable(&self) -> std::io::Result<()> {
        if self.unreadable_count.load(Ordering::SeqCst) == 0 {
            return Ok(());
        }
        self.unreadable_count.fetch_add(1, Ordering::SeqCst);
        Err(std::io::Error::other("a bad sector"))
    }

    #[cfg(test)]
    fn refuse(&self) -> Result<(), DatabaseError> {
        if self.refuses.load(Ordering::SeqCst) {
            return Err(DatabaseError::Applied {
                path: self.path.clone(),
            });
        }
        Ok(())
    }

    fn error(&self, source: rocksdb::Error) -> DatabaseError {
        DatabaseError::Rocks {
            path: self.path.clone(),
            source,
        }
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let db = self.db.take();
        if !*self.is_abandoned.get_mut() {
            return;
        }
        let closing = std::thread::Builder::new()
            .name("meta-close".to_owned())
            .spawn(move || drop(db));
        if let Err(error) = closing {
            tracing::warn!(%error, "no thread to close a metadata database on; it was closed at once");
        }
    }
}
