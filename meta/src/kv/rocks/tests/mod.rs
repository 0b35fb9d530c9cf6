//! Tests of the whole backend on temporary directories, one per disk.

mod crash;
mod hangs;
mod harness;
mod losses;
mod refusals;
mod returns;
mod space;

use std::sync::Arc;

pub(super) use hangs::Hang;
pub(super) use harness::flip_bit;

use super::Start;
use crate::kv::{KvStore, conformance};
use harness::{Disks, put};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn keeps_the_contract() {
    conformance::run(async || {
        let disks = Disks::new(3, 2);
        let store: Arc<dyn KvStore> = Arc::new(disks.open().0);
        (store, disks)
    })
    .await;
}

#[tokio::test]
async fn a_closed_store_opens_with_nothing_to_replay() {
    let disks = Disks::new(3, 1);
    let (store, report) = disks.open();
    assert_eq!((report.start, report.copies.len()), (Start::Fresh, 1));
    put(&store, "a", "1").await;
    store.close();
    drop(store);
    let (store, report) = disks.open();
    assert_eq!((report.start, report.sequence), (Start::Clean, 1));
    assert_eq!(
        store.get(b"a").await.unwrap().as_deref(),
        Some(b"1".as_slice())
    );
}

#[tokio::test]
async fn what_was_acknowledged_before_a_crash_is_replayed() {
    let disks = Disks::new(1, 0);
    let (store, _) = disks.open();
    for index in 0..20 {
        put(&store, &format!("key {index}"), &"x".repeat(2000)).await;
    }
    let crashed = disks.image();
    let (store, report) = crashed.open();
    assert_eq!(report.start, Start::Replayed { record_count: 20 });
    assert!(store.get(b"key 19").await.unwrap().is_some());
}

#[tokio::test]
async fn journals_are_cut_after_a_checkpoint_and_the_copy_restores() {
    let mut disks = Disks::new(2, 1);
    disks.options.checkpoint_after_bytes = 100_000;
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

#[tokio::test]
async fn a_checkpoint_reuses_the_files_of_the_one_before() {
    let mut disks = Disks::new(2, 1);
    disks.options.checkpoint_after_bytes = 50_000;
    let (store, _) = disks.open();
    put(&store, "large", &"x".repeat(2_000_000)).await;
    harness::until(|| store.status().counters.checkpoints >= 1).await;
    let first_bytes = store.status().counters.checkpoint_bytes;
    assert!(first_bytes > 2_000_000);
    // As much journal as the database has, and little that is new in it.
    while store.status().counters.checkpoints < 2 {
        put(&store, "small", &"x".repeat(60_000)).await;
    }
    assert!(store.status().counters.checkpoint_bytes - first_bytes < 1_000_000);
}
