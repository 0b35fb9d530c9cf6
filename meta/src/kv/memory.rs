//! The in-memory reference model of [`KvStore`]: short enough to be believed by reading it.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;

use super::limits::check_batch_limits;
use super::scan::{self, Cursor};
use super::{Batch, Check, KvError, KvStore, Scan, ScanPage, Write};

type Records = BTreeMap<Bytes, Bytes>;

/// Records in a sorted map under one lock. Clones share the records, as two handles of one store would.
///
/// "Durable" here means: until the last clone is dropped.
#[derive(Clone, Default)]
pub struct MemoryKv {
    records: Arc<Mutex<Records>>,
}

impl MemoryKv {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    fn records(&self) -> MutexGuard<'_, Records> {
        // A commit changes the map only after all of it was checked, and the writes cannot panic: a map
        // whose lock was poisoned by a reader is whole.
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for MemoryKv {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryKv")
            .field("record_count", &self.records().len())
            .finish()
    }
}

#[async_trait]
impl KvStore for MemoryKv {
    async fn get(&self, key: &[u8]) -> Result<Option<Bytes>, KvError> {
        Ok(self.records().get(key).cloned())
    }

    async fn scan(&self, scan: Scan) -> Result<ScanPage, KvError> {
        scan::scan(
            &mut MapCursor {
                records: &self.records(),
                at: None,
            },
            &scan,
        )
    }

    async fn commit(&self, batch: Batch) -> Result<(), KvError> {
        check_batch_limits(&batch)?;
        let mut records = self.records();
        if !batch.checks.iter().all(|check| holds(&records, check)) {
            return Err(KvError::Conflict);
        }
        for write in batch.writes {
            match write {
                Write::Put { key, value } => records.insert(key, value),
                Write::Delete { key } => records.remove(&key),
            };
        }
        Ok(())
    }
}

fn holds(records: &Records, check: &Check) -> bool {
    records.get(&check.key) == check.expected.as_ref()
}

/// Moves by looking the neighbour up again, which needs no iterator state.
struct MapCursor<'map> {
    records: &'map Records,
    at: Option<(&'map Bytes, &'map Bytes)>,
}

impl MapCursor<'_> {
    fn first_from(&mut self, bound: Bound<&[u8]>) {
        self.at = self
            .records
            .range::<[u8], _>((bound, Bound::Unbounded))
            .next();
    }

    fn last_to(&mut self, bound: Bound<&[u8]>) {
        self.at = self
            .records
            .range::<[u8], _>((Bound::Unbounded, bound))
            .next_back();
    }
}

impl Cursor for MapCursor<'_> {
    fn seek(&mut self, key: &[u8]) -> Result<(), KvError> {
        self.first_from(Bound::Included(key));
        Ok(())
    }

    fn seek_before(&mut self, key: Option<&[u8]>) -> Result<(), KvError> {
        self.last_to(key.map_or(Bound::Unbounded, Bound::Excluded));
        Ok(())
    }

    fn next(&mut self) -> Result<(), KvError> {
        if let Some((key, _)) = self.at {
            self.first_from(Bound::Excluded(key));
        }
        Ok(())
    }

    fn prev(&mut self) -> Result<(), KvError> {
        if let Some((key, _)) = self.at {
            self.last_to(Bound::Excluded(key));
        }
        Ok(())
    }

    fn current(&self) -> Option<(&[u8], &[u8])> {
        self.at.map(|(key, value)| (key.as_ref(), value.as_ref()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kv::conformance;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_model_conforms() {
        conformance::run(async || (Arc::new(MemoryKv::new()) as Arc<dyn KvStore>, ())).await;
    }
}
