//! When leased work may go on: while the lease is held, the work is not paused, and not faster than it may.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

/// Debts shorter than this are not worth a timer: they add up until they are.
const DEBT_MIN: Duration = Duration::from_millis(10);

/// When a loop of leased work may go on.
#[derive(Debug, Clone)]
pub(crate) struct Permission {
    pub(crate) is_held: watch::Receiver<bool>,
    pub(crate) is_paused: watch::Receiver<bool>,
    /// How long after it was granted this loop goes on. Each has its own: who waits for a change is told in no certain
    /// order, and seven loops need not begin at one moment.
    pub(crate) turn: Duration,
}

impl Permission {
    /// Waits until the lease is held and the work is not paused. Pends for ever when the process is ending.
    async fn granted(&mut self) {
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
            sleep(self.turn).await;
        }
    }
}

/// The pace of one loop of leased work. It is kept between any two chunks, since a step may be hundreds of gigabytes.
#[derive(Debug)]
pub(crate) struct Pace {
    permission: Permission,
    per_second_max: u64,
    began_at: Instant,
    /// When all that was spent has taken as long as it may.
    free_at: Instant,
}

impl Pace {
    /// At most `per_second_max` of whatever is [spent](Pace::spend).
    pub(crate) fn new(permission: Permission, per_second_max: u64) -> Self {
        let now = Instant::now();
        Self {
            permission,
            per_second_max,
            began_at: now,
            free_at: now,
        }
    }

    /// Waits until the next piece of work may begin.
    pub(crate) async fn go_on(&mut self) {
        if self.free_at.saturating_duration_since(Instant::now()) >= DEBT_MIN {
            sleep_until(self.free_at).await;
        }
        self.permission.granted().await;
        self.began_at = Instant::now();
    }

    /// Notes what the piece of work has cost that began last.
    pub(crate) fn spend(&mut self, amount: u64) {
        let micros = amount.saturating_mul(1_000_000) / self.per_second_max.max(1);
        self.free_at = self.free_at.max(self.began_at) + Duration::from_micros(micros);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    impl Pace {
        /// As fast as it goes.
        pub(in crate::engine) fn unlimited() -> Self {
            Self::limited(u64::MAX)
        }

        /// Always permitted.
        pub(in crate::engine) fn limited(per_second_max: u64) -> Self {
            let permission = Permission {
                is_held: watch::channel(true).1,
                is_paused: watch::channel(false).1,
                turn: Duration::ZERO,
            };
            Self::new(permission, per_second_max)
        }
    }

    #[tokio::test]
    async fn what_was_spent_is_waited_for_and_small_debts_add_up() {
        let mut pace = Pace::limited(1_000_000);
        let began = Instant::now();
        for _ in 0..9 {
            assert!(pace.go_on().now_or_never().is_some());
            pace.spend(1_000_000_000);
            pace.free_at = began;
        }
        pace.spend(u64::from(u32::MAX));
        assert!(pace.go_on().now_or_never().is_none());

        let mut pace = Pace::limited(1000);
        for _ in 0..9 {
            pace.spend(1);
        }
        let debt = pace.free_at - pace.began_at;
        assert_eq!(debt, Duration::from_millis(9));
    }

    #[tokio::test]
    async fn without_the_lease_or_while_paused_nothing_goes_on() {
        let (held, is_held) = watch::channel(true);
        let (paused, is_paused) = watch::channel(false);
        let mut pace = Pace::new(
            Permission {
                is_held,
                is_paused,
                turn: Duration::ZERO,
            },
            1,
        );
        for (is_held, is_paused) in [(true, true), (false, false), (false, true)] {
            held.send_replace(is_held);
            paused.send_replace(is_paused);
            assert!(pace.go_on().now_or_never().is_none());
        }
        held.send_replace(true);
        paused.send_replace(false);
        assert!(pace.go_on().now_or_never().is_some());
    }
}
