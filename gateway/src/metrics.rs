//! Every figure the gateway exports, with its unit and meaning.
//!
//! Names are `cairn_<part>_<what>_<unit>`, counters end in `_total`. Label values come from closed sets (the
//! operation table, HTTP statuses, disk ids), never from a bucket, a key or a user. What belongs to another part
//! (disks, queues, metadata) is read from it at scrape time, by [`crate::admin::status`]; what the engine counts, and
//! what that means, is in [`crate::engine`].

use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use prometheus::{
    HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};

use crate::admin::api::ClusterStatus;
use crate::engine::EngineMetrics;

/// Upper bounds of the latency buckets in seconds: from a cached 4 KiB read to a 5 GiB part.
const DURATION_BUCKETS_SECONDS: &[f64] = &[
    0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
    10.0, 30.0, 60.0, 300.0,
];

/// The gateway's figures. One set per gateway, so that several can live in one process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    request_duration: HistogramVec,
    bytes_received: IntCounter,
    bytes_sent: IntCounter,
    requests_running: IntGauge,
    requests_refused_busy: IntCounter,
    panics: IntCounter,
    connections: IntGauge,
    cluster: ClusterGauges,
}

/// Gauges that are set from a [`ClusterStatus`] just before they are exported.
#[derive(Debug)]
struct ClusterGauges {
    writable: IntGauge,
    disk_health: IntGaugeVec,
    disk_capacity: IntGaugeVec,
    disk_free: IntGaugeVec,
    disk_shard_bytes: IntGaugeVec,
    disk_garbage: IntGaugeVec,
    queue_depth: IntGaugeVec,
    meta_healthy: IntGauge,
    meta_figure: IntGaugeVec,
}

impl Metrics {
    /// A fresh set, all zero.
    ///
    /// # Errors
    /// If a definition in this file is not valid: a bug that the first test finds.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let metrics = Self {
            requests: keep(&registry, IntCounterVec::new(
                Opts::new("cairn_gateway_requests_total", "Requests answered, by operation and HTTP status."),
                &["operation", "status"],
            ))?,
            request_duration: keep(&registry, HistogramVec::new(
                HistogramOpts::new(
                    "cairn_gateway_request_duration_seconds",
                    "Time from the request's header to the last byte of its response, by operation.",
                )
                .buckets(DURATION_BUCKETS_SECONDS.to_vec()),
                &["operation"],
            ))?,
            bytes_received: keep(&registry, IntCounter::new(
                "cairn_gateway_received_bytes_total",
                "Bytes of request bodies, as sent by clients.",
            ))?,
            bytes_sent: keep(&registry, IntCounter::new(
                "cairn_gateway_sent_bytes_total",
                "Bytes of response bodies handed to connections.",
            ))?,
            requests_running: keep(&registry, IntGauge::new(
                "cairn_gateway_requests_running",
                "Requests between their header and the last byte of their response.",
            ))?,
            requests_refused_busy: keep(&registry, IntCounter::new(
                "cairn_gateway_requests_refused_busy_total",
                "Requests answered 503 SlowDown because the limit of running requests was reached.",
            ))?,
            panics: keep(&registry, IntCounter::new(
                "cairn_gateway_panics_total",
                "Requests whose handler panicked: each is a bug.",
            ))?,
            connections: keep(&registry, IntGauge::new("cairn_gateway_connections", "Open client connections."))?,
            cluster: ClusterGauges::new(&registry)?,
            registry,
        };
        Ok(metrics)
    }

    /// Counts one answered request.
    pub(crate) fn answered(&self, operation: &'static str, status: &str, seconds: f64) {
        self.requests.with_label_values(&[operation, status]).inc();
        self.request_duration
            .with_label_values(&[operation])
            .observe(seconds);
    }

    /// Counts body bytes of one request.
    pub(crate) fn moved(&self, received: u64, sent: u64) {
        self.bytes_received.inc_by(received);
        self.bytes_sent.inc_by(sent);
    }

    /// Counts a request that was refused because too many are running.
    pub(crate) fn refused_busy(&self) {
        self.requests_refused_busy.inc();
    }

    /// Counts a handler's panic.
    pub(crate) fn panicked(&self) {
        self.panics.inc();
    }

    /// Counts an open connection until the guard is dropped.
    pub(crate) fn connection(&self) -> Counted {
        Counted::new(&self.connections)
    }

    /// Counts a running request until the guard is dropped.
    pub(crate) fn running(&self) -> Counted {
        Counted::new(&self.requests_running)
    }

    /// Everything in Prometheus' text format, with the state of the cluster as of `status`, and of the engine.
    ///
    /// # Errors
    /// If the encoder refuses a metric family.
    pub fn export(
        &self,
        status: &ClusterStatus,
        engine: &EngineMetrics,
    ) -> Result<String, prometheus::Error> {
        self.cluster.set(status);
        let mut families = self.registry.gather();
        families.extend(of_engine(engine)?);
        families.extend(of_metadata(status)?);
        TextEncoder::new().encode_to_string(&families)
    }
}

