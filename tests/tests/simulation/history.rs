//! What was asked of each key and answered, and whether one register could have answered so.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use cairn_tests::linearizability::{Event, Operation, State, is_linearizable};

/// The operations on all keys.
#[derive(Debug, Default)]
pub(crate) struct History {
    ticks: AtomicU64,
    by_key: Mutex<BTreeMap<String, Vec<Operation>>>,
}

impl History {
    /// The time of a call, in an order of all calls and returns.
    pub(crate) fn now(&self) -> u64 {
        self.ticks.fetch_add(1, Ordering::SeqCst)
    }

    /// An operation that was called then and returns now.
    pub(crate) fn add(&self, key: &str, called: u64, event: Event) {
        // What has no known outcome may happen at any time from now on.
        let returned = if event.is_certain() {
            self.now()
        } else {
            u64::MAX
        };
        let operation = Operation {
            called,
            returned,
            event,
        };
        let mut by_key = self.by_key.lock().unwrap_or_else(PoisonError::into_inner);
        by_key.entry(key.to_owned()).or_default().push(operation);
    }

    /// Each key behaved like one register.
    pub(crate) fn check(&self) {
        let by_key = self.by_key.lock().unwrap_or_else(PoisonError::into_inner);
        for (key, operations) in &*by_key {
            assert!(
                is_linearizable(&without_unseen(operations)) || is_linearizable(operations),
                "{key} did not behave like one register: {operations:#?}"
            );
        }
    }
}

/// Without the writes that nobody knows the outcome of and nobody saw: they need not have happened, and the search doubles
/// with each.
fn without_unseen(operations: &[Operation]) -> Vec<Operation> {
    let is_seen = |new: State| {
        let events = operations.iter().map(|operation| operation.event);
        new.is_none()
            || events.into_iter().any(|event| match event {
                Event::Read(state) => state == new,
                Event::WriteIf { expected, .. } => expected == new,
                _ => false,
            })
    };
    let is_needed = |operation: &&Operation| match operation.event {
        Event::Maybe(new) | Event::MaybeIf { new, .. } => is_seen(new),
        _ => true,
    };
    operations.iter().filter(is_needed).copied().collect()
}
