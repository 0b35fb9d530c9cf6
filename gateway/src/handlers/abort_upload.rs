//! `AbortMultipartUpload`.

use cairn_meta::MetaError;
use http::StatusCode;

use super::request::S3Request;
use super::upload_id;
use crate::response::{self, Response};
use crate::s3_error::S3Error;

/// Aborting an upload that was completed changes nothing and succeeds, as at S3.
pub(super) async fn handle(request: S3Request) -> Result<Response, S3Error> {
    let id = upload_id::requested(&request.query)?;
    let (bucket, key) = request.object()?;
    let meta = request.gateway.meta();
    match meta.abort_upload(bucket.id, key, id, request.now_ms).await {
        Ok(()) => {}
        Err(MetaError::NoSuchUpload) => {
            if meta.completed_upload(bucket.id, key, id).await?.is_none() {
                return Err(upload_id::no_such_upload(&id.to_string()));
            }
        }
        Err(error) => return Err(error.into()),
    }
    Ok(response::empty(StatusCode::NO_CONTENT))
}
