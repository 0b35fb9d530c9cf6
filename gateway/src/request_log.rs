//! One request's line in the log and its share of the metrics, written when its last byte is out and its work done.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;

use http::StatusCode;
use tokio::sync::OwnedSemaphorePermit;

use crate::connection_activity::{Http2Answer, RunningRequest};
use crate::gateway::Gateway;
use crate::metrics::Counted;
use crate::s3_error::ErrorCode;

/// Collects what happened to one request; dropping the last clone reports. One travels with the response body, and
/// one with work that may outlive it: so the request holds its place among the running ones, and is waited for by
/// draining, until the client has the answer *and* nothing is done for it any more.
#[derive(Clone)]
pub(crate) struct RequestLog(Arc<Record>);

struct Record {
    gateway: Arc<Gateway>,
    span: tracing::Span,
    started: Instant,
    operation: OnceLock<&'static str>,
    outcome: Mutex<Outcome>,
    received: Arc<AtomicU64>,
    sent: AtomicU64,
    is_broken: AtomicBool,
    _running: Counted,
    on_connection: RunningRequest,
    place: OnceLock<OwnedSemaphorePermit>,
}

/// How a request ended.
#[derive(Debug, Clone, Copy)]
struct Outcome {
    status: StatusCode,
    error_code: Option<ErrorCode>,
}

impl RequestLog {
    /// Begins the report of a request whose header has just arrived.
    pub(crate) fn begin(
        gateway: &Arc<Gateway>,
        span: tracing::Span,
        on_connection: RunningRequest,
    ) -> Self {
        Self(Arc::new(Record {
            gateway: Arc::clone(gateway),
            span,
            started: Instant::now(),
            operation: OnceLock::new(),
            outcome: Mutex::new(Outcome {
                status: StatusCode::INTERNAL_SERVER_ERROR,
                error_code: None,
            }),
            received: Arc::default(),
            sent: AtomicU64::new(0),
            is_broken: AtomicBool::new(false),
            _running: gateway.metrics().running(),
            on_connection,
            place: OnceLock::new(),
        }))
    }

    /// Where the request body counts its bytes.
    pub(crate) fn received(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.0.received)
    }

    /// Keeps the request's place among the running ones. A request takes one place; a second would be given back.
    pub(crate) fn hold(&self, place: OwnedSemaphorePermit) {
        drop(self.0.place.set(place));
    }

    /// Notes the operation and its bucket, once they are known; the first operation counts.
    pub(crate) fn operation(&self, name: &'static str, bucket: Option<&str>) {
        let name = *self.0.operation.get_or_init(|| name);
        // Together, since the log formats a span's fields anew each time that some are added.
        tracing::record_all!(self.0.span, operation = name, bucket = bucket);
    }

    /// Notes that the request was answered. A failure of work that outlives the answer stays the outcome, whichever
    /// of the two comes first.
    pub(crate) fn answered(&self, status: StatusCode) {
        let mut outcome = self.outcome();
        if outcome.error_code.is_none() {
            outcome.status = status;
        }
    }

    /// Notes the failure of the request: with this status or, if its answer had begun already, inside a 200.
    pub(crate) fn failed(&self, status: StatusCode, error_code: ErrorCode) {
        *self.outcome() = Outcome {
            status,
            error_code: Some(error_code),
        };
    }

    /// The answer as its connection watches it, from now on.
    pub(crate) fn http2_answer(&self) -> Option<Http2Answer> {
        self.0.on_connection.answer()
    }

    /// Counts body bytes handed to the connection.
    pub(crate) fn sent(&self, bytes: u64) {
        self.0.sent.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Notes that the response body ended early.
    pub(crate) fn broke(&self, error: &dyn std::error::Error) {
        self.0.is_broken.store(true, Ordering::Relaxed);
        let sent_bytes = self.0.sent.load(Ordering::Relaxed);
        self.0
            .span
            .in_scope(|| tracing::warn!(error = %error, sent_bytes, "response broken off"));
    }

    fn outcome(&self) -> std::sync::MutexGuard<'_, Outcome> {
        let outcome = self.0.outcome.lock();
        outcome.unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for RequestLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestLog").finish_non_exhaustive()
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let duration = self.started.elapsed();
        let received = self.received.load(Ordering::Relaxed);
        let sent = self.sent.load(Ordering::Relaxed);
        let outcome = *self
            .outcome
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        let operation = self.operation.get().copied().unwrap_or("Unknown");
        let metrics = self.gateway.metrics();
        metrics.answered(operation, outcome.status.as_str(), duration.as_secs_f64());
        metrics.moved(received, sent);
        self.span.in_scope(|| {
            tracing::debug!(
                status = outcome.status.as_u16(),
                error_code = outcome.error_code.map(ErrorCode::as_str),
                bytes_in = received,
                bytes_out = sent,
                duration_ms = duration.as_secs_f64() * 1000.0,
                broken = self.is_broken.load(Ordering::Relaxed),
                "request"
            );
        });
    }
}
