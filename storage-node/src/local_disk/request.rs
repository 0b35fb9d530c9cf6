//! What the writer thread is asked to do.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::segment::{Place, PreparedRecord, RecordStamp, SegmentNumber};
use crate::{Durability, ShardError, ShardId, WriteTicket};

/// How an answer goes back. Whoever asked may be gone: then nobody needs it.
pub(super) type Reply = oneshot::Sender<Result<WriteTicket, ShardError>>;

/// One request, its answer's way back, and its share of the queue's bounds.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) task: Task,
    pub(super) reply: Reply,
    /// Released when the request was answered, or taken back. Background work has a bound of its own: one at a time.
    #[expect(dead_code, reason = "held until the request is dropped, never read")]
    pub(super) permits: Option<(OwnedSemaphorePermit, OwnedSemaphorePermit)>,
}

/// A request on its way to the writer, where whoever asked can take it back.
#[derive(Debug)]
pub(super) struct Queued(Arc<Mutex<Option<Request>>>);

/// Takes a request back when it is dropped, if the writer has not come to it yet: on a disk that hangs it might never do so,
/// and the bytes of the shard, with those of the chunk that they are a part of, would stay in memory.
#[derive(Debug)]
pub(super) struct Withdrawal(Arc<Mutex<Option<Request>>>);

impl Queued {
    pub(super) fn withdrawal(&self) -> Withdrawal {
        Withdrawal(Arc::clone(&self.0))
    }

    /// The request, unless it was taken back.
    pub(super) fn take(self) -> Option<Request> {
        take(&self.0)
    }
}

impl From<Request> for Queued {
    fn from(request: Request) -> Self {
        Self(Arc::new(Mutex::new(Some(request))))
    }
}

impl Drop for Withdrawal {
    fn drop(&mut self) {
        drop(take(&self.0));
    }
}

fn take(request: &Mutex<Option<Request>>) -> Option<Request> {
    // One of two takes it; nobody waits for longer than that.
    request
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take()
}

/// The writer looks a shard up before it deletes it, which may read a block of the index from the disk: that outweighs
/// the tombstone.
const LOOKUP_BYTES: u64 = 4096;

/// A task deletes no more shards than this, so that puts that came later do not wait for thousands of lookups.
pub(super) const DELETE_COUNT_MAX: usize = 1024;

/// What to do.
#[derive(Debug)]
pub(super) enum Task {
    /// Store a shard.
    Put(PreparedRecord, Durability),
    /// Write tombstones for those of the ids, at most [`DELETE_COUNT_MAX`], that are live; durable when answered.
    Delete(Vec<ShardId>),
    /// As `Delete` for one shard, but only if its record is still at this place: it turned out to be rotten.
    Bury(ShardId, Place),
    /// Make everything durable that was accepted before.
    Sync,
    /// Copy records to the end of the log, those that are still needed where they came from.
    Relocate(Vec<Relocation>),
    /// Append to this segment no more.
    Seal(SegmentNumber),
    /// Remove a segment in which nothing is live.
    Retire(SegmentNumber),
    /// The segment is gone: these ids may not need their tombstones any more.
    Forget(Vec<ShardId>),
    /// Finish, and stop.
    Close,
}

impl Task {
    /// How much a task adds to a group and to the queue.
    pub(super) fn weight_bytes(&self) -> u64 {
        match self {
            Self::Put(record, _) => record.shape().record_len(),
            Self::Relocate(relocations) => relocations
                .iter()
                .map(|relocation| relocation.record.shape().record_len())
                .sum(),
            Self::Delete(ids) | Self::Forget(ids) => ids.len() as u64 * LOOKUP_BYTES,
            Self::Bury(..) => LOOKUP_BYTES,
            Self::Sync | Self::Seal(_) | Self::Retire(_) | Self::Close => 0,
        }
    }
}

/// A record on its way out of a segment that is being compacted.
#[derive(Debug)]
pub(super) struct Relocation {
    pub(super) record: PreparedRecord,
    pub(super) stamp: RecordStamp,
    pub(super) from: Place,
}
