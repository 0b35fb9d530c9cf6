//! The serving side of the node API.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::routing::{get, post};
use bytes::Bytes;
use cairn_rpc::{ClusterSecret, Guard, GuardOptions, Reply};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::wire::{
    self, DELETE_COUNT_MAX, GetRequest, ListRequest, NodeDescription, NodeDisk, NodeInfo,
    REQUEST_SIZE_BYTES_MAX, WireError,
};
use crate::{DiskHealth, DiskId, DiskStatus, ShardId, ShardStore, WriteTicket};

struct Node {
    info: NodeInfo,
    disks: BTreeMap<DiskId, Arc<dyn ShardStore>>,
}

/// A router that serves `disks` to those who have the cluster's secret, and `/-/health/live` to everybody.
///
/// Merge it into others as it is; it must not be nested below a path. Whoever listens sets `TCP_NODELAY`.
pub fn node_service(
    disks: Vec<Arc<dyn ShardStore>>,
    info: NodeInfo,
    secret: ClusterSecret,
) -> Router {
    let disks = disks
        .into_iter()
        .map(|disk| (disk.disk_id(), disk))
        .collect();
    let calls = Router::new()
        .route("/node/v1/describe", post(describe))
        .route("/node/v1/disks/{disk_id}/put", post(put))
        .route("/node/v1/disks/{disk_id}/sync", post(sync))
        .route("/node/v1/disks/{disk_id}/get", post(read))
        .route("/node/v1/disks/{disk_id}/delete", post(delete))
        .route("/node/v1/disks/{disk_id}/list", post(list))
        .route("/node/v1/disks/{disk_id}/verify", post(verify))
        .route("/node/v1/disks/{disk_id}/stat", post(stat))
        .route("/node/v1/disks/{disk_id}/status", post(status))
        .with_state(Arc::new(Node { info, disks }));
    let options = GuardOptions {
        body_size_bytes_max: REQUEST_SIZE_BYTES_MAX,
        large_reply_size_bytes: read_size_bytes,
        ..GuardOptions::default()
    };
    Guard::new(secret, options)
        .protect(calls)
        .route("/-/health/live", get(|| async { "ok" }))
}

type NodeState = State<Arc<Node>>;

impl Node {
    fn disk(&self, disk_id: &str) -> Result<&dyn ShardStore, WireError> {
        let disk_id = disk_id.parse().map_err(|_| WireError::Malformed)?;
        self.disks
            .get(&disk_id)
            .map(AsRef::as_ref)
            .ok_or(WireError::UnknownDisk)
    }
}

async fn describe(State(node): NodeState) -> Reply {
    let mut disks = Vec::with_capacity(node.disks.len());
    for (disk_id, disk) in &node.disks {
        let status = disk.status().await.ok();
        disks.push(NodeDisk {
            disk_id: *disk_id,
            status: status.map(as_described),
        });
    }
    message(Ok(NodeDescription {
        info: node.info.clone(),
        disks,
    }))
}

/// A gateway older than [`DiskHealth::Hung`] could not read a description that has it, and would miss all disks of the
/// node. Of one disk's status it loses no more than that, and takes it for unreachable, as it should.
fn as_described(mut status: DiskStatus) -> DiskStatus {
    if status.health == DiskHealth::Hung {
        status.health = DiskHealth::Failed;
    }
    status
}

async fn put(State(node): NodeState, Path(disk_id): Path<String>, body: Bytes) -> Reply {
    let outcome = async {
        let (shard, durability) = wire::decode_put(&body).ok_or(WireError::Malformed)?;
        Ok(node.disk(&disk_id)?.put(shard, durability).await?)
    };
    message(outcome.await)
}

async fn sync(State(node): NodeState, Path(disk_id): Path<String>, body: Bytes) -> Reply {
    let outcome = async {
        Ok(node
            .disk(&disk_id)?
            .sync(request::<WriteTicket>(&body)?)
            .await?)
    };
    message(outcome.await)
}

/// The reply is the bytes themselves; the seal's digest is made of what the disk has just verified.
async fn read(State(node): NodeState, Path(disk_id): Path<String>, body: Bytes) -> Reply {
    let outcome = async {
        let GetRequest { id, start, end } = request(&body)?;
        Ok(node.disk(&disk_id)?.get(id, start..end).await?.into_bytes())
    };
    outcome.await.map_or_else(failed, Reply::Done)
}

/// What a call reads, if it is one that does.
fn read_size_bytes(path: &str, body: &[u8]) -> Option<usize> {
    let GetRequest { start, end, .. } = path
        .ends_with("/get")
        .then(|| wire::decode(body))
        .flatten()?;
    usize::try_from(end.saturating_sub(start)).ok()
}

async fn delete(State(node): NodeState, Path(disk_id): Path<String>, body: Bytes) -> Reply {
    let outcome = async {
        let ids: Vec<ShardId> = request(&body)?;
        if ids.len() > DELETE_COUNT_MAX {
            return Err(WireError::Malformed);
        }
        Ok(node.disk(&disk_id)?.delete(&ids).await?)
    };
    message(outcome.await)
}

async fn list(State(node): NodeState, Path(disk_id): Path<String>, body: Bytes) -> Reply {
    let outcome = async {
        let ListRequest { after, limit } = request(&body)?;
        Ok(node.disk(&disk_id)?.list(after, limit as usize).await?)
    };
    message(outcome.await)
}

async fn verify(State(node): NodeState, Path(disk_id): Path<String>, body: Bytes) -> Reply {
    let outcome = async {
        Ok(node
            .disk(&disk_id)?
            .verify(request::<ShardId>(&body)?)
            .await?)
    };
    message(outcome.await)
}

async fn stat(State(node): NodeState, Path(disk_id): Path<String>, body: Bytes) -> Reply {
    let outcome = async {
        Ok(node
            .disk(&disk_id)?
            .stat(request::<ShardId>(&body)?)
            .await?)
    };
    message(outcome.await)
}

async fn status(State(node): NodeState, Path(disk_id): Path<String>) -> Reply {
    let outcome = async { Ok(node.disk(&disk_id)?.status().await?) };
    message(outcome.await)
}

fn request<T: DeserializeOwned>(body: &[u8]) -> Result<T, WireError> {
    wire::decode(body).ok_or(WireError::Malformed)
}

fn message<T: Serialize>(outcome: Result<T, WireError>) -> Reply {
    match outcome {
        Ok(message) => {
            wire::encode(&message).map_or_else(|| failed(WireError::Malformed), Reply::Done)
        }
        Err(error) => failed(error),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it ends the way of an error")]
fn failed(error: WireError) -> Reply {
    Reply::Failed(wire::encode(&error).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DataId;

    #[test]
    fn only_reads_wait_for_room_and_for_as_much_as_they_read() {
        let id = ShardId {
            data_id: DataId([1; 16]),
            chunk_index: 0,
            shard_index: 0,
        };
        let body = wire::encode(&GetRequest::new(id, &(1000..3000))).unwrap();
        for (call, size_bytes) in [("get", Some(2000)), ("put", None), ("list", None)] {
            let path = format!("/node/v1/disks/{}/{call}", DiskId([2; 16]));
            assert_eq!(read_size_bytes(&path, &body), size_bytes, "{call}");
        }
    }
}
