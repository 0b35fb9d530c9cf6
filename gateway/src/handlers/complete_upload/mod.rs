//! `CompleteMultipartUpload`.
//!
//! Checks come in S3's order: the upload exists, the document is one, its parts ascend, they are there, they are
//! large enough. The same request again gets the same answer, also long after it succeeded.

use std::collections::BTreeMap;
use std::sync::Arc;

use cairn_meta::{
    BucketRecord, ChecksumKind as StoredKind, CompletedRecord, ConditionalError, DataOwner,
    ManifestPart, MetaError, NewObject, ObjectChecksum, ObjectKey, ObjectRecord, PartNumber,
    PartRecord, UploadId, UploadRecord, parts_digest,
};
use futures_util::stream;
use http::{HeaderMap, StatusCode};

use super::commit;
use super::delete_object::refused;
use super::long_work::Asker;
use super::object_headers;
use super::object_uri;
use super::receive;
use super::request::{S3Request, header_text};
use super::upload_id;
use super::upload_part::{algorithm_mismatch, part_checksum, stored_algorithm};
use super::write_condition::WriteCondition;
use super::xml_body;
use crate::checksum::{
    self, Checksum, ChecksumAlgorithm, ChecksumKind, PartChecksum, invalid_value, several_checksums,
};
use crate::engine::StoredData;
use crate::gateway::Gateway;
use crate::keepsake::{Completion as KeptCompletion, Content, Keepsake, Origin};
use crate::object_of_parts;
use crate::request_documents::{self, CompletedPart};
use crate::response::{self, Response};
use crate::s3_error::{ErrorCode, S3Error};
use crate::xml::XmlWriter;

/// Parts but the last must be at least this large.
const PART_SIZE_BYTES_MIN: u64 = 5 << 20;
/// The largest object.
const OBJECT_SIZE_BYTES_MAX: u64 = 5 << 40;
/// Parts read at once while a request is checked; all of an upload fit.
const PARTS_MAX: usize = 10_000;

pub(super) async fn handle(request: S3Request) -> Result<Response, S3Error> {
    let upload_id = upload_id::requested(&request.query)?;
    let condition = WriteCondition::of_write(&request.headers)?;
    let (bucket, key) = request
        .object()
        .map(|(bucket, key)| (bucket.clone(), key.clone()))?;
    let gateway = Arc::clone(&request.gateway);
    let found = find_upload(&gateway, &bucket, &key, upload_id).await?;

    let limit = request_documents::COMPLETE_UPLOAD_SIZE_BYTES_MAX;
    let (request, document) = xml_body::read_without_checksum(request, limit).await?;
    let listed = request_documents::parse_complete_multipart_upload(&document.bytes)?;
    drop(document.bytes);
    let mut room = document.room;
    room.shrink_to(listed.iter().map(CompletedPart::memory_bytes).sum());
    let location = object_uri::of(&request, &bucket.name, &key);
    check_order(&listed)?;
    let asker = Asker::of(&request);
    let work = Completion {
        gateway,
        bucket,
        key,
        upload_id,
        condition,
        listed,
        headers: request.headers,
        location,
    };
    let work = async move {
        let answer = work.run(found).await;
        drop(room);
        answer
    };
    asker.answer(Box::pin(work)).await
}

/// An upload, or what is left of it once it was completed.
enum Found {
    InProgress(Box<UploadRecord>),
    Completed(Box<CompletedRecord>),
}

async fn find_upload(
    gateway: &Gateway,
    bucket: &BucketRecord,
    key: &ObjectKey,
    id: UploadId,
) -> Result<Found, S3Error> {
    if let Some(upload) = gateway.meta().upload(bucket.id, key, id).await? {
        return Ok(Found::InProgress(Box::new(upload)));
    }
    let completed = gateway.meta().completed_upload(bucket.id, key, id).await?;
    completed
        .map(|record| Found::Completed(Box::new(record)))
        .ok_or_else(|| upload_id::no_such_upload(&id.to_string()))
}

fn check_order(listed: &[CompletedPart]) -> Result<(), S3Error> {
    let ascends = listed.is_sorted_by(|one, next| one.part_number < next.part_number);
    if ascends {
        Ok(())
    } else {
        Err(S3Error::of(ErrorCode::InvalidPartOrder))
    }
}

