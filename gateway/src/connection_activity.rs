//! What goes on on a connection, so that draining waits for requests and not for peers that say nothing, and so that
//! neither a connection without requests nor one whose answers nobody takes stays.
//!
//! hyper ends a connection by itself once it is told to and has nothing left to do. It does wait for a half-sent
//! request header, for what is left of a refused body, and for an HTTP/2 peer to answer a ping.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use http::Version;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// What a connection without requests gets to end by itself once it is told to: enough to say goodbye.
const FAREWELL: Duration = Duration::from_millis(200);
/// How long after the last write the rest of an answer may still be held back by an HTTP/2 peer that reads slowly:
/// it makes room again after reading half a window, which at 64 KiB and 10 kB/s takes three seconds. Over HTTP/1.1 a
/// write that waits for the client shows that there is a rest.
const LAST_BYTES: Duration = Duration::from_secs(5);

/// What an HTTP/2 peer is at least taken to read of an answer in a second: beside the time that any client gets it has
/// two minutes for a MiB. (That it takes some of a piece is not seen, only that it has taken the piece.)
const SLOWEST_BYTES_PER_SECOND: u64 = 8 << 10;

/// The requests and writes of one connection.
#[derive(Debug, Clone, Default)]
pub(crate) struct ConnectionActivity(Arc<watch::Sender<State>>);

#[derive(Debug, Clone, Default)]
struct State {
    running_count: usize,
    /// Until when the peer has had time for the last piece of each answer that it has not asked more of, by the
    /// answers' numbers.
    untaken: BTreeMap<u64, Instant>,
    answer_count: u64,
    /// When the last request ended.
    answered_at: Option<Instant>,
    is_http2: bool,
    written_at: Option<Instant>,
    /// Whether the client was offered bytes that it has not taken yet.
    is_write_waiting: bool,
}

impl State {
    /// When a connection that was told to end at `told_at` has had its chance; `None` as long as there is something
    /// to wait for.
    fn quiet_at(&self, told_at: Instant) -> Option<Instant> {
        if self.running_count > 0 || self.is_write_waiting {
            return None;
        }
        let farewell_ends = told_at + FAREWELL;
        let last_bytes_end = self
            .answered_at
            .and(self.written_at)
            .map(|written_at| written_at + LAST_BYTES);
        Some(last_bytes_end.map_or(farewell_ends, |end| end.max(farewell_ends)))
    }

    /// When an HTTP/2 connection has been without requests for `silence_max`; `None` while it has some. HTTP/1.1
    /// connections have hyper's deadline for the next header.
    fn silent_at(&self, silence_max: Duration) -> Option<Instant> {
        let is_idle = self.is_http2 && self.running_count == 0;
        let since = self.answered_at.filter(|_| is_idle)?;
        Some(since + silence_max)
    }

    /// When the first of the answers that the peer does not take will have waited for `stall_max` beyond the time that its
    /// piece may take; `None` while there are none.
    fn stalled_at(&self, stall_max: Duration) -> Option<Instant> {
        Some(*self.untaken.values().min()? + stall_max)
    }
}

/// A request from its header to the end of its response body and of all work for it.
#[derive(Debug)]
pub(crate) struct RunningRequest {
    activity: ConnectionActivity,
    version: Version,
}

/// An answer on its way to an HTTP/2 peer. hyper asks for none of a body before the peer's window has room, and the
/// connection may take bytes all the while: pings, and other answers.
#[derive(Debug)]
pub(crate) struct Http2Answer {
    activity: ConnectionActivity,
    number: u64,
}

impl ConnectionActivity {
    /// Counts a request until the guard is dropped. Nobody is told: who waits for a time finds, when it has come, that
    /// it was put off.
    pub(crate) fn begin_request(&self, version: Version) -> RunningRequest {
        self.0.send_if_modified(|state| {
            state.running_count += 1;
            state.is_http2 = version == Version::HTTP_2;
            false
        });
        RunningRequest {
            activity: self.clone(),
            version,
        }
    }

    /// Whether a request ever came.
    pub(crate) fn had_request(&self) -> bool {
        let state = self.0.borrow();
        state.running_count > 0 || state.answered_at.is_some()
    }

