//! Headers that must be honoured or refused, never ignored.
//!
//! A client that asks for encryption, a lock, an access rule, a condition or a checksum and gets a 200 relies
//! on having got it. Each such header of Amazon's model stands here with the operations for which Cairn
//! implements it and the values that ask for nothing beyond what Cairn does anyway; anything else is 501.

use http::{HeaderMap, HeaderValue};

use super::{Method, Operation};
use crate::s3_error::S3Error;
use Operation::{
    CompleteMultipartUpload, CopyObject, CreateBucket, CreateMultipartUpload, DeleteObject,
    DeleteObjects, GetObject, GetObjectAttributes, HeadObject, ListMultipartUploads, ListObjects,
    ListObjectsV2, ListParts, PutObject, UploadPart, UploadPartCopy,
};

struct GuardedHeader {
    /// The name; one that ends in `-` stands for all names that begin so.
    name: &'static str,
    /// Operations that implement it with any value (the operation judges the value).
    implemented_by: &'static [Operation],
    /// Values that ask for nothing: accepted everywhere, compared without case.
    harmless: &'static [&'static str],
}

const fn refused(name: &'static str) -> GuardedHeader {
    GuardedHeader {
        name,
        implemented_by: &[],
        harmless: &[],
    }
}

const fn refused_unless(name: &'static str, harmless: &'static [&'static str]) -> GuardedHeader {
    GuardedHeader {
        name,
        implemented_by: &[],
        harmless,
    }
}

const fn implemented(name: &'static str, implemented_by: &'static [Operation]) -> GuardedHeader {
    GuardedHeader {
        name,
        implemented_by,
        harmless: &[],
    }
}

/// What a copy does with what its source has. Where there is no source it asks for nothing; s3fs sends it with all it
/// writes.
const fn source_directive(name: &'static str) -> GuardedHeader {
    GuardedHeader {
        name,
        implemented_by: &[CopyObject],
        harmless: &["COPY", "REPLACE"],
    }
}

/// Some SDKs declare the checksum of an empty body where there is none: true, and nothing to verify.
const fn body_checksum(
    name: &'static str,
    of_empty_body: &'static [&'static str],
) -> GuardedHeader {
    GuardedHeader {
        name,
        implemented_by: HAS_BODY,
        harmless: of_empty_body,
    }
}

const CREATES_OBJECT: &[Operation] = &[PutObject, CopyObject, CreateMultipartUpload];
const COPIES: &[Operation] = &[CopyObject, UploadPartCopy];
const HAS_BODY: &[Operation] = &[
    PutObject,
    UploadPart,
    CompleteMultipartUpload,
    DeleteObjects,
    CreateBucket,
];

const BYPASS: &str = "x-amz-bypass-governance-retention";

/// A name that ends in `-` stands for all names that begin so; the first entry that covers a header decides.
static GUARDED: &[GuardedHeader] = &[
    // Access control. Everything is private to the bucket's owner, who controls all of it: these ask for nothing.
    refused_unless("x-amz-acl", &["private", "bucket-owner-full-control"]),
    refused("x-amz-grant-"),
    refused_unless("x-amz-object-ownership", &["BucketOwnerEnforced"]),
    refused_unless("x-amz-bucket-namespace", &["global"]),
    // Encryption.
    refused_unless(
        "x-amz-server-side-encryption-bucket-key-enabled",
        &["false"],
    ),
    refused("x-amz-server-side-encryption"),
    refused("x-amz-server-side-encryption-"),
    refused("x-amz-copy-source-server-side-encryption-"),
    // Locks and second factors.
    refused_unless("x-amz-bucket-object-lock-enabled", &["false"]),
    refused("x-amz-bucket-object-lock-token"),
    refused_unless("x-amz-object-lock-legal-hold", &["OFF"]),
    refused("x-amz-object-lock-"),
    refused(BYPASS),
    refused("x-amz-mfa"),
    // Storage.
    refused_unless("x-amz-storage-class", &["STANDARD"]),
    refused("x-amz-write-offset-bytes"),
    refused("x-amz-object-annotation-directive"),
    implemented("x-amz-tagging", CREATES_OBJECT),
    source_directive("x-amz-tagging-directive"),
    source_directive("x-amz-metadata-directive"),
    implemented("x-amz-website-redirect-location", CREATES_OBJECT),
    // Checksums.
    body_checksum("x-amz-checksum-crc32", &["AAAAAA=="]),
    body_checksum("x-amz-checksum-crc32c", &["AAAAAA=="]),
    body_checksum("x-amz-checksum-crc64nvme", &["AAAAAAAAAAA="]),
    body_checksum("x-amz-checksum-sha1", &["2jmj7l5rSw0yVb/vlWAYkK/YBwk="]),
    body_checksum(
        "x-amz-checksum-sha256",
        &["47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="],
    ),
    implemented(
        "x-amz-checksum-algorithm",
        &[CopyObject, CreateMultipartUpload, PutObject, UploadPart],
    ),
    // Of what is sent as a whole there is no other type.
    GuardedHeader {
        name: "x-amz-checksum-type",
        implemented_by: &[CreateMultipartUpload, CompleteMultipartUpload],
        harmless: &["FULL_OBJECT"],
    },
    implemented("x-amz-checksum-mode", &[GetObject, HeadObject]),
    refused("x-amz-checksum-"),
    implemented("x-amz-sdk-checksum-algorithm", HAS_BODY),
    implemented("x-amz-mp-object-size", &[CompleteMultipartUpload]),
    // Conditions.
    implemented("x-amz-copy-source-if-", COPIES),
    refused("x-amz-if-match-"),
    refused("x-amz-object-if-match"),
    refused("x-amz-rename-source"),
    implemented(
        "if-match",
        &[
            GetObject,
            HeadObject,
            PutObject,
            CopyObject,
            CompleteMultipartUpload,
            DeleteObject,
        ],
    ),
    implemented(
        "if-none-match",
        &[
            GetObject,
            HeadObject,
            PutObject,
            CopyObject,
            CompleteMultipartUpload,
        ],
    ),
    implemented("if-modified-since", &[GetObject, HeadObject]),
    implemented("if-unmodified-since", &[GetObject, HeadObject]),
];

