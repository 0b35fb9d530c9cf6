//! A disk that misbehaves on command, for the tests of those who use disks.
//!
//! [`FaultyShardStore`] wraps any store; a [`FaultSwitch`], shared and cheap to clone, says what goes wrong from
//! now on. Nothing is random here: who wants random faults draws them and sets the switch.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;

use crate::{
    DiskHealth, DiskId, DiskStatus, Durability, ShardError, ShardId, ShardPage, ShardPut,
    ShardStat, ShardStore, VerifiedBytes, WriteTicket,
};

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Every call fails at once as [`ShardError::Unreachable`], and nothing is done.
    Down,
    /// Calls are done, but their answers are lost: [`ShardError::Unreachable`].
    LosesReplies,
    /// Calls wait until the fault is cleared or replaced.
    Hang,
    /// As [`Fault::Hang`], but the status is answered, as from memory.
    HangSilently,
    /// Each call takes this much longer.
    Slow(Duration),
    /// Puts fail as [`ShardError::DiskFull`].
    Full,
    /// Everything fails as [`ShardError::DiskFailed`].
    Failed,
    /// The status says [`DiskHealth::Hung`]; calls are done.
    SaysHung,
    /// Everything fails as [`ShardError::Busy`].
    Busy,
    /// Reads and verifications of existing shards fail as [`ShardError::Corrupt`].
    CorruptReads,
    /// As [`Fault::CorruptReads`], and stats of existing shards fail so too: their headers are damaged.
    CorruptHeaders,
    /// Syncs fail as [`ShardError::Restarted`].
    Restarted,
}

/// The calls of a store, for faults that hit only some.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ShardCall {
    /// [`ShardStore::put`].
    Put,
    /// [`ShardStore::sync`].
    Sync,
    /// [`ShardStore::get`].
    Get,
    /// [`ShardStore::delete`].
    Delete,
    /// [`ShardStore::list`].
    List,
    /// [`ShardStore::verify`].
    Verify,
    /// [`ShardStore::stat`].
    Stat,
    /// [`ShardStore::status`].
    Status,
}

/// Says what goes wrong with a [`FaultyShardStore`], from the next call on. Clones are the same switch.
#[derive(Debug, Clone)]
pub struct FaultSwitch {
    plan: Arc<watch::Sender<Plan>>,
    calls: Arc<Mutex<BTreeMap<ShardCall, usize>>>,
}

#[derive(Debug, Clone, Default)]
struct Plan {
    lasting: Option<Fault>,
    once: Vec<Once>,
}

/// Hits one call: the one that finds `calls_before` at zero.
#[derive(Debug, Clone, Copy)]
struct Once {
    call: ShardCall,
    calls_before: usize,
    fault: Fault,
}

impl FaultSwitch {
    /// All calls suffer `fault` until it is cleared or replaced.
    pub fn set(&self, fault: Fault) {
        self.plan.send_modify(|plan| plan.lasting = Some(fault));
    }

    /// The `nth` call of this kind from now (0 is the next one) suffers `fault`, once. In that one call it takes
    /// the place of a lasting fault.
    pub fn fail_nth(&self, call: ShardCall, nth: usize, fault: Fault) {
        self.plan.send_modify(|plan| {
            plan.once.push(Once {
                call,
                calls_before: nth,
                fault,
            });
        });
    }

    /// How many calls of this kind were made so far, whatever became of them.
    pub fn call_count(&self, call: ShardCall) -> usize {
        let calls = self.calls();
        calls.get(&call).copied().unwrap_or_default()
    }

    fn calls(&self) -> MutexGuard<'_, BTreeMap<ShardCall, usize>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All is well again; calls that hang go on.
    pub fn clear(&self) {
        self.plan.send_modify(|plan| *plan = Plan::default());
    }

    /// What the call that is made now suffers.
    fn fault_of(&self, call: ShardCall) -> Option<Fault> {
        let mut hit = None;
        self.plan.send_if_modified(|plan| {
            plan.once.retain_mut(|once| {
                let is_hit = once.call == call && once.calls_before == 0 && hit.is_none();
                if is_hit {
                    hit = Some(once.fault);
                } else if once.call == call {
                    once.calls_before = once.calls_before.saturating_sub(1);
                }
                !is_hit
            });
            // Calls that hang wait for a changed plan; counting down is no change to them.
            false
        });
        hit.or(self.plan.borrow().lasting)
    }
}

/// A store that suffers what its [`FaultSwitch`] says.
#[derive(Debug)]
pub struct FaultyShardStore {
    inner: Arc<dyn ShardStore>,
    switch: FaultSwitch,
}

