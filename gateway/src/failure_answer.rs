//! What clients are told of a failure, at once or behind a 200: the `<Error>` document, and what becomes of a panic.

use crate::gateway::Gateway;
use crate::request_id::RequestId;
use crate::s3_error::{ErrorCode, ErrorContext, S3Error};

/// The `<Error>` document of a failure.
pub(crate) fn error_document(
    gateway: &Gateway,
    id: RequestId,
    resource: &str,
    error: &S3Error,
) -> String {
    error.to_xml(&ErrorContext {
        resource,
        request_id: id.as_str(),
        host_id: gateway.host_id().as_str(),
    })
}

/// Counts and logs the panic of a handler; what its client is told.
pub(crate) fn panicked(
    gateway: &Gateway,
    resource: &str,
    panic: &(dyn std::any::Any + Send),
) -> S3Error {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    gateway.metrics().panicked();
    tracing::error!(
        panic = text.unwrap_or("no message"),
        resource,
        "a handler panicked"
    );
    S3Error::of(ErrorCode::InternalError)
}
