//! How RocksDB is tuned for the index.

use rocksdb::{
    BlockBasedIndexType, BlockBasedOptions, Cache, DataBlockIndexType, LogLevel, LruCacheOptions,
    Options,
};

/// The block cache is divided into 2^2 parts with a lock each. RocksDB's default, parts of 512 KiB, evicts what is used
/// while other parts have room.
const CACHE_SHARD_BITS: i32 = 2;

/// Lean on purpose: six disks in one process share the memory of one. An entry takes about 60 bytes, so the
/// bloom filters of a million shards take 1.2 MiB and the index 60 MiB of page cache.
pub(super) fn options(cache_bytes: usize) -> Result<Options, rocksdb::Error> {
    let mut cache = LruCacheOptions::default();
    cache.set_capacity(cache_bytes);
    cache.set_num_shard_bits(CACHE_SHARD_BITS);
    let mut blocks = BlockBasedOptions::default();
    blocks.set_bloom_filter(10.0, false);
    blocks.set_block_cache(&Cache::new_lru_cache_opts(&cache));
    blocks.set_cache_index_and_filter_blocks(true);
    // In pieces of 4 KiB: whole, those of one file are as large as a cache this small keeps in one place, and each lookup
    // would read them again.
    blocks.set_index_type(BlockBasedIndexType::TwoLevelIndexSearch);
    blocks.set_partition_filters(true);
    blocks.set_pin_top_level_index_and_filter(true);
    blocks.set_pin_l0_filter_and_index_blocks_in_cache(true);
    blocks.set_data_block_index_type(DataBlockIndexType::BinaryAndHash);
    // There is no setter for it. Whoever closes a disk flushes its index; where that was not done the disk has failed, or is
    // another one by now, and nothing must be written there.
    let mut options =
        Options::default().get_options_from_string("avoid_flush_during_shutdown=true")?;
    options.create_if_missing(true);
    options.set_block_based_table_factory(&blocks);
    options.set_write_buffer_size(8 << 20);
    options.set_max_write_buffer_number(2);
    options.set_max_open_files(64);
    options.set_max_background_jobs(2);
    options.set_level_compaction_dynamic_level_bytes(true);
    options.set_keep_log_file_num(1);
    options.set_log_level(LogLevel::Fatal);
    options.set_stats_dump_period_sec(0);
    options.set_bytes_per_sync(1 << 20);
    Ok(options)
}