    /// Notes that the client took bytes. Whoever waits for a time that this moves looks again when that time has
    /// come; only the end of a wait is news.
    pub(crate) fn wrote(&self) {
        self.0.send_if_modified(|state| {
            state.written_at = Some(Instant::now());
            std::mem::take(&mut state.is_write_waiting)
        });
    }

    /// Notes that bytes wait for the client.
    pub(crate) fn write_waits(&self) {
        self.0.send_modify(|state| state.is_write_waiting = true);
    }

    /// Waits until a connection that was told to end has had its chance: no request is running, and the last
    /// answer has had time to leave.
    pub(crate) async fn quiet(&self) {
        let told_at = Instant::now();
        self.reach(|state| state.quiet_at(told_at)).await;
    }

    /// Waits until an HTTP/2 connection has had no request for `silence_max`.
    pub(crate) async fn silent(&self, silence_max: Duration) {
        self.come_due(silence_max, |state| state.silent_at(silence_max))
            .await;
    }

    /// Waits until an answer over HTTP/2 was not taken for `stall_max` and the time that its piece may take.
    pub(crate) async fn stalled(&self, stall_max: Duration) {
        self.come_due(stall_max, |state| state.stalled_at(stall_max))
            .await;
    }

    /// Waits until the time that the state gives has come, which is at least `span` behind what makes the state give one.
    ///
    /// It looks once in a `span` and is told of nothing. A connection waits for this beside its requests, in one task: told
    /// of each that begins or ends, it would be run again each time, and another thread be woken to do so.
    async fn come_due(&self, span: Duration, time: impl Fn(&State) -> Option<Instant>) {
        loop {
            let now = Instant::now();
            let due_at = time(&self.0.borrow());
            // What happens from now on is due then at the earliest.
            let next_look_at = due_at.unwrap_or(now + span);
            if next_look_at <= now {
                return;
            }
            sleep_until(next_look_at).await;
        }
    }

    /// Waits until nothing is done for any request, whether the connection is still there or not.
    pub(crate) async fn finished(&self) {
        let mut changes = self.0.subscribe();
        // The sender is `self`, so this never fails.
        drop(changes.wait_for(|state| state.running_count == 0).await);
    }

    /// Waits until the time that the state gives has come, however often it moves meanwhile: as soon as it gives one.
    async fn reach(&self, time: impl Fn(&State) -> Option<Instant>) {
        let mut changes = self.0.subscribe();
        loop {
            let reached_at = time(&changes.borrow_and_update());
            if reached_at.is_some_and(|at| at <= Instant::now()) {
                return;
            }
            tokio::select! {
                () = sleep_until(reached_at.unwrap_or_else(Instant::now)), if reached_at.is_some() => {}
                // The sender is `self`, so this never fails.
                _ = changes.changed() => {}
            }
        }
    }
}

impl RunningRequest {
    /// The answer to this request, which waits to be taken from now on. Over HTTP/1.1 there is nothing to watch: there
    /// the stream's own writes wait.
    pub(crate) fn answer(&self) -> Option<Http2Answer> {
        if self.version != Version::HTTP_2 {
            return None;
        }
        let mut number = 0;
        self.activity.0.send_if_modified(|state| {
            state.answer_count += 1;
            number = state.answer_count;
            false
        });
        let answer = Http2Answer {
            activity: self.activity.clone(),
            number,
        };
        answer.offered(0);
        Some(answer)
    }
}

impl Drop for RunningRequest {
    fn drop(&mut self) {
        self.activity.0.send_modify(|state| {
            state.running_count -= 1;
            state.answered_at = Some(Instant::now());
        });
    }
}

impl Http2Answer {
    /// Notes that there are `size_bytes` more for the peer to take.
    pub(crate) fn offered(&self, size_bytes: u64) {
        let piece = Duration::from_secs(size_bytes / SLOWEST_BYTES_PER_SECOND);
        let until = Instant::now() + piece;
        self.activity.0.send_if_modified(|state| {
            state.untaken.insert(self.number, until);
            false
        });
    }

    /// Notes that the peer has room for more.
    pub(crate) fn taken(&self) {
        self.activity.0.send_if_modified(|state| {
            state.untaken.remove(&self.number);
            false
        });
    }
}

