//! When hardly anything is written, all that was written is merged.
//!
//! Each flush leaves a file on top of those that are merged. RocksDB merges four of them at a time, because that rewrites
//! what is below, and while much is written less often is better. Then the last few stay, and what is in memory, and
//! every seek has to look into each: a listing with a delimiter is one seek for each common prefix. So once the store is
//! quiet memory is flushed, and RocksDB told to merge from the first file on, until there is none.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::database::{Database, DatabaseError, Layers};

/// So much is written in a few seconds to a store that nobody uses: leases, what is cleaned up.
const QUIET_BYTES_MAX: u64 = 256 << 10;
/// Merging rewrites at most so many times as much as was written anew.
const REWRITE_RATIO_MAX: u64 = 32;
/// What is in memory is flushed if it is more than this.
const MEMORY_BYTES_MIN: u64 = 1 << 20;

/// Judges whether a store is quiet.
#[derive(Debug)]
pub(crate) struct Quiet {
    interval: Duration,
    journal_bytes: u64,
    since: Instant,
}

impl Quiet {
    /// Judges once in each `interval`.
    pub(crate) fn new(interval: Duration, now: Instant) -> Self {
        Self {
            interval,
            journal_bytes: 0,
            since: now,
        }
    }

    /// Whether the store was quiet lately, told once for each interval. `journal_bytes` is what was ever written.
    pub(crate) fn look(&mut self, journal_bytes: u64, now: Instant) -> Option<bool> {
        if now.duration_since(self.since) < self.interval {
            return None;
        }
        let written_bytes = journal_bytes.saturating_sub(self.journal_bytes);
        *self = Self {
            interval: self.interval,
            journal_bytes,
            since: now,
        };
        Some(written_bytes <= QUIET_BYTES_MAX)
    }
}

fn are_worth_merging(layers: Layers) -> bool {
    let new_bytes = layers.memory_bytes.saturating_add(layers.flushed_bytes);
    let is_scattered = layers.flushed_count > 0 || layers.memory_bytes >= MEMORY_BYTES_MIN;
    is_scattered && new_bytes.saturating_mul(REWRITE_RATIO_MAX) >= layers.merged_bytes
}

impl Database {
    /// Begins to merge what was flushed, if the store is quiet and it is worth it; goes back to the ordinary way when
    /// that is done, or the store is not quiet any more. Waits for a flush, not for the merging.
    pub(crate) fn merge_if_quiet(&self, is_quiet: bool) -> Result<(), DatabaseError> {
        let merges_at_once = self.merges_at_once.load(Ordering::SeqCst);
        if !is_quiet && !merges_at_once {
            return Ok(());
        }
        let layers = self.layers()?;
        let should_merge = is_quiet && are_worth_merging(layers);
        if should_merge == merges_at_once {
            return Ok(());
        }
        if should_merge {
            self.flush()?;
        }
        self.set_merges_at_once(should_merge)?;
        self.merges_at_once.store(should_merge, Ordering::SeqCst);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::database::{Applied, Missing, block_cache};
    use super::super::record::RecordBuilder;
    use super::*;
    use crate::kv::Write;

    fn flush_some(database: &Database, sequence: u64) {
        let mut builder = RecordBuilder::new();
        for number in 0..100 {
            let key = format!("{number:03}-{sequence}").into();
            builder.push(&Write::Put {
                key,
                value: vec![1; 100].into(),
            });
        }
        let frame = builder.finish(&[0; 16], 1, sequence);
        let applied = Applied {
            sequence,
            hash: frame.hash,
        };
        database.apply(frame.payload(), applied).unwrap();
        database.flush().unwrap();
    }

    #[test]
    fn a_store_is_quiet_when_little_was_written_for_a_while() {
        const INTERVAL: Duration = Duration::from_secs(5);
        let begin = Instant::now();
        let mut quiet = Quiet::new(INTERVAL, begin);
        assert_eq!(quiet.look(1 << 30, begin + INTERVAL / 2), None);
        assert_eq!(quiet.look(1 << 30, begin + INTERVAL), Some(false));
        let later = begin + INTERVAL * 2;
        assert_eq!(quiet.look((1 << 30) + QUIET_BYTES_MAX, later), Some(true));
        assert_eq!(quiet.look(1 << 31, later + INTERVAL / 2), None);
    }

    #[test]
    fn little_is_not_merged_into_much() {
        let layers = |memory_bytes, flushed_count, flushed_bytes, merged_bytes| Layers {
            memory_bytes,
            flushed_count,
            flushed_bytes,
            merged_bytes,
        };
        assert!(are_worth_merging(layers(0, 1, 10, 320)));
        assert!(!are_worth_merging(layers(0, 1, 10, 321)));
        assert!(are_worth_merging(layers(1, 1, 10, 321)));
        assert!(!are_worth_merging(layers(MEMORY_BYTES_MIN - 1, 0, 0, 1)));
        assert!(are_worth_merging(layers(MEMORY_BYTES_MIN, 0, 0, 1)));
    }

    #[test]
    fn what_was_flushed_is_merged_only_while_the_store_is_quiet() {
        let dir = tempfile::tempdir().unwrap();
        let database = Database::open(
            &dir.path().join("db"),
            Missing::Create,
            &block_cache(1 << 20),
        )
        .unwrap();
        flush_some(&database, 1);
        flush_some(&database, 2);
        let flushed = |database: &Database| {
            database.wait_for_compactions();
            database.layers().unwrap().flushed_count
        };
        database.merge_if_quiet(false).unwrap();
        assert_eq!(flushed(&database), 2);
        database.merge_if_quiet(true).unwrap();
        assert_eq!(flushed(&database), 0);
        assert!(database.layers().unwrap().merged_bytes > 0);
        // Done: the ordinary way again.
        database.merge_if_quiet(true).unwrap();
        flush_some(&database, 3);
        assert_eq!(flushed(&database), 1);
    }
}
