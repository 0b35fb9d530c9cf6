//! What is under `/-/`: health, metrics, administration. A bucket's name cannot begin with `-`.

use std::sync::Arc;
use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, StatusCode};

use crate::admin;
use crate::gateway::Gateway;
use crate::request_body::RequestBody;
use crate::request_id::RequestId;
use crate::response::{self, Response, ResponseBody};
use crate::server::Surface;

/// The first part of every path served here.
pub(crate) const PATH_PREFIX: &str = "/-/";

/// How long the metadata may take before the gateway calls itself not ready.
const READY_TIMEOUT: Duration = Duration::from_secs(2);

/// Answers a request under `/-/`; the name of what answered, for the log, comes with it.
pub(crate) async fn respond(
    gateway: &Arc<Gateway>,
    surface: Surface,
    id: RequestId,
    parts: http::request::Parts,
    body: RequestBody,
) -> (&'static str, Response) {
    let path = parts.uri.path();
    if !matches!(parts.method, Method::GET | Method::HEAD)
        && !path.starts_with(admin::api::PATH_PREFIX)
    {
        return (
            "Unknown",
            text(StatusCode::METHOD_NOT_ALLOWED, "only GET is known here\n"),
        );
    }
    match path {
        "/-/health/live" => ("HealthLive", text(StatusCode::OK, "live\n")),
        "/-/health/ready" => ("HealthReady", ready(gateway).await),
        _ if surface == Surface::S3 => ("Unknown", unknown()),
        "/-/metrics" => ("Metrics", metrics(gateway).await),
        _ if path.starts_with(admin::api::PATH_PREFIX) => {
            ("Admin", admin::respond(gateway, id, parts, body).await)
        }
        _ => ("Unknown", unknown()),
    }
}

/// Ready is who can answer a read and acknowledge a write: metadata answers, and enough disks take shards.
async fn ready(gateway: &Gateway) -> Response {
    let asked = tokio::time::timeout(READY_TIMEOUT, gateway.meta().cluster()).await;
    match asked {
        Err(_) => {
            return text(
                StatusCode::SERVICE_UNAVAILABLE,
                "metadata does not answer\n",
            );
        }
        Ok(Err(error)) => {
            return text(
                StatusCode::SERVICE_UNAVAILABLE,
                format!("metadata is not available: {error}\n"),
            );
        }
        Ok(Ok(_)) => {}
    }
    if admin::status::is_writable(gateway.engine()) {
        text(StatusCode::OK, "ready\n")
    } else {
        text(
            StatusCode::SERVICE_UNAVAILABLE,
            "too few disks take writes\n",
        )
    }
}

async fn metrics(gateway: &Gateway) -> Response {
    let status = admin::status::cluster_status(gateway).await;
    let engine = gateway.engine().metrics();
    match gateway.metrics().export(&status, &engine) {
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