/// All that completing needs, so that it can go on when the client has gone.
struct Completion {
    gateway: Arc<Gateway>,
    bucket: BucketRecord,
    key: ObjectKey,
    upload_id: UploadId,
    condition: WriteCondition,
    listed: Vec<CompletedPart>,
    headers: HeaderMap,
    /// The address of the object.
    location: String,
}

impl Completion {
    async fn run(self, found: Found) -> Result<Response, S3Error> {
        let record = match found {
            Found::Completed(completed) => self.answer_again(*completed)?,
            Found::InProgress(upload) => match self.complete(&upload).await {
                Err(refusal) if may_be_overtaken(&refusal) => {
                    self.answer_overtaken(refusal).await?
                }
                result => result?,
            },
        };
        Ok(self.respond(&record))
    }

    /// The upload may have become the object meanwhile, by the same request: `refusal` stands where it did not.
    async fn answer_overtaken(&self, refusal: S3Error) -> Result<ObjectRecord, S3Error> {
        let meta = self.gateway.meta();
        let completed = meta.completed_upload(self.bucket.id, &self.key, self.upload_id);
        match completed.await? {
            Some(completed) => self.answer_again(completed),
            None => Err(refusal),
        }
    }

    /// The answer to a request that succeeded before: only to that very request.
    fn answer_again(&self, completed: CompletedRecord) -> Result<ObjectRecord, S3Error> {
        let listed: Option<Vec<_>> = self
            .listed
            .iter()
            .map(|part| Some((part.part_number, md5_of(&part.etag)?)))
            .collect();
        let is_same = listed.is_some_and(|listed| parts_digest(listed) == completed.parts_digest);
        if is_same {
            Ok(completed.object)
        } else {
            Err(upload_id::no_such_upload(&self.upload_id.to_string()))
        }
    }

    async fn complete(&self, upload: &UploadRecord) -> Result<ObjectRecord, S3Error> {
        let meta = self.gateway.meta();
        let algorithm = stored_algorithm(upload);
        let parts = self.checked_parts(upload, algorithm).await?;
        let size_bytes = object_of_parts::size_bytes(&parts);
        check_object_size(&self.headers, size_bytes)?;
        let checksum = self.object_checksum(upload, algorithm, &parts)?;
        let md5 = object_of_parts::md5(&parts);
        let kept_at_ms = self.gateway.now_ms();
        let mut new = NewObject {
            modified_ms: Some(kept_at_ms),
            size_bytes,
            etag: object_of_parts::etag(md5, parts.len()),
            owner: upload.owner,
            storage_class: upload.storage_class.clone(),
            headers: upload.headers.clone(),
            user_metadata: upload.user_metadata.clone(),
            tags: upload.tags.clone(),
            checksum: Some(checksum),
            data: None,
        };
        let keepsake = self.keepsake(&new, md5, &parts, kept_at_ms)?;
        let (attestation, guard) = self.attest(&keepsake).await?.begin_commit();
        let attestation_id = attestation.id;
        new.data = Some(attestation);
        let manifest: Vec<ManifestPart> = parts.into_iter().map(manifest_part).collect();
        let check = |current: Option<&ObjectRecord>| self.condition.check(&self.key, current);
        let result = meta
            .complete_upload(
                &self.bucket,
                &self.key,
                self.upload_id,
                &manifest,
                &new,
                self.gateway.now_ms(),
                &check,
            )
            .await;
        let is_named = match &result {
            // It may be the answer to the same request before: then nothing names this attestation, and a rebuild
            // should not find it beside the right one.
            Ok(_) => meta.data_exists(&[attestation_id]).await.ok(),
            Err(ConditionalError::Meta(error)) if commit::has_unknown_outcome(error) => None,
            Err(_) => Some(vec![false]),
        };
        let is_applied = is_named.as_ref().is_some_and(|named| named == &[true]);
        commit::end(guard, is_applied, is_named.is_none());
        result.map_err(|error| self.refusal(error))
    }

    /// What the client is told of a commit that did not succeed.
    fn refusal(&self, error: ConditionalError<S3Error>) -> S3Error {
        match error {
            ConditionalError::Meta(MetaError::NoSuchUpload) => {
                upload_id::no_such_upload(&self.upload_id.to_string())
            }
            ConditionalError::Meta(MetaError::PartChanged { part_number }) => {
                let mut listed = self.listed.iter();
                let changed = listed.find(|listed| listed.part_number == part_number);
                changed.map_or_else(
                    || S3Error::of(ErrorCode::InvalidPart),
                    |listed| self.invalid_part(listed),
                )
            }
            error => refused(error),
        }
    }

