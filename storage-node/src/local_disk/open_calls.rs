//! Which calls into the disk have not returned yet, and since when.
//!
//! A device can block without ever returning an error. Nothing fails then, and nobody can ask the disk itself how it is
//! without waiting as well; so those who go to it say so here before they do.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The calls of one disk that are under way.
#[derive(Debug, Default)]
pub(super) struct OpenCalls(Mutex<Begun>);

#[derive(Debug, Default)]
struct Begun {
    /// By order of beginning.
    since: BTreeMap<u64, Instant>,
    next: u64,
}

/// A call that is under way, until it is dropped.
#[derive(Debug)]
pub(super) struct OpenCall {
    calls: Arc<OpenCalls>,
    number: u64,
}

impl OpenCalls {
    /// Somebody goes to the disk now.
    pub(super) fn begin(self: &Arc<Self>) -> OpenCall {
        let mut begun = self.lock();
        let number = begun.next;
        begun.next += 1;
        begun.since.insert(number, Instant::now());
        OpenCall {
            calls: Arc::clone(self),
            number,
        }
    }

    /// For how long the oldest call has been under way.
    pub(super) fn longest(&self) -> Option<Duration> {
        let begun = self.lock();
        begun.since.values().next().map(Instant::elapsed)
    }

    fn lock(&self) -> MutexGuard<'_, Begun> {
        // Each critical section leaves it whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        self.calls.lock().since.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_call_that_has_not_returned_counts() {
        let calls = Arc::new(OpenCalls::default());
        assert_eq!(calls.longest(), None);
        let first = calls.begin();
        let second = calls.begin();
        let since = |call: &OpenCall| calls.lock().since[&call.number];
        let oldest = since(&first);
        assert!(oldest <= since(&second) && calls.longest().unwrap() <= oldest.elapsed());
        drop(first);
        assert!(calls.longest().unwrap() <= oldest.elapsed());
        drop(second);
        assert_eq!(calls.longest(), None);
    }
}
