//! What one measurement found.

use std::time::Duration;

use hdrhistogram::Histogram;

/// Latencies are kept from 1 µs to 10 min with three significant digits.
const LATENCY_US_MAX: u64 = 600_000_000;

/// Counts of one worker, or of all together.
#[derive(Debug, Clone)]
pub(crate) struct Tally {
    latencies_us: Histogram<u64>,
    /// Requests that succeeded.
    pub(crate) request_count: u64,
    /// Payload bytes of requests that succeeded.
    pub(crate) payload_bytes: u64,
    /// Requests that failed.
    pub(crate) error_count: u64,
    /// What the first of them said.
    pub(crate) first_error: Option<String>,
    /// Requests that succeeded per second.
    pub(crate) requests_per_second: f64,
    /// Their payload bytes per second.
    pub(crate) bytes_per_second: f64,
    /// For how long the one that was longest at work was.
    pub(crate) span: Duration,
}

impl Default for Tally {
    fn default() -> Self {
        #[expect(
            clippy::expect_used,
            reason = "the bounds are constants: the highest is at least twice the lowest, 3 digits are allowed"
        )]
        let latencies_us =
            Histogram::new_with_bounds(1, LATENCY_US_MAX, 3).expect("constant bounds are valid");
        Self {
            latencies_us,
            request_count: 0,
            payload_bytes: 0,
            error_count: 0,
            first_error: None,
            requests_per_second: 0.0,
            bytes_per_second: 0.0,
            span: Duration::ZERO,
        }
    }
}

impl Tally {
    /// A request succeeded.
    pub(crate) fn success(&mut self, latency: Duration, payload_bytes: u64) {
        self.request_count += 1;
        self.payload_bytes += payload_bytes;
        self.latencies_us.saturating_record(
            u64::try_from(latency.as_micros())
                .unwrap_or(u64::MAX)
                .max(1),
        );
    }

    /// A request failed.
    pub(crate) fn failure(&mut self, error: impl std::fmt::Display) {
        self.error_count += 1;
        self.first_error.get_or_insert_with(|| error.to_string());
    }

    /// Whether anything was measured, be it a failure.
    pub(crate) fn is_empty(&self) -> bool {
        self.request_count == 0 && self.error_count == 0
    }

    /// What one worker did within `span`, which reaches from the beginning of its first request to the end of its last:
    /// each is a whole one, so that rates are right however long a request takes beside the measurement.
    pub(crate) fn over(mut self, span: Duration) -> Self {
        let seconds = span.as_secs_f64().max(1e-9);
        self.requests_per_second = float(self.request_count) / seconds;
        self.bytes_per_second = float(self.payload_bytes) / seconds;
        self.span = span;
        self
    }

    /// Adds what another worker did beside this one.
    pub(crate) fn merge(&mut self, other: Self) {
        self.latencies_us += &other.latencies_us;
        self.request_count += other.request_count;
        self.payload_bytes += other.payload_bytes;
        self.error_count += other.error_count;
        self.first_error = self.first_error.take().or(other.first_error);
        self.requests_per_second += other.requests_per_second;
        self.bytes_per_second += other.bytes_per_second;
        self.span = self.span.max(other.span);
    }

    /// The latency that `quantile` (0 to 1) of the requests did not exceed.
    pub(crate) fn latency(&self, quantile: f64) -> Duration {
        Duration::from_micros(self.latencies_us.value_at_quantile(quantile))
    }

    /// The longest latency.
    pub(crate) fn latency_max(&self) -> Duration {
        Duration::from_micros(self.latencies_us.max())
    }
}

/// Counts far below 2^53, so exact.
#[expect(
    clippy::cast_precision_loss,
    reason = "rates need no more than 53 bits"
)]
pub(super) fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_add_up_though_workers_end_at_different_times() {
        let mut all = Tally::default();
        for seconds in [1, 4] {
            let mut tally = Tally::default();
            (0..8).for_each(|_| tally.success(Duration::from_millis(1), 100));
            all.merge(tally.over(Duration::from_secs(seconds)));
        }
        assert!((all.requests_per_second - 10.0).abs() < 1e-9, "{all:?}");
        assert!((all.bytes_per_second - 1000.0).abs() < 1e-9, "{all:?}");
        assert_eq!(all.span, Duration::from_secs(4));
    }

    #[test]
    fn percentiles_of_merged_workers_are_those_of_all_requests() {
        let mut all = Tally::default();
        for worker in 0..4u64 {
            let mut tally = Tally::default();
            (0..250).for_each(|i| tally.success(Duration::from_micros(worker * 250 + i + 1), 10));
            all.merge(tally);
        }
        assert_eq!((all.request_count, all.payload_bytes), (1000, 10_000));
        for (quantile, us) in [(0.5, 500u64), (0.9, 900), (0.99, 990)] {
            let got = u64::try_from(all.latency(quantile).as_micros()).unwrap();
            assert!(got.abs_diff(us) <= 1, "p{quantile}: {got}");
        }
        assert_eq!(all.latency_max(), Duration::from_millis(1));
    }

    #[test]
    fn failures_are_counted_apart_and_the_first_is_kept() {
        let mut tally = Tally::default();
        tally.failure("first");
        tally.failure("second");
        assert_eq!(
            (
                tally.error_count,
                tally.request_count,
                tally.first_error.as_deref()
            ),
            (2, 0, Some("first"))
        );
    }

    #[test]
    fn absurd_latencies_saturate() {
        let mut tally = Tally::default();
        tally.success(Duration::from_secs(100_000), 0);
        assert!(tally.latency_max() >= Duration::from_mins(10));
    }
}
