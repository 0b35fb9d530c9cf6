//! A disk in memory that suffers what the fault model says.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use cairn_rpc::clock::Clock;
use cairn_storage_node::fault::ShardCall;
use cairn_storage_node::{
    DiskHealth, DiskId, DiskStatus, Durability, MemoryShardStore, ShardError, ShardId, ShardPage,
    ShardPut, ShardStat, ShardStore, VerifiedBytes, WriteTicket,
};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::Notify;
use tokio::time::sleep;

use crate::fault_model::{Fate, FaultModel};
use crate::journal::Journal;
use crate::life::Life;

/// How a disk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Condition {
    There,
    /// Takes no shards.
    Full,
    /// Calls fail at once.
    Vanished,
    /// Calls say that the disk failed.
    Failed,
    /// Calls wait until it is in another condition.
    Hanging,
    /// As [`Condition::Hanging`], but the status is answered, as from memory.
    HangingSilently,
}

/// One disk, whoever uses it.
pub(crate) struct SimulatedDisk {
    id: DiskId,
    number: u8,
    store: MemoryShardStore,
    journal: Arc<Journal>,
    state: Mutex<State>,
    changed: Notify,
}

struct State {
    random: SmallRng,
    model: FaultModel,
    condition: Condition,
    /// Shards whose bytes are not those that were put.
    rotten: BTreeSet<ShardId>,
}

impl SimulatedDisk {
    pub(crate) fn new(
        number: u8,
        seed: u64,
        clock: Arc<dyn Clock>,
        journal: Arc<Journal>,
    ) -> Arc<Self> {
        let id = DiskId([number; 16]);
        Arc::new(Self {
            id,
            number,
            store: MemoryShardStore::with_clock(id, clock),
            journal,
            state: Mutex::new(State {
                random: SmallRng::seed_from_u64(seed),
                model: FaultModel::CALM,
                condition: Condition::There,
                rotten: BTreeSet::new(),
            }),
            changed: Notify::new(),
        })
    }

    pub(crate) fn id(&self) -> DiskId {
        self.id
    }

    pub(crate) fn number(&self) -> u8 {
        self.number
    }

    /// The disk as one process sees it.
    pub(crate) fn seen_by(self: &Arc<Self>, life: Life) -> Arc<dyn ShardStore> {
        Arc::new(Handle {
            disk: Arc::clone(self),
            life,
        })
    }

    pub(crate) fn suffer(&self, model: FaultModel) {
        self.state().model = model;
    }

    pub(crate) fn condition(&self) -> Condition {
        self.state().condition
    }

    pub(crate) fn set_condition(&self, condition: Condition) {
        self.state().condition = condition;
        self.changed.notify_waiters();
    }

    /// All shards, without a fault.
    pub(crate) async fn shards(&self) -> Vec<ShardId> {
        let mut shards = Vec::new();
        loop {
            let page = self.store.list(shards.last().copied(), 10_000).await;
            let page = page.expect("memory does not fail");
            shards.extend(page.shards.iter().map(|stat| stat.id));
            if !page.is_truncated {
                return shards;
            }
        }
    }

    /// Whether a shard is here with the bytes that were put.
    pub(crate) async fn is_intact(&self, id: ShardId) -> bool {
        let stat = self.store.stat(id).await.expect("memory does not fail");
        stat.is_some() && !self.state().rotten.contains(&id)
    }

    /// Damages a shard.
    pub(crate) fn rot(&self, id: ShardId) {
        self.state().rotten.insert(id);
    }

    /// Becomes another disk of the same name: empty.
    pub(crate) async fn replace(&self) {
        let shards = self.shards().await;
        self.delete(&shards).await.expect("memory does not fail");
        self.store.lose_unsynced();
    }

    /// Loses power: of what was not synced each shard is gone, there after all, or torn.
    pub(crate) async fn lose_power(&self) {
        let mut before = Vec::new();
        for id in self.shards().await {
            let stat = self.store.stat(id).await.expect("memory does not fail");
            let Some(ShardStat {
                size_bytes,
                descriptor: Some(descriptor),
                ..
            }) = stat
            else {
                continue;
            };
            let payload = self.store.get(id, 0..size_bytes).await;
            before.push(ShardPut {
                id,
                descriptor,
                payload: payload.expect("it was listed").into_bytes(),
            });
        }
        self.store.lose_unsynced();
        for shard in before {
            let id = shard.id;
            if self.is_there(id).await {
                continue;
            }
            let luck = self.state().random.random_range(0..4);
            if luck < 2 {
                continue;
            }
            let put = self.store.put(shard, Durability::Synced).await;
            put.expect("memory does not fail");
            if luck == 2 {
                self.rot(id);
            }
        }
    }

