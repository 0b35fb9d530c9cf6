//! Goal: what the metadata take on each disk is bounded by what they hold, however much was written.
//!
//! Method: with all sizes scaled down by the same factor, small values are overwritten until the journal has been
//! written many times over, waiting for checkpoints where the disks cannot keep up. The files of each place are looked at all the while.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::super::RocksKv;
use super::super::options::{CHECKPOINT_AFTER_BYTES_MAX, RocksKvOptions, checkpoint_due_bytes};
use super::harness::{Disks, put, until};
use crate::kv::{Batch, KvStore};

/// Smaller than the defaults by this.
const SCALE: u64 = 32;
/// As docs/operations.md says it: on each disk, this and [`LIVE_FACTOR`] times the live metadata.
/// Journal is twice the 16 MiB after which a checkpoint is due, since it is written while that is made, beside five files
/// of 4 MiB and what RocksDB keeps of its own.
const CONSTANT_BYTES: u64 = 96 << 20;
/// RocksDB merges after four flushes, each of which may have all keys; merging and checkpoints keep old files for a while.
const LIVE_FACTOR: u64 = 8;

const KEY_COUNT: usize = 128;
const KEYS_PER_COMMIT: usize = 8;
const VALUE_BYTES: usize = 4 << 10;

/// Bytes of the files below `path`, each inode once.
fn occupied_bytes(path: &Path, seen: &mut HashSet<u64>) -> u64 {
    // Files come and go while we look.
    let Ok(entries) = fs::read_dir(path) else {
        return 0;
    };
    let sizes = entries.flatten().filter_map(|entry| {
        let metadata = entry.metadata().ok()?;
        if metadata.is_dir() {
            return Some(occupied_bytes(&entry.path(), seen));
        }
        seen.insert(metadata.ino()).then_some(metadata.len())
    });
    sizes.sum()
}

/// The largest of `disk_count` places.
fn largest_place(disks: &Disks, disk_count: usize) -> u64 {
    (0..disk_count)
        .map(|disk| occupied_bytes(&disks.place(disk), &mut HashSet::new()))
        .max()
        .unwrap()
}

async fn overwrite_all(store: &RocksKv, round: usize) {
    for first in (0..KEY_COUNT).step_by(KEYS_PER_COMMIT) {
        let mut batch = Batch::default();
        for key in first..first + KEYS_PER_COMMIT {
            let fill = u8::try_from((round * 7 + key) % 251).unwrap();
            batch.put(format!("key {key}"), vec![fill; VALUE_BYTES]);
        }
        store.commit(batch).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn journals_and_checkpoints_stay_bounded_however_much_is_written() {
    let mut disks = Disks::new(3, 2);
    let defaults = RocksKvOptions::new("unused", [0; 16]);
    disks.options.journal_file_size_bytes = defaults.journal_file_size_bytes / SCALE;
    disks.options.checkpoint_after_bytes = defaults.checkpoint_after_bytes / SCALE;
    let live_bytes = (KEY_COUNT * VALUE_BYTES) as u64;
    let bound_bytes = CONSTANT_BYTES / SCALE + LIVE_FACTOR * live_bytes;
    let (store, _) = disks.open();
    let mut largest_bytes = 0;
    let mut round = 0;
    while store.status().counters.journal_bytes < 10 * bound_bytes {
        overwrite_all(&store, round).await;
        // Nothing holds writes back while a checkpoint is made; what comes meanwhile is not bounded here.
        until(|| store.status().journal_bytes < 2 * disks.options.checkpoint_after_bytes).await;
        round += 1;
        largest_bytes = largest_bytes.max(largest_place(&disks, 3));
    }
    println!("at most {largest_bytes} bytes, {bound_bytes} allowed");
    assert!(
        largest_bytes <= bound_bytes,
        "{largest_bytes} bytes on a disk, {bound_bytes} allowed"
    );
    assert!(store.status().counters.checkpoints >= 20);

    // Nor do starts that each begin a new file add up.
    drop(store);
    for round in 0..12 {
        let (store, _) = disks.open();
        overwrite_all(&store, round).await;
        until(|| store.status().journal_bytes < 2 * disks.options.checkpoint_after_bytes).await;
        // As after a kill: what is in memory is not written.
        let crashed = disks.image();
        drop(store);
        disks = crashed;
    }
    let after_restarts = largest_place(&disks, 3);
    assert!(
        after_restarts <= bound_bytes,
        "{after_restarts} bytes on a disk after 12 starts, {bound_bytes} allowed"
    );
}

#[tokio::test]
async fn a_quiet_store_is_not_merged_on_a_disk_that_has_no_room_for_it() {
    let mut disks = Disks::new(1, 0);
    disks.options.quiet_after = Duration::from_millis(100);
    let (store, _) = disks.open();
    store.shared.places[0].is_full.store(true, Ordering::SeqCst);
    put(&store, "key", &"x".repeat(2_000_000)).await;
    let begun = Instant::now();
    until(|| begun.elapsed() > Duration::from_secs(3)).await;
    let layers = || store.shared.live().database.layers().unwrap();
    assert!(layers().memory_bytes >= 2_000_000);
    store.shared.places[0]
        .is_full
        .store(false, Ordering::SeqCst);
    until(|| layers().merged_bytes > 0).await;
}

#[test]
fn a_checkpoint_is_due_with_as_much_journal_as_the_database_has_within_limits() {
    const MIB: u64 = 1 << 20;
    for (database_bytes, due_bytes) in [
        (0, 16 * MIB),
        (10 * MIB, 16 * MIB),
        (50 * MIB, 50 * MIB),
        (10_000 * MIB, CHECKPOINT_AFTER_BYTES_MAX),
    ] {
        assert_eq!(checkpoint_due_bytes(16 * MIB, database_bytes), due_bytes);
    }
}
