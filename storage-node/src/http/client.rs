//! The calling side of the node API.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use cairn_rpc::{BodyParts, CallError, ClientOptions, ClusterSecret, Endpoint, Reply, RpcClient};
use http::uri::PathAndQuery;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::wire::{
    self, DELETE_COUNT_MAX, GetRequest, ListRequest, NodeDescription, REPLY_SIZE_BYTES_MAX,
    WireError,
};
use crate::{
    DiskId, DiskStatus, Durability, LIST_LIMIT_MAX, ShardError, ShardId, ShardPage, ShardPut,
    ShardStat, ShardStore, VerifiedBytes, WriteTicket,
};

/// One node. Clones and all its disks share connections and their bounds.
#[derive(Debug, Clone)]
pub struct NodeClient {
    rpc: RpcClient,
}

/// Why a node could not be asked what it is.
#[derive(Debug, Clone, thiserror::Error)]
#[error("node {endpoint}: {detail}")]
pub struct NodeError {
    /// Which node.
    pub endpoint: String,
    /// What happened.
    pub detail: String,
}

impl NodeClient {
    /// A client of the node at `endpoint`, with the default bounds. Connects with the first call.
    pub fn connect(endpoint: Endpoint, secret: ClusterSecret) -> Self {
        Self::with_options(endpoint, secret, ClientOptions::default())
    }

    /// A client with bounds of the caller's choice.
    pub fn with_options(endpoint: Endpoint, secret: ClusterSecret, options: ClientOptions) -> Self {
        Self {
            rpc: RpcClient::new(endpoint, secret, options),
        }
    }

    /// Where the node is.
    pub fn endpoint(&self) -> &Endpoint {
        self.rpc.endpoint()
    }

    /// Which disks the node serves, how they are, and where it stands.
    ///
    /// # Errors
    /// If the node does not answer, or not as a node does.
    pub async fn describe(&self) -> Result<NodeDescription, NodeError> {
        let fail = |detail: String| NodeError {
            endpoint: self.endpoint().to_string(),
            detail,
        };
        let path = PathAndQuery::from_static("/node/v1/describe");
        match self
            .rpc
            .call(path, BodyParts::default(), REPLY_SIZE_BYTES_MAX)
            .await
        {
            Ok(Reply::Done(bytes)) => wire::decode(&bytes).ok_or_else(|| fail(GARBLED.to_owned())),
            Ok(Reply::Failed(_)) => Err(fail(GARBLED.to_owned())),
            Err(error) => Err(fail(error.to_string())),
        }
    }

    /// One disk of the node; whether it is there shows with the first call.
    pub fn disk(&self, disk_id: DiskId) -> Arc<RemoteDisk> {
        Arc::new(RemoteDisk {
            disk_id,
            rpc: self.rpc.clone(),
        })
    }
}

const GARBLED: &str = "its answer cannot be read; do both run the same version?";

/// A disk of another process.
#[derive(Debug)]
pub struct RemoteDisk {
    disk_id: DiskId,
    rpc: RpcClient,
}

impl RemoteDisk {
    /// Makes one call; the bytes of its reply are authentic.
    async fn call(&self, verb: &str, body: BodyParts) -> Result<Bytes, ShardError> {
        let path = PathAndQuery::try_from(format!("/node/v1/disks/{}/{verb}", self.disk_id))
            .map_err(|error| self.unreachable(error.to_string()))?;
        match self.rpc.call(path, body, REPLY_SIZE_BYTES_MAX).await {
            Ok(Reply::Done(bytes)) => Ok(bytes),
            Ok(Reply::Failed(bytes)) => Err(self.error_from(&bytes)),
            Err(CallError::Busy) => Err(ShardError::Busy {
                disk_id: self.disk_id,
            }),
            Err(error) => Err(self.unreachable(error.to_string())),
        }
    }

    /// A call whose request and reply are messages.
    async fn exchange<T: DeserializeOwned>(
        &self,
        verb: &str,
        request: &(impl Serialize + Sync),
    ) -> Result<T, ShardError> {
        let body = wire::encode(request).ok_or_else(|| self.garbled())?;
        self.message(&self.call(verb, body.into()).await?)
    }

    fn message<T: DeserializeOwned>(&self, bytes: &[u8]) -> Result<T, ShardError> {
        wire::decode(bytes).ok_or_else(|| self.garbled())
    }

    fn error_from(&self, bytes: &[u8]) -> ShardError {
        match wire::decode::<WireError>(bytes) {
            Some(error) => error.into_shard_error(self.disk_id, &self.rpc.endpoint().to_string()),
            None => self.garbled(),
        }
    }

    fn garbled(&self) -> ShardError {
        self.unreachable(format!("{}: {GARBLED}", self.rpc.endpoint()))
    }

    fn unreachable(&self, detail: String) -> ShardError {
        ShardError::Unreachable {
            disk_id: self.disk_id,
            detail,
        }
    }
}

#[async_trait]
impl ShardStore for RemoteDisk {
    fn disk_id(&self) -> DiskId {
        self.disk_id
    }

    async fn put(
        &self,
        shard: ShardPut,
        durability: Durability,
    ) -> Result<WriteTicket, ShardError> {
        shard.check_limits()?;
        let body = wire::encode_put(shard, durability).ok_or_else(|| self.garbled())?;
        self.message(&self.call("put", body).await?)
    }

    async fn sync(&self, ticket: WriteTicket) -> Result<(), ShardError> {
        self.exchange("sync", &ticket).await
    }

    async fn get(&self, id: ShardId, range: Range<u32>) -> Result<VerifiedBytes, ShardError> {
        let request = wire::encode(&GetRequest::new(id, &range)).ok_or_else(|| self.garbled())?;
        let bytes = self.call("get", request.into()).await?;
        if bytes.len() as u64 != u64::from(range.end.saturating_sub(range.start)) {
            return Err(self.garbled());
        }
        // The digest of the reply was compared, under a seal that only a node of this cluster can make, and the
        // node made it from bytes that it had just verified.
        Ok(VerifiedBytes::after_check(bytes))
    }

    async fn delete(&self, ids: &[ShardId]) -> Result<(), ShardError> {
        for ids in ids.chunks(DELETE_COUNT_MAX) {
            let () = self.exchange("delete", &ids).await?;
        }
        Ok(())
    }

    async fn list(&self, after: Option<ShardId>, limit: usize) -> Result<ShardPage, ShardError> {
        let limit = u32::try_from(limit.min(LIST_LIMIT_MAX)).unwrap_or(u32::MAX);
        self.exchange("list", &ListRequest { after, limit }).await
    }

    async fn verify(&self, id: ShardId) -> Result<ShardStat, ShardError> {
        self.exchange("verify", &id).await
    }

    async fn stat(&self, id: ShardId) -> Result<Option<ShardStat>, ShardError> {
        self.exchange("stat", &id).await
    }

    async fn status(&self) -> Result<DiskStatus, ShardError> {
        self.exchange("status", &()).await
    }
}
