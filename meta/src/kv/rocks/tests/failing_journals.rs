//! Journals that fail or hang while the store runs: what was acknowledged without them, and what goes on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use super::super::{QUEUE_LEN, RocksKv, Start};
use super::harness::{Disks, assert_values, fill, holders, make_room, put, try_put, until, value};
use super::journal_faults::{Faults, Leaves};
use crate::kv::{Batch, KvError, KvStore};

/// Puts while the test goes on.
fn put_meanwhile(store: &Arc<RocksKv>, key: &'static str, value: &'static str) -> JoinHandle<()> {
    let store = Arc::clone(store);
    tokio::spawn(async move { put(&store, key, value).await })
}

#[tokio::test]
async fn a_failed_sync_of_the_metadata_disk_moves_rocksdb() {
    let disks = Disks::new(3, 1);
    let (store, faults) = disks.open_with_faults(&disks.place(0), Faults::default());
    put(&store, "before", "1").await;
    faults.fail();
    put(&store, "during", "2").await;
    assert_eq!(store.status().primary, disks.place(1));
    until(|| !store.status().is_reduced()).await;
    drop(store);
    // The old RocksDB and journal still stand in the metadata directory, and are stale.
    let (store, report) = disks.open();
    let from = disks.place(1);
    assert_eq!(report.start, Start::Returned { from });
    assert_values(&store, &[("before", "1"), ("during", "2")]).await;
}

#[tokio::test]
async fn a_copy_whose_sync_fails_is_given_up_for_good() {
    for leaves in [Leaves::Nothing, Leaves::HalfTheRecord, Leaves::TheRecord] {
        let disks = Disks::new(4, 1);
        let faults = Faults::default().leaving(leaves);
        let (store, faults) = disks.open_with_faults(&disks.place(1), faults);
        put(&store, "before", "1").await;
        faults.fail();
        // Acknowledged on the metadata disk alone, and counted so; then another disk takes the copy's place.
        put(&store, "during", "2").await;
        assert!(store.status().counters.reduced_groups >= 1, "{leaves:?}");
        assert_eq!(store.status().counters.copies_lost, 1);
        let given_up = store.status().places.swap_remove(1);
        assert!(!given_up.is_holder && given_up.failure.unwrap().contains("injected"));
        until(|| !store.status().is_reduced()).await;
        put(&store, "later", "3").await;
        assert_eq!(faults.appends_after_failure(), 0);
        drop(store);

        // The next start restores from the disk that took over, not from the one that was given up.
        disks.lose(0);
        let (store, report) = disks.open();
        assert!(
            matches!(&report.start, Start::Restored { from, .. } if *from == disks.place(2)),
            "{leaves:?}: {report}"
        );
        assert_values(&store, &[("before", "1"), ("during", "2"), ("later", "3")]).await;
    }
}

#[tokio::test]
async fn when_every_sync_fails_nothing_is_acknowledged_until_the_next_start() {
    for leaves in [Leaves::Nothing, Leaves::HalfTheRecord, Leaves::TheRecord] {
        let disks = Disks::new(2, 1);
        let faults = Faults::default().leaving(leaves);
        let (store, faults) = disks.open_with_faults(disks.root(), faults);
        put(&store, "before", "1").await;
        faults.fail();
        let mut batch = Batch::default();
        batch.put("during", "2").put("during too", "2");
        let outcome = store.commit(batch.clone()).await;
        assert!(
            matches!(outcome, Err(KvError::UnknownOutcome { .. })),
            "{leaves:?}: {outcome:?}"
        );
        faults.mend();
        assert!(matches!(
            store.commit(batch).await,
            Err(KvError::Unavailable { .. })
        ));
        assert!(store.status().broken.is_some());
        assert_eq!(value(&store, "before").await.as_deref(), Some("1"));
        assert_eq!(value(&store, "during").await, None);
        assert_eq!(faults.appends_after_failure(), 0);
        drop(store);

        let (store, _) = disks.open();
        assert_eq!(value(&store, "before").await.as_deref(), Some("1"));
        let found = value(&store, "during").await;
        assert_eq!(found, value(&store, "during too").await, "{leaves:?}");
        assert_eq!(found.is_some(), leaves == Leaves::TheRecord, "{leaves:?}");
        put(&store, "after", "3").await;
    }
}

