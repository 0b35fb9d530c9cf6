//! `DeleteObject`.

use cairn_meta::{ConditionalError, DeleteOutcome, VersionId};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::object_headers;
use super::request::S3Request;
use super::version_id;
use super::write_condition::WriteCondition;
use crate::response::{self, Response};
use crate::s3_error::S3Error;

pub(super) async fn handle(request: S3Request) -> Result<Response, S3Error> {
    let (bucket, key) = request.object()?;
    let version = version_id::requested(&request.query)?;
    let condition = WriteCondition::of_delete(&request.headers)?;
    let outcome = request
        .gateway
        .meta()
        .delete_object(bucket, key, version, request.now_ms, &|current| {
            condition.check(key, current)
        })
        .await
        .map_err(refused)?;
    let mut response = response::empty(StatusCode::NO_CONTENT);
    let headers = response.headers_mut();
    if let Some((version, is_marker)) = told(outcome) {
        object_headers::version(headers, bucket, version);
        mark(headers, is_marker);
    } else if let Some(version) = version {
        object_headers::version(headers, bucket, version);
    }
    Ok(response)
}

/// The version that a delete made or removed, and whether it is a delete marker.
pub(super) fn told(outcome: DeleteOutcome) -> Option<(VersionId, bool)> {
    match outcome {
        DeleteOutcome::NothingThere => None,
        DeleteOutcome::Removed {
            version,
            was_delete_marker,
        } => Some((version, was_delete_marker)),
        DeleteOutcome::MarkerCreated { version } => Some((version, true)),
    }
}

/// The refusal of a conditional change: the condition's own, or the metadata's.
pub(super) fn refused(error: ConditionalError<S3Error>) -> S3Error {
    match error {
        ConditionalError::Precondition(error) => error,
        ConditionalError::Meta(error) => error.into(),
    }
}

fn mark(headers: &mut HeaderMap, is_marker: bool) {
    if is_marker {
        headers.insert(
            HeaderName::from_static("x-amz-delete-marker"),
            HeaderValue::from_static("true"),
        );
    }
}
