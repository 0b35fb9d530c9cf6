//! The live RocksDB: options, reads, and the one way that records reach it.
//!
//! Its own write-ahead log is off; the journal is the log. Keys carry one byte in front: `k` for the store's
//! records, `!` for our own. One of those, `!applied`, holds the sequence and hash of the last journal record
//! applied and is written in the same RocksDB batch as its writes, in the same column family: whatever RocksDB
//! has flushed is the state after exactly that record.
//!
//! A call into a disk that hangs does not return. What is served in the ordinary case therefore has a form that never
//! waits for the disk and says when it would have to: reads with [`Reach::Memory`], and [`Database::try_apply`]. All
//! others are for threads that may be lost.

use std::ffi::c_int;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use rocksdb::checkpoint::Checkpoint;
use rocksdb::{
    BlockBasedIndexType, BlockBasedOptions, Cache, DB, DBPinnableSlice, DBRawIterator, Env,
    ErrorKind, FlushOptions, LogLevel, LruCacheOptions, Options, ReadOptions, ReadTier, WriteBatch,
    WriteOptions,
};

use super::record::{MalformedPayload, WriteRef, u64_at, writes};
use crate::kv::scan::{self, Cursor};
use crate::kv::{KvError, Scan, ScanPage};

const USER_PREFIX: u8 = b'k';
/// First key behind those with [`USER_PREFIX`].
const USER_END: &[u8] = b"l";
const APPLIED_KEY: &[u8] = b"!applied";

/// Two of these at most are in memory, beside the block cache.
const MEMTABLE_BYTES: usize = 16 << 20;
/// Each open SST file holds its index in the block cache, so that this bounds descriptors, not memory.
const OPEN_FILE_COUNT_MAX: i32 = 256;
const BLOOM_BITS_PER_KEY: f64 = 10.0;
const BLOCK_SIZE_BYTES: usize = 8 << 10;
/// A seek ends with a walk from the last whole key in a block. From each fourth instead of RocksDB's sixteenth, 1,000
/// seeks in a million records take a fifth less time, and the files are 2 % larger.
const BLOCK_RESTART_INTERVAL: i32 = 4;
/// The block cache is divided into 2^2 parts with a lock each. RocksDB's default, parts of 512 KiB, evicts what is used
/// while other parts have room: random gets among a million records took twice as long.
const CACHE_SHARD_BITS: i32 = 2;
/// Up to this size there is one level below the files that were just flushed: one place less to seek in. Rewriting it
/// costs no more than rewriting two would: the upper one would soon overlap all of the lower.
const ONE_LEVEL_BYTES_MAX: u64 = 512 << 20;
/// How much is read at once where everything is.
const READ_PIECE_BYTES: usize = 4 << 20;
/// So many flushed files are merged with those below.
const MERGED_COUNT_MIN: c_int = 4;
/// How many flushes and compactions of one database run at a time.
const BACKGROUND_FLUSH_COUNT: c_int = 1;
const BACKGROUND_COMPACTION_COUNT: c_int = 1;

/// Why RocksDB did not do it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DatabaseError {
    /// RocksDB failed.
    #[error("RocksDB in {path}: {source}")]
    Rocks {
        /// Its directory.
        path: PathBuf,
        /// What it says.
        source: rocksdb::Error,
    },
    /// A journal record cannot be understood.
    #[error(transparent)]
    Payload(#[from] MalformedPayload),
    /// Our own record in it cannot be understood.
    #[error("RocksDB in {path} holds no valid record of what was applied")]
    Applied {
        /// Its directory.
        path: PathBuf,
    },
}

/// How far a read goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// To what is in memory: returns at once, and is [`ReadError::NeedsDisk`] where that does not suffice.
    Memory,
    /// To the disk: returns when the disk answers, if it does.
    Disk,
}

