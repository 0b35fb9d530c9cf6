//! Why a request is refused before anybody acts on it.

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::StatusCode;

/// A reason not to act. Nothing was done: the caller may repeat the call once the reason is gone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("the request is not authenticated: the authorization header is missing")]
    Unsealed,
    #[error("the request is not authenticated: the authorization header is malformed")]
    Malformed,
    #[error(
        "the request is not authenticated: its seal does not match; do both processes have the same cluster secret?"
    )]
    WrongSeal,
    #[error(
        "the clocks differ too much: the request was made at {theirs_ms} ms, here it is {ours_ms} ms, \
         {} s are allowed", allowed.as_secs()
    )]
    ClockSkew {
        theirs_ms: u64,
        ours_ms: u64,
        allowed: Duration,
    },
    #[error("the request was received before, or is older than what can be told apart from that")]
    Replayed,
    #[error("too many processes call this one")]
    TooManySessions,
    #[error("the body is not the one that was sealed")]
    WrongBody,
    #[error("the request is meant for another run of this process, or for another process")]
    WrongRun,
    #[error("the body broke off: {detail}")]
    BrokenBody { detail: String },
    #[error("the body did not arrive in time")]
    SlowBody,
    #[error("the length of the body is not declared")]
    LengthRequired,
    #[error("the body exceeds {limit_bytes} bytes")]
    TooLarge { limit_bytes: usize },
    #[error("too many requests are being served")]
    Busy,
}

impl Refusal {
    pub(crate) const WRONG_RUN: StatusCode = StatusCode::MISDIRECTED_REQUEST;
    pub(crate) const BUSY: StatusCode = StatusCode::SERVICE_UNAVAILABLE;

    fn status(&self) -> StatusCode {
        match self {
            Self::Unsealed
            | Self::Malformed
            | Self::WrongSeal
            | Self::ClockSkew { .. }
            | Self::Replayed
            | Self::TooManySessions
            | Self::WrongBody => StatusCode::UNAUTHORIZED,
            Self::WrongRun => Self::WRONG_RUN,
            Self::BrokenBody { .. } => StatusCode::BAD_REQUEST,
            Self::SlowBody => StatusCode::REQUEST_TIMEOUT,
            Self::LengthRequired => StatusCode::LENGTH_REQUIRED,
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Busy => Self::BUSY,
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.status(), self.to_string()).into_response()
    }
}
