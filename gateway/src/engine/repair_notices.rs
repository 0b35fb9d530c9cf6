//! Chunks that reads found damaged, on their way to the repair queue.
//!
//! Reading never waits for metadata writes: it leaves a notice here. The set is bounded and free of duplicates, so
//! that a damaged object that is read a thousand times is enqueued once. What does not fit is noticed again by the
//! next read, or by the scrub.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use cairn_storage_node::DataId;
use tokio::sync::Notify;

/// Beyond this many the rest is forgotten.
const NOTICE_COUNT_MAX: usize = 10_000;

/// Chunks to enqueue for repair.
#[derive(Debug, Default)]
pub(crate) struct RepairNotices {
    chunks: Mutex<BTreeSet<(DataId, u32)>>,
    wake: Notify,
}

impl RepairNotices {
    /// Leaves a notice.
    pub(crate) fn push(&self, data_id: DataId, chunk_index: u32) {
        let mut chunks = self.chunks.lock().unwrap_or_else(PoisonError::into_inner);
        if chunks.len() < NOTICE_COUNT_MAX {
            chunks.insert((data_id, chunk_index));
        }
        drop(chunks);
        self.wake.notify_one();
    }

    /// Waits until there may be one.
    pub(crate) async fn wait(&self) {
        self.wake.notified().await;
    }

    pub(super) fn take(&self) -> BTreeSet<(DataId, u32)> {
        std::mem::take(&mut *self.chunks.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