    /// What is kept on the disks of the completion; the parts have their own.
    fn keepsake(
        &self,
        new: &NewObject,
        md5: [u8; 16],
        parts: &[PartRecord],
        kept_at_ms: u64,
    ) -> Result<Keepsake, S3Error> {
        let stored = new.checksum.as_ref();
        let checksum = stored.and_then(|stored| {
            Checksum::new(object_headers::algorithm(stored.algorithm), &stored.value)
        });
        let checksum = checksum.ok_or_else(|| S3Error::of(ErrorCode::InternalError))?;
        let is_composite = stored.is_some_and(|stored| stored.kind == StoredKind::Composite);
        let numbers = parts.iter().map(|part| part.part_number);
        Ok(Keepsake {
            content: Content {
                storage_class: new.storage_class.clone(),
                headers: new.headers.clone(),
                user_metadata: new.user_metadata.clone(),
                tags: new.tags.clone(),
                ..Content::new(new.size_bytes, md5, &checksum)
            },
            origin: Some(Origin::new(&self.bucket, new.owner, kept_at_ms)),
            completion: Some(KeptCompletion::new(self.upload_id, is_composite, numbers)),
        })
    }

    /// Writes the completion to the disks as a datum without bytes, before it is committed: parts alone do not tell
    /// which of them became an object.
    async fn attest(&self, keepsake: &Keepsake) -> Result<StoredData, S3Error> {
        let owner = DataOwner {
            bucket: self.bucket.id,
            key: self.key.clone(),
            part: None,
        };
        self.gateway
            .engine()
            .store(stream::empty(), owner, Some(0), || keepsake.encode())
            .await
            .map_err(receive::store_refusal)
    }

    /// The parts that become the object: there, as they were listed, and large enough.
    async fn checked_parts(
        &self,
        upload: &UploadRecord,
        algorithm: ChecksumAlgorithm,
    ) -> Result<Vec<PartRecord>, S3Error> {
        let meta = self.gateway.meta();
        let stored = meta.list_parts(self.upload_id, None, PARTS_MAX).await?;
        let by_number = |part: PartRecord| (part.part_number, part);
        let stored: BTreeMap<_, _> = stored.parts.into_iter().map(by_number).collect();
        if upload.checksum.is_some() {
            check_consecutive(&self.listed)?;
            check_algorithms(&self.listed, algorithm)?;
        }
        let parts = self.match_parts(&stored, algorithm)?;
        check_sizes(&parts)?;
        Ok(parts)
    }

    /// The stored part of each listed one.
    fn match_parts(
        &self,
        stored: &BTreeMap<PartNumber, PartRecord>,
        algorithm: ChecksumAlgorithm,
    ) -> Result<Vec<PartRecord>, S3Error> {
        let find = |listed: &CompletedPart| {
            let part = stored
                .get(&listed.part_number)
                .filter(|part| md5_of(&listed.etag) == Some(part.etag_md5));
            let part = part.ok_or_else(|| self.invalid_part(listed))?;
            let own = part_checksum(algorithm, part.checksum.as_deref());
            match listed.checksum {
                Some(claimed) if claimed.algorithm() == algorithm && own != Some(claimed) => {
                    Err(self.invalid_part(listed))
                }
                _ => Ok(part.clone()),
            }
        };
        self.listed.iter().map(find).collect()
    }

    fn invalid_part(&self, listed: &CompletedPart) -> S3Error {
        S3Error::of(ErrorCode::InvalidPart)
            .with("UploadId", self.upload_id.to_string())
            .with("PartNumber", listed.part_number.to_string())
            .with("ETag", listed.etag.clone())
    }

