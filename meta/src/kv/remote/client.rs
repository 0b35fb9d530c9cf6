//! The calling side of the metadata API.

use async_trait::async_trait;
use bytes::Bytes;
use cairn_rpc::{CallError, ClientOptions, ClusterSecret, Endpoint, Reply, RpcClient};
use http::uri::PathAndQuery;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::wire::{self, GetRequest, REPLY_SIZE_BYTES_MAX, WireError};
use crate::kv::{Batch, KEY_LEN_MAX, KvError, KvStore, Scan, ScanPage, check_batch_limits};

/// The metadata store of another process. Clones share connections and their bounds.
#[derive(Debug, Clone)]
pub struct RemoteKv {
    rpc: RpcClient,
}

/// Why there is no answer: with what is known of the outcome, which only a commit's caller needs.
struct NoAnswer {
    detail: String,
    outcome: Outcome,
}

enum Outcome {
    NothingDone,
    TooBusy,
    Unknown,
}

impl RemoteKv {
    /// A client of the service at `endpoint`, with the default bounds. Connects with the first call.
    pub fn connect(endpoint: Endpoint, secret: ClusterSecret) -> Self {
        Self::with_options(endpoint, secret, ClientOptions::default())
    }

    /// A client with bounds of the caller's choice.
    pub fn with_options(endpoint: Endpoint, secret: ClusterSecret, options: ClientOptions) -> Self {
        Self {
            rpc: RpcClient::new(endpoint, secret, options),
        }
    }

    /// Where the service is.
    pub fn endpoint(&self) -> &Endpoint {
        self.rpc.endpoint()
    }

    async fn call<T: DeserializeOwned>(
        &self,
        path: &'static str,
        request: &(impl Serialize + Sync),
    ) -> Result<Result<T, WireError>, NoAnswer> {
        let body = wire::encode(request).ok_or_else(|| NoAnswer {
            detail: "the request cannot be encoded".to_owned(),
            outcome: Outcome::NothingDone,
        })?;
        let reply = self
            .rpc
            .call(PathAndQuery::from_static(path), body, REPLY_SIZE_BYTES_MAX)
            .await?;
        let answer = match &reply {
            Reply::Done(bytes) => wire::decode(bytes).map(Ok),
            Reply::Failed(bytes) => wire::decode(bytes).map(Err),
        };
        answer.ok_or_else(|| NoAnswer {
            detail: format!(
                "{}: its answer cannot be read; do both run the same version?",
                self.endpoint()
            ),
            outcome: Outcome::Unknown,
        })
    }

    /// A read has no unknown outcome: without an answer it is just not available.
    async fn read<T: DeserializeOwned>(
        &self,
        path: &'static str,
        request: &(impl Serialize + Sync),
    ) -> Result<T, KvError> {
        match self.call(path, request).await {
            Ok(answer) => answer.map_err(KvError::from),
            Err(NoAnswer { detail, .. }) => Err(KvError::Unavailable { detail }),
        }
    }
}

impl From<CallError> for NoAnswer {
    fn from(error: CallError) -> Self {
        let outcome = match &error {
            CallError::NotSent { .. } | CallError::Refused { .. } => Outcome::NothingDone,
            CallError::Busy => Outcome::TooBusy,
            _ => Outcome::Unknown,
        };
        Self {
            detail: error.to_string(),
            outcome,
        }
    }
}

#[async_trait]
impl KvStore for RemoteKv {
    async fn get(&self, key: &[u8]) -> Result<Option<Bytes>, KvError> {
        if key.len() > KEY_LEN_MAX {
            return Ok(None);
        }
        self.read(
            "/meta/v1/get",
            &GetRequest {
                key: Bytes::copy_from_slice(key),
            },
        )
        .await
    }

    async fn scan(&self, scan: Scan) -> Result<ScanPage, KvError> {
        self.read("/meta/v1/scan", &scan).await
    }

    async fn commit(&self, batch: Batch) -> Result<(), KvError> {
        check_batch_limits(&batch)?;
        match self.call("/meta/v1/commit", &batch).await {
            Ok(answer) => answer.map_err(KvError::from),
            Err(NoAnswer { detail, outcome }) => Err(match outcome {
                Outcome::NothingDone => KvError::Unavailable { detail },
                Outcome::TooBusy => KvError::Busy,
                Outcome::Unknown => KvError::UnknownOutcome { detail },
            }),
        }
    }
}
