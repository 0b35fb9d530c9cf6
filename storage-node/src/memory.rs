//! The in-memory reference model of [`ShardStore`]: short enough to be believed by reading it.
//!
//! It promises no more than the contract does: a buffered put is lost by [`MemoryShardStore::lose_unsynced`]
//! unless a sync of its ticket, or of a later one, succeeded.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::{Bound, Range};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use cairn_rpc::clock::{Clock, SystemClock};

use crate::{
    DiskHealth, DiskId, DiskStatus, Durability, LIST_LIMIT_MAX, ShardError, ShardId, ShardPage,
    ShardPut, ShardStat, ShardStore, VerifiedBytes, WriteTicket,
};

/// What the model says its disk holds; nothing enforces it.
const CAPACITY_BYTES: u64 = 1 << 40;

/// One disk whose shards are in memory.
pub struct MemoryShardStore {
    disk_id: DiskId,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    run: u64,
    position: u64,
    /// What reads see.
    live: BTreeMap<ShardId, Stored>,
    /// What is left after a crash.
    durable: BTreeMap<ShardId, Stored>,
    /// Puts that are in `live` only, in the order in which they were accepted.
    unsynced: BTreeMap<u64, (ShardId, Stored)>,
    counters: BTreeMap<&'static str, u64>,
}

#[derive(Clone)]
struct Stored {
    descriptor: Bytes,
    payload: Bytes,
    written_at_ms: u64,
}

impl MemoryShardStore {
    /// An empty disk with the machine's clock.
    pub fn new(disk_id: DiskId) -> Self {
        Self::with_clock(disk_id, Arc::new(SystemClock))
    }

    /// An empty disk whose `written_at_ms` come from `clock`.
    pub fn with_clock(disk_id: DiskId, clock: Arc<dyn Clock>) -> Self {
        Self {
            disk_id,
            clock,
            state: Mutex::new(State {
                run: 1,
                ..State::default()
            }),
        }
    }

    /// Crashes and restarts: what was not synced is gone, and tickets of the old run are worthless.
    pub fn lose_unsynced(&self) {
        let mut state = self.state();
        state.live = state.durable.clone();
        state.unsynced.clear();
        state.run += 1;
        state.position = 0;
        state.counters.clear();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The sections below cannot panic between two changes that belong together.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn found<'state>(
        &self,
        state: &'state State,
        id: ShardId,
    ) -> Result<&'state Stored, ShardError> {
        state.live.get(&id).ok_or(ShardError::NotFound {
            id,
            disk_id: self.disk_id,
        })
    }
}

impl fmt::Debug for MemoryShardStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryShardStore")
            .field("disk_id", &self.disk_id)
            .field("shard_count", &self.state().live.len())
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl ShardStore for MemoryShardStore {
    fn disk_id(&self) -> DiskId {
        self.disk_id
    }

    async fn put(
        &self,
        shard: ShardPut,
        durability: Durability,
    ) -> Result<WriteTicket, ShardError> {
        shard.check_limits()?;
        let ShardPut {
            id,
            descriptor,
            payload,
        } = shard;
        let stored = Stored {
            descriptor,
            payload,
            written_at_ms: self.clock.now_ms(),
        };
        let mut state = self.state();
        state.position += 1;
        let ticket = WriteTicket {
            run: state.run,
            position: state.position,
        };
        state.count("put_count", 1);
        state.count("bytes_written", stored.payload.len());
        state.live.insert(id, stored.clone());
        state.unsynced.insert(ticket.position, (id, stored));
        if durability == Durability::Synced {
            state.make_durable(ticket.position);
        }
        Ok(ticket)
    }

    async fn sync(&self, ticket: WriteTicket) -> Result<(), ShardError> {
        let mut state = self.state();
        if ticket.run != state.run {
            return Err(ShardError::Restarted {
                disk_id: self.disk_id,
            });
        }
        state.count("sync_count", 1);
        state.make_durable(ticket.position);
        Ok(())
    }

    async fn get(&self, id: ShardId, range: Range<u32>) -> Result<VerifiedBytes, ShardError> {
        let mut state = self.state();
        let payload = self.found(&state, id)?.payload.clone();
        let size_bytes = payload_len(&payload);
        if range.start > range.end || range.end > size_bytes {
            return Err(ShardError::OutOfRange {
                id,
                start: range.start,
                end: range.end,
                size_bytes,
            });
        }
        let bytes = payload.slice(range.start as usize..range.end as usize);
        state.count("get_count", 1);
        state.count("bytes_read", bytes.len());
        // Memory that nobody else can write to has nothing to compare with.
        Ok(VerifiedBytes::after_check(bytes))
    }

    async fn delete(&self, ids: &[ShardId]) -> Result<(), ShardError> {
        let mut state = self.state();
        for id in ids {
            state.live.remove(id);
            state.durable.remove(id);
            // A sync of an older put must not bring the shard back.
            state.unsynced.retain(|_, (unsynced, _)| unsynced != id);
        }
        state.count("delete_count", ids.len());
        Ok(())
    }

    async fn list(&self, after: Option<ShardId>, limit: usize) -> Result<ShardPage, ShardError> {
        let state = self.state();
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut rest = state.live.range((from, Bound::Unbounded));
        let shards = rest
            .by_ref()
            .take(limit.min(LIST_LIMIT_MAX))
            .map(|(id, stored)| ShardStat {
                descriptor: None,
                ..stored.stat(*id)
            })
            .collect();
        Ok(ShardPage {
            shards,
            is_truncated: rest.next().is_some(),
        })
    }

    async fn verify(&self, id: ShardId) -> Result<ShardStat, ShardError> {
        Ok(self.found(&self.state(), id)?.stat(id))
    }

    async fn stat(&self, id: ShardId) -> Result<Option<ShardStat>, ShardError> {
        Ok(self.state().live.get(&id).map(|stored| stored.stat(id)))
    }

    async fn status(&self) -> Result<DiskStatus, ShardError> {
        let state = self.state();
        let shard_bytes = state
            .live
            .values()
            .map(|stored| u64::from(payload_len(&stored.payload)))
            .sum();
        Ok(DiskStatus {
            disk_id: self.disk_id,
            path: String::new(),
            health: DiskHealth::Healthy,
            failure: None,
            capacity_bytes: CAPACITY_BYTES,
            free_bytes: CAPACITY_BYTES.saturating_sub(shard_bytes),
            shard_bytes,
            shard_count: state.live.len() as u64,
            garbage_bytes: 0,
            counters: state
                .counters
                .iter()
                .map(|(name, count)| ((*name).to_owned(), *count))
                .collect(),
        })
    }
}