/// What becomes of a call that is made.
enum Verdict {
    Answered,
    ReplyLost,
}

impl FaultyShardStore {
    /// Wraps `inner`; nothing goes wrong yet.
    pub fn new(inner: Arc<dyn ShardStore>) -> Self {
        Self {
            inner,
            switch: FaultSwitch {
                plan: Arc::new(watch::Sender::new(Plan::default())),
                calls: Arc::default(),
            },
        }
    }

    /// The switch of this store.
    pub fn switch(&self) -> FaultSwitch {
        self.switch.clone()
    }

    /// Suffers what comes before a call; `id` is the shard it names, if it names one.
    async fn suffer(&self, call: ShardCall, id: Option<ShardId>) -> Result<Verdict, ShardError> {
        *self.switch.calls().entry(call).or_default() += 1;
        self.suffer_fault(call, id).await
    }

    async fn suffer_fault(
        &self,
        call: ShardCall,
        id: Option<ShardId>,
    ) -> Result<Verdict, ShardError> {
        let disk_id = self.inner.disk_id();
        // Subscribed before the look, so that no change in between is slept through.
        let mut changes = self.switch.plan.subscribe();
        let Some(fault) = self.switch.fault_of(call) else {
            return Ok(Verdict::Answered);
        };
        match (fault, call, id) {
            (Fault::Down, ..) => Err(self.unreachable("injected: down")),
            (Fault::LosesReplies, ..) => Ok(Verdict::ReplyLost),
            (Fault::HangSilently, ShardCall::Status, _) => Ok(Verdict::Answered),
            (Fault::Hang | Fault::HangSilently, ..) => {
                // The sender is held by `self`, so it is not gone.
                drop(changes.changed().await);
                Box::pin(self.suffer_fault(call, id)).await
            }
            (Fault::Slow(delay), ..) => {
                tokio::time::sleep(delay).await;
                Ok(Verdict::Answered)
            }
            (Fault::Full, ShardCall::Put, _) => Err(ShardError::DiskFull { disk_id }),
            (Fault::Failed, ..) => Err(ShardError::DiskFailed {
                disk_id,
                path: PathBuf::from("/injected"),
                detail: "injected: failed".to_owned(),
            }),
            (Fault::Busy, ..) => Err(ShardError::Busy { disk_id }),
            (Fault::CorruptReads, ShardCall::Get | ShardCall::Verify, Some(id))
            | (
                Fault::CorruptHeaders,
                ShardCall::Get | ShardCall::Verify | ShardCall::Stat,
                Some(id),
            ) => match self.inner.stat(id).await? {
                Some(_) => Err(ShardError::Corrupt {
                    id,
                    disk_id,
                    detail: "injected: corrupt".to_owned(),
                }),
                None => Err(ShardError::NotFound { id, disk_id }),
            },
            (Fault::Restarted, ShardCall::Sync, _) => Err(ShardError::Restarted { disk_id }),
            (
                Fault::Full
                | Fault::SaysHung
                | Fault::CorruptReads
                | Fault::CorruptHeaders
                | Fault::Restarted,
                ..,
            ) => Ok(Verdict::Answered),
        }
    }

    fn answer<T>(
        &self,
        verdict: &Verdict,
        outcome: Result<T, ShardError>,
    ) -> Result<T, ShardError> {
        match verdict {
            Verdict::Answered => outcome,
            Verdict::ReplyLost => Err(self.unreachable("injected: reply lost")),
        }
    }

