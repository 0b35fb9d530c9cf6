//! How a service answers: with a reply, or with an error that its own client knows the type of.

use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::StatusCode;

/// The answer of a service that acted on a call. The bytes are the service's own business.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// It was done (status 200).
    Done(Bytes),
    /// It could not be done, for a reason that the bytes name (status 422).
    Failed(Bytes),
}

impl Reply {
    pub(crate) const DONE: StatusCode = StatusCode::OK;
    pub(crate) const FAILED: StatusCode = StatusCode::UNPROCESSABLE_ENTITY;
}

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        match self {
            Self::Done(bytes) => (Self::DONE, bytes),
            Self::Failed(bytes) => (Self::FAILED, bytes),
        }
        .into_response()
    }
}
