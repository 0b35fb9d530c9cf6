//! Data that is in use in this process, and not deleted before that is over: one set for reads, one for writes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cairn_storage_node::DataId;

/// Counts the uses of each datum that are under way.
#[derive(Debug, Default)]
pub(crate) struct Pins {
    counts: Mutex<HashMap<DataId, u32>>,
}

/// Keeps data from being deleted while it lives.
#[derive(Debug)]
pub(crate) struct Pin {
    data_ids: Vec<DataId>,
    pins: Arc<Pins>,
}

impl Pins {
    /// Pins all of these.
    pub(crate) fn pin(self: &Arc<Self>, data_ids: Vec<DataId>) -> Pin {
        let mut counts = self.locked();
        for data_id in &data_ids {
            *counts.entry(*data_id).or_default() += 1;
        }
        drop(counts);
        Pin {
            data_ids,
            pins: Arc::clone(self),
        }
    }

    /// Whether a datum is in use.
    pub(crate) fn is_pinned(&self, data_id: DataId) -> bool {
        self.locked().contains_key(&data_id)
    }

    fn locked(&self) -> MutexGuard<'_, HashMap<DataId, u32>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut counts = self.pins.locked();
        for data_id in &self.data_ids {
            if let Some(count) = counts.get_mut(data_id) {
                *count -= 1;
                if *count == 0 {
                    counts.remove(data_id);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_stays_pinned_until_its_last_use_is_over() {
        let pins = Arc::new(Pins::default());
        let (a, b) = (DataId([1; 16]), DataId([2; 16]));
        let first = pins.pin(vec![a, b]);
        let second = pins.pin(vec![a]);
        drop(first);
        assert_eq!((pins.is_pinned(a), pins.is_pinned(b)), (true, false));
        drop(second);
        assert!(!pins.is_pinned(a));
    }
}
