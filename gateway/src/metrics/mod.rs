//! Every figure the gateway exports, with its unit and meaning.
//!
//! Names are `cairn_<part>_<what>_<unit>`, counters end in `_total`. Label values come from closed sets (the
//! operation table, HTTP statuses, disk ids), never from a bucket, a key or a user. What belongs to another part
//! (disks, queues, metadata) is read from it at scrape time, by [`crate::admin::status`]; what the engine counts, and
//! what that means, is in [`crate::engine`].

use std::sync::Arc;
use std::time::Duration;

use cairn_storage_node::{DiskHealth, DiskStatus};
use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use prometheus::{
    HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};

pub use prometheus::{Error as MetricsError, TEXT_FORMAT};

use crate::admin::api::{ClusterStatus, Disk, MetadataStatus};
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
    disks: DiskGauges,
    queue_depth: IntGaugeVec,
    metadata: MetadataGauges,
}

/// The state of disks, of the whole cluster or of one storage node.
#[derive(Debug)]
struct DiskGauges {
    health: IntGaugeVec,
    capacity: IntGaugeVec,
    free: IntGaugeVec,
    shard_bytes: IntGaugeVec,
    garbage: IntGaugeVec,
}

/// The state of the metadata backend.
#[derive(Debug)]
struct MetadataGauges {
    healthy: IntGauge,
    figure: IntGaugeVec,
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

    /// Everything in Prometheus' text format, with the state of the cluster as of `status`, and of the engine; and the
    /// calls to a metadata service, where there is one.
    ///
    /// # Errors
    /// If the encoder refuses a metric family.
    pub fn export(
        &self,
        status: &ClusterStatus,
        engine: &EngineMetrics,
        requests: Option<&MetadataRequests>,
    ) -> Result<String, prometheus::Error> {
        self.cluster.set(status);
        let mut families = self.registry.gather();
        families.extend(
            requests
                .iter()
                .flat_map(|requests| requests.0.registry.gather()),
        );
        families.extend(of_engine(engine)?);
        families.extend(of_metadata(&status.metadata)?);
        TextEncoder::new().encode_to_string(&families)
    }
}

impl ClusterGauges {
    fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        Ok(Self {
            writable: keep(
                registry,
                IntGauge::new(
                    "cairn_cluster_writable",
                    "1 if a write would reach its quorum.",
                ),
            )?,
            disks: DiskGauges::new(registry)?,
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
            metadata: MetadataGauges::new(registry)?,
        })
    }

    fn set(&self, status: &ClusterStatus) {
        self.writable.set(i64::from(status.writable));
        self.disks.set(&status.disks);
        self.queue_depth
            .with_label_values(&["deletions"])
            .set(saturating(status.queues.deletions));
        self.queue_depth
            .with_label_values(&["repairs"])
            .set(saturating(status.queues.repairs));
        self.metadata.set(&status.metadata);
    }
}

impl DiskGauges {
    fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let of_disk = |name: &str, help: &str| {
            keep(registry, IntGaugeVec::new(Opts::new(name, help), &["disk"]))
        };
        Ok(Self {
            health: keep(
                registry,
                IntGaugeVec::new(
                    Opts::new(
                        "cairn_disk_health",
                        "1 for the state the disk is in: healthy, full, failed or unreachable.",
                    ),
                    &["disk", "health"],
                ),
            )?,
            capacity: of_disk(
                "cairn_disk_capacity_bytes",
                "Size of the disk's file system.",
            )?,
            free: of_disk(
                "cairn_disk_free_bytes",
                "Bytes that may still be written to the disk.",
            )?,
            shard_bytes: of_disk("cairn_disk_shard_bytes", "Live payload bytes on the disk.")?,
            garbage: of_disk(
                "cairn_disk_garbage_bytes",
                "Bytes that compaction of the disk would give back.",
            )?,
        })
    }

    fn set(&self, disks: &[Disk]) {
        // A disk that left the map, or changed its state, must not stay in the export.
        for family in [
            &self.health,
            &self.capacity,
            &self.free,
            &self.shard_bytes,
            &self.garbage,
        ] {
            family.reset();
        }
        for disk in disks {
            self.health
                .with_label_values(&[disk.id.as_str(), disk.health.as_str()])
                .set(1);
            for (family, value) in [
                (&self.capacity, disk.capacity_bytes),
                (&self.free, disk.free_bytes),
                (&self.shard_bytes, disk.shard_bytes),
                (&self.garbage, disk.garbage_bytes),
            ] {
                if let Some(value) = value {
                    family
                        .with_label_values(&[disk.id.as_str()])
                        .set(saturating(value));
                }
            }
        }
    }
}

