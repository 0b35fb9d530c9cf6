//! The life of a process: what it asks of disks and metadata after its end is neither done nor answered.
//!
//! That is how a process ends at any await: its tasks may still be there, and can change nothing any more.

use std::future::{Future, pending};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// The life of one process. Clones are one. (Not a `watch`: that wakes those who wait in no certain order.)
#[derive(Debug, Clone, Default)]
pub(crate) struct Life {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    is_over: AtomicBool,
    ended: Notify,
}

impl Life {
    pub(crate) fn end(&self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
        self.shared.ended.notify_waiters();
    }

    /// Waits for the end.
    pub(crate) async fn ended(&self) {
        let ended = self.shared.ended.notified();
        if !self.shared.is_over.load(Ordering::SeqCst) {
            ended.await;
        }
    }

    /// Makes a call of this process, which is given up without an answer when it ends.
    pub(crate) async fn see_through<T>(&self, call: impl Future<Output = T>) -> T {
        tokio::select! {
            biased;
            () = self.ended() => pending().await,
            answer = call => answer,
        }
    }
}
