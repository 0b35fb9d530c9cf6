//! Random operations against a map.
//!
//! The seeds are fixed: a failure prints which one, and running the suite again replays it.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::{BLOCK_SIZE, payload, shard, shard_id};
use crate::{Durability, ShardError, ShardId, ShardStore, WriteTicket};

const SEED_COUNT: u64 = 3;
const STEPS_PER_SEED: usize = 120;
const SIZES: [u32; 7] = [
    0,
    1,
    1000,
    BLOCK_SIZE - 1,
    BLOCK_SIZE,
    BLOCK_SIZE + 1,
    3 * BLOCK_SIZE + 9,
];

#[derive(Default)]
struct Model {
    shards: BTreeMap<ShardId, Bytes>,
    last_ticket: Option<WriteTicket>,
}

pub(super) async fn random_operations_agree_with_the_model(store: Arc<dyn ShardStore>) {
    let mut model = Model::default();
    for seed in 0..SEED_COUNT {
        let mut random = StdRng::seed_from_u64(seed);
        for step in 0..STEPS_PER_SEED {
            step_once(
                &*store,
                &mut model,
                &mut random,
                &format!("seed {seed}, step {step}"),
            )
            .await;
        }
    }
}

async fn step_once(store: &dyn ShardStore, model: &mut Model, random: &mut StdRng, at: &str) {
    match random.random_range(0..10) {
        0..4 => put_one(store, model, random, at).await,
        4..7 => get_one(store, model, random, at).await,
        7 => delete_some(store, model, random).await,
        8 => list_some(store, model, random, at).await,
        _ => {
            if let Some(ticket) = model.last_ticket {
                store.sync(ticket).await.unwrap();
            }
        }
    }
}

fn random_id(random: &mut StdRng) -> ShardId {
    shard_id(
        random.random_range(0..3),
        random.random_range(0..3),
        random.random_range(0..3),
    )
}

async fn put_one(store: &dyn ShardStore, model: &mut Model, random: &mut StdRng, at: &str) {
    let id = random_id(random);
    let payload = payload(random.random(), SIZES[random.random_range(0..SIZES.len())]);
    let durability = if random.random_bool(0.3) {
        Durability::Synced
    } else {
        Durability::Buffered
    };
    let ticket = store
        .put(shard(id, payload.clone()), durability)
        .await
        .unwrap();
    assert!(
        Some(ticket) > model.last_ticket,
        "tickets went back at {at}"
    );
    model.last_ticket = Some(ticket);
    model.shards.insert(id, payload);
}

async fn get_one(store: &dyn ShardStore, model: &Model, random: &mut StdRng, at: &str) {
    let id = random_id(random);
    let Some(expected) = model.shards.get(&id) else {
        assert!(
            matches!(store.get(id, 0..0).await, Err(ShardError::NotFound { .. })),
            "get at {at}"
        );
        return;
    };
    let size_bytes = u32::try_from(expected.len()).unwrap();
    let start = random.random_range(0..=size_bytes);
    let end = random.random_range(start..=size_bytes);
    let got = store.get(id, start..end).await.unwrap();
    assert!(
        got[..] == expected[start as usize..end as usize],
        "{id} {start}..{end} at {at}"
    );
    assert_eq!(
        store.verify(id).await.unwrap().size_bytes,
        size_bytes,
        "verify at {at}"
    );
}

async fn delete_some(store: &dyn ShardStore, model: &mut Model, random: &mut StdRng) {
    let ids: Vec<_> = (0..random.random_range(0..4))
        .map(|_| random_id(random))
        .collect();
    store.delete(&ids).await.unwrap();
    model.shards.retain(|id, _| !ids.contains(id));
}

async fn list_some(store: &dyn ShardStore, model: &Model, random: &mut StdRng, at: &str) {
    let after = random.random_bool(0.5).then(|| random_id(random));
    let limit = random.random_range(1..10);
    let from = after.map_or(Bound::Unbounded, Bound::Excluded);
    let mut rest = model
        .shards
        .range((from, Bound::Unbounded))
        .map(|(id, payload)| (*id, payload.len()));
    let expected: Vec<_> = rest.by_ref().take(limit).collect();
    let page = store.list(after, limit).await.unwrap();
    let listed: Vec<_> = page
        .shards
        .iter()
        .map(|stat| (stat.id, stat.size_bytes as usize))
        .collect();
    assert_eq!(listed, expected, "list at {at}");
    assert_eq!(page.is_truncated, rest.next().is_some(), "list at {at}");
}
