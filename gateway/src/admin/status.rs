//! What the cluster looks like from here: collected on request, from what the parts know anyway.

use std::time::Duration;

use cairn_meta::MetaError;
use cairn_storage_node::DiskStatus;
use tokio::time::{Instant, timeout};

use crate::admin_api::{ClusterStatus, Disk, Queues};
use crate::engine::geometry::ChunkKind;
use crate::engine::{Availability, DiskRole, DiskView, Engine};
use crate::gateway::Gateway;

/// Whoever collects metrics waits for ten seconds.
const QUEUES_TIMEOUT: Duration = Duration::from_secs(5);

/// The state of the cluster. Never fails: what cannot be learned is left out.
pub(crate) async fn cluster_status(gateway: &Gateway) -> ClusterStatus {
    let engine = gateway.engine();
    let queues = async {
        let error = match timeout(QUEUES_TIMEOUT, queues(gateway)).await {
            Ok(Ok(queues)) => return queues,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "the metadata does not answer".to_owned(),
        };
        tracing::warn!(error, "queue depths unavailable");
        Queues::default()
    };
    let (queues, metadata) = tokio::join!(queues, gateway.metadata_state().status());
    ClusterStatus {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        region: gateway.config().region.clone(),
        geometry: engine.options().geometry.to_string(),
        writable: is_writable(engine),
        disks: engine.metrics().disks.iter().map(disk).collect(),
        queues,
        metadata,
    }
}

async fn queues(gateway: &Gateway) -> Result<Queues, MetaError> {
    let depths = gateway.meta().queue_depths().await?;
    let known = gateway.meta().supposed_disks().await?;
    let missed = gateway.engine().missed_disk_count(&known);
    Ok(Queues {
        deletions: Some(depths.deletions.count as u64),
        has_more_deletions: depths.deletions.is_lower_bound,
        repairs: Some(depths.repairs.count as u64),
        has_more_repairs: depths.repairs.is_lower_bound,
        missed_disks: missed.map(|count| count as u64),
    })
}

/// Whether enough disks take shards for a large chunk to be acknowledged.
pub(crate) fn is_writable(engine: &Engine) -> bool {
    let now = Instant::now();
    let takes_shards = |view: &DiskView| {
        view.role == DiskRole::Active && view.availability == Availability::Healthy
    };
    let usable_count = engine
        .disks()
        .map()
        .disks()
        .iter()
        .filter(|disk| takes_shards(&disk.view(now)))
        .count();
    engine
        .options()
        .geometry
        .coding(ChunkKind::Large, usable_count)
        .is_some()
}

fn disk(view: &DiskView) -> Disk {
    let figure = |of: fn(&DiskStatus) -> u64| view.status.as_ref().map(of);
    Disk {
        id: view.disk_id.to_string(),
        path: view.path.clone(),
        health: health(view.availability).to_owned(),
        failure: view.failure.clone(),
        host: view.host.clone(),
        zone: view.zone.clone(),
        capacity_bytes: figure(|status| status.capacity_bytes),
        free_bytes: figure(|status| status.free_bytes),
        shard_count: figure(|status| status.shard_count),
        shard_bytes: figure(|status| status.shard_bytes),
        garbage_bytes: figure(|status| status.garbage_bytes),
    }
}

fn health(availability: Availability) -> &'static str {
    match availability {
        Availability::Healthy => "healthy",
        Availability::Full => "full",
        Availability::Failed => "failed",
        Availability::Unreachable => "unreachable",
    }
}
