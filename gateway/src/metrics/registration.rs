//! What all figures have in common: how they get into a registry, and the values they can take.

use prometheus::core::Collector;
use prometheus::{Error, Registry};

/// Upper bounds of the latency buckets in seconds: from a cached 4 KiB read to a 5 GiB part.
pub(super) const DURATION_BUCKETS_SECONDS: &[f64] = &[
    0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
    10.0, 30.0, 60.0, 300.0,
];

/// Registers a metric that is set through the clone returned.
pub(super) fn keep<C: Collector + Clone + 'static>(
    registry: &Registry,
    metric: Result<C, Error>,
) -> Result<C, Error> {
    let metric = metric?;
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

/// A gauge's value: what does not fit is the most there is.
pub(super) fn saturating(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
