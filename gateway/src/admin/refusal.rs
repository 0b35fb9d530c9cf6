//! Why an administrative request was refused: status, code and message, as JSON.

use cairn_meta::{InvalidName, MetaError};
use http::StatusCode;

use crate::admin_api::ErrorDocument;
use crate::request_id::RequestId;
use crate::s3_error::S3Error;

/// A refusal of the admin API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) code: &'static str,
    pub(crate) message: String,
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
        }
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "InvalidRequest", message)
    }

    pub(crate) fn document(&self, request_id: RequestId) -> ErrorDocument {
        ErrorDocument {
            code: self.code.to_owned(),
            message: self.message.clone(),
            request_id: request_id.to_string(),
        }
    }
}

impl From<S3Error> for Refusal {
    fn from(error: S3Error) -> Self {
        Self::new(error.status(), error.code().as_str(), error.message())
    }
}

impl From<InvalidName> for Refusal {
    fn from(error: InvalidName) -> Self {
        Self::invalid(error.to_string())
    }
}

impl From<MetaError> for Refusal {
    fn from(error: MetaError) -> Self {
        let (status, code) = match &error {
            MetaError::NoSuchUser => (StatusCode::NOT_FOUND, "NoSuchUser"),
            MetaError::NoSuchAccessKey => (StatusCode::NOT_FOUND, "NoSuchKey"),
            MetaError::UserExists => (StatusCode::CONFLICT, "UserExists"),
            MetaError::EmailTaken => (StatusCode::CONFLICT, "EmailTaken"),
            MetaError::UserOwnsBuckets => (StatusCode::CONFLICT, "UserOwnsBuckets"),
            MetaError::AccessKeyExists => (StatusCode::CONFLICT, "KeyExists"),
            MetaError::TooManyAccessKeys { .. } => (StatusCode::CONFLICT, "TooManyKeys"),
            _ => return Self::from(crate::failure::of_metadata(error)),
        };
        Self::new(status, code, error.to_string())
    }
}
