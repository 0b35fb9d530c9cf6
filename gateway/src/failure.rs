//! What a failure below the protocol looks like to a client: metadata and engine errors as S3 errors.
//!
//! Failures that are nobody's request's fault are logged here, once, where they leave the system: a client learns
//! that it may try again, the log says what happened.

use cairn_meta::MetaError;
use cairn_meta::kv::KvError;

use crate::s3_error::{ErrorCode, S3Error};

/// A metadata failure. What depends on the operation (which bucket, which upload) the operation adds.
#[expect(
    clippy::needless_pass_by_value,
    reason = "it ends here, and is what `map_err` hands over"
)]
pub(crate) fn of_metadata(error: MetaError) -> S3Error {
    match &error {
        MetaError::NoSuchBucket => S3Error::of(ErrorCode::NoSuchBucket),
        MetaError::BucketExists { .. } => S3Error::of(ErrorCode::BucketAlreadyExists),
        MetaError::BucketNotEmpty => S3Error::of(ErrorCode::BucketNotEmpty),
        MetaError::NoSuchUpload => S3Error::of(ErrorCode::NoSuchUpload),
        MetaError::Contended => S3Error::new(
            ErrorCode::SlowDown,
            "Too many concurrent changes of the same name. Please reduce your request rate.",
        ),
        MetaError::Kv(KvError::Busy) => S3Error::of(ErrorCode::SlowDown),
        MetaError::Kv(KvError::Unavailable { .. } | KvError::UnknownOutcome { .. }) => {
            tracing::warn!(%error, "metadata unavailable");
            S3Error::new(
                ErrorCode::ServiceUnavailable,
                "The metadata of the store is not available. Please try again.",
            )
        }
        _ => {
            tracing::error!(%error, "metadata failed");
            S3Error::of(ErrorCode::InternalError)
        }
    }
}

impl From<MetaError> for S3Error {
    fn from(error: MetaError) -> Self {
        of_metadata(error)
    }
}
