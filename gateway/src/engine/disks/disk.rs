//! One disk of the cluster: its store, where it stands, and calls that have a deadline and are learned from.

use std::fmt;
use std::future::Future;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use cairn_storage_node::{
    DiskHealth, DiskId, DiskStatus, Durability, ShardError, ShardId, ShardPage, ShardPut,
    ShardStat, ShardStore, WriteTicket,
};
use futures_util::future::BoxFuture;
use tokio::time::{Instant, timeout};

use super::condition::{Availability, Condition};
use super::{Dependability, DiskEntry, DiskRole, Latencies, Locality};
use crate::engine::placement::Candidate;

/// Weight of a disk whose free space is not known yet: that of an empty 1 TiB disk.
const FREE_BYTES_UNKNOWN: u64 = 1 << 40;

/// A disk and what is known of it.
pub struct Disk {
    id: DiskId,
    entry: DiskEntry,
    host_number: u32,
    zone_number: u32,
    condition: Mutex<Condition>,
    /// A call to a disk that is doubted, until it is answered: one at a time, since those that hang pile up.
    trial: tokio::sync::Mutex<Option<BoxFuture<'static, bool>>>,
    latencies: Arc<Latencies>,
}

/// A disk as operators see it.
#[derive(Debug, Clone)]
pub struct DiskView {
    /// Its identity.
    pub disk_id: DiskId,
    /// Where it is on its machine; empty if that is not known.
    pub path: String,
    /// The machine it is in.
    pub host: String,
    /// The zone the machine is in.
    pub zone: String,
    /// Whether it is in this process.
    pub locality: Locality,
    /// What is wanted of it.
    pub role: DiskRole,
    /// Whether it can be used.
    pub availability: Availability,
    /// Why it is failed or unreachable.
    pub failure: Option<String>,
    /// For how long it has been away.
    pub away_for: Option<Duration>,
    /// Whether it was slow lately.
    pub is_avoided: bool,
    /// The last status it gave.
    pub status: Option<DiskStatus>,
}

/// Which disks to read from first; smaller is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ReadRank {
    Local,
    Remote,
    /// Slow a moment ago.
    Avoided,
    /// Failed or unreachable: asked last, since it may be back.
    Away,
}

impl Disk {
    pub(super) fn new(
        entry: DiskEntry,
        [host_number, zone_number]: [u32; 2],
        condition: Option<Condition>,
        latencies: Arc<Latencies>,
    ) -> Self {
        let condition = Mutex::new(condition.unwrap_or_else(Condition::new));
        Self {
            id: entry.store.disk_id(),
            entry,
            host_number,
            zone_number,
            condition,
            trial: tokio::sync::Mutex::default(),
            latencies,
        }
    }

    /// Its identity.
    pub fn id(&self) -> DiskId {
        self.id
    }

    /// What is wanted of it.
    pub fn role(&self) -> DiskRole {
        self.entry.role
    }

    /// All that is known of it.
    pub fn view(&self, now: Instant) -> DiskView {
        let condition = self.condition();
        DiskView {
            disk_id: self.id,
            path: self.entry.path.clone(),
            host: self.entry.host.clone(),
            zone: self.entry.zone.clone(),
            locality: self.entry.locality,
            role: self.entry.role,
            availability: condition.availability,
            failure: condition.failure.clone(),
            away_for: condition
                .away_since
                .map(|since| now.saturating_duration_since(since)),
            is_avoided: condition.is_avoided(now),
            status: condition.status,
        }
    }

    /// Whether calls go through this very store.
    pub(super) fn is_reached_by(&self, store: &Arc<dyn ShardStore>) -> bool {
        Arc::ptr_eq(&self.entry.store, store)
    }

    /// Whether it is known how it does.
    pub(crate) fn was_asked(&self) -> bool {
        let condition = self.locked();
        condition.status.is_some() || condition.away_since.is_some()
    }

    /// Since when it has been failed or unreachable.
    pub(super) fn away_since(&self) -> Option<Instant> {
        self.locked().away_since
    }

    pub(super) fn condition(&self) -> Condition {
        self.locked().clone()
    }

    /// This disk for placement, if it takes shards.
    pub(super) fn candidate(
        &self,
        dependability: Dependability,
        now: Instant,
    ) -> Option<Candidate> {
        let condition = self.locked();
        let in_time = dependability == Dependability::Any || !condition.is_avoided(now);
        let takes_shards =
            condition.availability == Availability::Healthy && self.entry.role == DiskRole::Active;
        (in_time && takes_shards).then(|| Candidate {
            free_bytes: condition
                .status
                .as_ref()
                .map_or(FREE_BYTES_UNKNOWN, |status| status.free_bytes),
            ..self.as_taken()
        })
    }

    /// This disk for placement as one that already holds a shard.
    pub(crate) fn as_taken(&self) -> Candidate {
        Candidate {
            disk_id: self.id,
            host: self.host_number,
            zone: self.zone_number,
            free_bytes: 0,
        }
    }

    /// Where it comes in the order of reads.
    pub(crate) fn read_rank(&self, now: Instant) -> ReadRank {
        let condition = self.locked();
        match self.entry.locality {
            _ if !condition.is_readable() => ReadRank::Away,
            _ if condition.is_avoided(now) => ReadRank::Avoided,
            Locality::Local => ReadRank::Local,
            Locality::Remote => ReadRank::Remote,
        }
    }

