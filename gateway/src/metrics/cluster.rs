//! The state of the cluster.

use prometheus::proto::MetricFamily;
use prometheus::{Error, IntGauge, IntGaugeVec, Opts, Registry};

use super::disks::keep_disks;
use super::metadata::keep_metadata;
use super::registration::{keep, saturating};
use crate::admin_api::ClusterStatus;

/// The state as of `status`, in gauges of their own: exports that are made at the same time do not meet in them.
pub(super) fn of_cluster(status: &ClusterStatus) -> Result<Vec<MetricFamily>, Error> {
    let registry = Registry::new();
    let writable = IntGauge::new(
        "cairn_cluster_writable",
        "1 if a write would reach its quorum.",
    );
    keep(&registry, writable)?.set(i64::from(status.writable));
    keep_disks(&registry, &status.disks)?;
    let queue_depth = IntGaugeVec::new(
        Opts::new(
            "cairn_engine_queue_depth",
            "Entries waiting in a background queue, counted up to 50,000 (missed_disks: disks whose shards are not \
             all made again elsewhere; while some are away, only the gateway that sees to it knows); no sample where it \
             is not known.",
        ),
        &["queue"],
    );
    let queue_depth = keep(&registry, queue_depth)?;
    for (queue, depth) in [
        ("deletions", status.queues.deletions),
        ("repairs", status.queues.repairs),
        ("missed_disks", status.queues.missed_disks),
    ] {
        // What is not known must not look like an empty queue.
        if let Some(depth) = depth {
            queue_depth
                .with_label_values(&[queue])
                .set(saturating(depth));
        }
    }
    keep_metadata(&registry, &status.metadata)?;
    Ok(registry.gather())
}
