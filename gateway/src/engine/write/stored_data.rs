//! What a write leaves: durable shards that nothing names yet, and the guard that deletes them if nothing ever will;
//! or bytes that are to be durable with their commit.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cairn_meta::{DataRecord, NewData};
use cairn_storage_node::{DiskId, ShardId};

use super::ledger::Ledger;
use crate::engine::ids;
use crate::engine::leftovers::{Leftover, LeftoverReason, Leftovers};
use crate::engine::orphan_collection::is_placed;
use crate::engine::pins::Pin;
use crate::engine::staging::{StagedWrite, Staging};

/// Bytes that are not committed yet: durable on their disks, or small and handed to the commit themselves.
///
/// Dropping it deletes the shards in the background. To commit, call [`StoredData::begin_commit`].
#[derive(Debug)]
pub struct StoredData {
    size_bytes: u64,
    kept: Kept,
}

/// Where the bytes are.
#[derive(Debug)]
enum Kept {
    Shards(DataRecord, WriteGuard),
    Staged(Box<StagedWrite>, Arc<Staging>),
}

/// Held while the metadata commit of stored data runs, when it cannot be known whether it will be applied.
///
/// Say how it ended: [`CommitGuard::committed`] or [`CommitGuard::refused`]. Dropping it means that nobody knows
/// (the commit had an unknown outcome, or the request was dropped while it ran): then nothing is deleted now, and
/// the orphan collector decides a day later by what the metadata says. Staged bytes that were committed after all
/// are found in the metadata.
#[derive(Debug)]
#[must_use = "say how the commit ended"]
pub struct CommitGuard {
    write: PendingWrite,
}

/// What is being committed.
#[derive(Debug)]
enum PendingWrite {
    Shards {
        ledger: Ledger,
        strays: Vec<(DiskId, ShardId)>,
        leftovers: Arc<Leftovers>,
        /// Until it is in the metadata or given up.
        _pin: Option<Pin>,
    },
    Staged(Box<StagedWrite>, Arc<Staging>),
}

/// Deletes the shards of a write that is dropped before its commit.
#[derive(Debug)]
pub(crate) struct WriteGuard {
    ledger: Mutex<Ledger>,
    leftovers: Arc<Leftovers>,
    /// The datum as one that is being written; `None` when a commit has taken it over.
    pin: Option<Pin>,
}

impl StoredData {
    pub(super) fn new(record: DataRecord, guard: WriteGuard) -> Self {
        Self {
            size_bytes: record.size_bytes,
            kept: Kept::Shards(record, guard),
        }
    }

    pub(super) fn staged(write: StagedWrite, staging: &Arc<Staging>) -> Self {
        Self {
            size_bytes: write.record.size_bytes,
            kept: Kept::Staged(Box::new(write), Arc::clone(staging)),
        }
    }

    /// How many bytes were stored.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Gives out what the metadata commit must contain.
    pub fn begin_commit(self) -> (NewData, CommitGuard) {
        let (data, write) = match self.kept {
            Kept::Shards(record, guard) => {
                let (ledger, leftovers, pin) = guard.disarm();
                let id = ids::meta_data(ledger.data_id());
                let strays = ledger
                    .shards()
                    .filter(|(disk, shard)| !is_placed(&record.chunks, *shard, *disk))
                    .collect();
                let data = NewData::placed(id, record);
                let write = PendingWrite::Shards {
                    ledger,
                    strays,
                    leftovers,
                    _pin: pin,
                };
                (data, write)
            }
            Kept::Staged(write, staging) => {
                let data = NewData {
                    id: ids::meta_data(write.data_id),
                    record: write.record.clone(),
                    staged: Some(write.bytes.clone()),
                };
                (data, PendingWrite::Staged(write, staging))
            }
        };
        (data, CommitGuard { write })
    }
}

impl CommitGuard {
    /// The commit was applied: shards that were replaced during the write are deleted, staged bytes get theirs.
    pub fn committed(self) {
        match self.write {
            PendingWrite::Shards {
                ledger,
                strays,
                leftovers,
                ..
            } => {
                let reason = LeftoverReason::Replaced;
                leftovers.push(Leftover::new(ledger.data_id(), strays, reason));
            }
            PendingWrite::Staged(write, staging) => staging.committed(*write),
        }
    }

    /// The commit was certainly not applied: everything is deleted in the background.
    pub fn refused(self) {
        match self.write {
            PendingWrite::Shards {
                ledger, leftovers, ..
            } => give_up(&ledger, &leftovers),
            // Nothing of it was anywhere but in the commit.
            PendingWrite::Staged(..) => {}
        }
    }
}

impl WriteGuard {
    pub(crate) fn new(ledger: Ledger, leftovers: Arc<Leftovers>, pin: Pin) -> Self {
        Self {
            ledger: Mutex::new(ledger),
            leftovers,
            pin: Some(pin),
        }
    }

    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn disarm(mut self) -> (Ledger, Arc<Leftovers>, Option<Pin>) {
        let pin = self.pin.take();
        let mut held = self.ledger();
        let emptied = Ledger::new(held.data_id());
        let ledger = std::mem::replace(&mut *held, emptied);
        drop(held);
        (ledger, Arc::clone(&self.leftovers), pin)
    }
}

impl Drop for WriteGuard {
    fn drop(&mut self) {
        if self.pin.is_some() {
            give_up(&self.ledger(), &self.leftovers);
        }
    }
}

fn give_up(ledger: &Ledger, leftovers: &Leftovers) {
    let shards = ledger.shards().collect();
    let leftover = Leftover::new(ledger.data_id(), shards, LeftoverReason::Uncommitted);
    // When the queue is full the orphan collector finds them.
    if !leftovers.push(leftover) {
        tracing::debug!(data_id = %ledger.data_id(), "an abandoned write is left to the orphan collector");
    }
}
