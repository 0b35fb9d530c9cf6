//! What every [`ShardStore`] must do, as one suite that each implementation's tests run, the in-memory model
//! included.
//!
//! ```
//! # use std::sync::Arc;
//! # use cairn_storage_node::{DiskId, MemoryShardStore, ShardStore, conformance};
//! # tokio::runtime::Runtime::new().unwrap().block_on(async {
//! conformance::run(async || {
//!     (Arc::new(MemoryShardStore::new(DiskId([1; 16]))) as Arc<dyn ShardStore>, ())
//! })
//! .await;
//! # });
//! ```
//!
//! A broken promise is a panic that names it. Crashes and damage are not in here: only an implementation knows
//! how to have them.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test-suite that implementations call: a failure is a panic"
)]

mod listing;
mod model;
mod reads;
mod writes;

use std::sync::Arc;

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::{DataId, Durability, ShardId, ShardPut, ShardStore};

/// The unit that is hashed alone: sizes and ranges around its multiples are where mistakes are.
const BLOCK_SIZE: u32 = 64 << 10;

/// Runs everything. `open` gives a fresh, empty store and whatever must stay alive as long as it (a
/// temporary directory, a server); a store is used by one case only.
///
/// Needs a runtime with more than one thread to be worth running: some cases race.
pub async fn run<Guard>(open: impl AsyncFn() -> (Arc<dyn ShardStore>, Guard)) {
    macro_rules! cases {
        ($($case:path),+ $(,)?) => {$(
            let (store, guard) = open().await;
            $case(store).await;
            drop(guard);
        )+};
    }
    cases![
        reads::every_size_is_read_back,
        reads::every_range_is_read_alone,
        reads::a_range_beyond_the_payload_is_refused,
        reads::an_absent_shard_is_not_found,
        reads::stat_and_verify_tell_what_was_put,
        writes::a_put_replaces_the_whole_shard,
        writes::a_delete_removes_only_what_it_names,
        writes::a_deleted_shard_can_be_put_again,
        writes::what_exceeds_a_limit_is_refused,
        writes::the_largest_shard_is_kept,
        writes::tickets_grow_and_any_later_one_syncs,
        writes::a_ticket_of_another_run_is_refused,
        writes::concurrent_puts_are_all_there,
        writes::a_reader_never_sees_a_mix_of_two_puts,
        listing::an_empty_disk_lists_nothing,
        listing::a_cursor_visits_every_shard_once_in_order,
        listing::status_counts_what_is_there,
        model::random_operations_agree_with_the_model,
    ];
}

fn shard_id(data: u8, chunk_index: u32, shard_index: u8) -> ShardId {
    ShardId {
        data_id: DataId([data; 16]),
        chunk_index,
        shard_index,
    }
}

/// Bytes in which no block equals another.
fn payload(seed: u64, size_bytes: u32) -> Bytes {
    let mut bytes = vec![0; size_bytes as usize];
    StdRng::seed_from_u64(seed).fill_bytes(&mut bytes);
    bytes.into()
}

fn shard(id: ShardId, payload: Bytes) -> ShardPut {
    ShardPut {
        id,
        descriptor: Bytes::from(format!("descriptor of {id}")),
        payload,
    }
}

async fn put(store: &dyn ShardStore, id: ShardId, payload: Bytes) {
    store
        .put(shard(id, payload), Durability::Synced)
        .await
        .unwrap();
}

async fn get_whole(store: &dyn ShardStore, id: ShardId) -> Bytes {
    let size_bytes = store.stat(id).await.unwrap().unwrap().size_bytes;
    store.get(id, 0..size_bytes).await.unwrap().into_bytes()
}