impl ClusterGauges {
    fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let of_disk = |name: &str, help: &str| {
            keep(registry, IntGaugeVec::new(Opts::new(name, help), &["disk"]))
        };
        Ok(Self {
            writable: keep(
                registry,
                IntGauge::new(
                    "cairn_cluster_writable",
                    "1 if a write would reach its quorum.",
                ),
            )?,
            disk_health: keep(
                registry,
                IntGaugeVec::new(
                    Opts::new(
                        "cairn_disk_health",
                        "1 for the state the disk is in: healthy, full, failed or unreachable.",
                    ),
                    &["disk", "health"],
                ),
            )?,
            disk_capacity: of_disk(
                "cairn_disk_capacity_bytes",
                "Size of the disk's file system.",
            )?,
            disk_free: of_disk(
                "cairn_disk_free_bytes",
                "Bytes that may still be written to the disk.",
            )?,
            disk_shard_bytes: of_disk("cairn_disk_shard_bytes", "Live payload bytes on the disk.")?,
            disk_garbage: of_disk(
                "cairn_disk_garbage_bytes",
                "Bytes that compaction of the disk would give back.",
            )?,
            queue_depth: keep(
                registry,
                IntGaugeVec::new(
                    Opts::new(
                        "cairn_engine_queue_depth",
                        "Entries waiting in a background queue.",
                    ),
                    &["queue"],
                ),
            )?,
            meta_healthy: keep(
                registry,
                IntGauge::new("cairn_meta_healthy", "1 if the metadata backend answers."),
            )?,
            meta_figure: keep(
                registry,
                IntGaugeVec::new(
                    Opts::new(
                        "cairn_meta_figure",
                        "What the metadata backend says of itself, by name.",
                    ),
                    &["figure"],
                ),
            )?,
        })
    }

    fn set(&self, status: &ClusterStatus) {
        self.writable.set(i64::from(status.writable));
        // A disk that left the map, or changed its state, must not stay in the export.
        for family in [
            &self.disk_health,
            &self.disk_capacity,
            &self.disk_free,
            &self.disk_shard_bytes,
            &self.disk_garbage,
        ] {
            family.reset();
        }
        for disk in &status.disks {
            self.disk_health
                .with_label_values(&[disk.id.as_str(), disk.health.as_str()])
                .set(1);
            for (family, value) in [
                (&self.disk_capacity, disk.capacity_bytes),
                (&self.disk_free, disk.free_bytes),
                (&self.disk_shard_bytes, disk.shard_bytes),
                (&self.disk_garbage, disk.garbage_bytes),
            ] {
                if let Some(value) = value {
                    family
                        .with_label_values(&[disk.id.as_str()])
                        .set(saturating(value));
                }
            }
        }
        self.queue_depth
            .with_label_values(&["deletions"])
            .set(saturating(status.queues.deletions));
        self.queue_depth
            .with_label_values(&["repairs"])
            .set(saturating(status.queues.repairs));
        self.meta_healthy.set(i64::from(status.metadata.healthy));
        self.meta_figure.reset();
        for (figure, value) in &status.metadata.figures {
            self.meta_figure
                .with_label_values(&[figure.as_str()])
                .set(saturating(*value));
        }
    }
}

/// What the engine has counted. It keeps the counts itself, so each export has fresh counters with its values.
fn of_engine(engine: &EngineMetrics) -> Result<Vec<MetricFamily>, prometheus::Error> {
    let registry = Registry::new();
    for sample in &engine.counters {
        let name = format!("cairn_engine_{}_total", sample.name);
        let counter = keep(&registry, IntCounter::new(name, sample.meaning))?;
        counter.inc_by(sample.value);
    }
    for (name, help, value) in [
        (
            "cairn_engine_write_memory_used_bytes",
            "Buffer memory in use by writes.",
            engine.write_memory_used_bytes,
        ),
        (
            "cairn_engine_read_memory_used_bytes",
            "Buffer memory in use by reads.",
            engine.read_memory_used_bytes,
        ),
        (
            "cairn_engine_staged_bytes",
            "Bytes of small writes that wait in the metadata for their shards.",
            engine.staged_bytes,
        ),
    ] {
        keep(&registry, IntGauge::new(name, help))?.set(saturating(value));
    }
    Ok(registry.gather())
}

