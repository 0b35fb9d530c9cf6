//! What every [`KvStore`] must do, as one suite that each backend's tests run, the in-memory model included.
//!
//! ```
//! # use std::sync::Arc;
//! # use cairn_meta::kv::{KvStore, MemoryKv, conformance};
//! # tokio::runtime::Runtime::new().unwrap().block_on(async {
//! conformance::run(async || (Arc::new(MemoryKv::new()) as Arc<dyn KvStore>, ())).await;
//! # });
//! ```
//!
//! A broken promise is a panic that names it. Crashes are not in here: only a backend knows how to have one.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test-suite that backends of other crates call too: a failure is a panic"
)]

mod commits;
mod limits;
mod model;
mod scans;

use std::sync::Arc;

use bytes::Bytes;

use super::{Batch, Direction, KvStore, Scan, ScanEntry};

/// Runs everything. `open` gives a fresh, empty store and whatever must stay alive as long as it (a
/// temporary directory, a server); a store is used by one case only.
///
/// Needs a runtime with more than one thread to be worth running: some cases race.
pub async fn run<Guard>(open: impl AsyncFn() -> (Arc<dyn KvStore>, Guard)) {
    macro_rules! cases {
        ($($case:path),+ $(,)?) => {$(
            let (store, guard) = open().await;
            $case(store).await;
            drop(guard);
        )+};
    }
    cases![
        commits::an_absent_key_and_an_empty_value_differ,
        commits::the_last_write_to_a_key_wins,
        commits::a_failed_check_writes_nothing,
        commits::checks_compare_with_the_state_before_the_batch,
        commits::an_empty_batch_is_committed,
        commits::concurrent_increments_add_up,
        commits::one_of_many_concurrent_creations_wins,
        scans::keys_are_in_byte_order,
        scans::a_range_includes_its_start_and_excludes_its_end,
        scans::a_page_says_whether_there_is_more,
        scans::groups_count_as_one_entry,
        scans::a_group_is_found_from_its_middle,
        scans::a_group_of_the_largest_keys_ends_the_scan,
        scans::a_page_is_bounded_in_entries,
        scans::a_page_is_bounded_in_bytes,
        scans::a_scan_is_one_snapshot,
        scans::a_page_of_groups_follows_each_write,
        scans::a_page_of_groups_is_never_stale,
        limits::the_largest_records_are_kept,
        limits::what_exceeds_a_limit_is_refused_whole,
        limits::a_key_that_cannot_exist_is_absent,
        model::random_operations_agree_with_the_model,
    ];
}

/// A scan of everything, to be narrowed by struct update.
fn everything() -> Scan {
    Scan {
        start: Bytes::new(),
        end: None,
        direction: Direction::Ascending,
        limit: 1000,
        group: None,
    }
}

async fn put_all(store: &dyn KvStore, records: &[(&'static str, &'static str)]) {
    let mut batch = Batch::default();
    for (key, value) in records {
        batch.put(*key, *value);
    }
    store.commit(batch).await.unwrap();
}

async fn get(store: &dyn KvStore, key: &str) -> Option<Bytes> {
    store.get(key.as_bytes()).await.unwrap()
}

/// The entries of a scan as text: keys, and groups with a `*` behind.
async fn names(store: &dyn KvStore, scan: Scan) -> (Vec<String>, bool) {
    let page = store.scan(scan).await.unwrap();
    let name = |entry: &ScanEntry| match entry {
        ScanEntry::Record { key, .. } => key.escape_ascii().to_string(),
        ScanEntry::Group { prefix } => format!("{}*", prefix.escape_ascii()),
    };
    (page.entries.iter().map(name).collect(), page.is_truncated)
}
