//! Which peers have proved that they have the cluster's secret, and how long others are borne.
//!
//! Every byte of a stranger could be the last of its first request, so bytes prove nothing: a peer is known from its first
//! authentic request on, and each one prolongs its stay. Strangers have a bound of their own. Where there are more, the
//! one that has had most time goes: whoever has the secret needs next to none.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, Sleep, sleep, sleep_until};

/// How long peers are borne.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// From its connection to its first authentic request: a handshake, and a request with its body.
    pub(crate) with_stranger: Duration,
    /// From one authentic request to the next.
    pub(crate) with_known: Duration,
    /// While it takes nothing of what is sent to it.
    pub(crate) with_deaf: Duration,
    /// Strangers at one time.
    pub(crate) stranger_count_max: usize,
    /// What each of them gets, also while others wait for its place.
    pub(crate) for_all: Duration,
}

/// The peers of one listener that have proved nothing yet.
#[derive(Debug)]
pub(crate) struct Strangers {
    patience: Patience,
    arrived: Mutex<Arrived>,
    /// One of them is a stranger no more.
    left: Notify,
}

#[derive(Debug, Default)]
struct Arrived {
    /// In the order of their arrival.
    strangers: BTreeMap<u64, (Instant, Weak<Standing>)>,
    next: u64,
}

/// What is thought of the peer of one connection.
#[derive(Debug)]
pub(crate) struct Standing {
    strangers: Arc<Strangers>,
    number: u64,
    stay: Mutex<Stay>,
}

#[derive(Debug)]
struct Stay {
    ends_at: Instant,
    /// Of whoever waits for the peer.
    waker: Option<Waker>,
}

impl Strangers {
    pub(crate) fn new(patience: Patience) -> Arc<Self> {
        Arc::new(Self {
            patience,
            arrived: Mutex::default(),
            left: Notify::new(),
        })
    }

    /// Somebody has connected.
    pub(crate) fn meet(self: &Arc<Self>) -> Arc<Standing> {
        let now = Instant::now();
        let mut arrived = self.lock();
        let number = arrived.next;
        arrived.next += 1;
        let standing = Arc::new(Standing {
            strangers: Arc::clone(self),
            number,
            stay: Mutex::new(Stay {
                ends_at: now + self.patience.with_stranger,
                waker: None,
            }),
        });
        let stranger = (now, Arc::downgrade(&standing));
        arrived.strangers.insert(number, stranger);
        standing
    }

    /// Returns when one more can be met, and has the oldest go if need be.
    pub(crate) async fn room(&self) {
        loop {
            let (since, oldest) = {
                let arrived = self.lock();
                if arrived.strangers.len() < self.patience.stranger_count_max {
                    return;
                }
                match arrived.strangers.values().next() {
                    Some((since, oldest)) => (*since, Weak::clone(oldest)),
                    None => return,
                }
            };
            let had_its_time = sleep_until(since + self.patience.for_all);
            tokio::select! {
                () = self.left.notified() => {}
                () = had_its_time => {
                    if let Some(oldest) = oldest.upgrade() {
                        oldest.dismiss();
                    }
                }
            }
        }
    }

    /// Whether it was a stranger until now.
    fn forget(&self, number: u64) -> bool {
        let was_stranger = self.lock().strangers.remove(&number).is_some();
        if was_stranger {
            self.left.notify_one();
        }
        was_stranger
    }

    fn lock(&self) -> MutexGuard<'_, Arrived> {
        // Each critical section leaves it whole.
        self.arrived.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Standing {
    /// The peer made an authentic request, for the first time or again.
    pub(crate) fn prove(&self) {
        let mut stay = self.stay();
        stay.ends_at = Instant::now() + self.strangers.patience.with_known;
        self.strangers.forget(self.number);
    }

    /// The peer has to go now, unless it has just proved itself: one lock makes it the one or the other.
    fn dismiss(&self) {
        let waker = {
            let mut stay = self.stay();
            if !self.strangers.forget(self.number) {
                return;
            }
            stay.ends_at = Instant::now();
            stay.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// A timer that starts when the peer does not take what is sent to it.
    pub(crate) fn deaf_timer(&self) -> Pin<Box<Sleep>> {
        Box::pin(sleep(self.strangers.patience.with_deaf))
    }

    /// A timer for [`Self::poll_over`].
    pub(crate) fn timer(&self) -> Pin<Box<Sleep>> {
        Box::pin(sleep_until(self.stay().ends_at))
    }

    /// Ready once the peer has to go. `timer` belongs to whoever asks.
    pub(crate) fn poll_over(
        &self,
        timer: &mut Pin<Box<Sleep>>,
        context: &mut Context<'_>,
    ) -> Poll<()> {
        let ends_at = {
            let mut stay = self.stay();
            stay.waker = Some(context.waker().clone());
            stay.ends_at
        };
        if timer.deadline() != ends_at {
            timer.as_mut().reset(ends_at);
        }
        timer.as_mut().poll(context)
    }

    /// Returns once the peer has to go.
    pub(crate) async fn over(&self) {
        let mut timer = self.timer();
        std::future::poll_fn(|context| self.poll_over(&mut timer, context)).await;
    }

    fn stay(&self) -> MutexGuard<'_, Stay> {
        self.stay.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Standing {
    fn drop(&mut self) {
        self.strangers.forget(self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENT: Patience = Patience {
        with_stranger: Duration::from_mins(10),
        with_known: Duration::from_mins(20),
        with_deaf: Duration::from_mins(10),
        stranger_count_max: 2,
        for_all: Duration::from_millis(10),
    };

    fn is_over(standing: &Standing) -> bool {
        let context = &mut Context::from_waker(Waker::noop());
        standing
            .poll_over(&mut standing.timer(), context)
            .is_ready()
    }

    #[tokio::test]
    async fn a_peer_stays_longer_once_it_is_known() {
        let strangers = Strangers::new(Patience {
            with_stranger: Duration::from_millis(10),
            ..PATIENT
        });
        let (stranger, known) = (strangers.meet(), strangers.meet());
        known.prove();
        stranger.over().await;
        assert!(!is_over(&known));
    }

    #[tokio::test]
    async fn the_oldest_stranger_makes_room_after_its_time() {
        let strangers = Strangers::new(PATIENT);
        let known = strangers.meet();
        known.prove();
        let (first, second) = (strangers.meet(), strangers.meet());
        assert!(!is_over(&first));
        let start = Instant::now();
        tokio::join!(first.over(), strangers.room());
        assert!(start.elapsed() >= Duration::from_millis(5));
        assert!(!is_over(&second) && !is_over(&known));
    }

    #[tokio::test]
    async fn whoever_has_just_proved_itself_is_not_dismissed() {
        let strangers = Strangers::new(PATIENT);
        let [known, stranger] = [strangers.meet(), strangers.meet()];
        known.prove();
        for peer in [&known, &stranger] {
            peer.dismiss();
        }
        stranger.over().await;
        assert!(!is_over(&known));
    }

    #[tokio::test]
    async fn whoever_ends_or_proves_itself_makes_room_at_once() {
        let strangers = Strangers::new(Patience {
            for_all: Duration::from_mins(10),
            ..PATIENT
        });
        let [ended, proved] = [strangers.meet(), strangers.meet()];
        tokio::join!(strangers.room(), async { drop(ended) });
        let third = strangers.meet();
        tokio::join!(strangers.room(), async { proved.prove() });
        assert!(!is_over(&third));
    }
}
