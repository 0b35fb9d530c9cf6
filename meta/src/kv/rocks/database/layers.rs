//! Where a database's bytes are: in memory, in files that were flushed, or merged into those below.

use super::options::MERGED_COUNT_MIN;
use super::{Database, DatabaseError};

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

impl Database {
    /// About how many bytes of its files are live; 0 where RocksDB does not say.
    pub(crate) fn live_bytes(&self) -> u64 {
        let found = self
            .db()
            .property_int_value("rocksdb.estimate-live-data-size");
        found.ok().flatten().unwrap_or(0)
    }

    /// How much room a flush needs at most; 0 where RocksDB does not say.
    pub(crate) fn memory_bytes(&self) -> u64 {
        let found = self
            .db()
            .property_int_value("rocksdb.cur-size-all-mem-tables");
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
}
