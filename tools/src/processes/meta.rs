//! `cairn meta`: the metadata service that gateways share.

use std::sync::Arc;

use cairn_meta::kv::remote::kv_service;
use cairn_meta::kv::rocks::RocksKv;
use cairn_rpc::ClusterSecret;
use cairn_storage_node::ClusterId;
use tokio_util::sync::CancellationToken;

use super::condition::MetadataCondition;
use super::internal_server::InternalServer;
use super::say;
use crate::aside::aside;
use crate::command::CommandError;
use crate::config::MetaConfig;
use crate::serve::{MetadataPlaces, StartError, close_metadata, cluster_id, open_metadata};

pub(super) async fn run(config: MetaConfig, stop: CancellationToken) -> Result<(), CommandError> {
    let secret = ClusterSecret::new(config.cluster.secret.reveal()).map_err(StartError::from)?;
    // Of three directories two hold the metadata, of four three: the others tell which are the newest, so that a start is
    // certain although one is lost, and take the place of one that is.
    let copy_count = config.copies.len().div_ceil(2);
    let places = MetadataPlaces {
        primary: config.data,
        copies: config.copies,
        copy_count,
        unavailable: Vec::new(),
        accept_missing: config.accept_missing_metadata_copies,
    };
    let cluster_id = ClusterId(cluster_id(&config.cluster, config.cluster_id));
    let kv = tokio::select! {
        opened = open(places, cluster_id) => opened?,
        // As in `cairn serve`: the next start goes on from what is on the disks.
        () = stop.cancelled() => return Ok(()),
    };
    let server = InternalServer::bind(&config.listen).await?;
    say(&format!(
        "Cairn metadata service at {}\n",
        server.whereabouts()
    ));
    let outcome = server
        .serve(
            kv_service(Arc::clone(&kv) as _, secret),
            Arc::new(MetadataCondition::of(&kv)),
            stop,
            config.drain_timeout,
        )
        .await;
    close_metadata(kv).await;
    Ok(outcome?)
}

async fn open(places: MetadataPlaces, cluster_id: ClusterId) -> Result<Arc<RocksKv>, StartError> {
    let places = aside(move || {
        places.warn_of_shared_disks();
        places
    })
    .await;
    open_metadata(places, cluster_id).await
}
