//! What version 2 makes of each query parameter: some are signed, most are not.

use http::{HeaderName, HeaderValue};

use crate::auth::hoisted_headers::is_of_version_4;

/// A query parameter as version 2 sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Parameter {
    /// Carries the claim itself.
    OfTheClaim,
    /// Signed by its name: what is addressed.
    SubResource,
    /// Signed with its value, decoded.
    Value,
    /// A header in the query, signed as one.
    Header,
    /// Belongs to the other mechanism.
    OfVersion4,
    /// Not signed, and changes at most which part of a listing is returned.
    Harmless,
    /// Not signed, and may mean anything.
    Unsigned,
}

/// The sub-resources of "Signing and authenticating REST requests" and those that came later, as clients sign
/// them. Each is signed whatever its value, and without it.
const SUB_RESOURCES: &[&str] = &[
    "accelerate",
    "acl",
    "analytics",
    "cors",
    "delete",
    "inventory",
    "lifecycle",
    "location",
    "logging",
    "metrics",
    "notification",
    "object-lock",
    "policy",
    "replication",
    "requestPayment",
    "restore",
    "select",
    "tagging",
    "torrent",
    "uploads",
    "versioning",
    "versions",
    "website",
];

const VALUES: &[&str] = &[
    "partNumber",
    "response-cache-control",
    "response-content-disposition",
    "response-content-encoding",
    "response-content-language",
    "response-content-type",
    "response-expires",
    "select-type",
    "uploadId",
    "versionId",
];

/// Whoever may list may list any part: `prefix` is a question, not a permission. botocore puts the headers of the
/// last row into its URLs, where nobody reads them; `x-id` names the operation for the reader of a log.
const HARMLESS: &[&str] = &[
    "bucket-region",
    "continuation-token",
    "delimiter",
    "encoding-type",
    "fetch-owner",
    "key-marker",
    "list-type",
    "marker",
    "max-buckets",
    "max-keys",
    "max-parts",
    "max-uploads",
    "part-number-marker",
    "prefix",
    "start-after",
    "upload-id-marker",
    "version-id-marker",
    "x-id",
    "content-md5",
    "content-type",
];

impl Parameter {
    /// Names are compared with their case, as the operations compare them; headers without.
    pub(super) fn of(name: &str, value: &str) -> Parameter {
        if matches!(name, "AWSAccessKeyId" | "Expires" | "Signature") {
            return Parameter::OfTheClaim;
        }
        if SUB_RESOURCES.contains(&name) {
            return Parameter::SubResource;
        }
        if VALUES.contains(&name) {
            return Parameter::Value;
        }
        if HARMLESS.contains(&name) {
            return Parameter::Harmless;
        }
        let header = name.to_ascii_lowercase();
        if is_of_version_4(&header) {
            return Parameter::OfVersion4;
        }
        // What cannot be a header will not be read as one, and must not put line ends into what is signed.
        let is_header = header.starts_with("x-amz-")
            && HeaderName::try_from(header).is_ok()
            && HeaderValue::from_bytes(value.as_bytes()).is_ok();
        if is_header {
            Parameter::Header
        } else {
            Parameter::Unsigned
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operation::{Operation, QueryMatch};

    #[test]
    fn nothing_that_chooses_an_operation_goes_unsigned() {
        let all = Operation::ALL
            .iter()
            .flat_map(|operation| operation.spec().query);
        for needed in all {
            let (QueryMatch::Present(name) | QueryMatch::Is(name, _)) = *needed;
            // The two versions of a listing are one permission.
            let is_listing = name == "list-type";
            let parameter = Parameter::of(name, "");
            assert_eq!(parameter == Parameter::Harmless, is_listing, "{name}");
        }
        assert_eq!(Parameter::of("uploads", ""), Parameter::SubResource);
        assert_eq!(Parameter::of("uploadId", "u"), Parameter::Value);
        assert_eq!(Parameter::of("retention", ""), Parameter::Unsigned);
        assert_eq!(Parameter::of("attributes", ""), Parameter::Unsigned);
    }

    #[test]
    fn names_have_their_case_and_headers_have_none() {
        assert_eq!(Parameter::of("versionid", "v"), Parameter::Unsigned);
        assert_eq!(Parameter::of("ACL", ""), Parameter::Unsigned);
        assert_eq!(Parameter::of("X-Amz-Meta-A", "b"), Parameter::Header);
        assert_eq!(Parameter::of("x-amz-expires", "1"), Parameter::OfVersion4);
        assert_eq!(Parameter::of("Prefix", "p"), Parameter::Unsigned);
    }

    #[test]
    fn what_cannot_be_a_header_is_none() {
        assert_eq!(Parameter::of("x-amz-meta-a", "b\nc"), Parameter::Unsigned);
        assert_eq!(Parameter::of("x-amz-meta-\n", "b"), Parameter::Unsigned);
        assert_eq!(Parameter::of("x-amz-meta-a", "\u{7f}"), Parameter::Unsigned);
    }
}
