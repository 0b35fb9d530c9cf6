//! What goes wrong in a simulation, and what does not.
//!
//! A single call to a disk may
//! - take long: most take a few milliseconds, some hundreds;
//! - be refused, as by a node that cannot be reached or is too busy: nothing was done;
//! - be done and its answer lost: the caller learns only that it does not know;
//! - hang, and be done or not up to [`LATE_MAX`] later, whether its caller still waits or not.
//!
//! A disk may
//! - vanish, hang (with or without answering for its status) or fail, for a moment or for so long that it is given up,
//!   and come back: with all that it acknowledged as durable; of the rest each shard is there, absent or torn;
//! - be full: it takes no shards, and all else;
//! - be replaced by an empty one of the same name, once in a run;
//! - lose a shard to bit rot, which it notices when it reads it.
//!
//! A call to the metadata may take long or be refused. A commit may have an unknown outcome: it was made, or not, or is
//! made up to [`LATE_MAX`] later. The metadata may be away for a while.
//!
//! The gateway may end at any await, with or without its machine losing power, and begin anew; a client may give up.
//!
//! What bounds it, because beyond it nothing is promised: at most [`DISKS_AWAY_MAX`] disks (m) are away at a time, and rot
//! or replacement takes no shard of a chunk that has no more intact ones than it needs. Disks do not lie about syncs, nor return bytes that
//! are not those that were written (the store's own tests hold that), and metadata keep their contract.

use std::time::Duration;

use rand::RngExt;
use rand::rngs::SmallRng;

/// What is still under way of a call that hangs is done by then.
pub(crate) const LATE_MAX: Duration = Duration::from_secs(20);
/// How many disks may be away at the same time: m of the geometry 4+2.
pub(crate) const DISKS_AWAY_MAX: usize = 2;

/// How likely it is that something is wrong with one call; the rest of them are answered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FaultModel {
    pub(crate) refused: f64,
    pub(crate) busy: f64,
    pub(crate) answer_lost: f64,
    pub(crate) late: f64,
    /// Of those that are answered.
    pub(crate) slow: f64,
}

impl FaultModel {
    /// Everything works.
    pub(crate) const CALM: Self = Self {
        refused: 0.0,
        busy: 0.0,
        answer_lost: 0.0,
        late: 0.0,
        slow: 0.0,
    };
    /// A bad day, each in its own way: what hits everything at once hides what a single fault would show.
    pub(crate) fn stormy(random: &mut SmallRng) -> Self {
        let mut about = |usual: f64| usual * [0.0, 0.3, 1.0, 10.0][random.random_range(0..4)];
        Self {
            refused: about(0.01),
            busy: about(0.005),
            answer_lost: about(0.01),
            late: about(0.005),
            slow: about(0.03),
        }
    }

    /// What becomes of the next call.
    pub(crate) fn draw(&self, random: &mut SmallRng) -> Fate {
        let mut rest: f64 = random.random();
        let mut is = |probability: f64| {
            rest -= probability;
            rest < 0.0
        };
        if is(self.refused) {
            return Fate::Refused;
        }
        if is(self.busy) {
            return Fate::Busy;
        }
        let (is_lost, is_late) = (is(self.answer_lost), is(self.late));
        if is_late && !is_lost {
            return Fate::Late {
                by: random.random_range(Duration::from_millis(1)..LATE_MAX),
                is_done: random.random(),
            };
        }
        let longest_ms = if random.random_bool(self.slow) {
            700
        } else {
            4
        };
        let before = Duration::from_millis(random.random_range(0..=longest_ms));
        let after = Duration::from_millis(random.random_range(0..=1));
        if is_lost {
            Fate::AnswerLost { before }
        } else {
            Fate::Answered { before, after }
        }
    }
}

/// What becomes of one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Answered { before: Duration, after: Duration },
    Refused,
    Busy,
    AnswerLost { before: Duration },
    Late { by: Duration, is_done: bool },
}