    /// The checksum of the whole object, compared with what the request says of it.
    fn object_checksum(
        &self,
        upload: &UploadRecord,
        algorithm: ChecksumAlgorithm,
        parts: &[PartRecord],
    ) -> Result<ObjectChecksum, S3Error> {
        let kind = upload
            .checksum
            .map_or(ChecksumKind::FullObject, |(_, kind)| {
                object_headers::kind(kind)
            });
        check_kind(&self.headers, kind)?;
        if kind == ChecksumKind::Composite {
            check_composite(&self.listed, algorithm)?;
        }
        let of_part = |part: &PartRecord| {
            let checksum = part_checksum(algorithm, part.checksum.as_deref())?;
            Some(PartChecksum {
                checksum,
                size_bytes: part.size_bytes,
            })
        };
        let of_parts: Option<Vec<_>> = parts.iter().map(of_part).collect();
        let of_parts = of_parts.ok_or_else(|| S3Error::of(ErrorCode::InternalError))?;
        let whole = match kind {
            ChecksumKind::Composite => Some(checksum::composite(algorithm, &of_parts)),
            ChecksumKind::FullObject => checksum::full_object(algorithm, &of_parts),
        };
        let whole = whole.ok_or_else(|| S3Error::of(ErrorCode::InternalError))?;
        let part_count = (kind == ChecksumKind::Composite)
            .then(|| u16::try_from(parts.len()).unwrap_or(u16::MAX));
        let checksum = ObjectChecksum {
            algorithm: object_headers::stored_algorithm(algorithm),
            kind: object_headers::stored_kind(kind),
            value: whole.as_bytes().to_vec(),
            part_count,
        };
        check_claimed(&self.headers, upload.checksum.is_some(), &checksum)?;
        Ok(checksum)
    }

    fn respond(&self, record: &ObjectRecord) -> Response {
        let mut xml = XmlWriter::document();
        xml.open_root("CompleteMultipartUploadResult");
        xml.text("Location", &self.location);
        xml.text("Bucket", self.bucket.name.as_str());
        xml.text("Key", self.key.as_str());
        xml.quoted_text("ETag", &record.etag);
        if let Some(checksum) = &record.checksum {
            xml.text(
                object_headers::algorithm(checksum.algorithm).xml_element(),
                &object_headers::checksum_text(checksum),
            );
            xml.text("ChecksumType", object_headers::kind(checksum.kind).name());
        }
        xml.close("CompleteMultipartUploadResult");
        let mut response = response::xml(StatusCode::OK, xml.finish());
        object_headers::version(response.headers_mut(), &self.bucket, record.version);
        response
    }
}

/// Whether the same request, done meanwhile, is a reason for this refusal: the parts are not there any more because they are
/// the object, or it is that object which the condition does not allow.
fn may_be_overtaken(refusal: &S3Error) -> bool {
    matches!(
        refusal.code(),
        ErrorCode::InvalidPart | ErrorCode::PreconditionFailed
    )
}

/// A checksum by another algorithm than the upload's is one that nobody verified. (Where the upload has S3's default,
/// a client may repeat the checksum that it sent with the part, which was.)
fn check_algorithms(listed: &[CompletedPart], expected: ChecksumAlgorithm) -> Result<(), S3Error> {
    let algorithms = listed.iter().filter_map(|part| part.checksum);
    match algorithms
        .map(|checksum| checksum.algorithm())
        .find(|one| *one != expected)
    {
        Some(other) => Err(algorithm_mismatch(expected, Some(other))),
        None => Ok(()),
    }
}

/// The parts of an upload with a checksum of its own are numbered from 1 without a gap.
fn check_consecutive(listed: &[CompletedPart]) -> Result<(), S3Error> {
    let numbers = listed.iter().map(|part| part.part_number.get());
    if numbers.eq((1_u16..).take(listed.len())) {
        Ok(())
    } else {
        Err(S3Error::of(ErrorCode::InvalidPartOrder))
    }
}

fn check_sizes(parts: &[PartRecord]) -> Result<(), S3Error> {
    let Some((_, all_but_last)) = parts.split_last() else {
        return Err(S3Error::of(ErrorCode::MalformedXML));
    };
    match all_but_last
        .iter()
        .find(|part| part.size_bytes < PART_SIZE_BYTES_MIN)
    {
        None => Ok(()),
        Some(small) => Err(S3Error::of(ErrorCode::EntityTooSmall)
            .with("ProposedSize", small.size_bytes.to_string())
            .with("MinSizeAllowed", PART_SIZE_BYTES_MIN.to_string())
            .with("PartNumber", small.part_number.to_string())
            .with("ETag", hex::encode(small.etag_md5))),
    }
}