/// Reads for which S3 knows neither conditions nor a checksum mode: ignoring them misleads nobody, since the full
/// answer is a right answer.
const READS_WITHOUT_CONDITIONS: &[Operation] = &[
    GetObjectAttributes,
    ListObjects,
    ListObjectsV2,
    ListMultipartUploads,
    ListParts,
    Operation::ListBuckets,
    Operation::HeadBucket,
    Operation::GetBucketLocation,
];

impl GuardedHeader {
    fn covers(&self, header: &str) -> bool {
        if self.name.ends_with('-') {
            header.starts_with(self.name)
        } else {
            header == self.name
        }
    }

    fn is_harmless(&self, value: &[u8]) -> bool {
        self.harmless
            .iter()
            .any(|harmless| harmless.as_bytes().eq_ignore_ascii_case(value))
    }
}

/// Refuses what a request asks for by header and Cairn would not do.
///
/// # Errors
/// `NotImplemented` naming the header.
pub fn check_headers(operation: Operation, headers: &HeaderMap) -> Result<(), S3Error> {
    for (name, value) in headers {
        let name = name.as_str();
        if !name.starts_with("x-amz-") && !name.starts_with("if-") {
            continue;
        }
        let Some(guarded) = GUARDED.iter().find(|guarded| guarded.covers(name)) else {
            continue;
        };
        if guarded.implemented_by.contains(&operation) || guarded.is_harmless(value.as_bytes()) {
            continue;
        }
        // Browsers and caches add HTTP's own conditions to any read.
        let is_read = matches!(operation.spec().method, Method::Get | Method::Head);
        let asks_of_a_read = name.starts_with("if-") || name == "x-amz-checksum-mode";
        if is_read && asks_of_a_read && READS_WITHOUT_CONDITIONS.contains(&operation) {
            continue;
        }
        return Err(refuse(operation, name, value));
    }
    Ok(())
}

