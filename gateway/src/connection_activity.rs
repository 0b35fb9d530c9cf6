//! Whether a connection has requests, so that draining waits for those and not for peers that say nothing.
//!
//! hyper ends a connection by itself once it is told to and has nothing left to do. It does wait for a half-sent
//! request header, for what is left of a refused body, and for an HTTP/2 peer to answer a ping.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// What a connection without requests gets to end by itself once it is told to: enough to say goodbye.
const FAREWELL: Duration = Duration::from_millis(200);
/// How long after its last byte was handed over an answer may still be on its way to a slow client.
const LAST_BYTES: Duration = Duration::from_secs(2);

/// The requests of one connection.
#[derive(Debug, Clone, Default)]
pub(crate) struct ConnectionActivity(Arc<watch::Sender<State>>);

#[derive(Debug, Clone, Copy, Default)]
struct State {
    running_count: usize,
    answered_at: Option<Instant>,
}

/// A request from its header to the end of its response body.
#[derive(Debug)]
pub(crate) struct RunningRequest(ConnectionActivity);

impl ConnectionActivity {
    /// Counts a request until the guard is dropped.
    pub(crate) fn begin_request(&self) -> RunningRequest {
        self.0.send_modify(|state| state.running_count += 1);
        RunningRequest(self.clone())
    }

    /// Waits until a connection that was told to end has had its chance: no request is running, and the last
    /// answer has had time to leave.
    pub(crate) async fn quiet(&self) {
        let told_at = Instant::now();
        let mut changes = self.0.subscribe();
        loop {
            let state = *changes.borrow_and_update();
            let farewell_ends = told_at + FAREWELL;
            let quiet_at = state.answered_at.map_or(farewell_ends, |answered_at| {
                farewell_ends.max(answered_at + LAST_BYTES)
            });
            tokio::select! {
                () = sleep_until(quiet_at), if state.running_count == 0 => return,
                // The sender is `self`, so this never fails.
                _ = changes.changed() => {}
            }
        }
    }
}

impl Drop for RunningRequest {
    fn drop(&mut self) {
        self.0.0.send_modify(|state| {
            state.running_count -= 1;
            state.answered_at = Some(Instant::now());
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_running_request_is_waited_for() {
        let activity = ConnectionActivity::default();
        let request = activity.begin_request();
        let quiet = tokio::spawn({
            let activity = activity.clone();
            async move { activity.quiet().await }
        });
        tokio::time::sleep(FAREWELL * 2).await;
        assert!(!quiet.is_finished());
        drop(request);
        quiet.await.unwrap();
    }
}
