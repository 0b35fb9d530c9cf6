//! The response headers that tell of an object version.

use cairn_meta::{
    BucketRecord, ChecksumAlgorithm as StoredAlgorithm, ChecksumKind as StoredKind, ObjectChecksum,
    ObjectRecord, VersionId, Versioning,
};
use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LANGUAGE,
    CONTENT_TYPE, ETAG, EXPIRES, LAST_MODIFIED,
};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::checksum::{Checksum, ChecksumAlgorithm, ChecksumKind};
use crate::timestamp;

/// What an object without a content type is served as.
const DEFAULT_CONTENT_TYPE: HeaderValue = HeaderValue::from_static("binary/octet-stream");
const STANDARD: &str = "STANDARD";
const VERSION_ID: HeaderName = HeaderName::from_static("x-amz-version-id");

/// Everything a GET or HEAD of `record` says but length, range and checksum.
pub(super) fn describe(headers: &mut HeaderMap, bucket: &BucketRecord, record: &ObjectRecord) {
    identify(headers, bucket, record);
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(CONTENT_TYPE, DEFAULT_CONTENT_TYPE);
    let system = &record.headers;
    for (name, stored) in [
        (CONTENT_TYPE, &system.content_type),
        (CACHE_CONTROL, &system.cache_control),
        (CONTENT_DISPOSITION, &system.content_disposition),
        (CONTENT_ENCODING, &system.content_encoding),
        (CONTENT_LANGUAGE, &system.content_language),
        (EXPIRES, &system.expires),
        (
            HeaderName::from_static("x-amz-website-redirect-location"),
            &system.website_redirect_location,
        ),
    ] {
        if let Some(stored) = stored {
            set(headers, name, stored);
        }
    }
    for (name, stored) in &record.user_metadata {
        if let Ok(name) = HeaderName::try_from(format!("x-amz-meta-{name}")) {
            set(headers, name, stored);
        }
    }
    if record.storage_class != STANDARD {
        set(
            headers,
            HeaderName::from_static("x-amz-storage-class"),
            &record.storage_class,
        );
    }
    if !record.tags.is_empty() {
        headers.insert(
            HeaderName::from_static("x-amz-tagging-count"),
            HeaderValue::from(record.tags.len()),
        );
    }
}

/// What also a 304 says: ETag, time, version.
pub(super) fn identify(headers: &mut HeaderMap, bucket: &BucketRecord, record: &ObjectRecord) {
    set(headers, ETAG, &quoted(&record.etag));
    set(
        headers,
        LAST_MODIFIED,
        &timestamp::http_date(record.last_modified_ms),
    );
    version(headers, bucket, record.version);
}

/// `x-amz-version-id`, which exists once versioning was ever configured.
pub(super) fn version(headers: &mut HeaderMap, bucket: &BucketRecord, version: VersionId) {
    if bucket.versioning != Versioning::Never {
        set(headers, VERSION_ID, &version.to_string());
    }
}

/// The checksum's value and type.
pub(super) fn checksum(headers: &mut HeaderMap, checksum: &ObjectChecksum) {
    let algorithm = algorithm(checksum.algorithm);
    set(
        headers,
        HeaderName::from_static(algorithm.header()),
        &checksum_text(checksum),
    );
    set(
        headers,
        HeaderName::from_static("x-amz-checksum-type"),
        kind(checksum.kind).name(),
    );
}

/// A checksum as it stands in headers and XML: base64, and `-N` for one of N parts.
pub(super) fn checksum_text(stored: &ObjectChecksum) -> String {
    let value =
        Checksum::new(algorithm(stored.algorithm), &stored.value).map(|value| value.to_base64());
    let value = value.unwrap_or_default();
    match (stored.kind, stored.part_count) {
        (StoredKind::Composite, Some(part_count)) => format!("{value}-{part_count}"),
        (StoredKind::Composite | StoredKind::FullObject, _) => value,
    }
}

/// An ETag as it stands in headers and XML.
pub(super) fn quoted(etag: &str) -> String {
    format!("\"{etag}\"")
}

/// Sets a header to stored text, which came from a header and so fits into one.
pub(super) fn set(headers: &mut HeaderMap, name: HeaderName, text: &str) {
    if let Ok(value) = HeaderValue::from_bytes(text.as_bytes()) {
        headers.insert(name, value);
    }
}

/// The protocol's name of a stored algorithm.
pub(super) fn algorithm(stored: StoredAlgorithm) -> ChecksumAlgorithm {
    match stored {
        StoredAlgorithm::Crc32 => ChecksumAlgorithm::Crc32,
        StoredAlgorithm::Crc32c => ChecksumAlgorithm::Crc32c,
        StoredAlgorithm::Crc64Nvme => ChecksumAlgorithm::Crc64Nvme,
        StoredAlgorithm::Sha1 => ChecksumAlgorithm::Sha1,
        StoredAlgorithm::Sha256 => ChecksumAlgorithm::Sha256,
    }
}

/// The stored form of an algorithm.
pub(crate) fn stored_algorithm(algorithm: ChecksumAlgorithm) -> StoredAlgorithm {
    match algorithm {
        ChecksumAlgorithm::Crc32 => StoredAlgorithm::Crc32,
        ChecksumAlgorithm::Crc32c => StoredAlgorithm::Crc32c,
        ChecksumAlgorithm::Crc64Nvme => StoredAlgorithm::Crc64Nvme,
        ChecksumAlgorithm::Sha1 => StoredAlgorithm::Sha1,
        ChecksumAlgorithm::Sha256 => StoredAlgorithm::Sha256,
    }
}

/// The protocol's name of a stored kind.
pub(super) fn kind(stored: StoredKind) -> ChecksumKind {
    match stored {
        StoredKind::FullObject => ChecksumKind::FullObject,
        StoredKind::Composite => ChecksumKind::Composite,
    }
}

/// The stored form of a kind.
pub(super) fn stored_kind(kind: ChecksumKind) -> StoredKind {
    match kind {
        ChecksumKind::FullObject => StoredKind::FullObject,
        ChecksumKind::Composite => StoredKind::Composite,
    }
}

/// The checksum of a whole object, to be stored.
pub(super) fn full_object_checksum(checksum: &Checksum) -> ObjectChecksum {
    ObjectChecksum {
        algorithm: stored_algorithm(checksum.algorithm()),
        kind: StoredKind::FullObject,
        value: checksum.as_bytes().to_vec(),
        part_count: None,
    }
}
