//! Enters cluster and disks into the cluster map.

use cairn_gateway::engine::Geometry;
use cairn_meta::{
    ClusterId, ClusterRecord, Coding, DiskId, DiskNode, DiskRecord, DiskState, Meta, MetaError,
};

/// A disk as the process that reaches it knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FoundDisk {
    /// Who it is.
    pub(crate) disk_id: cairn_storage_node::DiskId,
    /// How it is reached.
    pub(crate) node: DiskNode,
    /// Its directory, as far as known here.
    pub(crate) path: String,
    /// Failure domain.
    pub(crate) host: String,
    /// Failure domain.
    pub(crate) zone: String,
}

/// Writes what is not in the map yet or has changed; what an administrator decided about a disk stays.
///
/// # Errors
/// Those of the metadata.
pub(crate) async fn register(
    meta: &Meta,
    cluster_id: [u8; 16],
    geometry: Geometry,
    disks: &[FoundDisk],
    now_ms: u64,
) -> Result<(), MetaError> {
    let geometry = coding(geometry);
    let cluster = ClusterRecord {
        cluster_id: ClusterId(cluster_id),
        geometry,
        created_at_ms: now_ms,
    };
    let existing = meta.init_cluster(&cluster).await?;
    if existing.geometry != geometry {
        tracing::info!(from = ?existing.geometry, to = ?geometry, "new objects are coded differently from now on");
        meta.put_cluster(&ClusterRecord {
            geometry,
            ..existing
        })
        .await?;
    }
    let known = meta.disks().await?;
    for found in disks {
        let id = DiskId(found.disk_id.0);
        let before = known.iter().find(|disk| disk.id == id);
        let record = DiskRecord {
            id,
            node: found.node.clone(),
            path: found.path.clone(),
            host: found.host.clone(),
            zone: found.zone.clone(),
            state: before.map_or(DiskState::Active, |disk| disk.state),
            added_at_ms: before.map_or(now_ms, |disk| disk.added_at_ms),
        };
        if before != Some(&record) {
            meta.put_disk(&record).await?;
        }
    }
    Ok(())
}

/// The geometry as the cluster's record keeps it.
fn coding(geometry: Geometry) -> Coding {
    match geometry.data_count() {
        1 => Coding::Copies {
            count: geometry.parity_count() + 1,
        },
        data => Coding::Erasure {
            data,
            parity: geometry.parity_count(),
        },
    }
}
