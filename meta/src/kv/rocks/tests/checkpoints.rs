//! Checkpoints: what they make needless, and what becomes of those that cannot be made.

use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::super::Start;
use super::super::writer::{Control, Request};
use super::harness::{Disks, overwrite, put, until};
use super::journal_faults::Faults;
use crate::kv::KvStore;

#[tokio::test]
async fn journals_are_cut_after_a_checkpoint_and_the_copy_restores() {
    let disks = Disks::with_checkpoints(2, 1, 100_000);
    let (store, _) = disks.open();
    let mut index = 0;
    while store.status().counters.checkpoints < 3 {
        put(
            &store,
            &format!("key {}", index % 50),
            &format!("{index} {}", "x".repeat(3000)),
        )
        .await;
        index += 1;
    }
    store.close();
    drop(store);
    for disk in 0..2 {
        assert!(
            disks.journal_file_count(disk) < 30,
            "journals grow without bound"
        );
    }
    disks.lose(0);
    let (store, report) = disks.open();
    assert!(matches!(report.start, Start::Restored { .. }), "{report}");
    let value = store
        .get(format!("key {}", (index - 1) % 50).as_bytes())
        .await
        .unwrap()
        .unwrap();
    assert!(value.starts_with(format!("{} ", index - 1).as_bytes()));
}

/// As where a copy is tried to be made over and over, and each time comes to nothing.
#[tokio::test]
async fn files_that_are_closed_nearly_empty_do_not_add_up() {
    let disks = Disks::with_checkpoints(2, 1, 4 * (32 << 10));
    let (store, _) = disks.open();
    for round in 0..16 {
        put(&store, "key", &round.to_string()).await;
        let (answer, rotated) = mpsc::sync_channel(1);
        let rotate = Request::Control(Control::Rotate { answer });
        store.requests.send(rotate).unwrap();
        rotated.recv().unwrap().unwrap();
    }
    // With the file that is written and the spare ones.
    let is_bounded = |disk| disks.journal_file_count(disk) <= 8;
    until(|| store.status().counters.checkpoints >= 1 && (0..2).all(is_bounded)).await;
}

#[tokio::test]
async fn a_checkpoint_reuses_the_files_of_the_one_before() {
    let disks = Disks::with_checkpoints(2, 1, 50_000);
    let (store, _) = disks.open();
    put(&store, "large", &"x".repeat(2_000_000)).await;
    until(|| store.status().counters.checkpoints >= 1).await;
    let first_bytes = store.status().counters.checkpoint_bytes;
    assert!(first_bytes > 2_000_000);
    // As much journal as the database has, and little that is new in it.
    while store.status().counters.checkpoints < 2 {
        put(&store, "small", &"x".repeat(60_000)).await;
    }
    assert!(store.status().counters.checkpoint_bytes - first_bytes < 1_000_000);
}

#[tokio::test]
async fn a_checkpoint_that_cannot_be_made_is_not_tried_over_and_over() {
    let disks = Disks::with_checkpoints(1, 0, 1000);
    let (store, faults) = disks.open_with_faults(&disks.place(0), Faults::default());
    // In the way of the directory that it is built in.
    overwrite(&disks.place(0).join("checkpoint-build.tmp"), b"");
    put(&store, "key", &"value".repeat(1000)).await;
    // The start, and the first try.
    until(|| faults.rotation_count() == 2).await;
    let begun = Instant::now();
    until(|| begun.elapsed() > Duration::from_secs(3)).await;
    assert_eq!(faults.rotation_count(), 2);
    assert_eq!(store.status().counters.checkpoints, 0);
}

/// As where a quota is used up, which says nothing of the disk.
#[tokio::test]
async fn a_checkpoint_that_finds_no_room_for_a_journal_file_is_not_tried_over_and_over() {
    let disks = Disks::with_checkpoints(1, 0, 1000);
    let (store, faults) = disks.open_with_faults(&disks.place(0), Faults::default());
    faults.fill();
    put(&store, "key", &"value".repeat(1000)).await;
    until(|| faults.rotation_count() == 2).await;
    let begun = Instant::now();
    until(|| begun.elapsed() > Duration::from_secs(3)).await;
    assert_eq!(faults.rotation_count(), 2);
    // Whoever commits is not refused for it.
    assert_eq!(store.status().refusal(), None);
}

/// Nor is a disk left for being full, nor a file closed for nothing.
#[tokio::test]
async fn no_checkpoint_is_begun_on_a_disk_that_has_no_room_for_it() {
    let disks = Disks::with_checkpoints(2, 1, 1000);
    let (store, faults) = disks.open_with_faults(&disks.place(0), Faults::default());
    store.shared.places[0].is_full.store(true, Ordering::SeqCst);
    put(&store, "key", &"value".repeat(1000)).await;
    let begun = Instant::now();
    until(|| begun.elapsed() > Duration::from_secs(3)).await;
    // The start.
    assert_eq!(faults.rotation_count(), 1);
    let status = store.status();
    assert_eq!(
        (status.counters.checkpoints, status.counters.failovers),
        (0, 0)
    );
    assert_eq!(status.holder_count(), 2);
}

#[tokio::test]
async fn a_checkpoint_that_no_copy_took_does_not_count() {
    let disks = Disks::with_checkpoints(2, 1, 1000);
    let (store, _) = disks.open();
    // In the way of the directory that the copy makes.
    overwrite(
        &disks.place(1).join(format!("checkpoint-{:020}.tmp", 1)),
        b"",
    );
    put(&store, "key", &"value".repeat(1000)).await;
    until(|| store.status().counters.copies_lost == 1).await;
    let status = store.status();
    assert_eq!(
        (status.counters.checkpoints, status.checkpoint_age),
        (0, None)
    );
    assert!(status.journal_bytes > 5000);
    // It is made up for.
    put(&store, "more", &"value".repeat(10_000)).await;
    until(|| store.status().counters.checkpoints > 0).await;
    assert_eq!(store.status().counters.checkpoints, 1);
}
