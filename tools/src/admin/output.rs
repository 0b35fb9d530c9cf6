//! Results as tables, or as JSON for programs.

use cairn_gateway::admin_api::{ClusterStatus, CreatedKey, Disk, Key, Queues, User};
use comfy_table::{Table, presets};
use serde::Serialize;

use crate::command::CommandError;
use crate::standard_output;

/// Prints a result.
pub(super) fn print<T: Serialize>(
    json: bool,
    result: &T,
    text: impl FnOnce(&T) -> String,
) -> Result<(), CommandError> {
    if json {
        let json = serde_json::to_string_pretty(result)
            .map_err(|error| CommandError::failed(error.to_string()))?;
        standard_output::print(&json)
    } else {
        standard_output::print(&text(result))
    }
}

/// Says that something is gone.
pub(super) fn deleted(json: bool, what: &str, name: &str) -> Result<(), CommandError> {
    print(json, &serde_json::json!({ "deleted": name }), |_| {
        format!("deleted {what} {name}")
    })
}

pub(super) fn users(users: &[User]) -> String {
    table(
        &["name", "display name", "email", "canonical id"],
        users.iter().map(|user| {
            vec![
                user.name.clone(),
                user.display_name.clone(),
                user.email.clone().unwrap_or_default(),
                user.canonical_id.clone(),
            ]
        }),
    )
}

pub(super) fn keys(keys: &[Key]) -> String {
    table(
        &["access key", "user"],
        keys.iter()
            .map(|key| vec![key.access_key.clone(), key.user.clone()]),
    )
}

pub(super) fn created_key(key: &CreatedKey) -> String {
    format!(
        "access key: {}\nsecret key: {}\nThe secret key is not shown again.",
        key.access_key, key.secret_key
    )
}

pub(super) fn cluster(status: &ClusterStatus) -> String {
    let writable = if status.writable { "yes" } else { "NO" };
    let metadata = if status.metadata.healthy {
        "healthy"
    } else {
        "NOT HEALTHY"
    };
    format!(
        "version {}, region {}, coding {}\nwritable: {writable}\nmetadata: {} ({metadata}) {}\n{}\n{}{}",
        status.version,
        status.region,
        status.geometry,
        status.metadata.backend,
        status.metadata.detail,
        queues(&status.queues),
        disks(&status.disks),
        failures(&status.disks),
    )
}

/// Why disks failed, a line for each that says so.
fn failures(disks: &[Disk]) -> String {
    let line = |disk: &Disk| {
        let failure = disk.failure.as_ref()?;
        Some(format!("\n{} {}: {failure}", disk.host, disk.path))
    };
    disks.iter().filter_map(line).collect()
}

fn queues(queues: &Queues) -> String {
    let depth = |count: Option<u64>, has_more| match (count, has_more) {
        (None, _) => "unknown".to_owned(),
        (Some(count), false) => count.to_string(),
        (Some(count), true) => format!("at least {count}"),
    };
    format!(
        "waiting: missed disks: {}, repairs: {}, deletions: {}",
        depth(queues.missed_disks, false),
        depth(queues.repairs, queues.has_more_repairs),
        depth(queues.deletions, queues.has_more_deletions),
    )
}

fn disks(disks: &[Disk]) -> String {
    let gib = |bytes: Option<u64>| {
        bytes.map_or_else(|| "?".to_owned(), |bytes| (bytes >> 30).to_string())
    };
    table(
        &[
            "disk", "health", "zone", "host", "path", "free GiB", "of GiB", "shards",
        ],
        disks.iter().map(|disk| {
            let shard_count = disk
                .shard_count
                .map_or_else(|| "?".to_owned(), |count| count.to_string());
            let (free, capacity) = (gib(disk.free_bytes), gib(disk.capacity_bytes));
            vec![
                disk.id.clone(),
                disk.health.clone(),
                disk.zone.clone(),
                disk.host.clone(),
                disk.path.clone(),
                free,
                capacity,
                shard_count,
            ]
        }),
    )
}

fn table(header: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_header(header.to_vec());
    rows.for_each(|row| {
        table.add_row(row);
    });
    table.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_disk_says_where_it_is_and_why_it_failed() {
        let disk = Disk {
            id: "0".repeat(32),
            path: "/mnt/disk3".to_owned(),
            health: "failed".to_owned(),
            failure: Some("sync: Input/output error".to_owned()),
            host: "node1".to_owned(),
            zone: "default".to_owned(),
            capacity_bytes: None,
            free_bytes: None,
            shard_count: None,
            shard_bytes: None,
            garbage_bytes: None,
        };
        let disks = [disk];
        assert!(super::disks(&disks).contains("/mnt/disk3"));
        assert_eq!(
            failures(&disks),
            "\nnode1 /mnt/disk3: sync: Input/output error"
        );
    }

    #[test]
    fn a_queue_that_was_not_counted_does_not_look_empty() {
        assert_eq!(
            queues(&Queues::default()),
            "waiting: missed disks: unknown, repairs: unknown, deletions: unknown"
        );
        let counted = Queues {
            deletions: Some(50_000),
            has_more_deletions: true,
            repairs: Some(0),
            has_more_repairs: false,
            missed_disks: Some(1),
        };
        assert_eq!(
            queues(&counted),
            "waiting: missed disks: 1, repairs: 0, deletions: at least 50000"
        );
    }
}