impl MetadataGauges {
    fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        Ok(Self {
            healthy: keep(
                registry,
                IntGauge::new("cairn_meta_healthy", "1 if the metadata backend answers."),
            )?,
            figure: keep(
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

    fn set(&self, status: &MetadataStatus) {
        self.healthy.set(i64::from(status.healthy));
        self.figure.reset();
        for (figure, value) in &status.figures {
            self.figure
                .with_label_values(&[figure.as_str()])
                .set(saturating(*value));
        }
    }
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
    pub fn new() -> Result<Self, prometheus::Error> {
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

    #[cfg(test)]
    pub(crate) fn export(&self) -> Result<String, prometheus::Error> {
        TextEncoder::new().encode_to_string(&self.0.registry.gather())
    }
}

/// What a storage node says of its disks, in Prometheus' text format.
///
/// # Errors
/// If the encoder refuses a metric family.
pub fn export_disks(disks: &[DiskStatus]) -> Result<String, prometheus::Error> {
    let registry = Registry::new();
    let states: Vec<Disk> = disks.iter().map(disk_of_node).collect();
    DiskGauges::new(&registry)?.set(&states);
    for (counted, name, help) in DISK_COUNTERS {
        let family = keep(
            &registry,
            IntCounterVec::new(Opts::new(*name, *help), &["disk"]),
        )?;
        for disk in disks {
            if let Some(value) = disk.counters.get(*counted) {
                family
                    .with_label_values(&[disk.disk_id.to_string().as_str()])
                    .inc_by(*value);
            }
        }
    }
    TextEncoder::new().encode_to_string(&registry.gather())
}

/// What a metadata service says of itself, in Prometheus' text format.
///
/// # Errors
/// If the encoder refuses a metric family.
pub fn export_metadata(status: &MetadataStatus) -> Result<String, prometheus::Error> {
    let registry = Registry::new();
    MetadataGauges::new(&registry)?.set(status);
    let mut families = registry.gather();
    families.extend(of_metadata(status)?);
    TextEncoder::new().encode_to_string(&families)
}

fn disk_of_node(status: &DiskStatus) -> Disk {
    let health = match status.health {
        DiskHealth::Healthy => "healthy",
        DiskHealth::Full => "full",
        DiskHealth::Failed => "failed",
    };
    // One that has failed knows no figures.
    let known = |value: u64| (status.health != DiskHealth::Failed).then_some(value);
    Disk {
        id: status.disk_id.to_string(),
        health: health.to_owned(),
        host: String::new(),
        zone: String::new(),
        capacity_bytes: known(status.capacity_bytes),
        free_bytes: known(status.free_bytes),
        shard_count: known(status.shard_count),
        shard_bytes: known(status.shard_bytes),
        garbage_bytes: known(status.garbage_bytes),
    }
}

/// Name in [`DiskStatus::counters`], name and meaning of each counter of a storage node's disk.
const DISK_COUNTERS: &[(&str, &str, &str)] = &[
    ("put_count", "cairn_disk_puts_total", "Shards written."),
    ("get_count", "cairn_disk_gets_total", "Shards read."),
    (
        "delete_count",
        "cairn_disk_deletes_total",
        "Shards deleted.",
    ),
    (
        "sync_count",
        "cairn_disk_syncs_total",
        "Syncs, each for all writes that waited for it.",
    ),
    (
        "corrupt_count",
        "cairn_disk_corrupt_total",
        "Reads that met bytes which do not match their hash.",
    ),
    (
        "bytes_written",
        "cairn_disk_written_bytes_total",
        "Bytes appended to segments.",
    ),
    (
        "bytes_read",
        "cairn_disk_read_bytes_total",
        "Payload bytes read.",
    ),
    (
        "compacted_bytes",
        "cairn_disk_compacted_bytes_total",
        "Bytes given back by compaction.",
    ),
];

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
fn of_metadata(status: &MetadataStatus) -> Result<Vec<MetricFamily>, prometheus::Error> {
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
    use crate::admin::api::Queues;
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
        metrics.export(&status, &engine, None).unwrap();
        let text = metrics.export(&status, &engine, None).unwrap();
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
    fn a_node_exports_its_disks_and_a_failed_one_without_figures() {
        let status = |number, health| DiskStatus {
            disk_id: cairn_storage_node::DiskId([number; 16]),
            health,
            capacity_bytes: 10,
            free_bytes: 5,
            shard_bytes: 3,
            shard_count: 1,
            garbage_bytes: 0,
            counters: [("put_count".to_owned(), 7)].into(),
        };
        let text = export_disks(&[
            status(1, DiskHealth::Healthy),
            status(2, DiskHealth::Failed),
        ])
        .unwrap();
        let (first, second) = ("01".repeat(16), "02".repeat(16));
        for line in [
            format!(r#"cairn_disk_health{{disk="{first}",health="healthy"}} 1"#),
            format!(r#"cairn_disk_health{{disk="{second}",health="failed"}} 1"#),
            format!(r#"cairn_disk_free_bytes{{disk="{first}"}} 5"#),
            format!(r#"cairn_disk_puts_total{{disk="{first}"}} 7"#),
        ] {
            assert!(text.contains(&line), "{line} is not in:\n{text}");
        }
        assert!(
            !text.contains(&format!(r#"cairn_disk_free_bytes{{disk="{second}"}}"#)),
            "{text}"
        );
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
                .export(&status, &idle_engine(), None)
                .unwrap()
                .contains(r#"cairn_disk_health{disk="d1",health="healthy"} 1"#)
        );
        status.disks[0].health = "failed".into();
        status.disks[0].free_bytes = None;
        let text = metrics.export(&status, &idle_engine(), None).unwrap();
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