    /// A call was still open when another disk had to be asked instead.
    pub(crate) fn note_slow_call(&self) {
        self.locked().learn_slow_call(Instant::now());
    }

    pub(super) async fn refresh(&self, deadline: Duration) {
        let mut status = match timeout(deadline, self.entry.store.status()).await {
            Ok(answer) => answer.map_err(|error| error.to_string()),
            Err(_) => Err("it does not answer".to_owned()),
        };
        let is_doubted = self.locked().is_doubted(Instant::now());
        if !is_doubted {
            // A trial of an earlier doubt would say nothing of a later one.
            *self.trial.lock().await = None;
        }
        // Those that failed or hang say so, and are asked nothing.
        let claims_to_work =
            |status: &DiskStatus| !matches!(status.health, DiskHealth::Failed | DiskHealth::Hung);
        if is_doubted && status.as_ref().is_ok_and(claims_to_work) && !self.answers(deadline).await
        {
            status = Err("it answers no call that needs the disk".to_owned());
        }
        let mut condition = self.locked();
        condition.learn_status(status, Instant::now());
        let change = condition.tell();
        let reason = condition.failure.clone();
        drop(condition);
        if let Some((before, after)) = change {
            self.tell(before, after, reason.as_deref());
        }
    }

    fn tell(&self, before: Availability, after: Availability, reason: Option<&str>) {
        let DiskEntry { host, path, .. } = &self.entry;
        match after {
            Availability::Healthy => {
                tracing::info!(disk_id = %self.id, host, path, ?before, ?after, "a disk changed its state");
            }
            _ => {
                tracing::warn!(disk_id = %self.id, host, path, ?before, ?after, reason, "a disk changed its state");
            }
        }
    }

    /// Whether it answers a call that needs the disk, now or begun in an earlier refresh.
    async fn answers(&self, deadline: Duration) -> bool {
        let store = Arc::clone(&self.entry.store);
        let mut trial = self.trial.lock().await;
        let call =
            trial.get_or_insert_with(|| Box::pin(async move { store.list(None, 1).await.is_ok() }));
        let Ok(is_answer) = timeout(deadline, call).await else {
            return false;
        };
        *trial = None;
        if is_answer {
            self.locked().learn_answer();
        }
        is_answer
    }

    /// See [`ShardStore::put`].
    pub(crate) async fn put(
        &self,
        shard: ShardPut,
        durability: Durability,
        deadline: Duration,
    ) -> Result<WriteTicket, ShardError> {
        let started = Instant::now();
        let ticket = self
            .within(deadline, self.entry.store.put(shard, durability))
            .await?;
        self.latencies.put.record(started.elapsed());
        Ok(ticket)
    }

    /// See [`ShardStore::sync`].
    pub(crate) async fn sync(
        &self,
        ticket: WriteTicket,
        deadline: Duration,
    ) -> Result<(), ShardError> {
        self.within(deadline, self.entry.store.sync(ticket)).await
    }

    /// See [`ShardStore::get`].
    pub(crate) async fn get(
        &self,
        id: ShardId,
        range: Range<u32>,
        deadline: Duration,
    ) -> Result<Bytes, ShardError> {
        let started = Instant::now();
        let bytes = self
            .within(deadline, self.entry.store.get(id, range))
            .await?;
        self.latencies.get(bytes.len()).record(started.elapsed());
        Ok(bytes.into_bytes())
    }

    /// See [`ShardStore::delete`].
    pub(crate) async fn delete(
        &self,
        ids: &[ShardId],
        deadline: Duration,
    ) -> Result<(), ShardError> {
        self.within(deadline, self.entry.store.delete(ids)).await
    }

    /// See [`ShardStore::list`].
    pub(crate) async fn list(
        &self,
        after: Option<ShardId>,
        limit: usize,
        deadline: Duration,
    ) -> Result<ShardPage, ShardError> {
        self.within(deadline, self.entry.store.list(after, limit))
            .await
    }

    /// See [`ShardStore::verify`].
    pub(crate) async fn verify(
        &self,
        id: ShardId,
        deadline: Duration,
    ) -> Result<ShardStat, ShardError> {
        self.within(deadline, self.entry.store.verify(id)).await
    }

    /// See [`ShardStore::stat`].
    pub(crate) async fn stat(
        &self,
        id: ShardId,
        deadline: Duration,
    ) -> Result<Option<ShardStat>, ShardError> {
        self.within(deadline, self.entry.store.stat(id)).await
    }

    /// Runs a call against its deadline and learns from the outcome. A call that was given up is an unreachable
    /// disk: whether it was done is unknown.
    async fn within<T>(
        &self,
        deadline: Duration,
        call: impl Future<Output = Result<T, ShardError>>,
    ) -> Result<T, ShardError> {
        let outcome = timeout(deadline, call).await.unwrap_or_else(|_| {
            Err(ShardError::Unreachable {
                disk_id: self.id,
                detail: format!("no answer within {deadline:?}"),
            })
        });
        let mut condition = self.locked();
        match &outcome {
            Ok(_) => condition.learn_answer(),
            Err(error) => condition.learn_error(error, Instant::now()),
        }
        outcome
    }

    fn locked(&self) -> MutexGuard<'_, Condition> {
        self.condition
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Disk")
            .field("id", &self.id)
            .field("entry", &self.entry)
            .finish_non_exhaustive()
    }
}
