//! Keeps what puts shards of old data from meeting what deletes them, in this process.
//!
//! A shard is deleted because it was seen not to be needed; a repair that put it back between the look and the deletion
//! would lose it. So each holds the datum over both: a repair from its look to its commit, the deletion of unneeded
//! shards from its look to the disk's answer. The deletion of data that are due needs none: what a repair puts back of
//! them meanwhile is an orphan, and collected. All of them run in the process with the maintenance lease, or concern data
//! that are too young to be repaired. Around the moment when the lease changes hands two processes may work on one datum:
//! a shard that is lost then is found missing by the next read or scrub, and made again.

use cairn_storage_node::DataId;
use tokio::sync::{Mutex, MutexGuard};

/// Locks that all data share. Those who hold one, a dozen at most, rarely meet.
const LOCK_COUNT: usize = 256;

/// Locks by datum. Whoever holds one must not take another: it may be the same.
#[derive(Debug)]
pub(crate) struct Exclusion {
    locks: [Mutex<()>; LOCK_COUNT],
}

impl Default for Exclusion {
    fn default() -> Self {
        Self {
            locks: std::array::from_fn(|_| Mutex::default()),
        }
    }
}

impl Exclusion {
    /// Waits until nobody else holds this datum; it is held until what is returned is dropped.
    #[expect(clippy::indexing_slicing, reason = "there is a lock for each byte")]
    pub(crate) async fn hold(&self, data_id: DataId) -> MutexGuard<'_, ()> {
        // Names end with random bytes.
        let [.., last] = data_id.0;
        self.locks[usize::from(last)].lock().await
    }
}
