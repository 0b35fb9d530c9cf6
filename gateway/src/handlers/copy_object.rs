//! `CopyObject`: the bytes go from disks to disks, through the engine's verified read and its write.

use std::sync::Arc;

use cairn_meta::{BucketRecord, NewObject, ObjectKey, ObjectRecord, SystemHeaders};
use http::{HeaderName, StatusCode};

use super::commit;
use super::copy_source::CopySource;
use super::destination::Destination;
use super::long_work::Asker;
use super::object_attributes::{self, ObjectAttributes};
use super::object_headers;
use super::read_object;
use super::receive;
use super::request::S3Request;
use super::write_condition::WriteCondition;
use crate::checksum::{self, ChecksumAlgorithm};
use crate::gateway::Gateway;
use crate::response::{self, Response};
use crate::s3_error::{ErrorCode, S3Error};
use crate::timestamp;
use crate::xml::XmlWriter;

/// Larger objects are copied in parts.
pub(super) const SIZE_BYTES_MAX: u64 = 5 << 30;

pub(super) async fn handle(request: S3Request) -> Result<Response, S3Error> {
    let condition = WriteCondition::of_write(&request.headers)?;
    let directives = Directives::of(&request)?;
    let wanted_algorithm = checksum::parse_checksum_algorithm(&request.headers)?;
    let (bucket, key) = request
        .object()
        .map(|(bucket, key)| (bucket.clone(), key.clone()))?;
    let source = CopySource::of_request(&request).await?;
    refuse_copy_to_itself(&request, &source, &directives)?;
    check_size(source.record.size_bytes)?;
    let gateway = Arc::clone(&request.gateway);
    if condition.is_needed() {
        condition.check(&key, gateway.meta().object(bucket.id, &key).await?.as_ref())?;
    }

    let attributes = directives.attributes(&request, &source.record)?;
    let algorithm = wanted_algorithm.unwrap_or_else(|| algorithm_of(&source.record));
    let copy = Copy {
        gateway,
        bucket,
        key,
        source,
        attributes,
        algorithm,
        condition,
    };
    Asker::of(&request).answer(Box::pin(copy.run())).await
}

/// The algorithm of the source's checksum, else S3's default.
fn algorithm_of(source: &ObjectRecord) -> ChecksumAlgorithm {
    source
        .checksum
        .as_ref()
        .map_or(ChecksumAlgorithm::Crc64Nvme, |checksum| {
            object_headers::algorithm(checksum.algorithm)
        })
}

/// Copies, or takes from the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Directive {
    Copy,
    Replace,
}

struct Directives {
    metadata: Directive,
    tagging: Directive,
}

impl Directives {
    fn of(request: &S3Request) -> Result<Self, S3Error> {
        let directive = |name: &'static str, what: &str| match request.header(name)? {
            None | Some("COPY") => Ok(Directive::Copy),
            Some("REPLACE") => Ok(Directive::Replace),
            Some(other) => Err(S3Error::invalid_argument(
                format!("Unknown {what} directive."),
                name,
                other,
            )),
        };
        Ok(Self {
            metadata: directive("x-amz-metadata-directive", "metadata")?,
            tagging: directive("x-amz-tagging-directive", "tagging")?,
        })
    }

    /// What is stored with the copy.
    fn attributes(
        &self,
        request: &S3Request,
        source: &ObjectRecord,
    ) -> Result<ObjectAttributes, S3Error> {
        let sent = ObjectAttributes::without_tags(&request.headers)?;
        let tags = match self.tagging {
            Directive::Copy => source.tags.clone(),
            Directive::Replace => object_attributes::tags(&request.headers)?,
        };
        match self.metadata {
            Directive::Replace => Ok(ObjectAttributes { tags, ..sent }),
            Directive::Copy => Ok(ObjectAttributes {
                tags,
                user_metadata: source.user_metadata.clone(),
                // A redirect belongs to one object: it is never copied.
                headers: SystemHeaders {
                    website_redirect_location: sent.headers.website_redirect_location,
                    ..source.headers.clone()
                },
                storage_class: sent.storage_class,
            }),
        }
    }
}

/// A copy to itself is how clients change metadata; without a change it is a mistake.
fn refuse_copy_to_itself(
    request: &S3Request,
    source: &CopySource,
    directives: &Directives,
) -> Result<(), S3Error> {
    let (bucket, key) = request.object()?;
    let is_itself = bucket.id == source.bucket.id && *key == source.key && !source.names_version;
    // S3 takes the presence of a storage class for a change, also of the one that the object has: it is how clients
    // give an object a new time.
    let changes = directives.metadata == Directive::Replace
        || ["x-amz-website-redirect-location", "x-amz-storage-class"]
            .iter()
            .any(|name| request.headers.contains_key(*name));
    if !is_itself || changes {
        return Ok(());
    }
    Err(S3Error::new(
        ErrorCode::InvalidRequest,
        "This copy request is illegal because it is trying to copy an object to itself without changing the object's \
         metadata, storage class, website redirect location or encryption attributes.",
    ))
}

