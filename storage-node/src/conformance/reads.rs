//! What was put comes back: whole, in ranges, by stat and by verify.

use std::sync::Arc;

use super::{BLOCK_SIZE, get_whole, payload, put, shard, shard_id};
use crate::{ShardError, ShardStore};

pub(super) async fn every_size_is_read_back(store: Arc<dyn ShardStore>) {
    let sizes = [
        0,
        1,
        4096,
        BLOCK_SIZE - 1,
        BLOCK_SIZE,
        BLOCK_SIZE + 1,
        5 * BLOCK_SIZE + 17,
    ];
    for (chunk_index, size_bytes) in (0..).zip(sizes) {
        put(
            &*store,
            shard_id(1, chunk_index, 0),
            payload(u64::from(chunk_index), size_bytes),
        )
        .await;
    }
    for (chunk_index, size_bytes) in (0..).zip(sizes) {
        let got = get_whole(&*store, shard_id(1, chunk_index, 0)).await;
        assert!(
            got == payload(u64::from(chunk_index), size_bytes),
            "a payload of {size_bytes} bytes"
        );
    }
}

pub(super) async fn every_range_is_read_alone(store: Arc<dyn ShardStore>) {
    let size_bytes = 3 * BLOCK_SIZE + 100;
    let (id, whole) = (shard_id(1, 0, 5), payload(3, size_bytes));
    put(&*store, id, whole.clone()).await;
    let offsets = [
        0,
        1,
        BLOCK_SIZE - 1,
        BLOCK_SIZE,
        BLOCK_SIZE + 1,
        2 * BLOCK_SIZE,
        size_bytes - 1,
        size_bytes,
    ];
    for start in offsets {
        for end in offsets.into_iter().filter(|end| *end >= start) {
            let got = store.get(id, start..end).await.unwrap();
            assert!(
                got[..] == whole[start as usize..end as usize],
                "range {start}..{end}"
            );
        }
    }
}

#[expect(clippy::reversed_empty_ranges, reason = "that is the case")]
pub(super) async fn a_range_beyond_the_payload_is_refused(store: Arc<dyn ShardStore>) {
    let id = shard_id(1, 0, 0);
    put(&*store, id, payload(1, 100)).await;
    for range in [0..101, 100..101, 200..300, 50..40, 0..u32::MAX] {
        let refused = store.get(id, range.clone()).await;
        assert!(
            matches!(
                refused,
                Err(ShardError::OutOfRange {
                    size_bytes: 100,
                    ..
                })
            ),
            "{range:?}: {refused:?}"
        );
    }
}

pub(super) async fn an_absent_shard_is_not_found(store: Arc<dyn ShardStore>) {
    put(&*store, shard_id(1, 1, 1), payload(1, 10)).await;
    for absent in [shard_id(1, 1, 0), shard_id(1, 0, 1), shard_id(2, 1, 1)] {
        let disk = store.disk_id();
        let got = store.get(absent, 0..0).await;
        assert!(
            matches!(got, Err(ShardError::NotFound { id, disk_id }) if id == absent && disk_id == disk)
        );
        assert!(matches!(
            store.verify(absent).await,
            Err(ShardError::NotFound { .. })
        ));
        assert_eq!(store.stat(absent).await.unwrap(), None);
    }
}

pub(super) async fn stat_and_verify_tell_what_was_put(store: Arc<dyn ShardStore>) {
    let id = shard_id(9, u32::MAX, u8::MAX);
    put(&*store, id, payload(1, BLOCK_SIZE + 1)).await;
    let stat = store.stat(id).await.unwrap().unwrap();
    assert_eq!((stat.id, stat.size_bytes), (id, BLOCK_SIZE + 1));
    assert_eq!(stat.descriptor, Some(shard(id, payload(1, 0)).descriptor));
    assert!(stat.written_at_ms > 0);
    let verified = store.verify(id).await.unwrap();
    assert_eq!((verified.id, verified.size_bytes), (id, BLOCK_SIZE + 1));
}
