//! The state of the cluster.

use prometheus::{Error, IntGauge, IntGaugeVec, Opts, Registry};

use super::disks::DiskGauges;
use super::metadata::MetadataGauges;
use super::registration::{keep, saturating};
use crate::admin::api::ClusterStatus;

/// Gauges that are set from a [`ClusterStatus`] just before they are exported.
#[derive(Debug)]
pub(super) struct ClusterGauges {
    writable: IntGauge,
    disks: DiskGauges,
    queue_depth: IntGaugeVec,
    metadata: MetadataGauges,
}

impl ClusterGauges {
    pub(super) fn new(registry: &Registry) -> Result<Self, Error> {
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
                        "Entries waiting in a background queue, counted up to 50,000 (missed_disks: disks whose shards are not \
                         all made again elsewhere; while some are away, only the gateway that sees to it knows); no sample where it \
                         is not known.",
                    ),
                    &["queue"],
                ),
            )?,
            metadata: MetadataGauges::new(registry)?,
        })
    }

    pub(super) fn set(&self, status: &ClusterStatus) {
        self.writable.set(i64::from(status.writable));
        self.disks.set(&status.disks);
        // What is not known must not stay in the export, nor look like an empty queue.
        self.queue_depth.reset();
        for (queue, depth) in [
            ("deletions", status.queues.deletions),
            ("repairs", status.queues.repairs),
            ("missed_disks", status.queues.missed_disks),
        ] {
            if let Some(depth) = depth {
                self.queue_depth
                    .with_label_values(&[queue])
                    .set(saturating(depth));
            }
        }
        self.metadata.set(&status.metadata);
    }
}
