//! When leased work may go on.

use tokio::sync::watch;

/// When a loop of leased work may take its next step.
#[derive(Debug, Clone)]
pub(super) struct Permission {
    pub(super) is_held: watch::Receiver<bool>,
    pub(super) is_paused: watch::Receiver<bool>,
}

impl Permission {
    /// Waits until the lease is held and the work is not paused. Pends for ever when the process is ending.
    pub(super) async fn granted(&mut self) {
        loop {
            let is_granted =
                *self.is_held.borrow_and_update() && !*self.is_paused.borrow_and_update();
            if is_granted {
                return;
            }
            let changed = tokio::select! {
                changed = self.is_held.changed() => changed,
                changed = self.is_paused.changed() => changed,
            };
            if changed.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}
