//! The serving side of the metadata API.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::routing::{get, post};
use bytes::Bytes;
use cairn_rpc::{ClusterSecret, Guard, GuardOptions, Reply};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::wire::{self, GetRequest, REQUEST_SIZE_BYTES_MAX, WireError};
use crate::kv::{Batch, KvStore, Scan};

/// A router that serves `store` to those who have the cluster's secret, and `/-/health/live` to everybody.
///
/// Merge it into others as it is; it must not be nested below a path. Whoever listens sets `TCP_NODELAY`.
pub fn kv_service(store: Arc<dyn KvStore>, secret: ClusterSecret) -> Router {
    let calls = Router::new()
        .route("/meta/v1/get", post(read))
        .route("/meta/v1/scan", post(scan))
        .route("/meta/v1/commit", post(commit))
        .with_state(store);
    let options = GuardOptions {
        body_size_bytes_max: REQUEST_SIZE_BYTES_MAX,
        ..GuardOptions::default()
    };
    Guard::new(secret, options)
        .protect(calls)
        .route("/-/health/live", get(|| async { "ok" }))
}

type Store = State<Arc<dyn KvStore>>;

async fn read(State(store): Store, body: Bytes) -> Reply {
    let outcome = async { Ok(store.get(&request::<GetRequest>(&body)?.key).await?) };
    message(outcome.await)
}

async fn scan(State(store): Store, body: Bytes) -> Reply {
    let outcome = async { Ok(store.scan(request::<Scan>(&body)?).await?) };
    message(outcome.await)
}

async fn commit(State(store): Store, body: Bytes) -> Reply {
    let outcome = async { Ok(store.commit(request::<Batch>(&body)?).await?) };
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
