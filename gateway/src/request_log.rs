//! One request's line in the log and its share of the metrics, written when its last byte is out.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use http::StatusCode;
use tokio::sync::OwnedSemaphorePermit;

use crate::connection_activity::RunningRequest;
use crate::gateway::Gateway;
use crate::metrics::Counted;
use crate::s3_error::ErrorCode;

/// Collects what happened to one request; dropping it reports. It travels with the response body, and so holds
/// the request's place among the running ones until the client has the answer.
pub(crate) struct RequestLog {
    gateway: Arc<Gateway>,
    span: tracing::Span,
    started: Instant,
    operation: &'static str,
    status: StatusCode,
    error_code: Option<ErrorCode>,
    received: Arc<AtomicU64>,
    sent: u64,
    is_broken: bool,
    _running: Counted,
    _on_connection: RunningRequest,
    place: Option<OwnedSemaphorePermit>,
}

impl RequestLog {
    /// Begins the report of a request whose header has just arrived.
    pub(crate) fn begin(
        gateway: &Arc<Gateway>,
        span: tracing::Span,
        on_connection: RunningRequest,
    ) -> Self {
        Self {
            gateway: Arc::clone(gateway),
            span,
            started: Instant::now(),
            operation: "Unknown",
            status: StatusCode::INTERNAL_SERVER_ERROR,
            error_code: None,
            received: Arc::default(),
            sent: 0,
            is_broken: false,
            _running: gateway.metrics().running(),
            _on_connection: on_connection,
            place: None,
        }
    }

    /// Where the request body counts its bytes.
    pub(crate) fn received(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.received)
    }

    /// Keeps the request's place among the running ones.
    pub(crate) fn hold(&mut self, place: OwnedSemaphorePermit) {
        self.place = Some(place);
    }

    /// Notes the operation and its bucket, once they are known.
    pub(crate) fn operation(&mut self, name: &'static str, bucket: Option<&str>) {
        self.operation = name;
        self.span.record("operation", name);
        if let Some(bucket) = bucket {
            self.span.record("bucket", bucket);
        }
    }

    /// Notes the answer.
    pub(crate) fn answered(&mut self, status: StatusCode, error_code: Option<ErrorCode>) {
        self.status = status;
        self.error_code = error_code;
    }

    /// Counts body bytes handed to the connection.
    pub(crate) fn sent(&mut self, bytes: u64) {
        self.sent += bytes;
    }

    /// Notes that the response body ended early.
    pub(crate) fn broke(&mut self, error: &dyn std::error::Error) {
        self.is_broken = true;
        self.span.in_scope(
            || tracing::warn!(error = %error, sent_bytes = self.sent, "response broken off"),
        );
    }
}

impl Drop for RequestLog {
    fn drop(&mut self) {
        let duration = self.started.elapsed();
        let received = self.received.load(Ordering::Relaxed);
        let metrics = self.gateway.metrics();
        metrics.answered(self.operation, self.status.as_str(), duration.as_secs_f64());
        metrics.moved(received, self.sent);
        self.span.in_scope(|| {
            tracing::debug!(
                status = self.status.as_u16(),
                error_code = self.error_code.map(ErrorCode::as_str),
                bytes_in = received,
                bytes_out = self.sent,
                duration_ms = duration.as_secs_f64() * 1000.0,
                broken = self.is_broken,
                "request"
            );
        });
    }
}
