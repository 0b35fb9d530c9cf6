//! A disk that may come and go: what the rest of the process holds on to.
//!
//! [`LocalDisk`] refuses everything once it failed, until it is opened again. A slot stays the same object through
//! that: it passes calls to the disk that is open now, or answers that the disk has failed.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use async_trait::async_trait;
use cairn_storage_node::{
    ClusterId, DiskHealth, DiskId, DiskStatus, Durability, IdentityError, LocalDisk,
    LocalDiskOptions, OpenError, ShardError, ShardId, ShardPage, ShardPut, ShardStat, ShardStore,
    VerifiedBytes, WriteTicket,
};

use super::adopt::{Adopted, AdoptedDisk};
use super::error::DisksError;

/// How much of its file system each disk may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SpaceLimits {
    /// Left free by writes.
    pub(crate) reserve_bytes: u64,
    /// Most that a disk may hold; `None`: its whole file system.
    pub(crate) capacity_bytes_max: Option<u64>,
}

/// Why a disk is not open where nobody has said anything else.
const NOT_THERE: &str = "the disk is not there";

/// The place of one disk.
#[derive(Debug)]
pub(crate) struct Slot {
    disk_id: DiskId,
    path: PathBuf,
    cluster_id: ClusterId,
    limits: SpaceLimits,
    disk: ArcSwapOption<LocalDisk>,
    /// Why it is not open, as it said when it was closed, or when it was to be opened.
    failure: ArcSwapOption<String>,
}

/// Opens all disks that are there, side by side, since each may have an index to rebuild.
///
/// # Errors
/// When a disk is in use by another process or is not who it should be. A disk that cannot be read, be it only its
/// identity, is left to the watcher, like one that is missing.
pub(crate) async fn open_all(
    adopted: &Adopted,
    limits: SpaceLimits,
) -> Result<Vec<Arc<Slot>>, DisksError> {
    let slots: Vec<Arc<Slot>> = adopted
        .disks
        .iter()
        .map(|disk| Arc::new(Slot::new(disk, adopted.cluster_id, limits)))
        .collect();
    let opening = slots
        .iter()
        .zip(&adopted.disks)
        .filter(|(_, disk)| disk.is_present)
        .map(|(slot, _)| {
            let slot = Arc::clone(slot);
            async move { slot.open().await }
        });
    for result in futures_util::future::join_all(opening).await {
        match result {
            Ok(()) => {}
            Err(OpenError::Identity(error)) if !is_away(&error) => return Err(error.into()),
            Err(error) => tracing::warn!(%error, "a disk cannot be opened; going on without it"),
        }
    }
    Ok(slots)
}

/// Whether there is no identity that could be wrong.
fn is_away(error: &IdentityError) -> bool {
    matches!(
        error,
        IdentityError::Io { .. } | IdentityError::Missing { .. }
    )
}

impl Slot {
    fn new(disk: &AdoptedDisk, cluster_id: ClusterId, limits: SpaceLimits) -> Self {
        Self {
            disk_id: disk.disk_id,
            path: disk.path.clone(),
            cluster_id,
            limits,
            disk: ArcSwapOption::empty(),
            failure: ArcSwapOption::empty(),
        }
    }

    /// Where the disk is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Opens the disk, which must be the one that belongs here.
    pub(crate) async fn open(&self) -> Result<(), OpenError> {
        let options = LocalDiskOptions {
            expected_disk_id: Some(self.disk_id),
            reserve_bytes: self.limits.reserve_bytes,
            capacity_bytes_max: self.limits.capacity_bytes_max,
            ..LocalDiskOptions::new(&self.path, self.cluster_id)
        };
        let path = self.path.clone();
        let opened = tokio::task::spawn_blocking(move || LocalDisk::open(options)).await;
        let disk = opened.unwrap_or_else(|panic| {
            Err(OpenError::Io {
                path,
                source: std::io::Error::other(panic),
            })
        });
        let failure = disk.as_ref().err().map(|error| Arc::new(error.to_string()));
        self.failure.store(failure);
        self.disk.store(Some(Arc::new(disk?)));
        Ok(())
    }

    /// Whether a disk is open and works.
    pub(crate) async fn is_working(&self) -> bool {
        matches!(self.health().await, DiskHealth::Healthy | DiskHealth::Full)
    }

    /// How the disk is; one that is not open has failed.
    pub(crate) async fn health(&self) -> DiskHealth {
        let status = self.status().await;
        status.map_or(DiskHealth::Failed, |status| status.health)
    }