/// Why a read gave nothing.
#[derive(Debug)]
pub(crate) enum ReadError {
    /// What is in memory does not tell, and the disk was not asked or has not answered.
    NeedsDisk,
    /// RocksDB failed.
    Failed(KvError),
}

/// The last journal record that RocksDB holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Applied {
    /// 0 when nothing was applied yet.
    pub(crate) sequence: u64,
    /// The record's hash, which no other write has.
    pub(crate) hash: [u8; 32],
}

impl Applied {
    /// Before the first record.
    pub(crate) const NOTHING: Self = Self {
        sequence: 0,
        hash: [0; 32],
    };
}

/// Where a database's bytes are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Layers {
    /// Not in a file yet.
    pub(crate) memory_bytes: u64,
    /// Files that were flushed and not merged.
    pub(crate) flushed_count: usize,
    /// Bytes of these.
    pub(crate) flushed_bytes: u64,
    /// Bytes of those below.
    pub(crate) merged_bytes: u64,
}

/// Whether a missing database is created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Missing {
    /// An empty one is created.
    Create,
    /// It is an error.
    Refuse,
}

/// An open RocksDB.
pub(crate) struct Database {
    /// `None` only while it is dropped.
    db: Option<DB>,
    path: PathBuf,
    is_abandoned: AtomicBool,
    has_replaced_threads: AtomicBool,
    /// Whether RocksDB merges from the first flushed file on, see `quiet`.
    pub(crate) merges_at_once: AtomicBool,
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

    /// The value of `key`.
    pub(crate) fn get(&self, key: &[u8], reach: Reach) -> Result<Option<Bytes>, ReadError> {
        let value = self.pinned(key, reach)?;
        Ok(value.map(|value| Bytes::copy_from_slice(&value)))
    }

    /// Whether `key` has exactly `expected`, without copying the value.
    pub(crate) fn holds(
        &self,
        key: &[u8],
        expected: Option<&[u8]>,
        reach: Reach,
    ) -> Result<bool, ReadError> {
        Ok(self.pinned(key, reach)?.as_deref() == expected)
    }

