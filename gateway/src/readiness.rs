//! Whether a gateway would serve, and since when that was last different.
//!
//! Load balancers ask every second: the log is told when the answer changes, not each time.

use std::sync::{Mutex, PoisonError};

/// Whether reads can be answered and writes acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Readiness {
    #[default]
    Ready,
    /// The metadata does not answer.
    MetadataSilent,
    /// The metadata answers with an error.
    MetadataUnavailable,
    /// The metadata answers, and takes no commits.
    MetadataRefusing,
    /// Too few disks take writes.
    NotWritable,
}

/// The answer to the last probe. Before the first one a gateway is taken to be ready.
#[derive(Debug, Default)]
pub(crate) struct LastReadiness(Mutex<Readiness>);

impl LastReadiness {
    /// Whether this is another answer than the last one.
    pub(crate) fn changes_to(&self, now: Readiness) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *last, now) != now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_another_answer_is_a_change() {
        let last = LastReadiness::default();
        let answers = [
            (Readiness::Ready, false),
            (Readiness::NotWritable, true),
            (Readiness::NotWritable, false),
            (Readiness::MetadataSilent, true),
            (Readiness::MetadataSilent, false),
            (Readiness::Ready, true),
            (Readiness::Ready, false),
        ];
        for (answer, is_change) in answers {
            assert_eq!(last.changes_to(answer), is_change, "{answer:?}");
        }
    }
}
