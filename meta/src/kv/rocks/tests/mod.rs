//! Tests of the whole backend on temporary directories, one per disk.
#![expect(
    clippy::disallowed_methods,
    reason = "what a test makes and damages need not be durable"
)]

mod checkpoints;
mod crash;
mod damage;
mod failing_journals;
mod full_disks;
mod hangs;
mod harness;
mod journal_faults;
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
