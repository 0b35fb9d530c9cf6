//! What a write leaves: durable shards that nothing names yet, and the guard that deletes them if nothing ever will.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cairn_meta::{ChunkRecord, DataRecord, NewData};
use cairn_storage_node::{DiskId, ShardId};

use super::ledger::Ledger;
use crate::engine::cleanup::{Cleanup, Leftover, LeftoverReason};
use crate::engine::ids;

/// Bytes that are durable on their disks and not committed yet.
///
/// Dropping it deletes the shards in the background. To commit, call [`StoredData::begin_commit`].
#[derive(Debug)]
pub struct StoredData {
    record: DataRecord,
    guard: Option<WriteGuard>,
}

/// Held while the metadata commit of stored data runs, when it cannot be known whether it will be applied.
///
/// Say how it ended: [`CommitGuard::committed`] or [`CommitGuard::refused`]. Dropping it means that nobody knows
/// (the commit had an unknown outcome, or the request was dropped while it ran): then nothing is deleted now, and
/// the orphan collector decides a day later by what the metadata says.
#[derive(Debug)]
#[must_use = "say how the commit ended"]
pub struct CommitGuard {
    ledger: Option<Ledger>,
    strays: Vec<(DiskId, ShardId)>,
    cleanup: Arc<Cleanup>,
}

/// Deletes the shards of a write that is dropped before its commit.
#[derive(Debug)]
pub(crate) struct WriteGuard {
    ledger: Mutex<Ledger>,
    cleanup: Arc<Cleanup>,
    is_armed: bool,
}

impl StoredData {
    /// Of no bytes: nothing is stored.
    pub(crate) fn empty(record: DataRecord) -> Self {
        Self {
            record,
            guard: None,
        }
    }

    pub(crate) fn new(record: DataRecord, guard: WriteGuard) -> Self {
        Self {
            record,
            guard: Some(guard),
        }
    }

    /// How many bytes were stored.
    pub fn size_bytes(&self) -> u64 {
        self.record.size_bytes
    }

    /// Whether shards are missing that repair has to make; the record says which.
    pub fn is_reduced(&self) -> bool {
        self.record.chunks.iter().any(ChunkRecord::is_reduced)
    }

    /// Gives out what the metadata commit must contain; `None` for no bytes.
    pub fn begin_commit(self) -> (Option<NewData>, CommitGuard) {
        let Some(guard) = self.guard else {
            return (
                None,
                CommitGuard {
                    ledger: None,
                    strays: Vec::new(),
                    cleanup: Arc::default(),
                },
            );
        };
        let (ledger, cleanup) = guard.disarm();
        let data_id = ids::meta_data(ledger.data_id());
        let strays = ledger
            .shards()
            .filter(|(disk, shard)| !is_placed(&self.record, *disk, *shard))
            .collect();
        (
            Some((data_id, self.record)),
            CommitGuard {
                ledger: Some(ledger),
                strays,
                cleanup,
            },
        )
    }
}

impl CommitGuard {
    /// The commit was applied: only shards that were replaced during the write are deleted.
    pub fn committed(mut self) {
        if let Some(ledger) = self.ledger.take() {
            let shards = std::mem::take(&mut self.strays);
            let data_id = ledger.data_id();
            self.cleanup.push(Leftover {
                data_id,
                shards,
                reason: LeftoverReason::Replaced,
            });
        }
    }

    /// The commit was certainly not applied: everything is deleted in the background.
    pub fn refused(mut self) {
        if let Some(ledger) = self.ledger.take() {
            give_up(&ledger, &self.cleanup);
        }
    }
}

impl WriteGuard {
    pub(crate) fn new(ledger: Ledger, cleanup: Arc<Cleanup>) -> Self {
        Self {
            ledger: Mutex::new(ledger),
            cleanup,
            is_armed: true,
        }
    }

    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn disarm(mut self) -> (Ledger, Arc<Cleanup>) {
        self.is_armed = false;
        let mut held = self.ledger();
        let emptied = Ledger::new(held.data_id());
        let ledger = std::mem::replace(&mut *held, emptied);
        drop(held);
        (ledger, Arc::clone(&self.cleanup))
    }
}

impl Drop for WriteGuard {
    fn drop(&mut self) {
        if self.is_armed {
            give_up(&self.ledger(), &self.cleanup);
        }
    }
}

fn give_up(ledger: &Ledger, cleanup: &Cleanup) {
    let leftover = Leftover {
        data_id: ledger.data_id(),
        shards: ledger.shards().collect(),
        reason: LeftoverReason::Uncommitted,
    };
    // When the queue is full the orphan collector finds them.
    if !cleanup.push(leftover) {
        tracing::debug!(data_id = %ledger.data_id(), "an abandoned write is left to the orphan collector");
    }
}

fn is_placed(record: &DataRecord, disk: DiskId, shard: ShardId) -> bool {
    let chunk = usize::try_from(shard.chunk_index)
        .ok()
        .and_then(|index| record.chunks.get(index));
    let placed = chunk.and_then(|chunk| {
        chunk
            .shards
            .get(usize::from(shard.shard_index))
            .copied()
            .flatten()
    });
    placed.is_some_and(|placed| ids::disk(placed) == disk)
}
