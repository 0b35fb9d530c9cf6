//! `UploadPartCopy`: a part from a range of an existing object.

use std::sync::Arc;

use http::StatusCode;

use super::byte_range;
use super::copy_object::{self, SIZE_BYTES_MAX};
use super::copy_source::CopySource;
use super::long_work::Asker;
use super::object_attributes::ObjectAttributes;
use super::part_number;
use super::read_object;
use super::receive;
use super::request::S3Request;
use super::upload_id;
use super::upload_part::{self, PartPlace};
use crate::gateway::Gateway;
use crate::response::{self, Response};
use crate::s3_error::{ErrorCode, S3Error};

pub(super) async fn handle(request: S3Request) -> Result<Response, S3Error> {
    let part_number = part_number::of_upload(&request.query)?;
    let upload_id = upload_id::requested(&request.query)?;
    let (bucket, key) = request
        .object()
        .map(|(bucket, key)| (bucket.clone(), key.clone()))?;
    let gateway = Arc::clone(&request.gateway);
    let upload = upload_id::find(gateway.meta(), &bucket, &key, upload_id).await?;
    let source = CopySource::of_request(&request).await?;
    let size = source.record.size_bytes;
    let range = match request.header("x-amz-copy-source-range")? {
        Some(header) => byte_range::copy_source_range(header, size)?,
        None => 0..size,
    };
    if range.end - range.start > SIZE_BYTES_MAX {
        return Err(S3Error::new(
            ErrorCode::InvalidRequest,
            format!(
                "The specified copy source is larger than the maximum allowable size for a copy source: {SIZE_BYTES_MAX}"
            ),
        ));
    }

    let target = PartPlace {
        bucket,
        key,
        upload,
        part_number,
    };
    let work = run(gateway, target, source, range);
    Asker::of(&request).answer(Box::pin(work)).await
}

async fn run(
    gateway: Arc<Gateway>,
    place: PartPlace,
    source: CopySource,
    range: std::ops::Range<u64>,
) -> Result<Response, S3Error> {
    let data = read_object::data_of(&gateway, &source.record).await?;
    let stream = gateway
        .engine()
        .open_read(&data, range)
        .await
        .map_err(read_object::refusal)?;
    let algorithm = upload_part::stored_algorithm(&place.upload);
    let nothing = ObjectAttributes::default();
    let received = receive::copy(&gateway, stream, algorithm, place.destination(&nothing)).await?;
    let checksum = received.checksum;
    let part = upload_part::commit_part(&gateway, &place, received).await?;
    let has_checksum = place.upload.checksum.is_some();
    let document = copy_object::copy_result(
        "CopyPartResult",
        part.last_modified_ms,
        &hex::encode(part.etag_md5),
        |xml| {
            if has_checksum {
                xml.text(checksum.algorithm().xml_element(), &checksum.to_base64());
            }
        },
    );
    let mut response = response::xml(StatusCode::OK, document);
    copy_object::source_version(response.headers_mut(), &source);
    Ok(response)
}
