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
    /// Its directory, if it said so.
    pub(crate) path: Option<String>,
    /// Failure domain.
    pub(crate) host: String,
    /// Failure domain.
    pub(crate) zone: String,
}

/// Writes what is not in the map yet or has changed. For the start of a process: the coding in the map is that of the
/// process that was started last.
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
    register_disks(meta, disks, now_ms).await
}

/// Writes the disks that are not in the map yet or have changed; what an administrator decided about a disk stays.
///
/// # Errors
/// Those of the metadata.
pub(crate) async fn register_disks(
    meta: &Meta,
    disks: &[FoundDisk],
    now_ms: u64,
) -> Result<(), MetaError> {
    let known = meta.disks().await?;
    for found in disks {
        let id = DiskId(found.disk_id.0);
        let before = known.iter().find(|disk| disk.id == id);
        let record = DiskRecord {
            id,
            node: found.node.clone(),
            path: found
                .path
                .clone()
                .or_else(|| Some(before?.path.clone()))
                .unwrap_or_default(),
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

/// Whether the map says that new objects are coded in another way than here.
///
/// # Errors
/// Those of the metadata.
pub(crate) async fn is_coded_differently(
    meta: &Meta,
    geometry: Geometry,
) -> Result<bool, MetaError> {
    let cluster = meta.cluster().await?;
    Ok(cluster.is_some_and(|cluster| cluster.geometry != coding(geometry)))
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

/// The geometry that the cluster's record keeps; `None` if there is no such geometry.
pub(crate) fn geometry_of(coding: Coding) -> Option<Geometry> {
    let (data, parity) = match coding {
        Coding::Copies { count } => (1, count.checked_sub(1)?),
        Coding::Erasure { data, parity } => (data, parity),
    };
    Geometry::new(data, parity).ok()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use cairn_meta::MasterKey;
    use cairn_meta::kv::MemoryKv;

    use super::*;

    #[test]
    fn the_record_keeps_every_geometry() {
        for disk_count in 1..=6 {
            let geometry = Geometry::for_disk_count(disk_count);
            assert_eq!(geometry_of(coding(geometry)), Some(geometry));
        }
        assert_eq!(geometry_of(Coding::Copies { count: 0 }), None);
    }

    #[tokio::test]
    async fn gateways_that_code_differently_do_not_overwrite_each_other_for_ever() {
        let meta = Meta::new(Arc::new(MemoryKv::new()), MasterKey::random());
        let [one, other] = [4, 6].map(Geometry::for_disk_count);
        let disk = FoundDisk {
            disk_id: cairn_storage_node::DiskId([1; 16]),
            node: DiskNode::Local,
            path: Some("/d1".to_owned()),
            host: "host".to_owned(),
            zone: "zone".to_owned(),
        };
        register(&meta, [9; 16], one, &[], 1).await.unwrap();
        assert!(!is_coded_differently(&meta, one).await.unwrap());
        register(&meta, [9; 16], other, &[], 2).await.unwrap();
        // The first goes on finding disks.
        register_disks(&meta, std::slice::from_ref(&disk), 3)
            .await
            .unwrap();
        // A disk that does not say where it is has not moved.
        let silent = FoundDisk { path: None, ..disk };
        register_disks(&meta, &[silent], 4).await.unwrap();
        let disks = meta.disks().await.unwrap();
        assert!(
            matches!(&disks[..], [disk] if disk.path == "/d1"),
            "{disks:?}"
        );
        assert!(!is_coded_differently(&meta, other).await.unwrap());
        assert!(is_coded_differently(&meta, one).await.unwrap());
    }
}
