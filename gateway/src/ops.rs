//! What is under `/-/`: health, metrics, administration. A bucket's name cannot begin with `-`.

use std::sync::Arc;
use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use crate::admin;
use crate::admin_api;
use crate::entrance::{Entrance, Surface};
use crate::gateway::Gateway;
use crate::metrics_access;
use crate::readiness::Readiness;
use crate::request_body::RequestBody;
use crate::request_id::RequestId;
use crate::response::{self, Response, ResponseBody};
use crate::s3_error::{ErrorCode, S3Error};

/// The first part of every path served here.
pub(crate) const PATH_PREFIX: &str = "/-/";

/// How long the metadata may take before the gateway calls itself not ready.
const READY_TIMEOUT: Duration = Duration::from_secs(2);

/// Answers a request under `/-/`; the name of what answered, for the log, comes with it.
///
/// Health is for everybody and says one word, since load balancers have no credentials; why it is bad is in the log.
pub(crate) async fn respond(
    gateway: &Arc<Gateway>,
    entrance: Entrance,
    id: RequestId,
    parts: http::request::Parts,
    body: RequestBody,
) -> (&'static str, Result<Response, S3Error>) {
    let path = parts.uri.path();
    if !matches!(parts.method, Method::GET | Method::HEAD)
        && !path.starts_with(admin_api::PATH_PREFIX)
    {
        return (
            "Unknown",
            Ok(text(
                StatusCode::METHOD_NOT_ALLOWED,
                "only GET is known here\n",
            )),
        );
    }
    let (name, response) = match path {
        "/-/health/live" => ("HealthLive", text(StatusCode::OK, "live\n")),
        "/-/health/ready" => ("HealthReady", ready(gateway).await),
        _ if entrance.surface == Surface::S3 => ("Unknown", unknown()),
        "/-/metrics" if may_read_metrics(gateway, entrance, &parts.headers) => {
            ("Metrics", metrics(gateway).await)
        }
        "/-/metrics" => {
            let refusal = S3Error::new(ErrorCode::AccessDenied, metrics_access::REFUSAL);
            return ("Metrics", Err(refusal));
        }
        _ if path.starts_with(admin_api::PATH_PREFIX) => {
            ("Admin", admin::respond(gateway, id, parts, body).await)
        }
        _ => ("Unknown", unknown()),
    };
    (name, Ok(response))
}

/// Anybody who reaches a listener for administration: who does was the operator's choice.
fn may_read_metrics(gateway: &Gateway, entrance: Entrance, headers: &HeaderMap) -> bool {
    entrance.surface == Surface::Admin
        || metrics_access::is_admitted(
            gateway.config().metrics_token.as_ref(),
            entrance.peer,
            headers,
        )
}

/// Ready is who can answer a read and acknowledge a write: metadata answers, and enough disks take shards.
async fn ready(gateway: &Gateway) -> Response {
    let (readiness, reason) = readiness(gateway).await;
    if gateway.last_readiness().changes_to(readiness) {
        match readiness {
            Readiness::Ready => tracing::info!("ready"),
            Readiness::MetadataSilent => {
                tracing::warn!("not ready: the metadata does not answer");
            }
            Readiness::MetadataUnavailable => {
                tracing::warn!(error = reason, "not ready: the metadata is not available");
            }
            Readiness::MetadataRefusing => {
                tracing::warn!(reason, "not ready: the metadata takes no commits");
            }
            Readiness::NotWritable => tracing::warn!("not ready: too few disks take writes"),
        }
    }
    match readiness {
        Readiness::Ready => text(StatusCode::OK, "ready\n"),
        _ => text(StatusCode::SERVICE_UNAVAILABLE, "not ready\n"),
    }
}

async fn readiness(gateway: &Gateway) -> (Readiness, Option<String>) {
    let asked = tokio::time::timeout(READY_TIMEOUT, gateway.meta().cluster()).await;
    match asked {
        Err(_) => return (Readiness::MetadataSilent, None),
        Ok(Err(error)) => return (Readiness::MetadataUnavailable, Some(error.to_string())),
        Ok(Ok(_)) => {}
    }
    if let Some(reason) = gateway.metadata_state().refusal().await {
        return (Readiness::MetadataRefusing, Some(reason));
    }
    if admin::status::is_writable(gateway.engine()) {
        (Readiness::Ready, None)
    } else {
        (Readiness::NotWritable, None)
    }
}

async fn metrics(gateway: &Gateway) -> Response {
    let status = admin::status::cluster_status(gateway).await;
    let engine = gateway.engine().metrics();
    let requests = gateway.metadata_state().requests();
    match gateway.metrics().export(&status, &engine, requests) {
        Ok(export) => {
            let mut response = text(StatusCode::OK, export);
            response.headers_mut().insert(
                CONTENT_TYPE,
                HeaderValue::from_static(prometheus::TEXT_FORMAT),
            );
            response
        }
        Err(error) => {
            tracing::error!(%error, "metrics cannot be exported");
            text(
                StatusCode::INTERNAL_SERVER_ERROR,
                "metrics cannot be exported\n",
            )
        }
    }
}

fn unknown() -> Response {
    text(StatusCode::NOT_FOUND, "nothing is served here\n")
}

fn text(status: StatusCode, text: impl Into<String>) -> Response {
    let mut response = response::empty(status);
    *response.body_mut() = ResponseBody::whole(text.into());
    response.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    response
}
