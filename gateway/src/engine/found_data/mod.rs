//! All data as they are found on the disks, without asking the metadata: for the day when there are none.
//!
//! Every disk lists its shards in the order of their names, so merging the lists brings the shards of each datum
//! together, one datum after the other; no more than a page of each disk and one datum are in memory. Payloads are not
//! read: a record's header and descriptor are verified by the disk, and what has rotted behind them is found and made
//! good by reads and scrubs, as always.

mod datum;
mod shard_cursor;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;

use cairn_storage_node::{DiskId, ShardError, ShardStore};
use futures_util::future::try_join_all;

use super::descriptor::Descriptor;
use datum::Assembly;
pub use datum::{Finding, IncompleteDatum, IncompleteReason, WholeDatum};
pub use shard_cursor::Selection;
use shard_cursor::ShardCursor;

/// Walks the data on some disks.
#[derive(Debug)]
pub struct FoundData {
    cursors: Vec<ShardCursor>,
    awaited: BTreeSet<DiskId>,
    unreadable_count: u64,
}

impl FoundData {
    /// Those of `selection` on `disks`. Shards that were meant for one of the `awaited` disks, which are not there but
    /// will be, are taken to be on them.
    pub fn new(
        disks: &[Arc<dyn ShardStore>],
        awaited: BTreeSet<DiskId>,
        selection: Selection,
    ) -> Self {
        Self {
            cursors: disks
                .iter()
                .map(|disk| ShardCursor::new(Arc::clone(disk), selection))
                .collect(),
            awaited,
            unreadable_count: 0,
        }
    }

    /// The next datum, in the order of their ids; `None` behind the last. Not cancellation-safe.
    ///
    /// # Errors
    /// When a disk fails: what only it holds would be missed.
    pub async fn next(&mut self) -> Result<Option<Finding>, ShardError> {
        loop {
            let heads = try_join_all(self.cursors.iter_mut().map(ShardCursor::peek)).await?;
            let Some(data_id) = heads.into_iter().flatten().map(|id| id.data_id).min() else {
                return Ok(None);
            };
            let mut assembly = Assembly::new(data_id);
            for cursor in &mut self.cursors {
                let disk_id = cursor.disk_id();
                while cursor.peek().await?.is_some_and(|id| id.data_id == data_id) {
                    let Some(shard) = cursor.pop() else { break };
                    let descriptor = shard.descriptor.as_deref().map(Descriptor::decode);
                    match descriptor {
                        Some(Ok(descriptor)) => {
                            assembly.add(disk_id, shard.id, shard.size_bytes, descriptor);
                        }
                        Some(Err(_)) | None => self.unreadable_count += 1,
                    }
                }
            }
            if let Some(finding) = assembly.finish(&self.awaited) {
                return Ok(Some(finding));
            }
        }
    }

    /// Shards that were walked over.
    pub fn seen_count(&self) -> u64 {
        self.cursors.iter().map(ShardCursor::seen_count).sum()
    }

    /// Shards whose header or descriptor cannot be read.
    pub fn unreadable_count(&self) -> u64 {
        let damaged: u64 = self.cursors.iter().map(ShardCursor::damaged_count).sum();
        damaged + self.unreadable_count
    }
}
