//! How often and how fast the background work is done.

use std::time::Duration;

/// Settings of the background work.
#[derive(Debug, Clone)]
pub struct BackgroundOptions {
    /// What this process calls itself; unique among processes and starts.
    pub holder: String,
    /// How long others wait before they take over the work of a process that vanished.
    pub lease_duration: Duration,
    /// How often disks are asked for their status.
    pub refresh_every: Duration,
    /// How often the deletion queue is looked at when it was empty.
    pub delete_every: Duration,
    /// How often the repair queue is looked at.
    pub repair_every: Duration,
    /// How often it is looked for bytes that a process staged and could not give their shards.
    pub unstage_abandoned_every: Duration,
    /// How often it is looked for lost and draining disks.
    pub leave_disks_every: Duration,
    /// Pause between two passes of the orphan collector over all disks.
    pub collect_orphans_every: Duration,
    /// How long after its start a process begins with the passes over everything (orphans, scrub), so that restarts
    /// do not each begin with a burst of reading.
    pub first_pass_after: Duration,
    /// Pause between two passes of the scrub.
    pub scrub_every: Duration,
    /// How often remembered uploads that are no longer needed are purged.
    pub purge_every: Duration,
    /// What repair reads per second at most, so that requests are served meanwhile.
    pub repair_bytes_per_second_max: u64,
    /// What the scrub reads per second at most.
    pub scrub_bytes_per_second_max: u64,
}

impl BackgroundOptions {
    /// The defaults, for a process of this name.
    pub fn new(holder: impl Into<String>) -> Self {
        const HOUR: Duration = Duration::from_hours(1);
        Self {
            holder: holder.into(),
            lease_duration: Duration::from_secs(20),
            refresh_every: Duration::from_secs(2),
            delete_every: Duration::from_secs(5),
            repair_every: Duration::from_secs(5),
            unstage_abandoned_every: Duration::from_secs(20),
            leave_disks_every: Duration::from_mins(1),
            collect_orphans_every: 6 * HOUR,
            first_pass_after: Duration::from_mins(10),
            scrub_every: 7 * 24 * HOUR,
            purge_every: HOUR,
            repair_bytes_per_second_max: 128 << 20,
            scrub_bytes_per_second_max: 16 << 20,
        }
    }
}