impl State {
    /// A sync of a ticket covers everything accepted before it.
    fn make_durable(&mut self, position: u64) {
        let later = self.unsynced.split_off(&position.saturating_add(1));
        let covered = std::mem::replace(&mut self.unsynced, later);
        self.durable.extend(covered.into_values());
    }

    fn count(&mut self, name: &'static str, by: usize) {
        *self.counters.entry(name).or_default() += by as u64;
    }
}

impl Stored {
    fn stat(&self, id: ShardId) -> ShardStat {
        ShardStat {
            id,
            size_bytes: payload_len(&self.payload),
            written_at_ms: self.written_at_ms,
            descriptor: Some(self.descriptor.clone()),
        }
    }
}

/// Payloads are at most [`crate::SHARD_SIZE_BYTES_MAX`] long, which was checked when they were put.
fn payload_len(payload: &Bytes) -> u32 {
    u32::try_from(payload.len()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DataId;

    fn shard(chunk_index: u32) -> ShardPut {
        ShardPut {
            id: ShardId {
                data_id: DataId([7; 16]),
                chunk_index,
                shard_index: 0,
            },
            descriptor: Bytes::new(),
            payload: Bytes::from_static(b"payload"),
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_model_conforms() {
        let open = async || {
            (
                Arc::new(MemoryShardStore::new(DiskId([1; 16]))) as Arc<dyn ShardStore>,
                (),
            )
        };
        crate::conformance::run(open).await;
    }

    #[tokio::test]
    async fn a_crash_loses_exactly_what_no_sync_covered() {
        let store = MemoryShardStore::new(DiskId([1; 16]));
        let covered = store.put(shard(0), Durability::Buffered).await.unwrap();
        let ticket = store.put(shard(1), Durability::Buffered).await.unwrap();
        let lost = store.put(shard(2), Durability::Buffered).await.unwrap();
        assert!(covered < ticket && ticket < lost);
        store.sync(ticket).await.unwrap();

        store.lose_unsynced();

        assert!(store.stat(shard(0).id).await.unwrap().is_some());
        assert!(store.stat(shard(1).id).await.unwrap().is_some());
        assert_eq!(store.stat(shard(2).id).await.unwrap(), None);
        assert!(matches!(
            store.sync(lost).await,
            Err(ShardError::Restarted { .. })
        ));
    }

    #[tokio::test]
    async fn a_deleted_shard_is_not_brought_back_by_a_later_sync() {
        let store = MemoryShardStore::new(DiskId([1; 16]));
        let ticket = store.put(shard(0), Durability::Buffered).await.unwrap();
        store.delete(&[shard(0).id]).await.unwrap();
        store.sync(ticket).await.unwrap();
        store.lose_unsynced();
        assert_eq!(store.stat(shard(0).id).await.unwrap(), None);
    }
}
