//! Disks that have no room while the store runs: for another journal file, for a roster, for what RocksDB flushes.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use super::super::OpenError;
use super::harness::{Disks, assert_values, entries, fill, make_room, put, try_put, until, value};
use super::journal_faults::Faults;
use crate::kv::{Batch, KvError, KvStore};

/// Whether a file of zeros is ready to be the next one of a journal.
fn has_spare(journal: &Path) -> bool {
    journal.join("spare-prepared").exists()
}

/// What another such file is while it is written.
fn unfinished_spares(journal: &Path) -> [PathBuf; 2] {
    ["spare-prepared.tmp", "spare-new.tmp"].map(|name| journal.join(name))
}

#[tokio::test]
async fn full_disks_refuse_commits_until_there_is_room_again() {
    let disks = Disks::new(2, 1);
    let (store, _) = disks.open();
    let journals = [0, 1].map(|disk| disks.place(disk).join("journal"));
    until(|| journals.iter().all(|journal| has_spare(journal))).await;
    for journal in &journals {
        fill(&unfinished_spares(journal));
    }
    let mut outcome = Ok(());
    let mut key = 0;
    while outcome.is_ok() {
        key += 1;
        assert!(key < 100, "nothing was refused");
        outcome = try_put(&store, &format!("key {key}"), &"x".repeat(3000)).await;
    }
    assert!(
        matches!(&outcome, Err(KvError::Unavailable { detail }) if detail.contains("no disk has room")),
        "{outcome:?}"
    );
    // An operator sees it, and sees it end: whoever looks whether this is ready commits nothing.
    let nothing = store.commit(Batch::default()).await;
    assert!(
        matches!(&nothing, Err(KvError::Unavailable { detail }) if detail.contains("no disk has room"))
    );
    let status = store.status();
    assert!(status.refusal().unwrap().contains("no disk has room"));
    assert_eq!(status.counters.refused_no_room, 1);
    assert_eq!((status.holder_count(), status.broken), (2, None));
    until(|| store.status().free_bytes_min().is_some()).await;

    for journal in &journals {
        make_room(&unfinished_spares(journal));
    }
    until(|| store.status().refusal().is_none()).await;
    store.commit(Batch::default()).await.unwrap();
    put(&store, "after", "1").await;
    drop(store);
    for lost in [0, 1] {
        let image = disks.image();
        image.lose(lost);
        let (store, _) = image.open();
        assert_eq!(value(&store, "after").await.as_deref(), Some("1"));
        let last = format!("key {}", key - 1);
        assert!(value(&store, &last).await.is_some());
        assert_eq!(value(&store, &format!("key {key}")).await, None);
    }
}

/// An append that fails would end the journals of all disks for good.
#[tokio::test]
async fn a_record_larger_than_a_file_is_refused_before_anything_of_it_is_written() {
    let disks = Disks::new(2, 1);
    let (store, _) = disks.open();
    let journals = [0, 1].map(|disk| disks.place(disk).join("journal"));
    // Usual files can be made all the while.
    let unfinished = journals.map(|journal| journal.join("spare-new.tmp"));
    until(|| {
        [0, 1]
            .iter()
            .all(|disk| has_spare(&disks.place(*disk).join("journal")))
    })
    .await;
    fill(&unfinished);
    let large = "x".repeat(64 << 10);
    let outcome = try_put(&store, "refused", &large).await;
    assert!(
        matches!(&outcome, Err(KvError::Unavailable { detail }) if detail.contains("no disk has room")),
        "{outcome:?}"
    );
    let status = store.status();
    assert_eq!((status.holder_count(), status.broken), (2, None));
    make_room(&unfinished);
    put(&store, "large", &large).await;
    put(&store, "small", "1").await;
    drop(store);
    for lost in [0, 1] {
        let image = disks.image();
        image.lose(lost);
        let (store, _) = image.open();
        assert_values(&store, &[("large", &large), ("small", "1")]).await;
        assert_eq!(value(&store, "refused").await, None);
    }
}

/// The writer looks for room every second after it refused something.
#[tokio::test]
async fn looking_for_room_uses_up_no_spare_file() {
    let disks = Disks::new(2, 1);
    let (store, _) = disks.open();
    let journals = [0, 1].map(|disk| disks.place(disk).join("journal"));
    until(|| journals.iter().all(|journal| has_spare(journal))).await;
    for journal in &journals {
        fill(&unfinished_spares(journal));
    }
    put(&store, "small", "1").await;
    let large = "x".repeat(64 << 10);
    for _ in 0..3 {
        try_put(&store, "refused", &large).await.unwrap_err();
        assert!(store.status().refusal().is_some());
        // There is room for what is not as large.
        until(|| store.status().refusal().is_none()).await;
        for journal in &journals {
            assert_eq!(entries(journal, "0").len(), 1);
            assert!(has_spare(journal));
        }
    }
    put(&store, "small too", "2").await;
    assert_eq!(store.status().holder_count(), 2);
}

