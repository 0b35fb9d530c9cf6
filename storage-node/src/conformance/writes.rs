//! Puts, deletes, tickets, limits, and what happens when they race.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use tokio::task::JoinSet;

use super::{BLOCK_SIZE, get_whole, payload, put, shard, shard_id};
use crate::{
    DESCRIPTOR_SIZE_BYTES_MAX, Durability, SHARD_SIZE_BYTES_MAX, ShardError, ShardPut, ShardStore,
    WriteTicket,
};

const TASK_COUNT: u8 = 8;
const PUTS_PER_TASK: u32 = 20;
const REPLACEMENTS: u64 = 60;

pub(super) async fn a_put_replaces_the_whole_shard(store: Arc<dyn ShardStore>) {
    let id = shard_id(1, 0, 0);
    for (seed, size_bytes) in [(1, 3 * BLOCK_SIZE), (2, 10), (3, BLOCK_SIZE + 5), (4, 0)] {
        put(&*store, id, payload(seed, size_bytes)).await;
        assert!(get_whole(&*store, id).await == payload(seed, size_bytes));
    }
    assert_eq!(store.list(None, 10).await.unwrap().shards.len(), 1);
}

pub(super) async fn a_delete_removes_only_what_it_names(store: Arc<dyn ShardStore>) {
    let ids: Vec<_> = (0..6).map(|index| shard_id(1, index, 0)).collect();
    for id in &ids {
        put(&*store, *id, payload(1, 1000)).await;
    }
    store.delete(&[]).await.unwrap();
    store
        .delete(&[ids[1], shard_id(7, 7, 7), ids[4], ids[1]])
        .await
        .unwrap();
    for (index, id) in ids.iter().enumerate() {
        let is_left = store.stat(*id).await.unwrap().is_some();
        assert_eq!(is_left, index != 1 && index != 4, "shard {index}");
    }
    assert!(matches!(
        store.get(ids[1], 0..1).await,
        Err(ShardError::NotFound { .. })
    ));
}

pub(super) async fn a_deleted_shard_can_be_put_again(store: Arc<dyn ShardStore>) {
    let id = shard_id(1, 0, 0);
    put(&*store, id, payload(1, 100)).await;
    store.delete(&[id]).await.unwrap();
    put(&*store, id, payload(2, 200)).await;
    assert!(get_whole(&*store, id).await == payload(2, 200));
}

pub(super) async fn what_exceeds_a_limit_is_refused(store: Arc<dyn ShardStore>) {
    let id = shard_id(1, 0, 0);
    let long = |len: usize| Bytes::from(vec![0; len]);
    let payload_too_long = ShardPut {
        id,
        descriptor: Bytes::new(),
        payload: long(SHARD_SIZE_BYTES_MAX + 1),
    };
    let descriptor_too_long = ShardPut {
        id,
        descriptor: long(DESCRIPTOR_SIZE_BYTES_MAX + 1),
        payload: Bytes::new(),
    };
    for refused in [payload_too_long, descriptor_too_long] {
        let outcome = store.put(refused, Durability::Synced).await;
        assert!(
            matches!(outcome, Err(ShardError::TooLarge { .. })),
            "{outcome:?}"
        );
    }
    assert_eq!(store.stat(id).await.unwrap(), None);
}

pub(super) async fn the_largest_shard_is_kept(store: Arc<dyn ShardStore>) {
    let id = shard_id(1, 0, 0);
    let descriptor = Bytes::from(vec![5; DESCRIPTOR_SIZE_BYTES_MAX]);
    let whole = payload(1, u32::try_from(SHARD_SIZE_BYTES_MAX).unwrap());
    let shard = ShardPut {
        id,
        descriptor: descriptor.clone(),
        payload: whole.clone(),
    };
    store.put(shard, Durability::Synced).await.unwrap();
    assert!(get_whole(&*store, id).await == whole);
    assert_eq!(
        store.stat(id).await.unwrap().unwrap().descriptor,
        Some(descriptor)
    );
}

pub(super) async fn tickets_grow_and_any_later_one_syncs(store: Arc<dyn ShardStore>) {
    let mut tickets = Vec::new();
    for chunk_index in 0..5 {
        let shard = shard(shard_id(1, chunk_index, 0), payload(1, 100));
        let durability = if chunk_index == 3 {
            Durability::Synced
        } else {
            Durability::Buffered
        };
        tickets.push(store.put(shard, durability).await.unwrap());
        assert_eq!(
            get_whole(&*store, shard_id(1, chunk_index, 0)).await,
            payload(1, 100)
        );
    }
    assert!(tickets.is_sorted_by(|a, b| a < b), "{tickets:?}");
    for ticket in [tickets[4], tickets[0], tickets[4]] {
        store.sync(ticket).await.unwrap();
    }
}

pub(super) async fn a_ticket_of_another_run_is_refused(store: Arc<dyn ShardStore>) {
    let ticket = store
        .put(
            shard(shard_id(1, 0, 0), payload(1, 1)),
            Durability::Buffered,
        )
        .await
        .unwrap();
    let foreign = WriteTicket {
        run: ticket.run.wrapping_add(1),
        ..ticket
    };
    assert!(matches!(
        store.sync(foreign).await,
        Err(ShardError::Restarted { .. })
    ));
    store.sync(ticket).await.unwrap();
}

pub(super) async fn concurrent_puts_are_all_there(store: Arc<dyn ShardStore>) {
    let mut tasks = JoinSet::new();
    for task in 0..TASK_COUNT {
        let store = Arc::clone(&store);
        tasks.spawn(async move {
            let mut last = None;
            for chunk_index in 0..PUTS_PER_TASK {
                let shard = shard(
                    shard_id(task, chunk_index, 0),
                    payload(u64::from(task), 3000 + chunk_index),
                );
                last = last.max(Some(store.put(shard, Durability::Buffered).await.unwrap()));
            }
            store.sync(last.unwrap()).await.unwrap();
        });
    }
    while let Some(task) = tasks.join_next().await {
        task.unwrap();
    }
    for task in 0..TASK_COUNT {
        for chunk_index in 0..PUTS_PER_TASK {
            let got = get_whole(&*store, shard_id(task, chunk_index, 0)).await;
            assert!(got == payload(u64::from(task), 3000 + chunk_index));
        }
    }
}

/// All versions have one length, so that a range is always inside.
pub(super) async fn a_reader_never_sees_a_mix_of_two_puts(store: Arc<dyn ShardStore>) {
    let (id, size_bytes) = (shard_id(1, 0, 0), 2 * BLOCK_SIZE);
    let version = move |byte: u8| Bytes::from(vec![byte; size_bytes as usize]);
    put(&*store, id, version(0)).await;
    let stop = Arc::new(AtomicBool::new(false));
    let reader = tokio::spawn({
        let (store, stop) = (Arc::clone(&store), Arc::clone(&stop));
        async move {
            while !stop.load(Ordering::Relaxed) {
                let got = store.get(id, 0..size_bytes).await.unwrap();
                assert!(
                    got.iter().all(|byte| *byte == got[0]),
                    "two puts in one read"
                );
                tokio::task::yield_now().await;
            }
        }
    });
    for round in 0..REPLACEMENTS {
        let byte = u8::try_from(round % 251).unwrap();
        store
            .put(shard(id, version(byte)), Durability::Buffered)
            .await
            .unwrap();
        tokio::task::yield_now().await;
    }
    stop.store(true, Ordering::Relaxed);
    reader.await.unwrap();
}
