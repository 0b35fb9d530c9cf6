//! Records and shards that cannot be read: background work passes them over and goes on behind them.
//!
//! What cannot be read is left as it is, and so is what it stands for: a record that does not decode may name shards
//! that are needed. Each is an error in the log, once; the counter rises each time it is met.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use cairn_meta::MetaError;
use cairn_storage_node::ShardError;

/// Beyond this many, all are reported anew.
const REPORTED_COUNT_MAX: usize = 10_000;

/// What was reported already: passes meet the same damage every few seconds.
#[derive(Debug, Default)]
pub(crate) struct Damage {
    reported: Mutex<BTreeSet<String>>,
}

impl Damage {
    pub(super) fn is_new(&self, what: &str) -> bool {
        let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        if reported.len() >= REPORTED_COUNT_MAX {
            reported.clear();
        }
        reported.insert(what.to_owned())
    }
}

/// An error that may be about one record or shard alone.
pub(crate) trait MayBeDamage: fmt::Display {
    /// Whether it says that something stored is damaged, and nothing of the rest.
    fn is_damage(&self) -> bool;
}

impl MayBeDamage for MetaError {
    fn is_damage(&self) -> bool {
        matches!(self, Self::Corrupt { .. })
    }
}

impl MayBeDamage for ShardError {
    fn is_damage(&self) -> bool {
        matches!(self, Self::Corrupt { .. })
    }
}
