//! The state of the metadata, what their backend counts, and the calls to it where it is a service.

use std::sync::Arc;
use std::time::Duration;

use prometheus::proto::MetricFamily;
use prometheus::{
    Error, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};

use super::registration::{DURATION_BUCKETS_SECONDS, keep, saturating};
use crate::admin_api::MetadataStatus;

/// Registers the state of the metadata backend.
pub(super) fn keep_metadata(registry: &Registry, status: &MetadataStatus) -> Result<(), Error> {
    let healthy = IntGauge::new("cairn_meta_healthy", "1 if the metadata backend answers.");
    keep(registry, healthy)?.set(i64::from(status.healthy));
    let figure = IntGaugeVec::new(
        Opts::new(
            "cairn_meta_figure",
            "What the metadata backend says of itself, by name.",
        ),
        &["figure"],
    );
    let figure = keep(registry, figure)?;
    for (name, value) in &status.figures {
        figure
            .with_label_values(&[name.as_str()])
            .set(saturating(*value));
    }
    Ok(())
}

/// What a gateway asks of a metadata service, as it sees it. Clones count together.
#[derive(Debug, Clone)]
pub struct MetadataRequests(Arc<MetadataRequestFigures>);

#[derive(Debug)]
struct MetadataRequestFigures {
    registry: Registry,
    requests: IntCounterVec,
    duration: HistogramVec,
}

impl MetadataRequests {
    /// A fresh set, all zero.
    ///
    /// # Errors
    /// If a definition in this file is not valid: a bug that the first test finds.
    pub fn new() -> Result<Self, Error> {
        let registry = Registry::new();
        Ok(Self(Arc::new(MetadataRequestFigures {
            requests: keep(
                &registry,
                IntCounterVec::new(
                    Opts::new(
                        "cairn_meta_requests_total",
                        "Calls to the metadata service, by verb (get, scan, commit) and outcome: ok, conflict, busy, \
                     unavailable, unknown, corrupt, too_large, other, or abandoned by whoever asked.",
                    ),
                    &["verb", "outcome"],
                ),
            )?,
            duration: keep(
                &registry,
                HistogramVec::new(
                    HistogramOpts::new(
                        "cairn_meta_request_duration_seconds",
                        "Time from a call to the metadata service to its outcome, by verb.",
                    )
                    .buckets(DURATION_BUCKETS_SECONDS.to_vec()),
                    &["verb"],
                ),
            )?,
            registry,
        })))
    }

    /// Counts one call.
    pub(crate) fn answered(&self, verb: &'static str, outcome: &'static str, took: Duration) {
        self.0.requests.with_label_values(&[verb, outcome]).inc();
        self.0
            .duration
            .with_label_values(&[verb])
            .observe(took.as_secs_f64());
    }

    /// The figures of all calls.
    pub(super) fn gather(&self) -> Vec<MetricFamily> {
        self.0.registry.gather()
    }

    #[cfg(test)]
    pub(crate) fn export(&self) -> Result<String, Error> {
        TextEncoder::new().encode_to_string(&self.gather())
    }
}

/// What a metadata service says of itself, in Prometheus' text format.
///
/// # Errors
/// If the encoder refuses a metric family.
pub fn export_metadata(status: &MetadataStatus) -> Result<String, Error> {
    let registry = Registry::new();
    keep_metadata(&registry, status)?;
    let mut families = registry.gather();
    families.extend(of_metadata(status)?);
    TextEncoder::new().encode_to_string(&families)
}

/// Meaning of the metadata backend's counters, by their names in
/// [`MetadataStatus::counters`](crate::admin_api::MetadataStatus::counters).
const META_COUNTERS: &[(&str, &str)] = &[
    ("commits", "Commits acknowledged."),
    (
        "conflicts",
        "Commits refused because another came first; they are tried again.",
    ),
    (
        "commits_refused_busy",
        "Commits refused because too many were waiting.",
    ),
    (
        "commits_refused_no_room",
        "Commits refused because no disk had room for the journal.",
    ),
    (
        "commit_groups",
        "Journal records, each one sync on every copy.",
    ),
    ("journal_written_bytes", "Bytes of journal written."),
    (
        "reduced_groups",
        "Journal records acknowledged with fewer copies than wanted.",
    ),
    ("copies_lost", "Copies of the metadata given up."),
    (
        "copies_established",
        "Copies of the metadata made in place of lost ones.",
    ),
    (
        "failovers",
        "Times the metadata database moved to another disk.",
    ),
    ("checkpoints", "Checkpoints of the metadata made."),
    (
        "checkpoint_copied_bytes",
        "Bytes of checkpoints copied to other disks.",
    ),
    (
        "checkpoint_verified_bytes",
        "Bytes of checkpoints and journals read again to see whether they are whole.",
    ),
];

/// What the metadata backend has counted; one without counters has none of these.
pub(super) fn of_metadata(status: &MetadataStatus) -> Result<Vec<MetricFamily>, Error> {
    let registry = Registry::new();
    for (name, value) in &status.counters {
        // A backend may count what is not known here: better without its meaning than not at all.
        let meaning = META_COUNTERS
            .iter()
            .find(|(known, _)| known == name)
            .map_or("Counted by the metadata backend.", |(_, meaning)| *meaning);
        let name = format!("cairn_meta_{name}_total");
        keep(&registry, IntCounter::new(name, meaning))?.inc_by(*value);
    }
    Ok(registry.gather())
}