fn check_size(size_bytes: u64) -> Result<(), S3Error> {
    if size_bytes <= SIZE_BYTES_MAX {
        return Ok(());
    }
    Err(S3Error::new(
        ErrorCode::InvalidRequest,
        format!(
            "The specified copy source is larger than the maximum allowable size for a copy source: {SIZE_BYTES_MAX}"
        ),
    ))
}

/// All that copying needs, so that it can go on when the client has gone.
struct Copy {
    gateway: Arc<Gateway>,
    bucket: BucketRecord,
    key: ObjectKey,
    source: CopySource,
    attributes: ObjectAttributes,
    algorithm: ChecksumAlgorithm,
    condition: WriteCondition,
}

impl Copy {
    async fn run(self) -> Result<Response, S3Error> {
        let gateway = &*self.gateway;
        let record = &self.source.record;
        let data = read_object::data_of(gateway, record).await?;
        let range = 0..record.size_bytes;
        let stream = gateway
            .engine()
            .open_read(&data, range)
            .await
            .map_err(read_object::refusal)?;
        let destination = Destination {
            bucket: &self.bucket,
            key: &self.key,
            part: None,
            attributes: &self.attributes,
        };
        let received = receive::copy(gateway, stream, self.algorithm, destination).await?;
        check_unchanged(record, &received.checksum)?;
        let new = NewObject {
            modified_ms: Some(received.at_ms),
            size_bytes: received.stored.size_bytes(),
            etag: hex::encode(received.md5),
            owner: self.bucket.owner,
            checksum: Some(object_headers::full_object_checksum(&received.checksum)),
            ..self.attributes.clone().into_new_object()
        };
        let target = commit::Target {
            bucket: &self.bucket,
            key: &self.key,
            condition: &self.condition,
        };
        let made = commit::object(gateway, target, new, received.stored).await?;
        Ok(self.respond(&made))
    }

    fn respond(&self, made: &ObjectRecord) -> Response {
        let document = copy_result(
            "CopyObjectResult",
            made.last_modified_ms,
            &made.etag,
            |xml| {
                if let Some(checksum) = &made.checksum {
                    xml.text(
                        object_headers::algorithm(checksum.algorithm).xml_element(),
                        &object_headers::checksum_text(checksum),
                    );
                    xml.text("ChecksumType", object_headers::kind(checksum.kind).name());
                }
            },
        );
        let mut response = response::xml(StatusCode::OK, document);
        object_headers::version(response.headers_mut(), &self.bucket, made.version);
        source_version(response.headers_mut(), &self.source);
        response
    }
}

/// `x-amz-copy-source-version-id`, where the source's bucket has versions.
pub(super) fn source_version(headers: &mut http::HeaderMap, source: &CopySource) {
    if source.bucket.versioning != cairn_meta::Versioning::Never {
        let name = HeaderName::from_static("x-amz-copy-source-version-id");
        object_headers::set(headers, name, &source.record.version.to_string());
    }
}

/// The document that answers a copy: of an object or of a part.
pub(super) fn copy_result(
    element: &str,
    modified_ms: u64,
    etag: &str,
    checksum: impl FnOnce(&mut XmlWriter),
) -> String {
    let mut xml = XmlWriter::document();
    xml.open_root(element);
    xml.text("LastModified", &timestamp::iso8601(modified_ms));
    xml.quoted_text("ETag", etag);
    checksum(&mut xml);
    xml.close(element);
    xml.finish()
}

/// Where the source has a checksum by the same algorithm over the same bytes, the copy must have it too.
fn check_unchanged(source: &ObjectRecord, copied: &checksum::Checksum) -> Result<(), S3Error> {
    let Some(expected) = &source.checksum else {
        return Ok(());
    };
    let is_comparable = expected.kind == cairn_meta::ChecksumKind::FullObject
        && object_headers::algorithm(expected.algorithm) == copied.algorithm();
    if !is_comparable || expected.value == copied.as_bytes() {
        return Ok(());
    }
    tracing::error!("the bytes of a copy do not have their source's checksum; nothing was stored");
    Err(S3Error::of(ErrorCode::InternalError))
}
