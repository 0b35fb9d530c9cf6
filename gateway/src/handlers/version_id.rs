//! `?versionId=`, and the version of an object that a read means.

use cairn_meta::{BucketRecord, Meta, ObjectKey, ObjectRecord, VersionId};
use http::header::{ALLOW, LAST_MODIFIED};
use http::{HeaderName, HeaderValue};

use crate::operation::Query;
use crate::s3_error::{ErrorCode, S3Error};
use crate::timestamp;

const DELETE_MARKER: HeaderName = HeaderName::from_static("x-amz-delete-marker");
const VERSION_ID: HeaderName = HeaderName::from_static("x-amz-version-id");

/// The version a request names.
///
/// # Errors
/// 400 `InvalidArgument` where it cannot be one.
pub(super) fn requested(query: &Query) -> Result<Option<VersionId>, S3Error> {
    query.get("versionId").map(parse).transpose()
}

/// Parses a version id.
///
/// # Errors
/// 400 `InvalidArgument`.
pub(super) fn parse(text: &str) -> Result<VersionId, S3Error> {
    text.parse()
        .map_err(|_| S3Error::invalid_argument("Invalid version id specified", "versionId", text))
}

/// The object that a read of `key` means, in that version or the current one.
///
/// # Errors
/// 404 `NoSuchKey`, 404 `NoSuchVersion`; 405 `MethodNotAllowed` if the version named is a delete marker.
pub(super) async fn find(
    meta: &Meta,
    bucket: &BucketRecord,
    key: &ObjectKey,
    version: Option<VersionId>,
) -> Result<ObjectRecord, S3Error> {
    let Some(version) = version else {
        return find_current(meta, bucket, key).await;
    };
    match meta.version(bucket.id, key, version).await? {
        None => Err(S3Error::of(ErrorCode::NoSuchVersion)
            .with("Key", key.as_str())
            .with("VersionId", version.to_string())),
        Some(record) if record.is_delete_marker() => Err(with_marker(
            S3Error::of(ErrorCode::MethodNotAllowed),
            &record,
        )
        .with_header(ALLOW, HeaderValue::from_static("DELETE"))
        .with_header(
            LAST_MODIFIED,
            header_value(&timestamp::http_date(record.last_modified_ms)),
        )),
        Some(record) => Ok(record),
    }
}

async fn find_current(
    meta: &Meta,
    bucket: &BucketRecord,
    key: &ObjectKey,
) -> Result<ObjectRecord, S3Error> {
    if let Some(record) = meta.object(bucket.id, key).await? {
        return Ok(record);
    }
    let absent = S3Error::of(ErrorCode::NoSuchKey).with("Key", key.as_str());
    if bucket.versioning == cairn_meta::Versioning::Never {
        return Err(absent);
    }
    match meta.newest_version(bucket.id, key).await? {
        None => Err(absent),
        Some(record) if record.is_delete_marker() => Err(with_marker(absent, &record)),
        // It came between the two reads.
        Some(record) => Ok(record),
    }
}

fn with_marker(error: S3Error, marker: &ObjectRecord) -> S3Error {
    error
        .with_header(DELETE_MARKER, HeaderValue::from_static("true"))
        .with_header(VERSION_ID, header_value(&marker.version.to_string()))
}

fn header_value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}
