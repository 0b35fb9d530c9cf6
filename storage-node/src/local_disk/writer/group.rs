//! One round of the writer: requests that are written and synced together.

use std::collections::HashMap;
use std::sync::mpsc::Receiver;

use crate::index::IndexEntry;
use crate::local_disk::request::{Queued, Reply, Request};
use crate::segment::{Place, RecordShape, SegmentClass};
use crate::{ShardError, ShardId, WriteTicket};

/// A group takes no more requests than this, so that the first one is not kept waiting for ever.
const GROUP_COUNT_MAX: usize = 1024;

/// Nor more bytes: at 300 MiB/s this is 50 ms.
const GROUP_BYTES_MAX: u64 = 16 << 20;

/// What one round of the writer does.
#[derive(Debug, Default)]
pub(super) struct Group {
    pub(super) waiting: Vec<(Request, When)>,
    /// The newest entry of each id that the group touches, not yet visible to others.
    pub(super) entries: HashMap<ShardId, Option<IndexEntry>>,
    pub(super) changes: Vec<(Option<IndexEntry>, Option<IndexEntry>)>,
    pub(super) dead_payloads: Vec<(Place, RecordShape)>,
    /// Shards that requests write and delete.
    pub(super) put_count: u64,
    pub(super) delete_count: u64,
}

/// When a request may be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    /// The records are readable.
    Written,
    /// The segment of this class is synced.
    Synced(SegmentClass),
    /// Everything is.
    AllSynced,
}

/// The request and all others that are waiting already, up to the bounds of a group; none that were taken back.
pub(super) fn collect_group(first: Queued, requests: &Receiver<Queued>) -> Vec<Request> {
    let mut bytes = 0;
    let mut group = Vec::new();
    let mut next = Some(first);
    while let Some(queued) = next {
        if let Some(request) = queued.take() {
            bytes += request.task.weight_bytes();
            group.push(request);
        }
        let has_room = group.len() < GROUP_COUNT_MAX && bytes < GROUP_BYTES_MAX;
        next = has_room.then(|| requests.try_recv().ok()).flatten();
    }
    group
}

pub(super) fn answer(reply: Reply, result: Result<WriteTicket, ShardError>) {
    // A caller that went away needs no answer.
    drop(reply.send(result));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DataId;
    use crate::local_disk::request::{DELETE_COUNT_MAX, Task};

    fn deletes(shard_index: u8) -> Queued {
        let id = |chunk_index| ShardId {
            data_id: DataId([1; 16]),
            chunk_index,
            shard_index,
        };
        let (reply, _) = tokio::sync::oneshot::channel();
        let request = Request {
            task: Task::Delete((0..).map(id).take(DELETE_COUNT_MAX).collect()),
            reply,
            permits: None,
        };
        request.into()
    }

    #[test]
    fn a_group_takes_only_so_many_deletes() {
        let (requests, queue) = std::sync::mpsc::sync_channel(100);
        (0..100).for_each(|n| requests.send(deletes(n)).unwrap());
        let group = collect_group(queue.recv().unwrap(), &queue);
        assert_eq!(group.len(), 4);
    }

    #[test]
    fn a_group_has_nothing_that_was_taken_back() {
        let (requests, queue) = std::sync::mpsc::sync_channel(3);
        for number in 0..3 {
            let queued = deletes(number);
            let withdrawal = (number < 2).then(|| queued.withdrawal());
            requests.send(queued).unwrap();
            drop(withdrawal);
        }
        let group = collect_group(queue.recv().unwrap(), &queue);
        assert_eq!(group.len(), 1);
        assert!(queue.try_recv().is_err());
    }
}