    async fn is_there(&self, id: ShardId) -> bool {
        let stat = self.store.stat(id).await;
        stat.expect("memory does not fail").is_some()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unreachable(&self, detail: &str) -> ShardError {
        ShardError::Unreachable {
            disk_id: self.id,
            detail: format!("simulated: {detail}"),
        }
    }

    /// Waits while the disk hangs; an error if it is away.
    async fn reach(&self) -> Result<(), ShardError> {
        loop {
            let changed = self.changed.notified();
            match self.condition() {
                Condition::There | Condition::Full => return Ok(()),
                Condition::Vanished => return Err(self.unreachable("vanished")),
                Condition::Failed => {
                    return Err(ShardError::DiskFailed {
                        disk_id: self.id,
                        path: PathBuf::new(),
                        detail: "simulated".to_owned(),
                    });
                }
                Condition::Hanging | Condition::HangingSilently => changed.await,
            }
        }
    }

    /// One call, which does `effect` if it is done.
    async fn answer<T: Send + 'static>(
        self: Arc<Self>,
        call: ShardCall,
        effect: impl Future<Output = Result<T, ShardError>> + Send + 'static,
    ) -> Result<T, ShardError> {
        self.reach().await?;
        let fate = {
            let mut state = self.state();
            let model = state.model;
            model.draw(&mut state.random)
        };
        self.journal
            .call(format_args!("disk {} {call:?}: {fate:?}", self.number));
        match fate {
            Fate::Refused => Err(self.unreachable("refused")),
            Fate::Busy => Err(ShardError::Busy { disk_id: self.id }),
            Fate::Answered { before, after } => {
                pause(before).await;
                self.reach().await?;
                let answer = effect.await;
                pause(after).await;
                answer
            }
            Fate::AnswerLost { before } => {
                pause(before).await;
                self.reach().await?;
                drop(effect.await);
                Err(self.unreachable("answer lost"))
            }
            Fate::Late { by, is_done } => {
                let late = async move {
                    sleep(by).await;
                    self.reach().await?;
                    if is_done {
                        effect.await
                    } else {
                        Err(self.unreachable("never done"))
                    }
                };
                // A task, because the caller may not wait for it.
                tokio::spawn(late).await.expect("it does not panic")
            }
        }
    }

    /// What is wrong with a shard that is to be read.
    fn check_rot(&self, id: ShardId) -> Result<(), ShardError> {
        if !self.state().rotten.contains(&id) {
            return Ok(());
        }
        Err(ShardError::Corrupt {
            id,
            disk_id: self.id,
            detail: "simulated".to_owned(),
        })
    }

    async fn put(
        &self,
        shard: ShardPut,
        durability: Durability,
    ) -> Result<WriteTicket, ShardError> {
        if self.condition() == Condition::Full {
            return Err(ShardError::DiskFull { disk_id: self.id });
        }
        let id = shard.id;
        self.journal
            .call(format_args!("disk {} has {id}", self.number));
        let ticket = self.store.put(shard, durability).await?;
        self.state().rotten.remove(&id);
        Ok(ticket)
    }

    async fn get(&self, id: ShardId, range: Range<u32>) -> Result<VerifiedBytes, ShardError> {
        let bytes = self.store.get(id, range).await?;
        self.check_rot(id)?;
        Ok(bytes)
    }

    async fn verify(&self, id: ShardId) -> Result<ShardStat, ShardError> {
        let stat = self.store.verify(id).await?;
        self.check_rot(id)?;
        Ok(stat)
    }

    async fn delete(&self, ids: &[ShardId]) -> Result<(), ShardError> {
        for id in ids {
            self.journal
                .call(format_args!("disk {} loses {id}", self.number));
            self.state().rotten.remove(id);
        }
        self.store.delete(ids).await
    }

    async fn status(&self) -> Result<DiskStatus, ShardError> {
        let condition = self.condition();
        if condition != Condition::HangingSilently {
            self.reach().await?;
        }
        let mut status = self.store.status().await?;
        if self.condition() == Condition::Full {
            status.health = DiskHealth::Full;
            status.free_bytes = 0;
        }
        Ok(status)
    }
}

/// Nothing at all costs no timer.
async fn pause(duration: Duration) {
    if !duration.is_zero() {
        sleep(duration).await;
    }
}

impl fmt::Debug for SimulatedDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SimulatedDisk").field(&self.number).finish()
    }
}

/// A disk as one process sees it.
#[derive(Debug)]
struct Handle {
    disk: Arc<SimulatedDisk>,
    life: Life,
}

impl Handle {
    async fn call<T: Send + 'static, F>(
        &self,
        call: ShardCall,
        effect: impl FnOnce(Arc<SimulatedDisk>) -> F + Send,
    ) -> Result<T, ShardError>
    where
        F: Future<Output = Result<T, ShardError>> + Send + 'static,
    {
        let effect = effect(Arc::clone(&self.disk));
        let answer = Arc::clone(&self.disk).answer(call, effect);
        self.life.see_through(answer).await
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ShardStore for Handle {
    fn disk_id(&self) -> DiskId {
        self.disk.id
    }

    async fn put(
        &self,
        shard: ShardPut,
        durability: Durability,
    ) -> Result<WriteTicket, ShardError> {
        self.call(ShardCall::Put, |disk| async move {
            disk.put(shard, durability).await
        })
        .await
    }

    async fn sync(&self, ticket: WriteTicket) -> Result<(), ShardError> {
        self.call(ShardCall::Sync, |disk| async move {
            disk.store.sync(ticket).await
        })
        .await
    }

    async fn get(&self, id: ShardId, range: Range<u32>) -> Result<VerifiedBytes, ShardError> {
        self.call(
            ShardCall::Get,
            |disk| async move { disk.get(id, range).await },
        )
        .await
    }

    async fn delete(&self, ids: &[ShardId]) -> Result<(), ShardError> {
        let ids = ids.to_vec();
        self.call(
            ShardCall::Delete,
            |disk| async move { disk.delete(&ids).await },
        )
        .await
    }

    async fn list(&self, after: Option<ShardId>, limit: usize) -> Result<ShardPage, ShardError> {
        self.call(ShardCall::List, |disk| async move {
            disk.store.list(after, limit).await
        })
        .await
    }

    async fn verify(&self, id: ShardId) -> Result<ShardStat, ShardError> {
        self.call(
            ShardCall::Verify,
            |disk| async move { disk.verify(id).await },
        )
        .await
    }

    async fn stat(&self, id: ShardId) -> Result<Option<ShardStat>, ShardError> {
        self.call(
            ShardCall::Stat,
            |disk| async move { disk.store.stat(id).await },
        )
        .await
    }

    async fn status(&self) -> Result<DiskStatus, ShardError> {
        self.life.see_through(self.disk.status()).await
    }
}
