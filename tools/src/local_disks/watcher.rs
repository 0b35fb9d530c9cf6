//! Notices disks that failed, and opens them again when they are back.

use std::sync::Arc;
use std::time::Duration;

use cairn_storage_node::{DiskIdentity, ShardStore as _};
use tokio_util::sync::CancellationToken;

use super::slot::Slot;

/// How often disks are looked at: a disk that is back is used again within this time.
const INTERVAL: Duration = Duration::from_secs(1);

/// Watches one disk until `stop`.
///
/// A disk that failed is closed, and opened again as soon as its identity can be read at its place. If it fails
/// again at once, waiting doubles each time: a disk with an I/O error must not be opened every second for ever.
pub(crate) async fn watch(slot: Arc<Slot>, stop: CancellationToken) {
    let mut is_failed = !slot.is_working().await;
    let mut patience = Patience::default();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(INTERVAL) => {}
        }
        if slot.is_working().await {
            patience.works();
            continue;
        }
        if !is_failed {
            tracing::warn!(disk_id = %slot.disk_id(), path = %slot.path().display(), "a disk failed; it is not used until it is back");
            is_failed = true;
        }
        slot.close().await;
        if !patience.is_due() || !is_back(&slot).await {
            continue;
        }
        patience.tried();
        match slot.open().await {
            Ok(()) => {
                tracing::info!(disk_id = %slot.disk_id(), path = %slot.path().display(), "a disk is back");
                is_failed = false;
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
mod tests {
    use super::*;

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
