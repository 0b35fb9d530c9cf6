//! Disks that vanish while the store runs.

use std::path::PathBuf;

use super::super::shared::Suspicion;
use super::super::writer::{Control, Request};
use super::super::{RocksKv, RocksKvOptions, Start};
use super::harness::{Disks, assert_values, entries, holders, put, try_put, until, value};
use crate::kv::KvError;

#[tokio::test]
async fn a_lost_copy_is_made_anew_elsewhere() {
    let disks = Disks::new(4, 1);
    let (store, report) = disks.open();
    assert_eq!(report.copies, [disks.place(1)]);
    put(&store, "before", "1").await;
    disks.lose(1);
    put(&store, "after", "2").await;
    until(|| store.status().counters.copies_established == 1).await;
    assert_eq!(holders(&store.status()), [disks.place(0), disks.place(2)]);
    put(&store, "later", "3").await;
    drop(store);

    disks.lose(0);
    let (store, report) = disks.open();
    assert_eq!(
        report.start,
        Start::Restored {
            from: disks.place(2),
            reason: format!("{} is missing", disks.place(0).display())
        }
    );
    assert_values(&store, &[("before", "1"), ("after", "2"), ("later", "3")]).await;
}

#[tokio::test]
async fn the_metadata_directory_may_vanish_while_running() {
    let disks = Disks::new(4, 2);
    let (store, _) = disks.open();
    for index in 0..100 {
        put(&store, &format!("key {index}"), &"x".repeat(1000)).await;
    }
    disks.lose(0);
    put(&store, "after", "2").await;
    assert_eq!(store.status().primary, disks.place(1));
    assert_eq!(store.status().counters.failovers, 1);
    assert!(value(&store, "key 99").await.is_some());
    until(|| !store.status().is_reduced()).await;
    put(&store, "later", "3").await;
    drop(store);

    // The directory is empty now, and the newest RocksDB elsewhere: it returns.
    let (store, report) = disks.open();
    let from = disks.place(1);
    assert_eq!(
        (report.start, report.primary),
        (Start::Returned { from }, disks.place(0))
    );
    assert_values(&store, &[("after", "2"), ("later", "3")]).await;
}

#[tokio::test]
async fn a_vanished_metadata_directory_is_noticed_without_a_commit() {
    let disks = Disks::new(2, 1);
    let (store, _) = disks.open();
    put(&store, "before", "1").await;
    disks.lose(0);
    until(|| store.status().counters.failovers == 1).await;
    assert_eq!(value(&store, "before").await.as_deref(), Some("1"));
    assert!(store.status().is_reduced());
}

#[tokio::test]
async fn two_of_three_holders_may_vanish_at_once() {
    let disks = Disks::new(3, 2);
    let (store, _) = disks.open();
    put(&store, "before", "1").await;
    disks.lose(0);
    disks.lose(2);
    put(&store, "after", "2").await;
    assert_eq!(value(&store, "before").await.as_deref(), Some("1"));
    assert_eq!(store.status().holder_count(), 1);
    assert!(store.status().counters.reduced_groups >= 1);
}

#[tokio::test]
async fn what_came_of_copying_from_one_disk_is_not_held_against_where_rocksdb_moved() {
    let disks = Disks::new(3, 2);
    let (store, _) = disks.open();
    put(&store, "before", "1").await;
    disks.lose(0);
    put(&store, "after", "2").await;
    let live = store.shared.live();
    assert_eq!((&live.place.path, live.generation), (&disks.place(1), 1));
    let late = Control::GiveUp {
        place: live.place.id,
        generation: 0,
        suspicion: Suspicion::failed("the source was gone"),
    };
    store.requests.send(Request::Control(late)).unwrap();
    // The writer is behind it when this is committed.
    put(&store, "later", "3").await;
    let status = store.status();
    assert_eq!(
        (status.primary, status.counters.failovers),
        (disks.place(1), 1)
    );
    assert!(status.places[1].is_holder);
}

#[tokio::test]
async fn nothing_is_made_where_a_disk_was_unmounted_while_running() {
    let disks = Disks::new(3, 1);
    let (store, _) = disks.open();
    put(&store, "before", "1").await;
    // The mount point is left.
    disks.lose(2);
    std::fs::create_dir(disks.place(2)).unwrap();
    disks.lose(1);
    put(&store, "after", "2").await;
    until(|| store.status().places[2].failure.is_some()).await;
    drop(store);
    assert_eq!(entries(&disks.place(2), ""), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn a_copy_of_a_store_that_was_replaced_is_stale_when_it_turns_up() {
    let disks = Disks::new(3, 1);
    // Started more often than the store that will take its place.
    for start in 0..3 {
        let (store, _) = disks.open();
        put(&store, "old", &start.to_string()).await;
    }
    disks.take_away(1);
    disks.lose(0);
    let replacement = RocksKvOptions {
        epoch_before_first: 1_700_000_000_000,
        ..RocksKvOptions::new(disks.place(0), disks.options.cluster_id)
    };
    let (store, report) = RocksKv::open(&replacement).unwrap();
    assert_eq!(report.start, Start::Fresh);
    put(&store, "new", "1").await;
    drop(store);

    disks.bring_back(1);
    let (store, report) = disks.open();
    assert_eq!(report.start, Start::Clean);
    assert_eq!(value(&store, "new").await.as_deref(), Some("1"));
    assert_eq!(value(&store, "old").await, None);
    // It may be better than what replaced it, and is kept.
    assert!(disks.entry(1, "superseded-").join("journal").is_dir());
}

#[tokio::test]
async fn without_a_copy_the_loss_is_told_and_nothing_is_acknowledged() {
    let disks = Disks::new(1, 0);
    let (store, _) = disks.open();
    put(&store, "before", "1").await;
    disks.lose(0);
    // Unavailable, if the loss was noticed before the commit began.
    let outcome = try_put(&store, "after", "2").await;
    assert!(
        matches!(
            outcome,
            Err(KvError::UnknownOutcome { .. } | KvError::Unavailable { .. })
        ),
        "{outcome:?}"
    );
    assert!(matches!(
        try_put(&store, "after", "2").await,
        Err(KvError::Unavailable { .. })
    ));
    assert!(store.status().broken.is_some());
}

#[tokio::test]
async fn the_only_disk_may_be_away_for_a_while() {
    let disks = Disks::new(1, 0);
    let (store, _) = disks.open();
    put(&store, "before", "1").await;
    disks.take_away(0);
    until(|| store.status().broken.is_some()).await;
    disks.bring_back(0);
    until(|| store.status().broken.is_none()).await;
    put(&store, "after", "2").await;
    drop(store);
    let (store, _) = disks.open();
    assert_eq!(value(&store, "after").await.as_deref(), Some("2"));
}