    /// Whether a disk is open and serves reads, if it works or not.
    pub(crate) fn is_readable(&self) -> bool {
        self.disk.load_full().is_some_and(|disk| disk.is_readable())
    }

    /// Closes the disk; it can be opened again once all calls that are under way have ended.
    pub(crate) async fn close(&self) {
        let Some(disk) = self.disk.swap(None) else {
            return;
        };
        let failure = disk.status().await.ok().and_then(|status| status.failure);
        self.failure.store(failure.map(Arc::new));
        if let Err(error) = disk.close().await {
            // A disk that has failed says so again; that was logged when it happened.
            tracing::debug!(path = %self.path.display(), %error, "a disk did not close cleanly");
        }
    }

    /// Why it is not open.
    fn failure(&self) -> String {
        let failure = self.failure.load_full();
        failure.map_or_else(|| NOT_THERE.to_owned(), |failure| failure.to_string())
    }

    fn disk(&self) -> Result<Arc<LocalDisk>, ShardError> {
        self.disk.load_full().ok_or_else(|| ShardError::DiskFailed {
            disk_id: self.disk_id,
            path: self.path.clone(),
            detail: self.failure(),
        })
    }
}

#[async_trait]
impl ShardStore for Slot {
    fn disk_id(&self) -> DiskId {
        self.disk_id
    }

    async fn put(
        &self,
        shard: ShardPut,
        durability: Durability,
    ) -> Result<WriteTicket, ShardError> {
        self.disk()?.put(shard, durability).await
    }

    async fn sync(&self, ticket: WriteTicket) -> Result<(), ShardError> {
        self.disk()?.sync(ticket).await
    }

    async fn get(&self, id: ShardId, range: Range<u32>) -> Result<VerifiedBytes, ShardError> {
        self.disk()?.get(id, range).await
    }

    async fn delete(&self, ids: &[ShardId]) -> Result<(), ShardError> {
        self.disk()?.delete(ids).await
    }

    async fn list(&self, after: Option<ShardId>, limit: usize) -> Result<ShardPage, ShardError> {
        self.disk()?.list(after, limit).await
    }

    async fn verify(&self, id: ShardId) -> Result<ShardStat, ShardError> {
        self.disk()?.verify(id).await
    }

    async fn stat(&self, id: ShardId) -> Result<Option<ShardStat>, ShardError> {
        self.disk()?.stat(id).await
    }

    /// A disk that is not there answers like one that has failed: a local disk always answers.
    async fn status(&self) -> Result<DiskStatus, ShardError> {
        match self.disk.load_full() {
            Some(disk) => disk.status().await,
            None => Ok(DiskStatus {
                disk_id: self.disk_id,
                path: self.path.display().to_string(),
                health: DiskHealth::Failed,
                failure: Some(self.failure()),
                capacity_bytes: 0,
                free_bytes: 0,
                shard_bytes: 0,
                shard_count: 0,
                garbage_bytes: 0,
                counters: std::collections::BTreeMap::new(),
            }),
        }
    }
}

#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    reason = "what a test makes and damages need not be durable"
)]
mod tests {
    use super::*;

    const CLUSTER: ClusterId = ClusterId([1; 16]);

    async fn open(paths: [&Path; 2]) -> Result<Vec<Arc<Slot>>, DisksError> {
        let disks = paths.map(|path| AdoptedDisk {
            disk_id: LocalDisk::format(path, CLUSTER).unwrap(),
            path: path.to_owned(),
            is_present: true,
            is_mount_point: None,
        });
        let identity = paths[1].join(cairn_storage_node::IDENTITY_FILE_NAME);
        std::fs::remove_file(&identity).unwrap();
        std::fs::create_dir(&identity).unwrap();
        let adopted = Adopted {
            cluster_id: CLUSTER,
            disks: disks.into(),
        };
        let limits = SpaceLimits {
            reserve_bytes: 0,
            capacity_bytes_max: None,
        };
        open_all(&adopted, limits).await
    }

    #[tokio::test]
    async fn a_disk_whose_identity_cannot_be_read_keeps_no_other_from_opening() {
        let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let slots = open([dirs[0].path(), dirs[1].path()]).await.unwrap();
        assert!(slots[0].is_working().await);
        assert_eq!(slots[1].health().await, DiskHealth::Failed);
        let status = slots[1].status().await.unwrap();
        assert!(status.failure.unwrap().contains("cairn-disk.json"));
    }
}
