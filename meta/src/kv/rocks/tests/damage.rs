//! What rots on a disk, or cannot be read, while the store runs.

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::harness::{Disks, entries, flip_bit, overwrite, put, until, value};

/// RocksDB's files in a directory, of a database or of a checkpoint.
fn tables(dir: &Path) -> Vec<PathBuf> {
    let mut files = entries(dir, "");
    files.retain(|path| path.extension().is_some_and(|extension| extension == "sst"));
    files
}

#[tokio::test]
async fn a_copy_whose_checkpoint_rots_is_made_anew() {
    let mut disks = Disks::with_checkpoints(3, 1, 1000);
    disks.options.verify_every = Duration::from_millis(100);
    let (store, _) = disks.open();
    put(&store, "key", &"value".repeat(1000)).await;
    until(|| store.status().counters.checkpoints >= 1).await;
    // All of it more than once.
    let checkpoint = disks.entry(1, "checkpoint-");
    let files = entries(&checkpoint, "");
    let size_bytes = |path: &PathBuf| std::fs::metadata(path).unwrap().len();
    let all_bytes: u64 = files.iter().map(size_bytes).sum();
    until(|| store.status().counters.verified_bytes > 2 * all_bytes).await;
    assert_eq!(store.status().counters.copies_lost, 0);

    flip_bit(&tables(&checkpoint)[0], 100);
    until(|| store.status().counters.copies_established == 1).await;
    assert_eq!(store.status().counters.copies_lost, 1);
    let failure = store.status().places[1].failure.clone();
    assert!(failure.unwrap().contains("checksum"));
    drop(store);
    disks.lose(0);
    let (store, _) = disks.open();
    assert_eq!(value(&store, "key").await.unwrap().len(), 5000);
}

#[tokio::test]
async fn a_copy_whose_journal_rots_is_made_anew() {
    let mut disks = Disks::new(3, 1);
    disks.options.verify_every = Duration::from_millis(100);
    let (store, _) = disks.open();
    for number in 10..60 {
        put(&store, &format!("key {number}"), &"value".repeat(500)).await;
    }
    let journals = entries(&disks.place(1).join("journal"), "0");
    assert!(journals.len() > 2);
    // There is no checkpoint: what is verified are the closed files, all more than once.
    until(|| store.status().counters.verified_bytes > 400_000).await;
    assert_eq!(store.status().counters.copies_lost, 0);
    flip_bit(&journals[1], 4096 + 100);
    until(|| store.status().counters.copies_established == 1).await;
    assert_eq!(store.status().counters.copies_lost, 1);
    let failure = store.status().places[1].failure.clone();
    assert!(failure.unwrap().contains("journal"));
    drop(store);
    disks.lose(0);
    let (store, _) = disks.open();
    assert!(value(&store, "key 10").await.is_some());
}

#[tokio::test]
async fn restores_that_come_to_nothing_leave_nothing_behind() {
    let disks = Disks::with_checkpoints(2, 1, 1000);
    let (store, _) = disks.open();
    put(&store, "key", &"value".repeat(1000)).await;
    until(|| store.status().counters.checkpoints >= 1 && store.status().journal_bytes == 0).await;
    flip_bit(&tables(&disks.entry(1, "checkpoint-"))[0], 100);
    disks.lose(0);
    let left = || entries(&disks.place(1), "db-");
    until(|| store.status().broken.is_some()).await;
    // It is tried again and again.
    until(|| left().is_empty()).await;
    drop(store);
    for _ in 0..3 {
        disks.try_open().unwrap_err();
        assert_eq!(left(), Vec::<PathBuf>::new());
        assert_eq!(entries(&disks.place(0), "db-"), Vec::<PathBuf>::new());
    }
}

#[tokio::test]
async fn a_database_that_has_rotted_is_left_before_a_copy_is_made_of_it() {
    let disks = Disks::new(4, 2);
    let (store, _) = disks.open();
    for number in 10..40 {
        put(&store, &format!("key {number}"), &"value".repeat(1000)).await;
    }
    drop(store);
    let (store, _) = disks.open();
    let tables = tables(&disks.entry(0, "db-"));
    // In place: RocksDB has it open. In the middle: it has read the beginning, and would not read that again.
    let table = std::fs::File::options()
        .write(true)
        .open(&tables[0])
        .unwrap();
    let middle = table.metadata().unwrap().len() / 2;
    table.write_all_at(b"rot", middle).unwrap();
    disks.lose(2);
    until(|| store.status().counters.failovers == 1).await;
    assert_eq!(store.status().primary, disks.place(1));
    assert_eq!(value(&store, "key 25").await.unwrap().len(), 5000);
}

#[tokio::test]
async fn a_database_that_cannot_be_read_is_left_before_a_copy_is_made_of_it() {
    let disks = Disks::new(4, 2);
    let (store, _) = disks.open();
    put(&store, "key", "value").await;
    store
        .shared
        .live()
        .database
        .unreadable_count
        .store(1, Ordering::SeqCst);
    disks.lose(2);
    until(|| store.status().counters.failovers == 1).await;
    assert_eq!(store.status().primary, disks.place(1));
    // The place that was to have the copy is not blamed, and gets it from there.
    until(|| store.status().counters.copies_established == 1).await;
    assert!(store.status().places[3].is_holder);
    assert_eq!(value(&store, "key").await.as_deref(), Some("value"));
}

/// A file of a copy that stood in a place, as it was when it was given up.
fn leave_in(place: &Path) -> PathBuf {
    let journal = place.join("journal");
    std::fs::create_dir_all(&journal).unwrap();
    let left = journal.join("00000000000000000001.journal");
    overwrite(&left, b"what another place lost");
    left
}

#[tokio::test]
async fn a_place_is_not_emptied_for_a_database_that_cannot_be_read() {
    let disks = Disks::new(3, 1);
    let (store, _) = disks.open();
    put(&store, "key", "value").await;
    let left = leave_in(&disks.place(2));
    let live = store.shared.live();
    live.database.unreadable_count.store(1, Ordering::SeqCst);
    disks.lose(1);
    until(|| live.database.unreadable_count.load(Ordering::SeqCst) > 1).await;
    // The store ends when that try has.
    drop((live, store));
    assert!(left.exists());
}

/// As with a bad sector at its beginning: the file can be opened, and not read.
fn make_unreadable(path: &Path) {
    std::fs::remove_file(path).unwrap();
    std::os::unix::fs::symlink("/proc/self/mem", path).unwrap();
}

#[tokio::test]
async fn a_database_that_cannot_be_copied_is_left_for_the_copy() {
    let disks = Disks::with_checkpoints(3, 1, 1000);
    let (store, _) = disks.open();
    put(&store, "before", &"1".repeat(10_000)).await;
    until(|| store.status().counters.checkpoints >= 1 && store.status().journal_bytes == 0).await;
    // RocksDB has it open, and reads it as ever.
    make_unreadable(&tables(&disks.entry(0, "db-"))[0]);
    put(&store, "after", &"2".repeat(20_000)).await;
    until(|| store.status().counters.failovers == 1).await;
    let status = store.status();
    assert_eq!(status.primary, disks.place(1));
    assert!(status.places[1].is_holder && status.places[1].failure.is_none());
    for (key, len) in [("before", 10_000), ("after", 20_000)] {
        assert_eq!(value(&store, key).await.unwrap().len(), len);
    }
}