/// The roster cannot be written at first; when it can, it is because of another disk that it is.
#[tokio::test]
async fn what_was_journalled_when_the_store_broke_is_applied_whatever_mends_it() {
    let disks = Disks::new(3, 2);
    let (store, faults) = disks.open_with_faults(&disks.place(2), Faults::default());
    put(&store, "before", "1").await;
    let unfinished = [0, 1].map(|disk| disks.place(disk).join("cairn-meta.json.tmp"));
    fill(&unfinished);
    faults.fail();
    let outcome = try_put(&store, "during", "2").await;
    assert!(
        matches!(outcome, Err(KvError::UnknownOutcome { .. })),
        "{outcome:?}"
    );
    make_room(&unfinished);
    disks.lose(1);
    until(|| store.status().broken.is_none() && store.status().holder_count() == 1).await;
    put(&store, "after", "3").await;
    assert_values(&store, &[("before", "1"), ("during", "2"), ("after", "3")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_is_not_complete_when_rocksdb_moves_while_it_is_made() {
    let disks = Disks::new(4, 2);
    // The start, the checkpoint for the new copy, what came meanwhile, and what comes when it is added.
    let faults = Faults::default()
        .waiting_in_rotation(3)
        .failing_in_rotation(4);
    let (store, faults) = disks.open_with_faults(&disks.place(0), faults);
    let store = Arc::new(store);
    put(&store, "before", "1").await;
    faults.hold();
    disks.lose(1);
    until(|| faults.rotation_count() == 3).await;
    // Journalled behind the third rotation, in a file that only the fourth closes: which fails where RocksDB is.
    let during = put_meanwhile(&store, "during", "2");
    until(|| store.status().queue_depth == 1).await;
    faults.resume();
    during.await.unwrap();
    until(|| store.status().places[3].failure.is_some()).await;
    put(&store, "after", "3").await;

    let status = store.status();
    assert_eq!(
        (&status.primary, status.counters.failovers),
        (&disks.place(2), 1)
    );
    assert!(!status.places[3].is_holder, "it lacks a journal file");
    // Whoever is called a holder has everything.
    assert_eq!(holders(&status), [disks.place(2)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_is_busy() {
    let disks = Disks::new(1, 0);
    let (store, faults) = disks.open_with_faults(&disks.place(0), Faults::default());
    let store = Arc::new(store);
    faults.hold();
    let mut tasks = tokio::task::JoinSet::new();
    for index in 0..QUEUE_LEN * 2 {
        let store = Arc::clone(&store);
        tasks.spawn(async move { try_put(&store, &format!("key {index}"), "value").await });
    }
    until(|| store.status().counters.busy > 0).await;
    faults.resume();
    let results = tasks.join_all().await;
    let busy = results
        .iter()
        .filter(|result| matches!(result, Err(KvError::Busy)))
        .count();
    let done = results.iter().filter(|result| result.is_ok()).count();
    assert_eq!(busy + done, results.len());
    assert!(done >= QUEUE_LEN);
    assert_eq!(store.status().queue_depth, 0);
}

#[tokio::test]
async fn a_copy_that_hangs_is_given_up() {
    let mut disks = Disks::new(2, 1);
    disks.options.copy_timeout = Duration::from_millis(300);
    let (store, faults) = disks.open_with_faults(&disks.place(1), Faults::default());
    faults.hold();
    put(&store, "during", "1").await;
    assert_eq!(store.status().holder_count(), 1);
    assert_eq!(value(&store, "during").await.as_deref(), Some("1"));
    faults.resume();
}

#[tokio::test(flavor = "multi_thread")]
async fn holders_that_all_hang_are_waited_for() {
    for disk_count in [1, 3] {
        let mut disks = Disks::new(disk_count, disk_count - 1);
        disks.options.copy_timeout = Duration::from_millis(300);
        let (store, faults) = disks.open_with_faults(disks.root(), Faults::default());
        let store = Arc::new(store);
        faults.hold();
        let during = put_meanwhile(&store, "during", "1");
        let begun = Instant::now();
        until(|| begun.elapsed() > 3 * disks.options.copy_timeout).await;
        assert_eq!(store.status().holder_count(), disk_count);
        faults.resume();
        during.await.unwrap();
        put(&store, "after", "2").await;
        assert_eq!(store.status().holder_count(), disk_count);
        assert_eq!(store.status().counters.copies_lost, 0);
    }
}
