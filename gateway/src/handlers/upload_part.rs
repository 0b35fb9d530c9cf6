//! `UploadPart`.

use std::sync::Arc;

use cairn_meta::{
    BucketRecord, ChecksumKind, ObjectKey, PartNumber, PartOwner, PartRecord, UploadRecord,
};
use http::StatusCode;
use http::header::ETAG;

use super::commit;
use super::destination::Destination;
use super::object_attributes::ObjectAttributes;
use super::object_headers;
use super::part_number;
use super::receive::{self, Received};
use super::request::S3Request;
use super::upload_id;
use crate::checksum::{Checksum, ChecksumAlgorithm};
use crate::gateway::Gateway;
use crate::response::{self, Response};
use crate::s3_error::{ErrorCode, S3Error};

pub(super) async fn handle(mut request: S3Request) -> Result<Response, S3Error> {
    let part_number = part_number::of_upload(&request.query)?;
    let upload_id = upload_id::requested(&request.query)?;
    let (bucket, key) = request
        .object()
        .map(|(bucket, key)| (bucket.clone(), key.clone()))?;
    let gateway = Arc::clone(&request.gateway);
    let upload = upload_id::find(gateway.meta(), &bucket, &key, upload_id).await?;
    let plan = receive::Plan::of_request(&request, Some(stored_algorithm(&upload)))?;
    check_algorithm(&upload, plan.declared_algorithm())?;

    let place = PartPlace {
        bucket,
        key,
        upload,
        part_number,
    };
    let nothing = ObjectAttributes::default();
    let received = receive::body(&mut request, plan, place.destination(&nothing)).await?;
    let told = received.declared_checksum.unwrap_or(received.checksum);
    let part = commit_part(&gateway, &place, received).await?;

    let mut response = response::empty(StatusCode::OK);
    let headers = response.headers_mut();
    object_headers::set(
        headers,
        ETAG,
        &object_headers::quoted(&hex::encode(part.etag_md5)),
    );
    if let Some((name, value)) = told.to_header() {
        headers.insert(name, value);
    }
    Ok(response)
}

/// Where a part goes.
pub(super) struct PartPlace {
    pub(super) bucket: BucketRecord,
    pub(super) key: ObjectKey,
    pub(super) upload: UploadRecord,
    pub(super) part_number: PartNumber,
}

impl PartPlace {
    pub(super) fn destination<'a>(&'a self, nothing: &'a ObjectAttributes) -> Destination<'a> {
        Destination {
            bucket: &self.bucket,
            key: &self.key,
            part: Some(PartOwner {
                upload_id: self.upload.id,
                part_number: self.part_number,
            }),
            attributes: nothing,
        }
    }
}

/// The algorithm by which the parts of an upload are summed up: the upload's, or S3's default.
pub(super) fn stored_algorithm(upload: &UploadRecord) -> ChecksumAlgorithm {
    upload
        .checksum
        .map_or(ChecksumAlgorithm::Crc64Nvme, |(algorithm, _)| {
            object_headers::algorithm(algorithm)
        })
}

/// Makes what was received the part of its number: the last to finish wins.
pub(super) async fn commit_part(
    gateway: &Gateway,
    place: &PartPlace,
    received: Received,
) -> Result<PartRecord, S3Error> {
    let size_bytes = received.stored.size_bytes();
    let (data, guard) = received.stored.begin_commit();
    let part = PartRecord {
        part_number: place.part_number,
        size_bytes,
        etag_md5: received.md5,
        checksum: Some(received.checksum.as_bytes().to_vec()),
        data_id: Some(data.id),
        last_modified_ms: received.at_ms,
    };
    let upload_id = place.upload.id;
    let result = gateway
        .meta()
        .put_part(
            place.bucket.id,
            &place.key,
            upload_id,
            &part,
            Some(&data),
            gateway.now_ms(),
        )
        .await;
    commit::end(
        guard,
        result.is_ok(),
        result.as_ref().is_err_and(commit::has_unknown_outcome),
    );
    result.map_err(|error| match error {
        cairn_meta::MetaError::NoSuchUpload => upload_id::no_such_upload(&upload_id.to_string()),
        error => error.into(),
    })?;
    Ok(part)
}

/// A part that declares a checksum must use the upload's algorithm, where the upload has one. Where the object's checksum
/// is composed of its parts', each must declare its own: one that the server alone computed vouches for nothing on the way.
fn check_algorithm(
    upload: &UploadRecord,
    declared: Option<ChecksumAlgorithm>,
) -> Result<(), S3Error> {
    let Some((expected, kind)) = upload.checksum else {
        return Ok(());
    };
    let expected = object_headers::algorithm(expected);
    let is_accepted = match (declared, kind) {
        (Some(declared), _) => declared == expected,
        (None, ChecksumKind::Composite) => false,
        (None, ChecksumKind::FullObject) => true,
    };
    if is_accepted {
        Ok(())
    } else {
        Err(algorithm_mismatch(expected, declared))
    }
}

/// 400 for a checksum by another algorithm than the upload's, or for none.
pub(super) fn algorithm_mismatch(
    expected: ChecksumAlgorithm,
    actual: Option<ChecksumAlgorithm>,
) -> S3Error {
    let actual = actual.map_or_else(
        || "null".to_owned(),
        |actual| actual.name().to_ascii_lowercase(),
    );
    S3Error::new(
        ErrorCode::InvalidRequest,
        format!(
            "Checksum Type mismatch occurred, expected checksum Type: {}, actual checksum Type: {actual}",
            expected.name().to_ascii_lowercase(),
        ),
    )
}

/// The checksum of a part as it was stored.
pub(super) fn part_checksum(
    algorithm: ChecksumAlgorithm,
    stored: Option<&[u8]>,
) -> Option<Checksum> {
    Checksum::new(algorithm, stored?)
}