impl Drop for Http2Answer {
    fn drop(&mut self) {
        self.taken();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Wake, Waker};
    use tokio::time::timeout;

    #[tokio::test]
    async fn a_running_request_is_waited_for() {
        let activity = ConnectionActivity::default();
        let request = activity.begin_request(Version::HTTP_11);
        let quiet = tokio::spawn({
            let activity = activity.clone();
            async move { activity.quiet().await }
        });
        tokio::time::sleep(FAREWELL * 2).await;
        assert!(!quiet.is_finished());
        drop(request);
        quiet.await.unwrap();
    }

    #[derive(Default)]
    struct CountingWaker(AtomicUsize);

    impl Wake for CountingWaker {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[tokio::test]
    async fn requests_do_not_wake_what_waits_beside_them() {
        let activity = ConnectionActivity::default();
        let mut silent = pin!(activity.silent(Duration::from_mins(1)));
        let mut stalled = pin!(activity.stalled(Duration::from_mins(1)));
        let woken = Arc::new(CountingWaker::default());
        let waker = Waker::from(Arc::clone(&woken));
        let mut context = Context::from_waker(&waker);
        assert!(silent.as_mut().poll(&mut context).is_pending());
        assert!(stalled.as_mut().poll(&mut context).is_pending());
        let request = activity.begin_request(Version::HTTP_2);
        drop(request.answer());
        drop(request);
        assert_eq!(woken.0.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn silence_lasts_from_the_end_of_the_last_request() {
        let silence_max = Duration::from_millis(20);
        let activity = ConnectionActivity::default();
        let mut silent = pin!(activity.silent(silence_max));
        assert!(timeout(Duration::ZERO, silent.as_mut()).await.is_err());
        let request = activity.begin_request(Version::HTTP_2);
        let next_look = silence_max * 2;
        assert!(timeout(next_look, silent.as_mut()).await.is_err());
        let ended_at = Instant::now();
        drop(request);
        silent.await;
        assert!(Instant::now() >= ended_at + silence_max);
    }

    #[test]
    fn an_answer_is_given_up_that_the_peer_does_not_take() {
        let stall_max = Duration::from_mins(1);
        let activity = ConnectionActivity::default();
        let over_http1 = activity.begin_request(Version::HTTP_11);
        assert!(over_http1.answer().is_none());
        let request = activity.begin_request(Version::HTTP_2);
        let began_at = Instant::now();
        let stalled_in_s = || {
            let at = activity.0.borrow().stalled_at(stall_max)?;
            Some(at.duration_since(began_at).as_secs())
        };

        let answer = request.answer().unwrap();
        assert_eq!(stalled_in_s(), Some(60));
        answer.taken();
        assert_eq!(stalled_in_s(), None, "the server is at work");
        answer.offered(80 * SLOWEST_BYTES_PER_SECOND);
        assert_eq!(stalled_in_s(), Some(140), "it may be slow");
        let other = request.answer().unwrap();
        assert_eq!(stalled_in_s(), Some(60), "the other one came later");
        drop(other);
        assert_eq!(stalled_in_s(), Some(140));
        drop(answer);
        assert_eq!(stalled_in_s(), None);
    }

    /// Bytes that hyper holds are not lost as long as the client takes them.
    #[test]
    fn the_end_of_an_answer_is_waited_for_as_long_as_the_client_takes_it() {
        let told_at = Instant::now();
        let later = |seconds| told_at + Duration::from_secs(seconds);
        let answered = State {
            answered_at: Some(told_at),
            written_at: Some(told_at),
            ..State::default()
        };
        assert_eq!(answered.quiet_at(told_at), Some(told_at + LAST_BYTES));
        let writing = State {
            written_at: Some(later(20)),
            ..answered.clone()
        };
        assert_eq!(writing.quiet_at(told_at), Some(later(20) + LAST_BYTES));
        let held_back = State {
            is_write_waiting: true,
            ..answered.clone()
        };
        assert_eq!(held_back.quiet_at(told_at), None);
        // What is written before any request are HTTP/2's settings.
        let greeted = State {
            answered_at: None,
            ..answered.clone()
        };
        assert_eq!(greeted.quiet_at(told_at), Some(told_at + FAREWELL));
    }
}
