//! What happened, in order and with its time: for whoever looks for the cause of a failure, and to compare two runs.

use std::collections::hash_map::DefaultHasher;
use std::fmt::Display;
use std::hash::{Hash, Hasher};
use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

/// The events of one run.
#[derive(Debug)]
pub(crate) struct Journal {
    began: Instant,
    /// Whether the calls to disks and metadata are kept, too: some hundred thousand lines.
    keeps_calls: bool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    lines: Vec<String>,
    digest: DefaultHasher,
}

impl Journal {
    pub(crate) fn new(keeps_calls: bool) -> Self {
        Self {
            began: Instant::now(),
            keeps_calls,
            state: Mutex::default(),
        }
    }

    /// Notes something that is worth reading.
    pub(crate) fn tell(&self, event: impl Display) {
        self.add(event, true);
    }

    /// Notes a call to a disk or to the metadata.
    pub(crate) fn call(&self, event: impl Display) {
        self.add(event, self.keeps_calls);
    }

    fn add(&self, event: impl Display, is_kept: bool) {
        let line = format!("{:10.3} {event}", self.began.elapsed().as_secs_f64());
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        line.hash(&mut state.digest);
        if is_kept {
            state.lines.push(line);
        }
    }

    /// All that was kept.
    pub(crate) fn lines(&self) -> Vec<String> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.lines.clone()
    }

    /// Stands for every event, those that were not kept included.
    pub(crate) fn digest(&self) -> u64 {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.digest.finish()
    }
}
