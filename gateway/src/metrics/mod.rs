//! Every figure the gateway exports, with its unit and meaning.
//!
//! Names are `cairn_<part>_<what>_<unit>`, counters end in `_total`. Label values come from closed sets (the
//! operation table, HTTP statuses, disk ids), never from a bucket, a key or a user. What belongs to another part
//! (disks, queues, metadata) is read from it at scrape time, by [`crate::admin::status`]; what the engine counts, and
//! what that means, is in [`crate::engine`].

mod cluster;
mod disks;
mod engine;
mod metadata;
mod registration;

use prometheus::{
    HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry, TextEncoder,
};

pub use disks::export_disks;
pub use metadata::{MetadataRequests, export_metadata};
pub use prometheus::{Error as MetricsError, TEXT_FORMAT};

use crate::admin_api::ClusterStatus;
use crate::engine::EngineMetrics;
use registration::{DURATION_BUCKETS_SECONDS, keep};

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
        let mut families = self.registry.gather();
        families.extend(cluster::of_cluster(status)?);
        families.extend(requests.iter().flat_map(|requests| requests.gather()));
        families.extend(engine::of_engine(engine)?);
        families.extend(metadata::of_metadata(&status.metadata)?);
        TextEncoder::new().encode_to_string(&families)
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin_api::{Disk, MetadataStatus, Queues};
    use crate::engine::CounterSample;

    fn cluster(disks: Vec<Disk>) -> ClusterStatus {
        ClusterStatus {
            version: String::new(),
            region: String::new(),
            geometry: String::new(),
            writable: true,
            disks,
            queues: Queues {
                deletions: Some(3),
                ..Queues::default()
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

    fn healthy_disk() -> Disk {
        Disk {
            id: "d1".into(),
            path: "/mnt/disk1".into(),
            health: "healthy".into(),
            failure: None,
            host: String::new(),
            zone: String::new(),
            capacity_bytes: Some(10),
            free_bytes: Some(5),
            shard_count: None,
            shard_bytes: None,
            garbage_bytes: None,
        }
    }

    #[test]
    fn exports_at_the_same_time_do_not_spoil_each_other() {
        let metrics = Metrics::new().unwrap();
        let with_disk = cluster(vec![healthy_disk()]);
        let without = cluster(Vec::new());
        std::thread::scope(|scope| {
            for (status, sample_count) in [(&with_disk, 1), (&without, 0)] {
                let metrics = &metrics;
                scope.spawn(move || {
                    for _ in 0..1000 {
                        let text = metrics.export(status, &idle_engine(), None).unwrap();
                        let samples = text.matches("cairn_disk_health{").count();
                        assert_eq!(samples, sample_count);
                    }
                });
            }
        });
    }

    #[test]
    fn a_disk_that_changed_its_state_is_exported_once() {
        let metrics = Metrics::new().unwrap();
        let mut status = cluster(vec![healthy_disk()]);
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
    fn a_queue_that_cannot_be_counted_has_no_depth() {
        let metrics = Metrics::new().unwrap();
        let mut status = cluster(Vec::new());
        metrics.export(&status, &idle_engine(), None).unwrap();
        status.queues = Queues::default();
        let text = metrics.export(&status, &idle_engine(), None).unwrap();
        assert!(!text.contains("cairn_engine_queue_depth{"), "{text}");
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