#[tokio::test]
async fn a_full_disk_is_given_up_while_another_has_room() {
    let disks = Disks::new(2, 1);
    let (store, _) = disks.open();
    let journal = disks.place(1).join("journal");
    until(|| has_spare(&journal)).await;
    fill(&unfinished_spares(&journal));
    for key in 0..40 {
        put(&store, &format!("key {key}"), &"x".repeat(3000)).await;
    }
    assert_eq!(store.status().holder_count(), 1);
    assert!(store.status().broken.is_none());
}

#[tokio::test]
async fn a_start_without_room_serves_reads_and_then_commits_when_there_is_some() {
    let disks = Disks::new(2, 1);
    let (store, _) = disks.open();
    put(&store, "before", "1").await;
    drop(store);
    let full = || Faults::default().without_room();
    let (store, faults) = disks.open_with_faults(disks.root(), full());
    assert_eq!(value(&store, "before").await.as_deref(), Some("1"));
    assert!(
        store
            .status()
            .refusal()
            .unwrap()
            .contains("no disk has room")
    );
    let outcome = try_put(&store, "refused", "2").await;
    assert!(
        matches!(&outcome, Err(KvError::Unavailable { detail }) if detail.contains("no disk has room")),
        "{outcome:?}"
    );
    assert_eq!(store.status().holder_count(), 2);
    let crashed = disks.image();
    faults.make_room();
    until(|| store.status().refusal().is_none()).await;
    put(&store, "after", "3").await;
    drop(store);
    for lost in [0, 1] {
        let image = disks.image();
        image.lose(lost);
        let (store, _) = image.open();
        assert_values(&store, &[("before", "1"), ("after", "3")]).await;
        assert_eq!(value(&store, "refused").await, None);
    }
    let (store, _) = crashed.open();
    assert_eq!(value(&store, "before").await.as_deref(), Some("1"));

    // In a new store there would be no journal for the next start to find.
    let empty = Disks::new(1, 0);
    let outcome = empty.try_open_with_faults(empty.root(), full());
    assert!(matches!(outcome, Err(OpenError::Io { .. })));
}

/// The files with the roster of a place that take its space, by inode, and their sizes.
fn roster_files(place: &Path) -> Vec<(u64, u64)> {
    let files = entries(place, "cairn-meta.json").into_iter();
    let mut found: Vec<_> = files
        .map(|path| std::fs::metadata(path).unwrap())
        .map(|file| (file.ino(), file.blocks()))
        .collect();
    found.sort_unstable();
    found
}

/// A candidate that is full must not speak for a copy that is stale.
#[tokio::test]
async fn a_place_learns_in_the_space_that_it_has_who_went_on() {
    let disks = Disks::new(3, 1);
    let (store, _) = disks.open();
    let before = roster_files(&disks.place(2));
    store.shared.places[2].is_full.store(true, Ordering::SeqCst);
    disks.take_away(1);
    until(|| store.status().holder_count() == 1).await;
    put(&store, "alone", "1").await;
    assert_eq!(roster_files(&disks.place(2)), before);
    drop(store);
    disks.bring_back(1);
    disks.take_away(0);
    let error = disks.try_open().unwrap_err();
    assert!(
        matches!(&error, OpenError::HoldersMissing { holders } if *holders == [disks.place(0)]),
        "{error}"
    );
    disks.bring_back(0);
    let (store, _) = disks.open();
    assert_eq!(value(&store, "alone").await.as_deref(), Some("1"));
}

#[tokio::test]
async fn the_last_holder_without_room_for_a_roster_is_kept_until_there_is() {
    let disks = Disks::new(2, 1);
    let (store, _) = disks.open();
    put(&store, "before", "1").await;
    let unfinished = [disks.place(0).join("cairn-meta.json.tmp")];
    fill(&unfinished);
    disks.lose(1);
    until(|| store.status().broken.is_some()).await;
    assert_eq!(store.status().holder_count(), 1);
    make_room(&unfinished);
    until(|| store.status().broken.is_none()).await;
    put(&store, "after", "2").await;
    drop(store);
    let (store, _) = disks.open();
    assert_values(&store, &[("before", "1"), ("after", "2")]).await;
}

#[tokio::test]
async fn the_only_rocksdb_that_refuses_a_record_takes_it_later() {
    let disks = Disks::new(1, 0);
    let (store, _) = disks.open();
    put(&store, "before", "1").await;
    let live = store.shared.live();
    live.database.refuses.store(true, Ordering::SeqCst);
    let outcome = try_put(&store, "during", "2").await;
    assert!(
        matches!(outcome, Err(KvError::UnknownOutcome { .. })),
        "{outcome:?}"
    );
    let outcome = try_put(&store, "during", "2").await;
    assert!(
        matches!(outcome, Err(KvError::Unavailable { .. })),
        "{outcome:?}"
    );
    let status = store.status();
    assert!(status.broken.is_some() && status.holder_count() == 1);
    live.database.refuses.store(false, Ordering::SeqCst);
    drop(live);
    until(|| store.status().broken.is_none()).await;
    put(&store, "after", "3").await;
    let crashed = disks.image();
    drop(store);
    for disks in [disks, crashed] {
        let (store, _) = disks.open();
        assert_values(&store, &[("before", "1"), ("during", "2"), ("after", "3")]).await;
    }
}
