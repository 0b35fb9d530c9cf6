//! `?uploadId=`, and finding the upload.

use cairn_meta::{BucketRecord, Meta, ObjectKey, UploadId, UploadRecord};

use crate::operation::Query;
use crate::s3_error::{ErrorCode, S3Error};

/// The upload a request names. What cannot be an id is the id of no upload.
///
/// # Errors
/// 404 `NoSuchUpload`.
pub(super) fn requested(query: &Query) -> Result<UploadId, S3Error> {
    let text = query.get("uploadId").unwrap_or_default();
    text.parse().map_err(|_| no_such_upload(text))
}

/// The upload in progress.
///
/// # Errors
/// 404 `NoSuchUpload`, also when it is one for another key.
pub(super) async fn find(
    meta: &Meta,
    bucket: &BucketRecord,
    key: &ObjectKey,
    id: UploadId,
) -> Result<UploadRecord, S3Error> {
    meta.upload(bucket.id, key, id)
        .await?
        .ok_or_else(|| no_such_upload(&id.to_string()))
}

/// 404 for an upload that is not there (any more).
pub(super) fn no_such_upload(id: &str) -> S3Error {
    S3Error::of(ErrorCode::NoSuchUpload).with("UploadId", id)
}
