//! A thread that makes the writer's calls into the primary's disk, and may be lost to one that hangs.
//!
//! Nothing can interrupt a call into a disk that hangs. Whoever must go on has a deputy make it, and waits for so long as
//! a disk may take. One deputy has one thread: while that is in a call that was given up, further calls come to nothing
//! at once, so that a disk that hangs for days costs one thread and not one a second.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, SyncSender};
use std::time::Duration;

type Call = Box<dyn FnOnce() + Send>;

/// The thread, if it was needed yet. It ends when this is dropped, and its call has returned.
#[derive(Debug, Default)]
pub(crate) struct Deputy {
    calls: Option<SyncSender<Call>>,
    is_busy: Arc<AtomicBool>,
}

impl Deputy {
    /// Makes `call` and waits at most `limit` for it. `None` if it did not return by then, or if the one before it still
    /// has not, or if there is no thread.
    ///
    /// A call that is given up goes on: who makes it must not mind what it does later.
    pub(crate) fn make<T: Send + 'static>(
        &mut self,
        limit: Duration,
        call: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        if self.is_busy.load(Ordering::SeqCst) {
            return None;
        }
        if self.calls.is_none() {
            self.calls = hire();
        }
        let calls = self.calls.as_ref()?;
        let (answer, answered) = mpsc::sync_channel(1);
        let is_busy = Arc::clone(&self.is_busy);
        is_busy.store(true, Ordering::SeqCst);
        let call: Call = Box::new(move || {
            let result = call();
            is_busy.store(false, Ordering::SeqCst);
            // Nobody listens any more after the limit.
            answer.send(result).unwrap_or_default();
        });
        let sent = calls.try_send(call).is_ok();
        match answered.recv_timeout(limit) {
            Ok(result) if sent => Some(result),
            Err(RecvTimeoutError::Timeout) => None,
            // It panicked.
            Ok(_) | Err(RecvTimeoutError::Disconnected) => {
                *self = Self::default();
                None
            }
        }
    }
}

fn hire() -> Option<SyncSender<Call>> {
    let (calls, inbox) = mpsc::sync_channel::<Call>(1);
    let hired = std::thread::Builder::new()
        .name("meta-deputy".to_owned())
        .spawn(move || {
            while let Ok(call) = inbox.recv() {
                call();
            }
        });
    match hired {
        Ok(_) => Some(calls),
        Err(error) => {
            tracing::error!(%error, "no thread to ask the metadata disk on");
            None
        }
    }
}
