//! Notices disks that failed, and opens them again when they are back.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use cairn_storage_node::{DiskHealth, DiskIdentity, LocalDisk, ShardStore as _};
use tokio_util::sync::CancellationToken;

use super::slot::Slot;

/// How often disks are looked at: a disk that is back is used again within this time.
const INTERVAL: Duration = Duration::from_secs(1);

/// Watches one disk until `stop`.
pub(super) async fn watch(slot: Arc<Slot>, stop: CancellationToken) {
    let mut watcher = Watcher::new(slot).await;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(INTERVAL) => {}
        }
        watcher.look().await;
    }
}

/// What is known of the disk that is watched.
#[derive(Debug)]
struct Watcher {
    slot: Arc<Slot>,
    is_failed: bool,
    is_hung: bool,
    patience: Patience,
}

impl Watcher {
    async fn new(slot: Arc<Slot>) -> Self {
        Self {
            is_failed: slot.health().await == DiskHealth::Failed,
            is_hung: false,
            slot,
            patience: Patience::default(),
        }
    }

    /// Looks at the disk once in each [`INTERVAL`].
    ///
    /// A disk that failed is closed, and opened again as soon as its identity can be read at its place and it takes
    /// writes. Until it does it is still read, if it can be: where the kernel made a file system read-only, closing it
    /// would only take away what is there. If it fails again at once, waiting doubles each time: a disk with an I/O
    /// error must not be opened every second for ever.
    async fn look(&mut self) {
        let health = self.slot.health().await;
        self.see(health).await;
    }

    /// Does what there is to do about a disk that is like this.
    async fn see(&mut self, health: DiskHealth) {
        match health {
            DiskHealth::Hung => return self.wait_for_answer(),
            DiskHealth::Healthy | DiskHealth::Full => {
                self.answers();
                self.patience.works();
                return;
            }
            DiskHealth::Failed => self.answers(),
        }
        if !self.is_failed {
            tracing::warn!(disk_id = %self.slot.disk_id(), path = %self.slot.path().display(), "a disk failed; it is not used until it is back");
            self.is_failed = true;
        }
        let is_due = self.patience.is_due();
        let is_back = is_back(&self.slot).await;
        if !is_back || !self.slot.is_readable() {
            self.slot.close().await;
        }
        if is_due && is_back {
            self.patience.tried();
            self.reopen().await;
        }
    }

    /// A disk that hangs is left alone: looking at it, closing it and opening it would all wait for it as well. When the
    /// call that hangs returns, the disk is used again, or has failed.
    fn wait_for_answer(&mut self) {
        if !self.is_hung {
            tracing::warn!(disk_id = %self.slot.disk_id(), path = %self.slot.path().display(), "a disk does not answer; it is not used until it does");
            self.is_hung = true;
        }
    }

    fn answers(&mut self) {
        if self.is_hung {
            tracing::info!(disk_id = %self.slot.disk_id(), path = %self.slot.path().display(), "a disk answers again");
            self.is_hung = false;
        }
    }

    async fn reopen(&mut self) {
        if let Err(error) = check_writable(&self.slot).await {
            tracing::debug!(%error, "a disk takes no writes yet");
            return;
        }
        self.slot.close().await;
        match self.slot.open().await {
            Ok(()) => {
                tracing::info!(disk_id = %self.slot.disk_id(), path = %self.slot.path().display(), "a disk is back");
                self.is_failed = false;
            }
            Err(error) => tracing::debug!(%error, "a disk cannot be opened yet"),
        }
    }
}

/// Whether the disk that belongs here is there, judged by its identity file.
async fn is_back(slot: &Slot) -> bool {
    let (path, disk_id) = (slot.path().to_owned(), slot.disk_id());
    let read = tokio::task::spawn_blocking(move || DiskIdentity::read(&path)).await;
    matches!(read, Ok(Ok(Some(identity))) if identity.disk_id == disk_id)
}

async fn check_writable(slot: &Slot) -> io::Result<()> {
    let path = slot.path().to_owned();
    let checked = tokio::task::spawn_blocking(move || LocalDisk::check_writable(&path)).await;
    checked.unwrap_or_else(|panic| Err(io::Error::other(panic)))
}

/// When to try again, in ticks of [`INTERVAL`].
#[expect(
    clippy::struct_field_names,
    reason = "the unit belongs to a number's name"
)]
#[derive(Debug, Default)]
struct Patience {
    /// Ticks to wait after the next attempt.
    wait_ticks: u32,
    /// Ticks still to wait.
    left_ticks: u32,
    /// Ticks that the disk has worked for.
    working_ticks: u32,
}

/// The longest wait: a minute.
const WAIT_TICKS_MAX: u32 = 60;
/// A disk that works this long is trusted again.
const TRUST_TICKS: u32 = 60;

