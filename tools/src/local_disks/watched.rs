//! Disks that are open, each with its watcher: begun together and closed together.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::slot::Slot;
use super::watcher::watch;

/// How long the end of a process waits for its disks. One that works closes within a second; nothing interrupts a call into
/// one that hangs, and nothing that was acknowledged depends on how it is closed.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Disks that are watched until they are closed.
#[derive(Debug)]
pub(crate) struct WatchedDisks {
    disks: Vec<(Arc<Slot>, JoinHandle<()>)>,
    stop: CancellationToken,
}

impl WatchedDisks {
    /// Begins to watch. To be called in a runtime.
    pub(crate) fn begin(slots: Vec<Arc<Slot>>) -> Self {
        let stop = CancellationToken::new();
        let disks = slots.into_iter().map(|slot| {
            let watcher = tokio::spawn(watch(Arc::clone(&slot), stop.clone()));
            (slot, watcher)
        });
        Self {
            disks: disks.collect(),
            stop,
        }
    }

    /// How many there are, the ones that are away among them.
    pub(crate) fn len(&self) -> usize {
        self.disks.len()
    }

    /// Closes all disks, side by side, within [`CLOSE_TIMEOUT`].
    pub(crate) async fn close(self) {
        self.stop.cancel();
        let deadline = Instant::now() + CLOSE_TIMEOUT;
        let closing = self
            .disks
            .into_iter()
            .map(|(slot, watcher)| close(slot, watcher, deadline));
        futures_util::future::join_all(closing).await;
    }
}

/// First the watcher, which might open the disk again. The disk is told to close even if the watcher is stuck: whoever
/// drops one that was not would wait for it.
async fn close(slot: Arc<Slot>, watcher: JoinHandle<()>, deadline: Instant) {
    let ended = timeout_at(deadline, watcher).await;
    let closed = timeout_at(deadline, slot.close()).await;
    if let Ok(Err(panic)) = &ended {
        tracing::error!(path = %slot.path().display(), %panic, "watching a disk failed");
    }
    if ended.is_err() || closed.is_err() {
        tracing::warn!(path = %slot.path().display(), "a disk does not answer; ending without closing it");
    }
}
