//! `cairn storage-node`: disks of this machine, for gateways.

use std::sync::Arc;

use cairn_rpc::ClusterSecret;
use cairn_storage_node::ClusterId;
use cairn_storage_node::http::{NodeInfo, node_service};
use tokio_util::sync::CancellationToken;

use super::condition::NodeCondition;
use super::internal_server::InternalServer;
use super::say;
use crate::aside::aside;
use crate::command::CommandError;
use crate::config::StorageNodeConfig;
use crate::host_name::host_name;
use crate::local_disks::{self, Slot, Survey, Tolerance, WatchedDisks};
use crate::serve::{StartError, cluster_id};

pub(super) async fn run(
    config: StorageNodeConfig,
    stop: CancellationToken,
) -> Result<(), CommandError> {
    let secret = ClusterSecret::new(config.cluster.secret.reveal()).map_err(StartError::from)?;
    let slots = tokio::select! {
        opened = open_disks(&config) => opened?,
        // As in `cairn serve`: the next start goes on from what is on the disks.
        () = stop.cancelled() => return Ok(()),
    };
    let stores = slots.iter().map(|slot| Arc::clone(slot) as _).collect();
    let info = NodeInfo {
        host: config.host.clone().unwrap_or_else(host_name),
        zone: config.zone.clone(),
    };
    let server = InternalServer::bind(&config.listen).await?;
    say(&format!(
        "Cairn storage node at {} with {} disks\n",
        server.whereabouts(),
        slots.len()
    ));

    let condition = Arc::new(NodeCondition(slots.clone()));
    let disks = WatchedDisks::begin(slots);
    let outcome = server
        .serve(
            node_service(stores, info, secret),
            condition,
            stop,
            config.drain_timeout,
        )
        .await;
    disks.close().await;
    Ok(outcome?)
}

/// The same steps as in `cairn serve`; how many disks may be away is not this node's to judge.
async fn open_disks(config: &StorageNodeConfig) -> Result<Vec<Arc<Slot>>, StartError> {
    let Survey { roster, plan } = local_disks::survey(&config.data, |_| Tolerance::Any).await?;
    let expected = ClusterId(cluster_id(&config.cluster, config.cluster_id));
    plan.check_cluster(expected)?;
    // Opening refuses single disks of any other cluster, by name.
    let adopted = aside(move || local_disks::adopt(&plan, expected)).await?;
    let slots = local_disks::open_all(&adopted, config.space_limits()).await?;
    aside(move || adopted.write_roster(roster.as_ref())).await?;
    Ok(slots)
}
