//! Results as tables, or as JSON for programs.

use cairn_gateway::admin::api::{ClusterStatus, CreatedKey, Disk, Key, User};
use comfy_table::{Table, presets};
use serde::Serialize;

use crate::command::CommandError;

/// Prints a result on standard output.
#[expect(
    clippy::print_stdout,
    reason = "the result of a command belongs on standard output"
)]
pub(super) fn print<T: Serialize>(
    json: bool,
    result: &T,
    text: impl FnOnce(&T) -> String,
) -> Result<(), CommandError> {
    if json {
        let json = serde_json::to_string_pretty(result)
            .map_err(|error| CommandError::failed(error.to_string()))?;
        println!("{json}");
    } else {
        println!("{}", text(result));
    }
    Ok(())
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
        "version {}, region {}, coding {}\nwritable: {writable}\nmetadata: {} ({metadata}) {}\nwaiting: {} missed disks, {} repairs, {} deletions\n{}",
        status.version,
        status.region,
        status.geometry,
        status.metadata.backend,
        status.metadata.detail,
        status.queues.missed_disks,
        status.queues.repairs,
        status.queues.deletions,
        disks(&status.disks),
    )
}

fn disks(disks: &[Disk]) -> String {
    let gib = |bytes: Option<u64>| {
        bytes.map_or_else(|| "?".to_owned(), |bytes| (bytes >> 30).to_string())
    };
    table(
        &[
            "disk", "health", "zone", "host", "free GiB", "of GiB", "shards",
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
