//! The state of disks, and what a storage node counts for each of its own.

use cairn_storage_node::{DiskHealth, DiskStatus};
use prometheus::{Error, IntCounterVec, IntGaugeVec, Opts, Registry, TextEncoder};

use super::registration::{keep, saturating};
use crate::admin_api::Disk;

/// Registers the state of disks, of the whole cluster or of one storage node.
pub(super) fn keep_disks(registry: &Registry, disks: &[Disk]) -> Result<(), Error> {
    let family = |name: &str, help: &str, labels: &[&str]| {
        keep(registry, IntGaugeVec::new(Opts::new(name, help), labels))
    };
    let info = family(
        "cairn_disk_info",
        "1; tells where the disk is: its host (at a gateway) and its directory there.",
        &["disk", "host", "path"],
    )?;
    let health = family(
        "cairn_disk_health",
        "1 for the state the disk is in: healthy, full, failed, hung (at its own process) or unreachable (at a gateway).",
        &["disk", "health"],
    )?;
    let capacity = family(
        "cairn_disk_capacity_bytes",
        "Size of the disk's file system.",
        &["disk"],
    )?;
    let free = family(
        "cairn_disk_free_bytes",
        "Bytes that may still be written to the disk.",
        &["disk"],
    )?;
    let shard_bytes = family(
        "cairn_disk_shard_bytes",
        "Live payload bytes on the disk.",
        &["disk"],
    )?;
    let garbage = family(
        "cairn_disk_garbage_bytes",
        "Bytes that compaction of the disk would give back.",
        &["disk"],
    )?;
    for disk in disks {
        let id = disk.id.as_str();
        info.with_label_values(&[id, disk.host.as_str(), disk.path.as_str()])
            .set(1);
        health.with_label_values(&[id, disk.health.as_str()]).set(1);
        for (family, value) in [
            (&capacity, disk.capacity_bytes),
            (&free, disk.free_bytes),
            (&shard_bytes, disk.shard_bytes),
            (&garbage, disk.garbage_bytes),
        ] {
            if let Some(value) = value {
                family.with_label_values(&[id]).set(saturating(value));
            }
        }
    }
    Ok(())
}

/// What a storage node says of its disks, in Prometheus' text format.
///
/// # Errors
/// If the encoder refuses a metric family.
pub fn export_disks(disks: &[DiskStatus]) -> Result<String, Error> {
    let registry = Registry::new();
    let states: Vec<Disk> = disks.iter().map(disk_of_node).collect();
    keep_disks(&registry, &states)?;
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

fn disk_of_node(status: &DiskStatus) -> Disk {
    let health = match status.health {
        DiskHealth::Healthy => "healthy",
        DiskHealth::Full => "full",
        DiskHealth::Failed => "failed",
        DiskHealth::Hung => "hung",
    };
    // One that has failed knows no figures.
    let known = |value: u64| (status.health != DiskHealth::Failed).then_some(value);
    Disk {
        id: status.disk_id.to_string(),
        path: status.path.clone(),
        health: health.to_owned(),
        failure: status.failure.clone(),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_exports_its_disks_and_a_failed_one_without_figures() {
        let status = |number, health| DiskStatus {
            disk_id: cairn_storage_node::DiskId([number; 16]),
            path: format!("/mnt/disk{number}"),
            health,
            failure: None,
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
            status(3, DiskHealth::Hung),
        ])
        .unwrap();
        let [first, second, third] = ["01", "02", "03"].map(|byte| byte.repeat(16));
        for line in [
            format!(r#"cairn_disk_info{{disk="{first}",host="",path="/mnt/disk1"}} 1"#),
            format!(r#"cairn_disk_health{{disk="{first}",health="healthy"}} 1"#),
            format!(r#"cairn_disk_health{{disk="{second}",health="failed"}} 1"#),
            format!(r#"cairn_disk_health{{disk="{third}",health="hung"}} 1"#),
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
}
