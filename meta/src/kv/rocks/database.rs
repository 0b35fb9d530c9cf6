//! The live RocksDB: options, reads, and the one way that records reach it.
//!
//! Its own write-ahead log is off; the journal is the log. Keys carry one byte in front: `k` for the store's
//! records, `!` for our own. One of those, `!applied`, holds the sequence and hash of the last journal record
//! applied and is written in the same RocksDB batch as its writes, in the same column family: whatever RocksDB
//! has flushed is the state after exactly that record.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use rocksdb::checkpoint::Checkpoint;
use rocksdb::{
    BlockBasedIndexType, BlockBasedOptions, Cache, DB, DBRawIterator, FlushOptions, LogLevel,
    LruCacheOptions, Options, ReadOptions, WriteBatch, WriteOptions,
};

use super::record::{MalformedPayload, WriteRef, u64_at, writes};
use crate::kv::KvError;
use crate::kv::scan::Cursor;

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
    db: DB,
    path: PathBuf,
    write_options: WriteOptions,
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
        Ok(Self {
            db,
            path: path.to_owned(),
            write_options,
        })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The value of `key`.
    pub(crate) fn get(&self, key: &[u8]) -> Result<Option<Bytes>, DatabaseError> {
        let value = self
            .db
            .get_pinned(user_key(key))
            .map_err(|source| self.error(source))?;
        Ok(value.map(|value| Bytes::copy_from_slice(&value)))
    }

    /// Whether `key` has exactly `expected`, without copying the value.
    pub(crate) fn holds(&self, key: &[u8], expected: Option<&[u8]>) -> Result<bool, DatabaseError> {
        let value = self
            .db
            .get_pinned(user_key(key))
            .map_err(|source| self.error(source))?;
        Ok(value.as_deref() == expected)
    }

    /// A cursor over the store's records, as they are now.
    pub(crate) fn cursor(&self) -> RocksCursor<'_> {
        let mut read = ReadOptions::default();
        read.set_iterate_lower_bound([USER_PREFIX]);
        read.set_iterate_upper_bound(USER_END);
        RocksCursor {
            iterator: self.db.raw_iterator_opt(read),
            scratch: Vec::new(),
        }
    }

    /// What the database holds.
    pub(crate) fn applied(&self) -> Result<Applied, DatabaseError> {
        let Some(value) = self
            .db
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

    /// Applies the writes of a record and remembers that they were, atomically.
    pub(crate) fn apply(&self, payload: &[u8], applied: Applied) -> Result<(), DatabaseError> {
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
        self.db
            .write_opt(batch, &self.write_options)
            .map_err(|source| self.error(source))
    }

    /// Makes all that was applied durable in RocksDB's own files.
    pub(crate) fn flush(&self) -> Result<(), DatabaseError> {
        let mut options = FlushOptions::default();
        options.set_wait(true);
        self.db
            .flush_opt(&options)
            .map_err(|source| self.error(source))
    }

    /// Flushes, and links a consistent set of files into the new directory `path` on the same disk.
    pub(crate) fn checkpoint(&self, path: &Path) -> Result<(), DatabaseError> {
        Checkpoint::new(&self.db)
            .and_then(|checkpoint| checkpoint.create_checkpoint(path))
            .map_err(|source| self.error(source))
    }

    /// About how many bytes of its files are live; 0 where RocksDB does not say.
    pub(crate) fn live_bytes(&self) -> u64 {
        let found = self
            .db
            .property_int_value("rocksdb.estimate-live-data-size");
        found.ok().flatten().unwrap_or(0)
    }

    /// Fails if a flush or compaction failed in the background: nothing can be written any more.
    pub(crate) fn check(&self) -> std::io::Result<()> {
        match self.db.property_int_value("rocksdb.background-errors") {
            Ok(None | Some(0)) => Ok(()),
            Ok(Some(count)) => Err(std::io::Error::other(format!(
                "RocksDB had {count} background errors"
            ))),
            Err(error) => Err(std::io::Error::other(error)),
        }
    }

    fn error(&self, source: rocksdb::Error) -> DatabaseError {
        DatabaseError::Rocks {
            path: self.path.clone(),
            source,
        }
    }
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
    options.set_max_open_files(OPEN_FILE_COUNT_MAX);
    options.set_skip_stats_update_on_db_open(true);
    options.set_max_background_jobs(2);
    options.set_bytes_per_sync(1 << 20);
    options.set_keep_log_file_num(2);
    options.set_max_log_file_size(1 << 20);
    options.set_log_level(LogLevel::Warn);
    options.set_stats_dump_period_sec(0);
    options.set_stats_persist_period_sec(0);
    options
}

/// [`Cursor`] over a RocksDB iterator, which is a snapshot.
pub(crate) struct RocksCursor<'db> {
    iterator: DBRawIterator<'db>,
    scratch: Vec<u8>,
}

impl RocksCursor<'_> {
    fn prefixed(&mut self, key: &[u8]) -> &[u8] {
        self.scratch.clear();
        self.scratch.push(USER_PREFIX);
        self.scratch.extend_from_slice(key);
        &self.scratch
    }

    fn status(&self) -> Result<(), KvError> {
        self.iterator.status().map_err(|error| read_error(&error))
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
pub(crate) fn read_error(error: &rocksdb::Error) -> KvError {
    match error.kind() {
        rocksdb::ErrorKind::Corruption => KvError::Corrupt {
            detail: error.to_string(),
        },
        _ => KvError::Unavailable {
            detail: error.to_string(),
        },
    }
}

impl From<DatabaseError> for KvError {
    fn from(error: DatabaseError) -> Self {
        match &error {
            DatabaseError::Rocks { source, .. } => read_error(source),
            DatabaseError::Payload(_) | DatabaseError::Applied { .. } => Self::Corrupt {
                detail: error.to_string(),
            },
        }
    }
}
