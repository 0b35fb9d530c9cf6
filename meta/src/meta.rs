//! [`Meta`]: the typed API, and how it reads and commits.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::codec::{Record, Stored};
use crate::error::MetaError;
use crate::keys;
use crate::kv::{Batch, Direction, KvError, KvStore, Scan, ScanEntry, ScanPage};
use crate::master_key::MasterKey;
use crate::retry::Jitter;

/// How long replaced and deleted data stay, so that readers in progress can finish. An S3 client that reads a
/// chunk at a time is rarely slower than this; one that is gets a broken connection, never wrong bytes.
pub const DELETE_DELAY_DEFAULT: Duration = Duration::from_mins(10);

/// Everything Cairn knows about buckets, objects, uploads, users, queues, leases and the cluster, over any
/// [`KvStore`].
///
/// Cheap to clone. Time is passed in as milliseconds since 1970; clocks may be skewed between processes.
///
/// Operations that write are safe to drop at any point: what was to be committed is committed whole or not at all.
#[derive(Debug, Clone)]
pub struct Meta {
    pub(crate) kv: Arc<dyn KvStore>,
    pub(crate) master_key: MasterKey,
    pub(crate) jitter: Jitter,
    delete_delay: Duration,
}

impl Meta {
    /// The namespace in `kv`, with secrets under `master_key`. Call [`Meta::check_master_key`] once at start.
    pub fn new(kv: Arc<dyn KvStore>, master_key: MasterKey) -> Self {
        Self {
            kv,
            master_key,
            jitter: Jitter::new(None),
            delete_delay: DELETE_DELAY_DEFAULT,
        }
    }

    /// The same with another delay between the deletion of an object and that of its data.
    #[must_use]
    pub fn with_delete_delay(self, delete_delay: Duration) -> Self {
        Self {
            delete_delay,
            ..self
        }
    }

    /// The same with waits between attempts that can be repeated; for tests.
    #[must_use]
    pub fn with_random_seed(self, seed: u64) -> Self {
        Self {
            jitter: Jitter::new(Some(seed)),
            ..self
        }
    }

    /// When data that are discarded now are due for deletion.
    pub(crate) fn deletion_due_ms(&self, now_ms: u64) -> u64 {
        now_ms.saturating_add(u64::try_from(self.delete_delay.as_millis()).unwrap_or(u64::MAX))
    }

    /// One record, with the bytes it was read as.
    pub(crate) async fn read<R: Record>(&self, key: &[u8]) -> Result<Option<Stored<R>>, MetaError> {
        self.kv.get(key).await?.map(Stored::decode).transpose()
    }

    /// Records from `start` to `end`, ascending.
    pub(crate) async fn scan(
        &self,
        start: Bytes,
        end: Option<Bytes>,
        limit: usize,
    ) -> Result<ScanPage, MetaError> {
        let scan = Scan {
            start,
            end,
            direction: Direction::Ascending,
            limit,
            group: None,
        };
        Ok(self.kv.scan(scan).await?)
    }

    /// Up to `limit` records whose keys begin with `prefix`, from `start` on, over as many pages as that takes.
    pub(crate) async fn records(
        &self,
        prefix: &Bytes,
        start: Bytes,
        limit: usize,
    ) -> Result<Records, MetaError> {
        let end = keys::end_of_prefix(prefix);
        let mut records = Vec::new();
        let mut start = start.max(prefix.clone());
        loop {
            let page = self
                .scan(start.clone(), end.clone(), limit - records.len())
                .await?;
            for entry in page.entries {
                if let ScanEntry::Record { key, value } = entry {
                    start = keys::successor(&key);
                    records.push((key, value));
                }
            }
            if !page.is_truncated || records.len() >= limit {
                return Ok(Records {
                    records,
                    is_truncated: page.is_truncated,
                });
            }
        }
    }

    /// Commits, telling apart what a caller acts on.
    pub(crate) async fn try_commit(&self, batch: Batch) -> Result<Committed, MetaError> {
        match self.kv.commit(batch).await {
            Ok(()) => Ok(Committed::Applied),
            Err(KvError::Conflict) => Ok(Committed::Conflict),
            Err(error @ KvError::UnknownOutcome { .. }) => Ok(Committed::Unknown(error)),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether a commit of unknown outcome was applied, as far as its evidence tells. When it is not found, the
    /// commit may still be under way: that stays unknown, and must not be repeated. A read that fails proves nothing
    /// either way: its own error would say that nothing was done, and the data would be deleted under a commit that
    /// lands later.
    pub(crate) async fn resolve_unknown(
        &self,
        evidence: &Evidence,
        error: KvError,
    ) -> Result<(), MetaError> {
        for (key, expected) in &evidence.0 {
            let found = match self.kv.get(key).await {
                Ok(found) => found,
                Err(read_error) => {
                    tracing::warn!(%read_error, "a commit of unknown outcome could not be looked for");
                    continue;
                }
            };
            if found.is_some()
                && expected
                    .as_ref()
                    .is_none_or(|expected| found.as_ref() == Some(expected))
            {
                return Ok(());
            }
        }
        Err(error.into())
    }
}

/// Records of a scan over several pages.
#[derive(Debug)]
pub(crate) struct Records {
    pub(crate) records: Vec<(Bytes, Bytes)>,
    pub(crate) is_truncated: bool,
}

/// What became of a commit.
#[derive(Debug)]
pub(crate) enum Committed {
    Applied,
    /// Nothing was written: read again, decide anew.
    Conflict,
    /// It may have been applied.
    Unknown(KvError),
}

/// Records that only this commit can have written: one of them there (with this value, where one is given) proves
/// that the commit was applied.
#[derive(Debug, Clone, Default)]
pub(crate) struct Evidence(pub(crate) Vec<(Bytes, Option<Bytes>)>);
