//! Memories of finished uploads that are no longer needed.

use crate::codec::decode;
use crate::error::MetaError;
use crate::keys;
use crate::kv::Batch;
use crate::meta::Meta;
use crate::queues::DamagedEntry;
use crate::records::CompletedRecord;

/// How long a completed upload is remembered, so that Complete can be repeated.
pub const COMPLETED_KEPT_MS: u64 = 7 * 24 * 3_600_000;
/// Records that one step of a walk over a table reads.
const PAGE: usize = 1000;
/// Most damaged records that [`Meta::purge_completed`] tells of.
const DAMAGED_TOLD_MAX: usize = 1000;

/// What [`Meta::purge_completed`] did.
#[derive(Debug, Clone, Default)]
pub struct Purged {
    /// How many completed uploads were forgotten.
    pub count: usize,
    /// Some of those that do not decode: they do not say when they may be forgotten, and stay.
    pub damaged: Vec<DamagedEntry>,
}

impl Meta {
    /// Forgets uploads that were completed longer than [`COMPLETED_KEPT_MS`] ago.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn purge_completed(&self, now_ms: u64) -> Result<Purged, MetaError> {
        let table = keys::all_completed();
        let mut start = table.clone();
        let mut purged = Purged::default();
        loop {
            let page = self.records(&table, start.clone(), PAGE).await?;
            let mut batch = Batch::default();
            for (key, value) in page.records {
                start = keys::successor(&key);
                match decode::<CompletedRecord>(&value) {
                    Ok(completed) => {
                        let kept_until_ms =
                            completed.completed_at_ms.saturating_add(COMPLETED_KEPT_MS);
                        if kept_until_ms < now_ms {
                            batch.delete(key);
                        }
                    }
                    Err(error) if purged.damaged.len() < DAMAGED_TOLD_MAX => {
                        let entry = format!("key {}", hex::encode(&key));
                        purged.damaged.push(DamagedEntry { entry, error });
                    }
                    Err(_) => {}
                }
            }
            purged.count += batch.writes.len();
            if !batch.writes.is_empty() {
                self.kv.commit(batch).await?;
            }
            if !page.is_truncated {
                return Ok(purged);
            }
        }
    }
}