    fn unreachable(&self, detail: &str) -> ShardError {
        ShardError::Unreachable {
            disk_id: self.inner.disk_id(),
            detail: detail.to_owned(),
        }
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ShardStore for FaultyShardStore {
    fn disk_id(&self) -> DiskId {
        self.inner.disk_id()
    }

    async fn put(
        &self,
        shard: ShardPut,
        durability: Durability,
    ) -> Result<WriteTicket, ShardError> {
        let verdict = self.suffer(ShardCall::Put, Some(shard.id)).await?;
        self.answer(&verdict, self.inner.put(shard, durability).await)
    }

    async fn sync(&self, ticket: WriteTicket) -> Result<(), ShardError> {
        let verdict = self.suffer(ShardCall::Sync, None).await?;
        self.answer(&verdict, self.inner.sync(ticket).await)
    }

    async fn get(&self, id: ShardId, range: Range<u32>) -> Result<VerifiedBytes, ShardError> {
        let verdict = self.suffer(ShardCall::Get, Some(id)).await?;
        self.answer(&verdict, self.inner.get(id, range).await)
    }

    async fn delete(&self, ids: &[ShardId]) -> Result<(), ShardError> {
        let verdict = self.suffer(ShardCall::Delete, None).await?;
        self.answer(&verdict, self.inner.delete(ids).await)
    }

    async fn list(&self, after: Option<ShardId>, limit: usize) -> Result<ShardPage, ShardError> {
        let verdict = self.suffer(ShardCall::List, None).await?;
        self.answer(&verdict, self.inner.list(after, limit).await)
    }

    async fn verify(&self, id: ShardId) -> Result<ShardStat, ShardError> {
        let verdict = self.suffer(ShardCall::Verify, Some(id)).await?;
        self.answer(&verdict, self.inner.verify(id).await)
    }

    async fn stat(&self, id: ShardId) -> Result<Option<ShardStat>, ShardError> {
        let verdict = self.suffer(ShardCall::Stat, Some(id)).await?;
        self.answer(&verdict, self.inner.stat(id).await)
    }

    async fn status(&self) -> Result<DiskStatus, ShardError> {
        let verdict = self.suffer(ShardCall::Status, None).await?;
        let mut status = self.answer(&verdict, self.inner.status().await)?;
        match self.switch.plan.borrow().lasting {
            Some(Fault::Full) => {
                status.health = DiskHealth::Full;
                status.free_bytes = 0;
            }
            Some(Fault::SaysHung) => status.health = DiskHealth::Hung,
            _ => {}
        }
        Ok(status)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DataId, MemoryShardStore};
    use bytes::Bytes;

    const ID: ShardId = ShardId {
        data_id: DataId([1; 16]),
        chunk_index: 0,
        shard_index: 0,
    };

    fn faulty() -> (Arc<FaultyShardStore>, FaultSwitch) {
        let store = FaultyShardStore::new(Arc::new(MemoryShardStore::new(DiskId([1; 16]))));
        let switch = store.switch();
        (Arc::new(store), switch)
    }

    async fn put(store: &dyn ShardStore) -> Result<WriteTicket, ShardError> {
        let shard = ShardPut {
            id: ID,
            descriptor: Bytes::new(),
            payload: Bytes::from_static(b"x"),
        };
        store.put(shard, Durability::Buffered).await
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn without_a_fault_it_conforms() {
        crate::conformance::run(async || (faulty().0 as Arc<dyn ShardStore>, ())).await;
    }

    #[tokio::test]
    async fn each_fault_hits_the_calls_it_names_until_cleared() {
        let (store, switch) = faulty();
        let ticket = put(&*store).await.unwrap();
        switch.set(Fault::Full);
        assert!(matches!(
            put(&*store).await,
            Err(ShardError::DiskFull { .. })
        ));
        assert!(store.get(ID, 0..1).await.is_ok());
        assert_eq!(store.status().await.unwrap().health, DiskHealth::Full);
        switch.set(Fault::CorruptReads);
        assert!(matches!(
            store.get(ID, 0..1).await,
            Err(ShardError::Corrupt { .. })
        ));
        switch.set(Fault::Restarted);
        assert!(matches!(
            store.sync(ticket).await,
            Err(ShardError::Restarted { .. })
        ));
        switch.set(Fault::Failed);
        assert!(matches!(
            store.status().await,
            Err(ShardError::DiskFailed { .. })
        ));
        switch.clear();
        store.sync(ticket).await.unwrap();
    }

    #[tokio::test]
    async fn a_lost_reply_hides_what_was_done() {
        let (store, switch) = faulty();
        switch.fail_nth(ShardCall::Put, 0, Fault::LosesReplies);
        assert!(matches!(
            put(&*store).await,
            Err(ShardError::Unreachable { .. })
        ));
        assert!(store.stat(ID).await.unwrap().is_some());
    }

    #[tokio::test]
    async fn the_nth_call_fails_alone() {
        let (store, switch) = faulty();
        switch.fail_nth(ShardCall::Put, 1, Fault::Down);
        assert!(put(&*store).await.is_ok());
        assert!(store.stat(ID).await.is_ok());
        assert!(matches!(
            put(&*store).await,
            Err(ShardError::Unreachable { .. })
        ));
        assert!(put(&*store).await.is_ok());
    }

    #[tokio::test]
    async fn a_call_that_hangs_goes_on_when_the_fault_is_cleared() {
        let (store, switch) = faulty();
        switch.set(Fault::Hang);
        let call = tokio::spawn(async move { put(&*store).await });
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        assert!(!call.is_finished());
        switch.clear();
        assert!(call.await.unwrap().is_ok());
    }
}