fn check_object_size(headers: &HeaderMap, size_bytes: u64) -> Result<(), S3Error> {
    if size_bytes > OBJECT_SIZE_BYTES_MAX {
        return Err(S3Error::of(ErrorCode::EntityTooLarge)
            .with("ProposedSize", size_bytes.to_string())
            .with("MaxSizeAllowed", OBJECT_SIZE_BYTES_MAX.to_string()));
    }
    let Some(claimed) = header_text(headers, "x-amz-mp-object-size")? else {
        return Ok(());
    };
    let parsed = claimed.parse::<u64>();
    if parsed == Ok(size_bytes) {
        return Ok(());
    }
    Err(S3Error::new(
        ErrorCode::InvalidRequest,
        format!(
            "The provided 'x-amz-mp-object-size' header value {claimed} does not match what was computed: {size_bytes}"
        ),
    ))
}

fn check_kind(headers: &HeaderMap, kind: ChecksumKind) -> Result<(), S3Error> {
    match checksum::parse_checksum_kind(headers)? {
        Some(claimed) if claimed != kind => Err(S3Error::new(
            ErrorCode::InvalidRequest,
            format!(
                "The upload was created using the {} checksum mode. The complete request must use the same checksum mode.",
                kind.name()
            ),
        )),
        _ => Ok(()),
    }
}

/// A composite checksum is one of parts that are each named with their checksum.
fn check_composite(listed: &[CompletedPart], algorithm: ChecksumAlgorithm) -> Result<(), S3Error> {
    for part in listed {
        if part
            .checksum
            .is_none_or(|checksum| checksum.algorithm() != algorithm)
        {
            return Err(S3Error::new(
                ErrorCode::InvalidRequest,
                format!(
                    "The upload was created using a {} checksum. The complete request must include the checksum for \
                     each part. It was missing for part {} in the request.",
                    algorithm.name().to_ascii_lowercase(),
                    part.part_number
                ),
            ));
        }
    }
    Ok(())
}

/// Compares the object's checksum with the one in the request's headers, which may carry the `-N` of a composite.
///
/// Of an upload that was created without an algorithm another one than its own says nothing, as at S3.
fn check_claimed(
    headers: &HeaderMap,
    is_declared: bool,
    own: &ObjectChecksum,
) -> Result<(), S3Error> {
    let mut claimed = None;
    for algorithm in ChecksumAlgorithm::ALL {
        for value in headers.get_all(algorithm.header()) {
            if claimed.replace((algorithm, value)).is_some() {
                return Err(several_checksums());
            }
        }
    }
    let Some((algorithm, value)) = claimed else {
        return Ok(());
    };
    let value = value
        .to_str()
        .ok()
        .and_then(|value| without_part_count(value, own.part_count))
        .and_then(|value| Checksum::from_base64(algorithm, value))
        .ok_or_else(|| invalid_value(algorithm.header(), "header"))?;
    let expected = object_headers::algorithm(own.algorithm);
    if algorithm != expected {
        return if is_declared {
            Err(algorithm_mismatch(expected, Some(algorithm)))
        } else {
            Ok(())
        };
    }
    if value.as_bytes() == own.value.as_slice() {
        return Ok(());
    }
    Err(S3Error::new(
        ErrorCode::BadDigest,
        format!(
            "The {} you specified did not match the calculated checksum.",
            algorithm.name()
        ),
    ))
}

/// The value of a checksum that may say of how many parts it is, if that is right.
fn without_part_count(value: &str, part_count: Option<u16>) -> Option<&str> {
    match value.split_once('-') {
        None => Some(value),
        Some((value, count)) => (count.parse() == Ok(part_count?)).then_some(value),
    }
}

fn manifest_part(part: PartRecord) -> ManifestPart {
    ManifestPart {
        part_number: part.part_number,
        size_bytes: part.size_bytes,
        data_id: part.data_id,
        etag_md5: part.etag_md5,
        checksum: part.checksum,
    }
}

/// The MD5 in a part's ETag, which clients send with or without quotes.
fn md5_of(etag: &str) -> Option<[u8; 16]> {
    let mut md5 = [0; 16];
    hex::decode_to_slice(etag.trim().trim_matches('"'), &mut md5).ok()?;
    Some(md5)
}

#[cfg(test)]
mod tests;
