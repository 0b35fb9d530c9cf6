//! Listing by cursor, and the status.

use std::sync::Arc;

use super::{payload, put, shard_id};
use crate::{DiskHealth, ShardId, ShardStore};

pub(super) async fn an_empty_disk_lists_nothing(store: Arc<dyn ShardStore>) {
    for after in [None, Some(shard_id(1, 1, 1))] {
        let page = store.list(after, 100).await.unwrap();
        assert!(page.shards.is_empty() && !page.is_truncated);
    }
}

pub(super) async fn a_cursor_visits_every_shard_once_in_order(store: Arc<dyn ShardStore>) {
    let mut expected: Vec<ShardId> = [
        (3, 0, 1),
        (1, 256, 0),
        (1, 2, 0),
        (2, 0, 0),
        (1, 2, 9),
        (0xff, u32::MAX, 0xff),
        (0, 0, 0),
    ]
    .map(|(data, chunk_index, shard_index)| shard_id(data, chunk_index, shard_index))
    .into();
    for id in &expected {
        put(&*store, *id, payload(1, 10 + u32::from(id.shard_index))).await;
    }
    expected.sort_unstable();
    for limit in [1, 2, 3, 7, 100, usize::MAX] {
        let mut listed = Vec::new();
        loop {
            let page = store.list(listed.last().copied(), limit).await.unwrap();
            assert!(page.shards.len() <= limit);
            for stat in &page.shards {
                assert_eq!(stat.size_bytes, 10 + u32::from(stat.id.shard_index));
            }
            listed.extend(page.shards.iter().map(|stat| stat.id));
            if !page.is_truncated {
                break;
            }
            assert!(!page.shards.is_empty(), "a truncated page must get on");
        }
        assert_eq!(listed, expected, "pages of {limit}");
    }
    let behind_all = store.list(expected.last().copied(), 10).await.unwrap();
    assert!(behind_all.shards.is_empty() && !behind_all.is_truncated);
    let absent_cursor = store.list(Some(shard_id(1, 3, 0)), 1).await.unwrap();
    assert_eq!(
        (absent_cursor.shards[0].id, absent_cursor.is_truncated),
        (shard_id(1, 256, 0), true)
    );
}

pub(super) async fn status_counts_what_is_there(store: Arc<dyn ShardStore>) {
    put(&*store, shard_id(1, 0, 0), payload(1, 1000)).await;
    put(&*store, shard_id(1, 1, 0), payload(1, 500)).await;
    put(&*store, shard_id(1, 1, 0), payload(1, 700)).await;
    put(&*store, shard_id(1, 2, 0), payload(1, 300)).await;
    store.delete(&[shard_id(1, 2, 0)]).await.unwrap();
    let status = store.status().await.unwrap();
    assert_eq!(status.disk_id, store.disk_id());
    assert_eq!(status.health, DiskHealth::Healthy);
    assert_eq!((status.shard_count, status.shard_bytes), (2, 1700));
    assert!(status.free_bytes <= status.capacity_bytes);
}
