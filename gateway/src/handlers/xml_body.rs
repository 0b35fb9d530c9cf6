//! Request documents: read whole, bounded, and verified like any body.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, HeaderValue};
use http_body::Body;

use super::request::S3Request;
use crate::body::{BodyOptions, BodyPlan, RATE_WINDOW, UploadBody};
use crate::checksum::ChecksumAlgorithm;
use crate::document_memory::DocumentRoom;
use crate::gateway::Gateway;
use crate::request_body::RequestBody;
use crate::s3_error::{ErrorCode, S3Error};

/// How fast a document must come, besides the time that any may take.
const READ_BYTES_PER_SECOND_MIN: u64 = 64 << 10;

/// Whether a document must come with a digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Digest {
    /// `Content-MD5` or a checksum is mandatory.
    Required,
    /// It is verified where it is given.
    Optional,
}

/// A request document, and the room it takes: for whoever works on what it says until that is done.
#[derive(Debug)]
pub(super) struct Document {
    pub(super) bytes: Bytes,
    pub(super) room: DocumentRoom,
}

/// The document in the body of a request, of at most `size_bytes_max`; empty where there is no body.
///
/// # Errors
/// Those of any body; 400 `MaxMessageLengthExceeded` for a document beyond the limit, before it is read, `RequestTimeout`
/// for one that takes too long; 503 `SlowDown` while the documents of other requests take all memory there is for them.
pub(super) async fn read(
    request: S3Request,
    digest: Digest,
    size_bytes_max: usize,
) -> Result<(S3Request, Document), S3Error> {
    let headers = request.headers.clone();
    read_as(request, &headers, digest, size_bytes_max).await
}

/// The same for `CompleteMultipartUpload`, whose checksum headers are those of the object, not of the document.
///
/// # Errors
/// As [`read`].
pub(super) async fn read_without_checksum(
    request: S3Request,
    size_bytes_max: usize,
) -> Result<(S3Request, Document), S3Error> {
    let mut headers = request.headers.clone();
    for algorithm in ChecksumAlgorithm::ALL {
        headers.remove(algorithm.header());
    }
    headers.remove("x-amz-sdk-checksum-algorithm");
    read_as(request, &headers, Digest::Optional, size_bytes_max).await
}

async fn read_as(
    mut request: S3Request,
    headers: &HeaderMap,
    digest: Digest,
    size_bytes_max: usize,
) -> Result<(S3Request, Document), S3Error> {
    let mut headers = headers.clone();
    if request.body.is_end_stream() && !headers.contains_key(CONTENT_LENGTH) {
        // No document is an empty one: whatever was signed or declared of another one does not hold.
        headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    }
    let limit = size_bytes_max as u64;
    let plan =
        BodyPlan::of_request(&headers, request.payload.clone(), limit).map_err(
            |error| match error.code() {
                ErrorCode::EntityTooLarge => S3Error::of(ErrorCode::MaxMessageLengthExceeded),
                _ => error,
            },
        )?;
    if digest == Digest::Required && !plan.has_digest() {
        return Err(S3Error::new(
            ErrorCode::InvalidRequest,
            "Missing required header for this request: Content-MD5",
        ));
    }
    let options = BodyOptions {
        idle_timeout: request.gateway.config().timeouts.body_idle,
        rate_window: RATE_WINDOW,
        md5_pool: request.gateway.md5_pool().clone(),
    };
    let time_max = request.gateway.config().timeouts.document_read
        + Duration::from_secs(plan.length() / READ_BYTES_PER_SECOND_MIN);
    let body = plan.open(&mut request.body, options);
    let document = tokio::time::timeout(time_max, collect(&request.gateway, body))
        .await
        .map_err(|_| S3Error::of(ErrorCode::RequestTimeout))??;
    Ok((request, document))
}

/// Reads a document, whose size its plan has bounded, as room is found for its bytes.
async fn collect(
    gateway: &Gateway,
    mut body: UploadBody<&mut RequestBody>,
) -> Result<Document, S3Error> {
    let mut room = gateway.request_room();
    let mut bytes = BytesMut::new();
    while let Some(content) = body.next().await {
        let content = content?;
        gateway.enlarge(&mut room, content.len()).await?;
        bytes.extend_from_slice(&content);
    }
    body.finish().await?;
    Ok(Document {
        bytes: bytes.freeze(),
        room,
    })
}
