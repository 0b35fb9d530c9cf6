//! Small writes that are acknowledged after one round of syncs instead of two.
//!
//! A write ordinarily waits twice: for the shards, then for the commit that names them, because a reference must
//! not be durable before what it refers to. A few small writes at a time are *staged* instead: their bytes travel in
//! the commit itself, which is durable on m + 1 disks as the shards would be, and get their shards moments later,
//! many at a time. Under load the ordinary way costs less, since its rounds are shared by many writes; so only a
//! few are staged at once, and none while many go the ordinary way.
//!
//! Invariants: a staged write was committed with its bytes, or left nothing; its bytes leave the metadata in the
//! commit that names its shards, which are durable then. What this process forgets, by a crash or because disks were
//! away, is found in the metadata and placed later: [`unstaging`](super::unstaging).

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cairn_meta::{DataRecord, StagedBytes};
use cairn_storage_node::DataId;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, SemaphorePermit};

/// While so many small writes go the ordinary way, each round of syncs has company enough, and none is staged.
const ORDINARY_COUNT_MAX: usize = 16;

/// A write that may be staged: its share of the bounds.
#[derive(Debug)]
pub(crate) struct Admission {
    /// Until its commit is over.
    at_once: OwnedSemaphorePermit,
    /// Until it has its shards.
    memory: OwnedSemaphorePermit,
}

/// A datum that is staged, or will be if its commit succeeds.
#[derive(Debug)]
pub(crate) struct StagedWrite {
    pub(crate) data_id: DataId,
    pub(crate) record: DataRecord,
    pub(crate) bytes: StagedBytes,
    pub(crate) admission: Admission,
}

/// A committed one.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) data_id: DataId,
    pub(crate) record: DataRecord,
    pub(crate) bytes: StagedBytes,
    /// Given back when it has its shards, or was left to others.
    _memory: OwnedSemaphorePermit,
}

/// A small write that is not staged.
#[derive(Debug)]
pub(crate) struct OrdinaryWrite<'a> {
    staging: &'a Staging,
}

impl Drop for OrdinaryWrite<'_> {
    fn drop(&mut self) {
        self.staging.ordinary_count.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The bounds and the queue.
#[derive(Debug)]
pub(crate) struct Staging {
    at_once: Arc<Semaphore>,
    memory: Arc<Semaphore>,
    memory_bytes: u32,
    ordinary_count: AtomicUsize,
    queue: Mutex<VecDeque<Waiting>>,
    wake: Notify,
    /// Held by whoever gives shards to what waits: another one returns only when that is done too.
    turn: Semaphore,
}

impl Staging {
    pub(crate) fn new(at_once_max: usize, memory_bytes_max: u32) -> Self {
        Self {
            at_once: Arc::new(Semaphore::new(at_once_max)),
            memory: Arc::new(Semaphore::new(memory_bytes_max as usize)),
            memory_bytes: memory_bytes_max,
            ordinary_count: AtomicUsize::new(0),
            queue: Mutex::default(),
            wake: Notify::new(),
            turn: Semaphore::new(1),
        }
    }

    /// Whether a write of this size may be staged now. Never waits: past a bound, a write goes the ordinary way.
    pub(crate) fn admit(&self, size_bytes: u32) -> Option<Admission> {
        if self.ordinary_count.load(Ordering::Relaxed) >= ORDINARY_COUNT_MAX {
            return None;
        }
        let at_once = Arc::clone(&self.at_once).try_acquire_owned().ok()?;
        let memory = Arc::clone(&self.memory)
            .try_acquire_many_owned(size_bytes)
            .ok()?;
        Some(Admission { at_once, memory })
    }

    /// Counts a small write that goes the ordinary way, until what is returned is dropped.
    pub(crate) fn pass_by(&self) -> OrdinaryWrite<'_> {
        self.ordinary_count.fetch_add(1, Ordering::Relaxed);
        OrdinaryWrite { staging: self }
    }

    /// Takes over a write whose commit was applied.
    pub(crate) fn committed(&self, write: StagedWrite) {
        let Admission { at_once, memory } = write.admission;
        drop(at_once);
        let waiting = Waiting {
            data_id: write.data_id,
            record: write.record,
            bytes: write.bytes,
            _memory: memory,
        };
        // Bounded by the memory its members hold.
        self.locked().push_back(waiting);
        self.wake.notify_one();
    }

    /// Waits until there may be something.
    pub(super) async fn wait(&self) {
        self.wake.notified().await;
    }

    /// Waits until nobody else is giving shards to what waited.
    pub(super) async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        // It is never closed.
        self.turn.acquire().await.ok()
    }

    /// Takes all that waits.
    pub(super) fn take(&self) -> VecDeque<Waiting> {
        std::mem::take(&mut *self.locked())
    }

    /// How many bytes are being staged or wait for their shards.
    pub(crate) fn used_bytes(&self) -> u64 {
        let free = u32::try_from(self.memory.available_permits()).unwrap_or(u32::MAX);
        u64::from(self.memory_bytes.saturating_sub(free))
    }

    fn locked(&self) -> MutexGuard<'_, VecDeque<Waiting>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cairn_meta::{BucketId, DataOwner, ObjectKey};

    fn write(admission: Admission) -> StagedWrite {
        StagedWrite {
            data_id: DataId([1; 16]),
            record: DataRecord {
                size_bytes: 1,
                owner: DataOwner {
                    bucket: BucketId([0; 8]),
                    key: ObjectKey::parse("k").unwrap(),
                    part: None,
                },
                created_at_ms: 0,
                chunks: Vec::new(),
            },
            bytes: StagedBytes {
                payload: "a".into(),
                manifest: "m".into(),
            },
            admission,
        }
    }

    #[test]
    fn only_so_many_are_staged_at_once() {
        let staging = Staging::new(2, 1000);
        let first = staging.admit(1).unwrap();
        let second = staging.admit(1).unwrap();
        assert!(staging.admit(1).is_none());
        drop(first);
        assert!(staging.admit(1).is_some());
        staging.committed(write(second));
        assert!(staging.admit(1).is_some(), "a committed one makes room");
    }

    #[test]
    fn none_is_staged_while_many_are_not() {
        let staging = Staging::new(2, 1000);
        let mut ordinary: Vec<_> = (1..ORDINARY_COUNT_MAX).map(|_| staging.pass_by()).collect();
        assert!(staging.admit(1).is_some());
        ordinary.push(staging.pass_by());
        assert!(staging.admit(1).is_none());
        ordinary.pop();
        assert!(staging.admit(1).is_some());
    }

    #[test]
    fn memory_is_held_until_there_are_shards() {
        let staging = Staging::new(9, 10);
        staging.committed(write(staging.admit(8).unwrap()));
        assert!(staging.admit(3).is_none());
        assert_eq!(staging.used_bytes(), 8);
        drop(staging.take());
        assert!(staging.admit(10).is_some());
    }
}