/// Meaning of the metadata backend's counters, by their names in
/// [`MetadataStatus::counters`](crate::admin::api::MetadataStatus::counters).
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
];

/// What the metadata backend has counted; one without counters has none of these.
fn of_metadata(status: &ClusterStatus) -> Result<Vec<MetricFamily>, prometheus::Error> {
    let registry = Registry::new();
    for (name, value) in &status.metadata.counters {
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

/// One more in a gauge for as long as it lives.
#[derive(Debug)]
pub(crate) struct Counted(IntGauge);

impl Counted {
    fn new(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

fn keep<C: Collector + Clone + 'static>(
    registry: &Registry,
    metric: Result<C, prometheus::Error>,
) -> Result<C, prometheus::Error> {
    let metric = metric?;
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

fn saturating(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::api::{Disk, MetadataStatus, Queues};
    use crate::engine::CounterSample;

    fn cluster(disks: Vec<Disk>) -> ClusterStatus {
        ClusterStatus {
            version: String::new(),
            region: String::new(),
            geometry: String::new(),
            writable: true,
            disks,
            queues: Queues {
                deletions: 3,
                repairs: 0,
            },
            metadata: MetadataStatus::default(),
        }
    }

    fn idle_engine() -> EngineMetrics {
        EngineMetrics {
            counters: Vec::new(),
            write_memory_used_bytes: 0,
            read_memory_used_bytes: 0,
            staged_bytes: 0,
            disks: Vec::new(),
        }
    }

    #[test]
    fn counters_of_engine_and_metadata_are_counters_with_their_meaning() {
        let metrics = Metrics::new().unwrap();
        let mut status = cluster(Vec::new());
        status.metadata.counters = [("failovers".to_owned(), 2)].into();
        let mut engine = idle_engine();
        engine.counters = vec![CounterSample {
            name: "reads_failed",
            meaning: "Reads that failed.",
            value: 3,
        }];
        // Twice: an export must not add to what the one before has shown.
        metrics.export(&status, &engine).unwrap();
        let text = metrics.export(&status, &engine).unwrap();
        for lines in [
            "# HELP cairn_engine_reads_failed_total Reads that failed.\n\
             # TYPE cairn_engine_reads_failed_total counter\n\
             cairn_engine_reads_failed_total 3\n",
            "# TYPE cairn_meta_failovers_total counter\ncairn_meta_failovers_total 2\n",
        ] {
            assert!(text.contains(lines), "{text}");
        }
    }

    #[test]
    fn a_disk_that_changed_its_state_is_exported_once() {
        let metrics = Metrics::new().unwrap();
        let mut status = cluster(vec![Disk {
            id: "d1".into(),
            health: "healthy".into(),
            host: String::new(),
            zone: String::new(),
            capacity_bytes: Some(10),
            free_bytes: Some(5),
            shard_count: None,
            shard_bytes: None,
            garbage_bytes: None,
        }]);
        assert!(
            metrics
                .export(&status, &idle_engine())
                .unwrap()
                .contains(r#"cairn_disk_health{disk="d1",health="healthy"} 1"#)
        );
        status.disks[0].health = "failed".into();
        status.disks[0].free_bytes = None;
        let text = metrics.export(&status, &idle_engine()).unwrap();
        assert!(
            text.contains(r#"cairn_disk_health{disk="d1",health="failed"} 1"#),
            "{text}"
        );
        assert!(!text.contains("health=\"healthy\""), "{text}");
        assert!(!text.contains("cairn_disk_free_bytes{"), "{text}");
        assert!(
            text.contains(r#"cairn_engine_queue_depth{queue="deletions"} 3"#),
            "{text}"
        );
    }

    #[test]
    fn requests_are_counted_by_operation_and_status() {
        let metrics = Metrics::new().unwrap();
        metrics.answered("GetObject", "200", 0.001);
        metrics.answered("GetObject", "200", 0.001);
        let running = metrics.running();
        let text = TextEncoder::new()
            .encode_to_string(&metrics.registry.gather())
            .unwrap();
        assert!(
            text.contains(r#"cairn_gateway_requests_total{operation="GetObject",status="200"} 2"#),
            "{text}"
        );
        assert!(text.contains("cairn_gateway_requests_running 1"), "{text}");
        drop(running);
        assert_eq!(metrics.requests_running.get(), 0);
    }
}
