//! When to stop waiting for a slow disk and ask others as well: pure decisions.

use std::time::Duration;

/// Asking again sooner than this costs more disk work than it saves the reader.
const READ_HEDGE_MIN: Duration = Duration::from_millis(15);
/// A reader is not kept waiting longer for one disk, however slow all have been.
const READ_HEDGE_MAX: Duration = Duration::from_secs(1);
/// Before there are measurements.
const READ_HEDGE_UNMEASURED: Duration = Duration::from_millis(250);
/// A write is placed elsewhere only when a disk is far out of line: the bytes are sent twice.
const WRITE_REPLACE_P95_FACTOR: u32 = 10;

/// After how long without an answer another disk is read as well.
///
/// One call in twenty is slower than the 95th percentile by definition; twice that leaves the few that are stuck.
pub(crate) fn read_hedge_after(p95: Option<Duration>) -> Duration {
    p95.map_or(READ_HEDGE_UNMEASURED, |p95| {
        p95.saturating_mul(2).clamp(READ_HEDGE_MIN, READ_HEDGE_MAX)
    })
}

/// After how long the puts of a chunk that are still open, one or all, are repeated on other disks.
pub(crate) fn write_replace_after(
    p95: Option<Duration>,
    replace_after_min: Duration,
    deadline: Duration,
) -> Duration {
    let measured = p95
        .unwrap_or_default()
        .saturating_mul(WRITE_REPLACE_P95_FACTOR);
    measured.max(replace_after_min).min(deadline)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn reads_are_hedged_after_twice_p95_within_bounds() {
        assert_eq!(read_hedge_after(None), ms(250));
        assert_eq!(read_hedge_after(Some(ms(1))), ms(15));
        assert_eq!(read_hedge_after(Some(ms(40))), ms(80));
        assert_eq!(read_hedge_after(Some(ms(9000))), ms(1000));
    }

    #[test]
    fn writes_are_replaced_after_ten_times_p95_but_before_the_deadline() {
        let after = |p95| write_replace_after(p95, ms(1000), ms(10_000));
        assert_eq!(after(None), ms(1000));
        assert_eq!(after(Some(ms(5))), ms(1000));
        assert_eq!(after(Some(ms(300))), ms(3000));
        assert_eq!(after(Some(ms(4000))), ms(10_000));
    }
}
