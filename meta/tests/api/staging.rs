//! Small bytes are kept in the metadata until they have shards, and no longer.

use crate::support::*;
use cairn_meta::{
    BucketRecord, ChunkRecord, Coding, DataId, DiskId, Meta, MetaError, NewData, StagedBytes,
};

fn chunk(disks: [Option<u8>; 2]) -> ChunkRecord {
    ChunkRecord {
        size_bytes: 3,
        coding: Coding::Copies { count: 2 },
        shards: disks
            .map(|disk| disk.map(|number| DiskId([number; 16])))
            .to_vec(),
    }
}

fn bytes() -> StagedBytes {
    StagedBytes {
        payload: "abc".into(),
        manifest: "manifest".into(),
    }
}

async fn put_staged(meta: &Meta, bucket: &BucketRecord) -> DataId {
    let mut new = data(bucket, &key("k"), 3);
    new.record.chunks = vec![chunk([None, None])];
    let new = NewData {
        staged: Some(bytes()),
        ..new
    };
    let id = new.id;
    meta.put_object(bucket, &key("k"), object("e", Some(new)), 1, &always)
        .await
        .unwrap();
    id
}

#[tokio::test]
async fn staged_bytes_are_there_and_listed_until_they_are_placed() {
    let meta = meta();
    let bucket = bucket(&meta, "staging").await;
    let id = put_staged(&meta, &bucket).await;
    assert_eq!(meta.staged(id).await.unwrap(), Some(bytes()));
    assert_eq!(meta.list_staged(None, 10).await.unwrap(), [id]);
    assert_eq!(meta.list_staged(Some(id), 10).await.unwrap(), []);

    let placed = chunk([Some(1), Some(2)]);
    meta.place_staged(id, &placed, 2).await.unwrap();
    assert_eq!(meta.staged(id).await.unwrap(), None);
    assert_eq!(meta.list_staged(None, 10).await.unwrap(), []);
    assert_eq!(meta.data(id).await.unwrap().unwrap().chunks, [placed]);
    assert!(meta.repairs(None, 10).await.unwrap().repairs.is_empty());
}

#[tokio::test]
async fn a_placement_that_lacks_a_shard_is_enqueued_for_repair() {
    let meta = meta();
    let bucket = bucket(&meta, "staging").await;
    let id = put_staged(&meta, &bucket).await;
    meta.place_staged(id, &chunk([Some(1), None]), 2)
        .await
        .unwrap();
    assert_eq!(meta.staged(id).await.unwrap(), None);
    assert_eq!(meta.repairs(None, 10).await.unwrap().repairs.len(), 1);
}

#[tokio::test]
async fn of_two_placements_the_first_wins_and_repeating_it_is_harmless() {
    let meta = meta();
    let bucket = bucket(&meta, "staging").await;
    let id = put_staged(&meta, &bucket).await;
    let first = chunk([Some(1), Some(2)]);
    meta.place_staged(id, &first, 2).await.unwrap();
    meta.place_staged(id, &first, 2).await.unwrap();
    let second = meta.place_staged(id, &chunk([Some(3), Some(4)]), 2).await;
    assert!(matches!(second, Err(MetaError::PlacementChanged)));
    assert_eq!(meta.data(id).await.unwrap().unwrap().chunks, [first]);
}

#[tokio::test]
async fn a_deletion_takes_staged_bytes_along() {
    let meta = meta();
    let bucket = bucket(&meta, "staging").await;
    let id = put_staged(&meta, &bucket).await;
    delete(&meta, &bucket, &key("k"), None, 50).await;
    assert_eq!(
        meta.staged(id).await.unwrap(),
        Some(bytes()),
        "kept for readers until the deletion is due"
    );
    let due = meta.due_deletions(50, 10).await.unwrap().data;
    meta.finish_deletions(&due).await.unwrap();
    assert_eq!(meta.list_staged(None, 10).await.unwrap(), []);
    let late = meta.place_staged(id, &chunk([Some(1), Some(2)]), 60).await;
    assert!(matches!(late, Err(MetaError::NoSuchData)));
}
