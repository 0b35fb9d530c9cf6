//! RocksDB that a failure moved to another disk returns to the metadata directory at the next start.

use std::sync::{Arc, Mutex};

use super::super::holder::{OpenJournal, directory_journal};
use super::super::{RocksKv, Start};
use super::harness::{Disks, put, until, value};

/// A closed store whose RocksDB is in place 1, with two commits since; the metadata directory is empty.
async fn moved_away(copy_count: usize, disk_count: usize) -> Disks {
    let mut disks = Disks::new(disk_count, copy_count);
    // With checkpoints and cut journals, so that a journal alone is no copy.
    disks.options.checkpoint_after_bytes = 10_000;
    let (store, _) = disks.open();
    while store.status().counters.checkpoints < 2 {
        put(&store, "before", &"1".repeat(1000)).await;
    }
    disks.lose(0);
    put(&store, "after", "2").await;
    assert_eq!(store.status().primary, disks.place(1));
    if disk_count > copy_count + 1 {
        until(|| !store.status().is_reduced()).await;
    }
    // The RocksDB that serves makes checkpoints on others only.
    let made = store.status().counters.checkpoints;
    while store.status().counters.checkpoints < made + 2 {
        put(&store, "before", &"2".repeat(1000)).await;
    }
    put(&store, "last", "3").await;
    drop(store);
    disks
}

async fn assert_whole(disks: &Disks, context: &str) {
    let (store, report) = disks.open();
    for (key, expected) in [("after", "2"), ("last", "3")] {
        assert_eq!(
            value(&store, key).await.as_deref(),
            Some(expected),
            "{context}: {report}"
        );
    }
    let before = value(&store, "before").await.unwrap();
    assert_eq!(before, "2".repeat(1000), "{context}: {report}");
}

#[tokio::test]
async fn rocksdb_returns_and_either_disk_may_be_lost_at_once() {
    for (copy_count, disk_count) in [(1, 2), (1, 3), (2, 4)] {
        let context = format!("{copy_count} copies, {disk_count} disks");
        let disks = moved_away(copy_count, disk_count).await;
        let (store, report) = disks.open();
        let from = disks.place(1);
        assert_eq!(
            (&report.start, &report.primary),
            (&Start::Returned { from }, &disks.place(0)),
            "{context}: {report}"
        );
        assert_eq!(report.copies.len(), copy_count, "{context}: {report}");
        assert_eq!(value(&store, "last").await.as_deref(), Some("3"));
        // As a crash now would leave it: the disk that it returned to is lost, or all others that may be.
        let home_lost = disks.image();
        home_lost.lose(0);
        assert_whole(&home_lost, &context).await;
        let copies_lost = disks.image();
        for disk in 1..=copy_count {
            copies_lost.lose(disk);
        }
        assert_whole(&copies_lost, &context).await;
        drop(store);
        let (_, report) = disks.open();
        assert_eq!(report.start, Start::Clean, "{context}: {report}");
    }
}

#[tokio::test]
async fn rocksdb_stays_while_the_metadata_directory_is_away() {
    let disks = moved_away(2, 4).await;
    disks.take_away(0);
    let (store, report) = disks.open();
    assert_eq!(
        (&report.start, &report.primary),
        (&Start::Clean, &disks.place(1)),
        "{report}"
    );
    assert_eq!(value(&store, "last").await.as_deref(), Some("3"));
    put(&store, "last", "4").await;
    drop(store);
    disks.bring_back(0);
    let (store, report) = disks.open();
    assert_eq!(report.primary, disks.place(0), "{report}");
    assert_eq!(value(&store, "last").await.as_deref(), Some("4"));
}

/// The metadata directory is one that held a copy: what it has is not touched before the next roster is written.
#[tokio::test]
async fn a_copy_stays_one_until_rocksdb_has_returned_to_it() {
    let mut disks = Disks::new(2, 1);
    disks.options.checkpoint_after_bytes = 10_000;
    let (store, _) = disks.open();
    while store.status().counters.checkpoints < 2 {
        put(&store, "before", &"1".repeat(1000)).await;
    }
    put(&store, "last", "2").await;
    drop(store);
    let home = disks.place(1);
    disks.options.copies = vec![std::mem::replace(&mut disks.options.dir, home)];
    // Journals are opened when all is ready for the next roster.
    let image: Arc<Mutex<Option<Disks>>> = Arc::default();
    let (taken, take) = (Arc::clone(&image), disks.imaging());
    let real = directory_journal();
    let open_journal: OpenJournal = Arc::new(move |dir, file_size_bytes| {
        taken.lock().unwrap().get_or_insert_with(&take);
        real(dir, file_size_bytes)
    });
    let (store, report) = RocksKv::open_with(&disks.options, open_journal).unwrap();
    let from = disks.place(0);
    assert_eq!(report.start, Start::Returned { from });
    drop(store);
    let crashed = image.lock().unwrap().take().unwrap();
    crashed.lose(0);
    let (store, report) = crashed.open();
    assert_eq!(
        value(&store, "last").await.as_deref(),
        Some("2"),
        "{report}"
    );
    assert_eq!(value(&store, "before").await.unwrap().len(), 1000);
}
