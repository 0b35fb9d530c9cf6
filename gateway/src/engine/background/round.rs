//! A round over the repair queue, a few steps in each pass: a long queue of chunks that wait for a disk is not walked over
//! every few seconds for the new ones among them.

use cairn_meta::DataId;

/// How many steps a pass takes: all of a queue that is not long. A million entries are gone round in half an hour, and
/// walked over at once when that may help.
pub(super) const STEPS_PER_PASS_MAX: usize = 64;

/// Where it is, and what is new to it: what was enqueued after the last round began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Round {
    after: Option<(DataId, u32)>,
    began_ms: u64,
    since_ms: u64,
}

impl Round {
    /// One to which all is new.
    pub(super) fn over_all() -> Self {
        Self {
            after: None,
            began_ms: 0,
            since_ms: 0,
        }
    }

    /// A pass goes on with it, or begins it.
    pub(super) fn resumed(self, now_ms: u64) -> Self {
        match self.after {
            Some(_) => self,
            None => Self {
                began_ms: now_ms,
                ..self
            },
        }
    }

    /// Behind which entry the next step begins.
    pub(super) fn after(&self) -> Option<(DataId, u32)> {
        self.after
    }

    /// What was enqueued before was looked at.
    pub(super) fn since_ms(&self) -> u64 {
        self.since_ms
    }

    /// A step was taken, and there is more behind `next`; if not, the next round is at its beginning.
    pub(super) fn advanced(self, next: Option<(DataId, u32)>) -> Self {
        let since_ms = match next {
            Some(_) => self.since_ms,
            None => self.began_ms,
        };
        Self {
            after: next,
            since_ms,
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_enqueued_since_a_round_began_is_new_to_the_next() {
        let behind = |byte| Some((DataId([byte; 16]), 0));
        let first = Round::over_all().resumed(100).advanced(behind(1));
        assert_eq!((first.after(), first.since_ms()), (behind(1), 0));
        // By the next pass it has gone past what comes in before that entry.
        let second = first.resumed(200).advanced(None).resumed(300);
        assert_eq!((second.after(), second.since_ms()), (None, 100));
        assert_eq!(second.advanced(None).since_ms(), 300);
    }
}
