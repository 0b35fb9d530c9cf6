//! `CreateMultipartUpload`.

use cairn_meta::NewUpload;
use http::{HeaderMap, StatusCode};

use super::object_attributes::ObjectAttributes;
use super::object_headers;
use super::request::S3Request;
use crate::checksum::{self, ChecksumAlgorithm, ChecksumKind};
use crate::response::{self, Response};
use crate::s3_error::{ErrorCode, S3Error};
use crate::xml::XmlWriter;

pub(super) async fn handle(request: S3Request) -> Result<Response, S3Error> {
    let (bucket, key) = request.object()?;
    let checksum = wanted_checksum(&request.headers)?;
    let attributes = ObjectAttributes::of_request(&request.headers)?;
    let new = NewUpload {
        owner: bucket.owner,
        initiator: request.account()?,
        storage_class: attributes.storage_class,
        headers: attributes.headers,
        user_metadata: attributes.user_metadata,
        tags: attributes.tags,
        checksum: checksum.map(|(algorithm, kind)| {
            (
                object_headers::stored_algorithm(algorithm),
                object_headers::stored_kind(kind),
            )
        }),
    };
    let upload = request
        .gateway
        .meta()
        .create_upload(bucket, key, new, request.now_ms)
        .await?;
    let mut xml = XmlWriter::document();
    xml.open_root("InitiateMultipartUploadResult");
    xml.text("Bucket", bucket.name.as_str());
    xml.text("Key", key.as_str());
    xml.text("UploadId", &upload.id.to_string());
    xml.close("InitiateMultipartUploadResult");
    let mut response = response::xml(StatusCode::OK, xml.finish());
    if let Some((algorithm, kind)) = checksum {
        let headers = response.headers_mut();
        object_headers::set(
            headers,
            http::HeaderName::from_static("x-amz-checksum-algorithm"),
            algorithm.name(),
        );
        object_headers::set(
            headers,
            http::HeaderName::from_static("x-amz-checksum-type"),
            kind.name(),
        );
    }
    Ok(response)
}

/// The algorithm and type the upload was asked to have; a type alone is not enough.
fn wanted_checksum(
    headers: &HeaderMap,
) -> Result<Option<(ChecksumAlgorithm, ChecksumKind)>, S3Error> {
    let kind = checksum::parse_checksum_kind(headers)?;
    let Some(algorithm) = checksum::parse_checksum_algorithm(headers)? else {
        return match kind {
            None => Ok(None),
            Some(_) => Err(S3Error::new(
                ErrorCode::InvalidRequest,
                "The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header.",
            )),
        };
    };
    let kind = kind.unwrap_or(algorithm.default_kind());
    if algorithm.supports(kind) {
        return Ok(Some((algorithm, kind)));
    }
    Err(S3Error::new(
        ErrorCode::InvalidRequest,
        format!(
            "The {} checksum type cannot be used with the {} checksum algorithm.",
            kind.name(),
            algorithm.name().to_ascii_lowercase()
        ),
    ))
}
