//! `cairn storage-node`: disks of this machine, for gateways.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use cairn_rpc::ClusterSecret;
use cairn_storage_node::ClusterId;
use cairn_storage_node::http::{NodeInfo, node_service};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::condition::NodeCondition;
use super::internal_server::InternalServer;
use super::say;
use crate::command::CommandError;
use crate::config::StorageNodeConfig;
use crate::host_name::host_name;
use crate::local_disks::{self, Roster, Slot, Tolerance};
use crate::serve::{StartError, cluster_id};

pub(super) async fn run(
    config: StorageNodeConfig,
    stop: CancellationToken,
) -> Result<(), CommandError> {
    let secret = ClusterSecret::new(config.cluster.secret.reveal()).map_err(StartError::from)?;
    let slots = open_disks(&config).await?;
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

    let watchers = TaskTracker::new();
    for slot in &slots {
        watchers.spawn(local_disks::watch(Arc::clone(slot), stop.clone()));
    }
    watchers.close();
    let outcome = server
        .serve(
            node_service(stores, info, secret),
            Arc::new(NodeCondition(slots.clone())),
            stop.clone(),
            config.drain_timeout,
        )
        .await;
    stop.cancel();
    watchers.wait().await;
    futures_util::future::join_all(slots.iter().map(|slot| slot.close())).await;
    Ok(outcome?)
}

/// The same steps as in `cairn serve`; how many disks may be away is not this node's to judge.
async fn open_disks(config: &StorageNodeConfig) -> Result<Vec<Arc<Slot>>, StartError> {
    let sites = local_disks::look(&config.data)?;
    let directories: Vec<&Path> = config.data.iter().map(PathBuf::as_path).collect();
    let roster = Roster::newest(&directories)?;
    let plan = local_disks::decide(&sites, roster.as_ref(), |_| Tolerance::Any)?;
    let expected = ClusterId(cluster_id(&config.cluster, config.cluster_id));
    plan.check_cluster(expected)?;
    // Opening refuses single disks of any other cluster, by name.
    let adopted = local_disks::adopt(&plan, expected)?;
    let slots = local_disks::open_all(&adopted, config.space_limits()).await?;
    if let Some(next) = adopted.next_roster(roster.as_ref()) {
        next.write(&adopted.present())?;
    }
    Ok(slots)
}