impl Patience {
    fn works(&mut self) {
        self.working_ticks += 1;
        if self.working_ticks >= TRUST_TICKS {
            *self = Self::default();
        }
    }

    fn is_due(&mut self) -> bool {
        self.working_ticks = 0;
        let is_due = self.left_ticks == 0;
        self.left_ticks = self.left_ticks.saturating_sub(1);
        is_due
    }

    fn tried(&mut self) {
        self.left_ticks = self.wait_ticks;
        self.wait_ticks = (self.wait_ticks * 2).clamp(1, WAIT_TICKS_MAX);
    }
}

#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    reason = "what a test makes and damages need not be durable"
)]
mod tests {
    use super::*;
    use std::path::Path;

    use bytes::Bytes;
    use cairn_storage_node::{ClusterId, DataId, Durability, ShardError, ShardId, ShardPut};

    use crate::local_disks::{Adopted, AdoptedDisk, SpaceLimits, open_all};

    fn shard(chunk_index: u32, len: usize) -> ShardPut {
        ShardPut {
            id: ShardId {
                data_id: DataId([7; 16]),
                chunk_index,
                shard_index: 0,
            },
            descriptor: Bytes::new(),
            payload: vec![7; len].into(),
        }
    }

    async fn open(path: &Path) -> Arc<Slot> {
        let cluster_id = ClusterId([1; 16]);
        let adopted = Adopted {
            cluster_id,
            disks: vec![AdoptedDisk {
                disk_id: LocalDisk::format(path, cluster_id).unwrap(),
                is_mount_point: None,
                path: path.to_owned(),
                is_present: true,
            }],
        };
        let limits = SpaceLimits {
            reserve_bytes: 0,
            capacity_bytes_max: None,
        };
        open_all(&adopted, limits).await.unwrap().remove(0)
    }

    #[tokio::test]
    async fn a_disk_that_takes_no_writes_is_read_until_it_does_and_then_reopened() {
        let dir = tempfile::tempdir().unwrap();
        let slot = open(dir.path()).await;
        let mut watcher = Watcher::new(Arc::clone(&slot)).await;
        let first = shard(0, 1000);
        let read = async || slot.get(first.id, 0..1000).await;
        slot.put(first.clone(), Durability::Synced).await.unwrap();

        // Neither its next segment nor a probe can be created, as on a file system that was made read-only.
        let in_the_way = ["segments/0000000000000002.seg", "cairn-write-probe"];
        for path in in_the_way {
            std::fs::create_dir(dir.path().join(path)).unwrap();
        }
        let refused = slot.put(shard(1, 100_000), Durability::Synced).await;
        assert!(matches!(refused, Err(ShardError::DiskFailed { .. })));
        for _ in 0..5 {
            watcher.look().await;
            assert_eq!(&read().await.unwrap()[..], &first.payload[..]);
            let status = slot.status().await.unwrap();
            assert_eq!(status.health, DiskHealth::Failed);
            assert!(status.failure.is_some() && Path::new(&status.path) == dir.path());
        }

        for path in in_the_way {
            std::fs::remove_dir(dir.path().join(path)).unwrap();
        }
        for _ in 0..=WAIT_TICKS_MAX {
            watcher.look().await;
        }
        assert!(slot.is_working().await);
        assert_eq!(&read().await.unwrap()[..], &first.payload[..]);
        slot.put(shard(1, 100_000), Durability::Synced)
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn a_disk_that_hangs_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let slot = open(dir.path()).await;
        let mut watcher = Watcher::new(Arc::clone(&slot)).await;
        // It would be closed for this if it were looked at.
        std::fs::remove_file(dir.path().join("cairn-disk.json")).unwrap();
        for _ in 0..5 {
            watcher.see(DiskHealth::Hung).await;
            assert!(watcher.is_hung && slot.is_readable());
        }
        watcher.see(DiskHealth::Failed).await;
        assert!(!watcher.is_hung && !slot.is_readable());
    }

    #[test]
    fn a_disk_that_keeps_failing_is_tried_ever_more_rarely() {
        let mut patience = Patience::default();
        let tries: Vec<u32> = (0..20)
            .filter(|_| {
                let is_due = patience.is_due();
                if is_due {
                    patience.tried();
                }
                is_due
            })
            .collect();
        assert_eq!(tries, [0, 1, 3, 6, 11]);
    }

    #[test]
    fn a_disk_that_works_for_a_minute_is_trusted_again() {
        let mut patience = Patience {
            wait_ticks: 60,
            left_ticks: 10,
            working_ticks: 0,
        };
        (0..TRUST_TICKS).for_each(|_| patience.works());
        assert!(patience.is_due());
    }
}
