//! How RocksDB is tuned, and bounded in memory and files.

use std::ffi::c_int;

use rocksdb::{BlockBasedIndexType, BlockBasedOptions, Cache, LogLevel, LruCacheOptions, Options};

use super::background_threads::{BACKGROUND_COMPACTION_COUNT, BACKGROUND_FLUSH_COUNT};

/// Three of these at most are in memory, 48 MiB, beside the block cache: one being filled, others being flushed.
const MEMTABLE_BYTES: usize = 16 << 20;
/// Each open SST file holds its index in the block cache, so that this bounds descriptors, not memory.
const OPEN_FILE_COUNT_MAX: i32 = 256;
const BLOOM_BITS_PER_KEY: f64 = 10.0;
const BLOCK_SIZE_BYTES: usize = 8 << 10;
/// A seek ends with a walk from the last whole key in a block. From each fourth instead of RocksDB's sixteenth, 1,000
/// seeks in a million records take a fifth less time, and the files are 2 % larger.
const BLOCK_RESTART_INTERVAL: i32 = 4;
/// The block cache is divided into 2^2 parts with a lock each. RocksDB's default, parts of 512 KiB, evicts what is used
/// while other parts have room: random gets among a million records took twice as long. (Its cache without locks gains a
/// twentieth, and ends the process where it is not given address space.)
const CACHE_SHARD_BITS: i32 = 2;
/// Up to this size there is one level below the files that were just flushed: one place less to seek in. Rewriting it
/// costs no more than rewriting two would: the upper one would soon overlap all of the lower.
const ONE_LEVEL_BYTES_MAX: u64 = 512 << 20;
/// So many flushed files are merged with those below.
pub(super) const MERGED_COUNT_MIN: c_int = 4;

/// Whether a missing database is created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Missing {
    /// An empty one is created.
    Create,
    /// It is an error.
    Refuse,
}

/// A block cache of `size_bytes`, for all databases that one store opens.
pub(crate) fn block_cache(size_bytes: usize) -> Cache {
    let mut options = LruCacheOptions::default();
    options.set_capacity(size_bytes);
    options.set_num_shard_bits(CACHE_SHARD_BITS);
    Cache::new_lru_cache_opts(&options)
}

pub(super) fn options(missing: Missing, cache: &Cache) -> Options {
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
