//! From a request's header to its answer: the one path that every request takes.
//!
//! Order: place among the running → target → operation → authentication → names → authorization → unimplemented
//! headers → handler. Nothing touches the body before a handler does, so that whatever is refused on the way is
//! refused before the client was told to send (`Expect: 100-continue`).

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;
use http::request::Parts;
use http::{HeaderValue, Method, Request, StatusCode, Version, header};
use hyper::body::Incoming;
use tracing::Instrument;

use crate::addressing;
use crate::connection_activity::RunningRequest;
use crate::entrance::{Entrance, Surface};
use crate::failure_answer::{error_document, panicked};
use crate::gateway::Gateway;
use crate::handlers;
use crate::handlers::S3Request;
use crate::ops;
use crate::request_body::{Expectation, RequestBody};
use crate::request_id::RequestId;
use crate::request_log::RequestLog;
use crate::request_size;
use crate::response::{self, Response};
use crate::s3_error::{ErrorCode, S3Error};

const SERVER: HeaderValue = HeaderValue::from_static("Cairn");

/// Answers one request, whatever it is and whatever happens.
pub(crate) async fn respond(
    gateway: Arc<Gateway>,
    entrance: Entrance,
    request: Request<Incoming>,
    running: RunningRequest,
) -> Response {
    let id = RequestId::random();
    let span = tracing::info_span!("request", request_id = %id, operation = tracing::field::Empty, bucket = tracing::field::Empty);
    let log = RequestLog::begin(&gateway, span.clone(), running);
    let (parts, body) = RequestBody::take(request, log.received());
    let is_http1 = parts.version < Version::HTTP_2;
    let head = Head {
        method: parts.method.clone(),
        resource: parts.uri.path().to_owned(),
        is_http1,
        expectation: body.expectation().clone(),
    };

    let answering = answer(&gateway, entrance, id, parts, body, &log).instrument(span.clone());
    let result = match AssertUnwindSafe(answering).catch_unwind().await {
        Ok(result) => result,
        Err(panic) => Err(span.in_scope(|| panicked(&gateway, &head.resource, &*panic))),
    };
    let mut response = match result {
        Ok(response) => {
            log.answered(response.status());
            response
        }
        Err(error) => {
            log.failed(error.status(), error.code());
            error_response(&gateway, id, &head, &error)
        }
    };
    if head.method == Method::HEAD {
        response = response::without_body(response);
    }
    let headers = response.headers_mut();
    headers.insert("x-amz-request-id", id.to_header());
    headers.insert("x-amz-id-2", gateway.host_id().to_header());
    headers.insert(header::SERVER, SERVER);
    if head.is_http1 && head.expectation.is_waiting() {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response.body_mut().attach(log);
    response
}

/// What is needed of a request to answer it, whatever became of it.
struct Head {
    method: Method,
    resource: String,
    is_http1: bool,
    expectation: Expectation,
}

async fn answer(
    gateway: &Arc<Gateway>,
    entrance: Entrance,
    id: RequestId,
    parts: Parts,
    body: RequestBody,
    log: &RequestLog,
) -> Result<Response, S3Error> {
    addressing::check_host(&parts.uri, &parts.headers)?;
    if is_for_operators(gateway, entrance, &parts) {
        let (name, answered) = ops::respond(gateway, entrance, id, parts, body).await;
        log.operation(name, None);
        return answered;
    }
    if entrance.surface == Surface::Admin {
        return Ok(response::empty(StatusCode::NOT_FOUND));
    }
    let Ok(place) = Arc::clone(gateway.request_places()).try_acquire_owned() else {
        gateway.metrics().refused_busy();
        return Err(S3Error::of(ErrorCode::SlowDown));
    };
    log.hold(place);
    request_size::check(&parts, gateway.config().limits.header_section_bytes_max)?;
    let request = S3Request::admit(gateway, entrance, id, parts, body, log).await?;
    handlers::handle(request).await
}

/// At a bucket's own host the path is a key, whatever it begins with: a client that lets its users choose keys must
/// not be led to administer.
fn is_for_operators(gateway: &Gateway, entrance: Entrance, parts: &Parts) -> bool {
    let is_of_bucket = || {
        let host = addressing::host(&parts.uri, &parts.headers);
        host.is_some_and(|host| gateway.domains().bucket_of(host).is_some())
    };
    parts.uri.path().starts_with(ops::PATH_PREFIX)
        && (entrance.surface == Surface::Admin || !is_of_bucket())
}

fn error_response(gateway: &Gateway, id: RequestId, head: &Head, error: &S3Error) -> Response {
    let document = error_document(gateway, id, &head.resource, error);
    let mut response = response::xml(error.status(), document);
    let headers = response.headers_mut();
    for (name, value) in error.headers() {
        headers.append(name, value.clone());
    }
    if error.must_close() && head.is_http1 {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}
