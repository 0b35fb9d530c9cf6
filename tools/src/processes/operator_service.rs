//! What operators ask a storage node or the metadata service: health and metrics.
//!
//! Health is for everybody and says one word. Metrics are guarded as the gateway's are: on a listener of their own
//! nobody is asked, beside the calls of gateways only this machine and the bearer of the token are shown them. Nothing
//! here can be called that changes anything, and nothing here gets past the guard of the calls.

use std::sync::Arc;

use axum::Router;
use axum::extract::{ConnectInfo, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use cairn_gateway::metrics::TEXT_FORMAT;
use cairn_gateway::metrics_access::{self, MetricsToken};
use cairn_rpc::Peer;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};

use super::condition::Condition;

/// Who may read the metrics.
#[derive(Debug, Clone)]
pub(super) enum MetricsAccess {
    /// Whoever reaches the listener.
    Open,
    /// Callers on this machine, and the bearer of the token if there is one.
    Guarded(Option<MetricsToken>),
}

#[derive(Debug, Clone)]
struct Metrics {
    condition: Arc<dyn Condition>,
    access: MetricsAccess,
}

// Routes are added one by one rather than merged in: a merged router would bring its own fallback, and what is not
// known would get past the guard of the calls.

/// Adds `/-/health/live`, which the services of gateways' calls have already.
pub(super) fn with_live(router: Router) -> Router {
    router.route("/-/health/live", get(|| async { "live\n" }))
}

/// Adds `/-/health/ready`.
pub(super) fn with_ready(router: Router, condition: &Arc<dyn Condition>) -> Router {
    router.route(
        "/-/health/ready",
        get(ready).with_state(Arc::clone(condition)),
    )
}

/// Adds `/-/metrics`. To be served with [`Peer`] as the connection's information.
pub(super) fn with_metrics(
    router: Router,
    condition: &Arc<dyn Condition>,
    access: MetricsAccess,
) -> Router {
    let condition = Arc::clone(condition);
    router.route(
        "/-/metrics",
        get(metrics).with_state(Metrics { condition, access }),
    )
}

async fn ready(State(condition): State<Arc<dyn Condition>>) -> Response {
    if condition.is_ready().await {
        "ready\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready\n").into_response()
    }
}

async fn metrics(
    State(Metrics { condition, access }): State<Metrics>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    headers: HeaderMap,
) -> Response {
    let is_admitted = match &access {
        MetricsAccess::Open => true,
        MetricsAccess::Guarded(token) => {
            metrics_access::is_admitted(token.as_ref(), Some(peer.address.ip()), &headers)
        }
    };
    if !is_admitted {
        return (StatusCode::FORBIDDEN, metrics_access::REFUSAL).into_response();
    }
    match condition.metrics().await {
        Ok(text) => ([(CONTENT_TYPE, TEXT_FORMAT)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "metrics cannot be exported");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