    fn pinned(&self, key: &[u8], reach: Reach) -> Result<Option<DBPinnableSlice<'_>>, ReadError> {
        let found = match reach {
            Reach::Memory => self.db().get_pinned_opt(user_key(key), &self.memory_reads),
            Reach::Disk => {
                self.touch_disk();
                self.db().get_pinned(user_key(key))
            }
        };
        found.map_err(|error| {
            if error.kind() == ErrorKind::Incomplete {
                ReadError::NeedsDisk
            } else {
                ReadError::Failed(read_error(&error))
            }
        })
    }

    /// Runs `scan` over the store's records, as they are now.
    pub(crate) fn scan(&self, scan: &Scan, reach: Reach) -> Result<ScanPage, ReadError> {
        if reach == Reach::Disk {
            self.touch_disk();
            #[cfg(test)]
            self.slow_scans.wait();
        }
        let mut read = read_options(reach);
        read.set_iterate_lower_bound([USER_PREFIX]);
        read.set_iterate_upper_bound(USER_END);
        let mut cursor = RocksCursor {
            iterator: self.db().raw_iterator_opt(read),
            scratch: Vec::new(),
            needs_disk: false,
        };
        let page = scan::scan(&mut cursor, scan);
        page.map_err(|error| {
            if cursor.needs_disk {
                ReadError::NeedsDisk
            } else {
                ReadError::Failed(error)
            }
        })
    }

    /// Reads everything, which verifies the blocks that are not in the cache. `progress` is called with the size of pieces
    /// that were read, and may wait or fail. Damage is [`ErrorKind::InvalidData`](std::io::ErrorKind::InvalidData).
    pub(crate) fn read_all(
        &self,
        progress: &mut dyn FnMut(usize) -> std::io::Result<()>,
    ) -> std::io::Result<()> {
        self.touch_disk();
        #[cfg(test)]
        self.count_unreadable()?;
        let mut read = read_options(Reach::Disk);
        read.fill_cache(false);
        read.set_readahead_size(READ_PIECE_BYTES);
        let mut iterator = self.db().raw_iterator_opt(read);
        iterator.seek_to_first();
        let mut piece_bytes = 0;
        while let Some((key, value)) = iterator.item() {
            piece_bytes += key.len() + value.len();
            if piece_bytes >= READ_PIECE_BYTES {
                progress(std::mem::take(&mut piece_bytes))?;
            }
            iterator.next();
        }
        iterator.status().map_err(|error| {
            let kind = match error.kind() {
                ErrorKind::Corruption => std::io::ErrorKind::InvalidData,
                _ => std::io::ErrorKind::Other,
            };
            std::io::Error::new(kind, self.error(error))
        })
    }

    /// What the database holds.
    pub(crate) fn applied(&self) -> Result<Applied, DatabaseError> {
        self.touch_disk();
        let Some(value) = self
            .db()
            .get(APPLIED_KEY)
            .map_err(|source| self.error(source))?
        else {
            return Ok(Applied::NOTHING);
        };
        u64_at(&value, 0)
            .zip(value.get(8..).and_then(|hash| hash.try_into().ok()))
            .map(|(sequence, hash)| Applied { sequence, hash })
            .ok_or_else(|| DatabaseError::Applied {
                path: self.path.clone(),
            })
    }

    /// Applies the writes of a record and remembers that they were, atomically. Waits while RocksDB lets no write pass
    /// because its flushes are behind, which on a disk that hangs is for ever.
    pub(crate) fn apply(&self, payload: &[u8], applied: Applied) -> Result<(), DatabaseError> {
        self.touch_disk();
        #[cfg(test)]
        self.refuse()?;
        let batch = write_batch(payload, applied)?;
        self.db()
            .write_opt(batch, &self.write_options)
            .map_err(|source| self.error(source))
    }

    /// As [`Database::apply`], but never waits: `false` says that it would have had to, and nothing was applied.
    pub(crate) fn try_apply(
        &self,
        payload: &[u8],
        applied: Applied,
    ) -> Result<bool, DatabaseError> {
        #[cfg(test)]
        self.refuse()?;
        let batch = write_batch(payload, applied)?;
        match self.db().write_opt(batch, &self.prompt_write_options) {
            Ok(()) => Ok(true),
            // Writes that a failed flush has stopped say the same; `apply` then says what failed.
            Err(error) if error.kind() == ErrorKind::Incomplete => Ok(false),
            Err(source) => Err(self.error(source)),
        }
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

    /// About how many bytes of its files are live; 0 where RocksDB does not say.
    pub(crate) fn live_bytes(&self) -> u64 {
        let found = self
            .db()
            .property_int_value("rocksdb.estimate-live-data-size");
        found.ok().flatten().unwrap_or(0)
    }

    /// Where its bytes are.
    pub(crate) fn layers(&self) -> Result<Layers, DatabaseError> {
        let files = self
            .db()
            .live_files()
            .map_err(|source| self.error(source))?;
        let memory_bytes = self
            .db()
            .property_int_value("rocksdb.cur-size-active-mem-table");
        let mut layers = Layers {
            memory_bytes: memory_bytes.ok().flatten().unwrap_or(0),
            ..Layers::default()
        };
        for file in files {
            if file.level == 0 {
                layers.flushed_count += 1;
                layers.flushed_bytes += file.size as u64;
            } else {
                layers.merged_bytes += file.size as u64;
            }
        }
        Ok(layers)
    }

    /// Has RocksDB merge flushed files from the first one on, or only [`MERGED_COUNT_MIN`] at a time.
    pub(crate) fn set_merges_at_once(&self, at_once: bool) -> Result<(), DatabaseError> {
        self.touch_disk();
        let count = if at_once { 1 } else { MERGED_COUNT_MIN };
        self.db()
            .set_options(&[("level0_file_num_compaction_trigger", &count.to_string())])
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

    /// Whether no flush and no compaction is changing its files.
    #[cfg(test)]
    pub(crate) fn is_at_rest(&self) -> bool {
        let running = [
            "rocksdb.num-running-flushes",
            "rocksdb.num-running-compactions",
            "rocksdb.compaction-pending",
        ];
        let mut counts = running
            .iter()
            .map(|name| self.db().property_int_value(*name));
        counts.all(|count| count == Ok(Some(0)))
    }

    /// Waits until nothing is left to merge.
    #[cfg(test)]
    pub(crate) fn wait_for_compactions(&self) {
        self.db()
            .wait_for_compact(&rocksdb::WaitForCompactOptions::default())
            .unwrap();
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

/// Lets RocksDB have one more thread for flushes, and one for compactions. All databases of a process share them, whatever
/// disks they are on, and each counts on one of each kind: a flush that hangs on one disk stops those on all others.
pub(crate) fn add_background_threads() {
    static ADDED_COUNT: Mutex<c_int> = Mutex::new(0);
    let mut added_count = ADDED_COUNT.lock().unwrap_or_else(PoisonError::into_inner);
    match Env::new() {
        Ok(mut env) => {
            *added_count += 1;
            env.set_background_threads(BACKGROUND_COMPACTION_COUNT + *added_count);
            env.set_high_priority_background_threads(BACKGROUND_FLUSH_COUNT + *added_count);
        }
        Err(error) => tracing::error!(%error, "no more threads for RocksDB"),
    }
}

/// The writes of a record, and that they were applied.
fn write_batch(payload: &[u8], applied: Applied) -> Result<WriteBatch, MalformedPayload> {
    let mut batch = WriteBatch::default();
    let mut key_scratch = vec![USER_PREFIX];
    for write in writes(payload) {
        let (WriteRef::Put { key, .. } | WriteRef::Delete { key }) = write?;
        key_scratch.truncate(1);
        key_scratch.extend_from_slice(key);
        match write? {
            WriteRef::Put { value, .. } => batch.put(&key_scratch, value),
            WriteRef::Delete { .. } => batch.delete(&key_scratch),
        }
    }
    let mut value = applied.sequence.to_le_bytes().to_vec();
    value.extend_from_slice(&applied.hash);
    batch.put(APPLIED_KEY, value);
    Ok(batch)
}

fn read_options(reach: Reach) -> ReadOptions {
    let mut options = ReadOptions::default();
    options.set_read_tier(match reach {
        Reach::Memory => ReadTier::BlockCache,
        Reach::Disk => ReadTier::All,
    });
    options
}

fn user_key(key: &[u8]) -> Vec<u8> {
    let mut user_key = Vec::with_capacity(key.len() + 1);
    user_key.push(USER_PREFIX);
    user_key.extend_from_slice(key);
    user_key
}

/// A block cache of `size_bytes`, for all databases that one store opens.
pub(crate) fn block_cache(size_bytes: usize) -> Cache {
    let mut options = LruCacheOptions::default();
    options.set_capacity(size_bytes);
    options.set_num_shard_bits(CACHE_SHARD_BITS);
    Cache::new_lru_cache_opts(&options)
}

fn options(missing: Missing, cache: &Cache) -> Options {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(cache);
    table.set_block_size(BLOCK_SIZE_BYTES);
    table.set_block_restart_interval(BLOCK_RESTART_INTERVAL);
    table.set_bloom_filter(BLOOM_BITS_PER_KEY, false);
    table.set_optimize_filters_for_memory(true);
    // Index and filters count against the cache, so that the cache's size bounds the memory; in pieces, since whole ones
    // of 10 million records would fill it.
    table.set_cache_index_and_filter_blocks(true);
    table.set_index_type(BlockBasedIndexType::TwoLevelIndexSearch);
    table.set_partition_filters(true);
    table.set_pin_top_level_index_and_filter(true);
    table.set_pin_l0_filter_and_index_blocks_in_cache(true);
    table.set_format_version(6);

    let mut options = Options::default();
    options.create_if_missing(missing == Missing::Create);
    options.set_block_based_table_factory(&table);
    options.set_paranoid_checks(true);
    options.set_write_buffer_size(MEMTABLE_BYTES);
    options.set_max_write_buffer_number(3);
    options.set_level_compaction_dynamic_level_bytes(true);
    options.set_max_bytes_for_level_base(ONE_LEVEL_BYTES_MAX);
    options.set_level_zero_file_num_compaction_trigger(MERGED_COUNT_MIN);
    options.set_max_open_files(OPEN_FILE_COUNT_MAX);
    options.set_skip_stats_update_on_db_open(true);
    options.set_max_background_jobs(BACKGROUND_FLUSH_COUNT + BACKGROUND_COMPACTION_COUNT);
    options.set_bytes_per_sync(1 << 20);
    options.set_keep_log_file_num(2);
    options.set_max_log_file_size(1 << 20);
    // RocksDB warns of write stalls, and looks for files to delete every six hours, while it holds the lock that reads
    // and writes need. On a disk that hangs neither would return.
    options.set_log_level(LogLevel::Error);
    options.set_delete_obsolete_files_period_micros(u64::MAX / 2);
    options.set_stats_dump_period_sec(0);
    options.set_stats_persist_period_sec(0);
    options
}

/// [`Cursor`] over a RocksDB iterator, which is a snapshot.
struct RocksCursor<'db> {
    iterator: DBRawIterator<'db>,
    scratch: Vec<u8>,
    /// The last move stopped where memory did not suffice.
    needs_disk: bool,
}

impl RocksCursor<'_> {
    fn prefixed(&mut self, key: &[u8]) -> &[u8] {
        self.scratch.clear();
        self.scratch.push(USER_PREFIX);
        self.scratch.extend_from_slice(key);
        &self.scratch
    }

    fn status(&mut self) -> Result<(), KvError> {
        self.iterator.status().map_err(|error| {
            self.needs_disk = error.kind() == ErrorKind::Incomplete;
            read_error(&error)
        })
    }
}

impl Cursor for RocksCursor<'_> {
    fn seek(&mut self, key: &[u8]) -> Result<(), KvError> {
        self.prefixed(key);
        self.iterator.seek(&self.scratch);
        self.status()
    }

    fn seek_before(&mut self, key: Option<&[u8]>) -> Result<(), KvError> {
        match key {
            None => self.iterator.seek_to_last(),
            Some(key) => {
                self.prefixed(key);
                self.iterator.seek_for_prev(&self.scratch);
                if self.iterator.key() == Some(&self.scratch) {
                    self.iterator.prev();
                }
            }
        }
        self.status()
    }

    fn next(&mut self) -> Result<(), KvError> {
        if self.iterator.valid() {
            self.iterator.next();
        }
        self.status()
    }

    fn prev(&mut self) -> Result<(), KvError> {
        if self.iterator.valid() {
            self.iterator.prev();
        }
        self.status()
    }

    fn current(&self) -> Option<(&[u8], &[u8])> {
        let (key, value) = self.iterator.item()?;
        Some((key.strip_prefix(&[USER_PREFIX])?, value))
    }
}

/// What a reader is told.
fn read_error(error: &rocksdb::Error) -> KvError {
    match error.kind() {
        ErrorKind::Corruption => KvError::Corrupt {
            detail: error.to_string(),
        },
        _ => KvError::Unavailable {
            detail: error.to_string(),
        },
    }
}

impl From<ReadError> for KvError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::NeedsDisk => Self::Unavailable {
                detail: "the disk did not answer in time".to_owned(),
            },
            ReadError::Failed(error) => error,
        }
    }
}
