//! PutObject.

use cairn_meta::NewObject;
use http::header::{CONTENT_RANGE, ETAG};
use http::{HeaderMap, StatusCode};

use super::commit;
use super::destination::Destination;
use super::object_attributes::ObjectAttributes;
use super::object_headers;
use super::receive;
use super::request::S3Request;
use super::write_condition::WriteCondition;
use crate::response::{self, Response};
use crate::s3_error::{ErrorCode, S3Error};

pub(super) async fn handle(mut request: S3Request) -> Result<Response, S3Error> {
    refuse_piece(&request.headers)?;
    let condition = WriteCondition::of_write(&request.headers)?;
    let attributes = ObjectAttributes::of_request(&request.headers)?;
    let plan = receive::Plan::of_request(&request, None)?;
    let (bucket, key) = request
        .object()
        .map(|(bucket, key)| (bucket.clone(), key.clone()))?;
    let gateway = std::sync::Arc::clone(&request.gateway);
    if condition.is_needed() {
        condition.check(&key, gateway.meta().object(bucket.id, &key).await?.as_ref())?;
    }

    let destination = Destination {
        bucket: &bucket,
        key: &key,
        part: None,
        attributes: &attributes,
    };
    let received = receive::body(&mut request, plan, destination).await?;
    let new = NewObject {
        modified_ms: Some(received.at_ms),
        size_bytes: received.stored.size_bytes(),
        etag: hex::encode(received.md5),
        owner: bucket.owner,
        checksum: Some(object_headers::full_object_checksum(&received.checksum)),
        ..attributes.into_new_object()
    };
    let target = commit::Target {
        bucket: &bucket,
        key: &key,
        condition: &condition,
    };
    let record = commit::object(&gateway, target, new, received.stored).await?;

    let mut response = response::empty(StatusCode::OK);
    let headers = response.headers_mut();
    object_headers::set(headers, ETAG, &object_headers::quoted(&record.etag));
    object_headers::version(headers, &bucket, record.version);
    if let Some(checksum) = &record.checksum {
        object_headers::checksum(headers, checksum);
    }
    Ok(response)
}

/// A body with a `Content-Range` is a piece of something: stored, it would stand for the whole (RFC 9110, 14.5).
fn refuse_piece(headers: &HeaderMap) -> Result<(), S3Error> {
    if !headers.contains_key(CONTENT_RANGE) {
        return Ok(());
    }
    Err(S3Error::new(
        ErrorCode::InvalidRequest,
        "Content-Range is not supported for PUT: send the whole object, or upload it in parts.",
    ))
}
