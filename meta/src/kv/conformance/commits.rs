//! Batches: checks, atomicity, concurrency.

use std::sync::Arc;

use bytes::Bytes;
use tokio::task::JoinSet;

use super::{get, put_all};
use crate::kv::{Batch, KvError, KvStore};

const TASK_COUNT: usize = 8;
const INCREMENTS_PER_TASK: u64 = 25;

pub(super) async fn an_absent_key_and_an_empty_value_differ(store: Arc<dyn KvStore>) {
    put_all(&*store, &[("empty", "")]).await;
    assert_eq!(get(&*store, "empty").await, Some(Bytes::new()));
    assert_eq!(get(&*store, "absent").await, None);

    let mut wrong = Batch::default();
    wrong.check("absent", Some(Bytes::new())).put("written", "");
    assert!(matches!(store.commit(wrong).await, Err(KvError::Conflict)));
    let mut wrong = Batch::default();
    wrong.check("empty", None).put("written", "");
    assert!(matches!(store.commit(wrong).await, Err(KvError::Conflict)));
    assert_eq!(get(&*store, "written").await, None);

    let mut right = Batch::default();
    right
        .check("absent", None)
        .check("empty", Some(Bytes::new()))
        .delete("empty");
    store.commit(right).await.unwrap();
    assert_eq!(get(&*store, "empty").await, None);
}

pub(super) async fn the_last_write_to_a_key_wins(store: Arc<dyn KvStore>) {
    let mut batch = Batch::default();
    batch
        .put("twice", "1")
        .put("twice", "2")
        .put("gone", "1")
        .delete("gone");
    batch.delete("back").put("back", "1").delete("never there");
    store.commit(batch).await.unwrap();
    assert_eq!(
        get(&*store, "twice").await.as_deref(),
        Some(b"2".as_slice())
    );
    assert_eq!(get(&*store, "gone").await, None);
    assert_eq!(get(&*store, "back").await.as_deref(), Some(b"1".as_slice()));
}

pub(super) async fn a_failed_check_writes_nothing(store: Arc<dyn KvStore>) {
    put_all(&*store, &[("kept", "1"), ("held", "1")]).await;
    let mut batch = Batch::default();
    batch
        .check("held", Some("1".into()))
        .check("kept", Some("other".into()));
    batch.put("kept", "2").put("new", "2").delete("held");
    assert!(matches!(store.commit(batch).await, Err(KvError::Conflict)));
    assert_eq!(get(&*store, "kept").await.as_deref(), Some(b"1".as_slice()));
    assert_eq!(get(&*store, "held").await.as_deref(), Some(b"1".as_slice()));
    assert_eq!(get(&*store, "new").await, None);
}

pub(super) async fn checks_compare_with_the_state_before_the_batch(store: Arc<dyn KvStore>) {
    let mut batch = Batch::default();
    batch.put("key", "1").check("key", None);
    store.commit(batch.clone()).await.unwrap();
    assert!(matches!(store.commit(batch).await, Err(KvError::Conflict)));
}

pub(super) async fn an_empty_batch_is_committed(store: Arc<dyn KvStore>) {
    store.commit(Batch::default()).await.unwrap();
    let mut only_checks = Batch::default();
    only_checks.check("absent", None);
    store.commit(only_checks).await.unwrap();
}

/// Lost updates and commits that were applied twice both show in the total.
pub(super) async fn concurrent_increments_add_up(store: Arc<dyn KvStore>) {
    let mut tasks = JoinSet::new();
    for _ in 0..TASK_COUNT {
        let store = Arc::clone(&store);
        tasks.spawn(async move {
            for _ in 0..INCREMENTS_PER_TASK {
                let written = increment(&*store).await;
                assert!(
                    read_counter(&*store).await >= written,
                    "a read missed an acknowledged commit"
                );
            }
        });
    }
    while let Some(task) = tasks.join_next().await {
        task.unwrap();
    }
    assert_eq!(
        read_counter(&*store).await,
        TASK_COUNT as u64 * INCREMENTS_PER_TASK
    );
}

async fn increment(store: &dyn KvStore) -> u64 {
    loop {
        let read = store.get(b"counter").await.unwrap();
        let next = counter(read.as_deref()) + 1;
        let mut batch = Batch::default();
        batch
            .check("counter", read)
            .put("counter", next.to_string());
        match store.commit(batch).await {
            Ok(()) => return next,
            Err(KvError::Conflict | KvError::Busy) => tokio::task::yield_now().await,
            Err(other) => unreachable!("an increment failed: {other}"),
        }
    }
}

async fn read_counter(store: &dyn KvStore) -> u64 {
    counter(store.get(b"counter").await.unwrap().as_deref())
}

fn counter(value: Option<&[u8]>) -> u64 {
    value.map_or(0, |digits| {
        std::str::from_utf8(digits).unwrap().parse().unwrap()
    })
}

pub(super) async fn one_of_many_concurrent_creations_wins(store: Arc<dyn KvStore>) {
    let mut tasks = JoinSet::new();
    for task_index in 0..TASK_COUNT {
        let store = Arc::clone(&store);
        tasks.spawn(async move {
            let mut batch = Batch::default();
            batch
                .check("name", None)
                .put("name", task_index.to_string());
            match store.commit(batch).await {
                Ok(()) => Some(task_index),
                Err(KvError::Conflict) => None,
                Err(other) => unreachable!("a creation failed: {other}"),
            }
        });
    }
    let mut winners = Vec::new();
    while let Some(task) = tasks.join_next().await {
        winners.extend(task.unwrap());
    }
    let [winner] = winners[..] else {
        unreachable!("winners: {winners:?}")
    };
    assert_eq!(get(&*store, "name").await, Some(winner.to_string().into()));
}