fn refuse(operation: Operation, name: &str, value: &HeaderValue) -> S3Error {
    // S3's own words of a bucket without locks, which all are here, whatever the value.
    if name == BYPASS && matches!(operation, DeleteObject | DeleteObjects) {
        return S3Error::invalid_argument(
            "x-amz-bypass-governance-retention is only applicable to Object Lock enabled buckets.",
            BYPASS,
            String::from_utf8_lossy(value.as_bytes()),
        );
    }
    S3Error::header_not_implemented(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::s3_error::ErrorCode;

    fn check(operation: Operation, name: &'static str, value: &'static str) -> Result<(), S3Error> {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_static(value));
        check_headers(operation, &headers)
    }

    /// Every header of Amazon's model whose being ignored would deceive a client.
    const NEVER_IGNORED: &[&str] = &[
        "x-amz-grant-full-control",
        "x-amz-grant-read",
        "x-amz-grant-write-acp",
        "x-amz-server-side-encryption",
        "x-amz-server-side-encryption-aws-kms-key-id",
        "x-amz-server-side-encryption-context",
        "x-amz-server-side-encryption-bucket-key-enabled",
        "x-amz-server-side-encryption-customer-algorithm",
        "x-amz-server-side-encryption-customer-key",
        "x-amz-server-side-encryption-customer-key-md5",
        "x-amz-copy-source-server-side-encryption-customer-key",
        "x-amz-object-lock-mode",
        "x-amz-object-lock-retain-until-date",
        "x-amz-object-lock-legal-hold",
        "x-amz-object-lock-event-hold",
        "x-amz-bucket-object-lock-enabled",
        "x-amz-bucket-object-lock-token",
        "x-amz-mfa",
        "x-amz-write-offset-bytes",
        "x-amz-storage-class",
        "x-amz-object-ownership",
        "x-amz-if-match-size",
        "x-amz-if-match-last-modified-time",
        "x-amz-if-match-initiated-time",
        "x-amz-object-if-match",
        "x-amz-checksum-sha512",
        "x-amz-checksum-md5",
        "x-amz-checksum-xxhash64",
        "x-amz-checksum-xxhash3",
        "x-amz-checksum-xxhash128",
    ];

    #[test]
    fn what_is_not_implemented_is_refused_for_every_write() {
        for name in NEVER_IGNORED {
            for &operation in &[
                PutObject,
                CopyObject,
                CreateMultipartUpload,
                UploadPart,
                DeleteObject,
            ] {
                let error = check(operation, name, "something").unwrap_err();
                assert_eq!(error.code(), ErrorCode::NotImplemented, "{name}");
                assert_eq!(error.extra("Header"), Some(*name));
            }
        }
    }

    #[test]
    fn values_that_ask_for_nothing_are_accepted() {
        check(PutObject, "x-amz-acl", "private").unwrap();
        check(CreateBucket, "x-amz-acl", "private").unwrap();
        for directive in ["x-amz-metadata-directive", "x-amz-tagging-directive"] {
            check(PutObject, directive, "REPLACE").unwrap();
            check(CreateMultipartUpload, directive, "COPY").unwrap();
            assert!(check(PutObject, directive, "KEEP").is_err());
        }
        check(PutObject, "x-amz-checksum-type", "FULL_OBJECT").unwrap();
        check(UploadPart, "x-amz-checksum-type", "FULL_OBJECT").unwrap();
        assert!(check(PutObject, "x-amz-checksum-type", "COMPOSITE").is_err());
        check(CopyObject, "x-amz-acl", "bucket-owner-full-control").unwrap();
        check(PutObject, "x-amz-storage-class", "STANDARD").unwrap();
        check(
            CreateBucket,
            "x-amz-object-ownership",
            "BucketOwnerEnforced",
        )
        .unwrap();
        check(CreateBucket, "x-amz-bucket-object-lock-enabled", "false").unwrap();
        assert!(check(PutObject, "x-amz-acl", "public-read").is_err());
        assert!(check(PutObject, "x-amz-storage-class", "GLACIER").is_err());
    }

    #[test]
    fn without_locks_there_is_no_retention_to_bypass() {
        for operation in [DeleteObject, DeleteObjects] {
            for value in ["true", "false"] {
                let error = check(operation, BYPASS, value).unwrap_err();
                assert_eq!(error.code(), ErrorCode::InvalidArgument);
            }
        }
        let elsewhere = check(PutObject, BYPASS, "true").unwrap_err();
        assert_eq!(elsewhere.code(), ErrorCode::NotImplemented);
    }

    #[test]
    fn conditions_are_taken_only_where_they_are_honoured() {
        check(GetObject, "if-modified-since", "x").unwrap();
        check(PutObject, "if-none-match", "*").unwrap();
        check(DeleteObject, "if-match", "*").unwrap();
        check(ListObjectsV2, "if-none-match", "x").unwrap();
        assert!(check(PutObject, "if-modified-since", "x").is_err());
        assert!(check(PutObject, "if-unmodified-since", "x").is_err());
        assert!(check(DeleteObject, "if-none-match", "*").is_err());
        assert!(check(UploadPart, "if-match", "x").is_err());
        assert!(check(CreateMultipartUpload, "if-none-match", "*").is_err());
    }

    #[test]
    fn a_repeated_header_is_judged_value_by_value() {
        let mut headers = HeaderMap::new();
        headers.append("x-amz-acl", HeaderValue::from_static("private"));
        headers.append("x-amz-acl", HeaderValue::from_static("public-read"));
        assert!(check_headers(PutObject, &headers).is_err());
    }

    #[test]
    fn the_checksum_of_no_body_passes_where_there_is_none() {
        check(GetObject, "x-amz-checksum-crc32", "AAAAAA==").unwrap();
        assert!(check(GetObject, "x-amz-checksum-crc32", "AAAAAQ==").is_err());
    }

    #[test]
    fn ordinary_headers_pass() {
        for name in [
            "x-amz-date",
            "x-amz-content-sha256",
            "x-amz-meta-if-match",
            "x-amz-expected-bucket-owner",
            "x-amz-request-payer",
            "x-amz-decoded-content-length",
            "x-amz-trailer",
            "x-amz-user-agent",
            "content-type",
        ] {
            check(PutObject, name, "x").unwrap();
        }
    }
}
