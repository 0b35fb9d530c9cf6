//! Headers that a presigned URL carries as query parameters.
//!
//! Presigners move `x-amz-*` headers into the query ("hoisting"), so that whoever uses the URL need not send
//! them. They are signed like every parameter, and S3 takes them for headers: what they ask for must be
//! honoured or refused, exactly as if they had come as headers.
//!
//! Checksums are the exception: SDKs presign without knowing the body and put the checksum of an empty one
//! into the URL; S3 ignores those, and so must everybody who wants such uploads to work.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::operation::Query;
use crate::s3_error::S3Error;

/// Parameters that belong to a signature of version 4 itself, in lower case.
const OF_VERSION_4: [&str; 8] = [
    "x-amz-algorithm",
    "x-amz-credential",
    "x-amz-date",
    "x-amz-expires",
    "x-amz-signedheaders",
    "x-amz-signature",
    "x-amz-security-token",
    "x-amz-content-sha256",
];

/// Whether a parameter, given in lower case, belongs to a signature of version 4 itself.
pub(super) fn is_of_version_4(parameter: &str) -> bool {
    OF_VERSION_4.contains(&parameter)
}

/// The headers of a presigned request together with those its URL carries; `None` if it carries none.
///
/// A header that was sent wins over a parameter of its name. To be used for everything but verifying the
/// signature, which is about the headers that were sent.
///
/// # Errors
/// `InvalidArgument` for a parameter that no header can be.
pub fn with_hoisted_headers(
    query: &Query,
    headers: &HeaderMap,
) -> Result<Option<HeaderMap>, S3Error> {
    if !query.contains("X-Amz-Signature") && !query.contains("Signature") {
        return Ok(None);
    }
    let mut all: Option<HeaderMap> = None;
    for (parameter, value) in query.iter().filter(|(name, _)| is_hoisted(name)) {
        let (name, value) = header(parameter, value)
            .ok_or_else(|| S3Error::invalid_argument(NO_HEADER, parameter, value))?;
        if !headers.contains_key(&name) {
            all.get_or_insert_with(|| headers.clone())
                .append(name, value);
        }
    }
    Ok(all)
}

const NO_HEADER: &str = "The query parameter stands for a header and cannot be one.";

fn is_hoisted(parameter: &str) -> bool {
    let name = parameter.to_ascii_lowercase();
    name.starts_with("x-amz-") && !is_of_version_4(&name) && !is_checksum(&name)
}

fn header(parameter: &str, value: &str) -> Option<(HeaderName, HeaderValue)> {
    let name = HeaderName::try_from(parameter.to_ascii_lowercase()).ok()?;
    let value = HeaderValue::from_bytes(value.trim_ascii().as_bytes()).ok()?;
    Some((name, value))
}

/// `x-amz-checksum-mode` asks for checksums and is no checksum.
fn is_checksum(name: &str) -> bool {
    name == "x-amz-sdk-checksum-algorithm"
        || (name.starts_with("x-amz-checksum-") && name != "x-amz-checksum-mode")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hoisted(query: &str, sent: &[(&'static str, &str)]) -> Option<HeaderMap> {
        let headers = sent
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()))
            .collect();
        with_hoisted_headers(&Query::parse(Some(query)).unwrap(), &headers).unwrap()
    }

    #[test]
    fn parameters_of_a_presigned_url_count_as_headers() {
        let headers = hoisted(
            "X-Amz-Signature=s&X-Amz-Date=d&x-amz-acl=public-read&x-amz-meta-a=b%20c%20&x-id=PutObject",
            &[("host", "h")],
        )
        .unwrap();
        assert_eq!(headers["x-amz-acl"], "public-read");
        assert_eq!(headers["x-amz-meta-a"], "b c");
        assert_eq!(headers["host"], "h");
        assert_eq!(headers.len(), 3);
        assert!(hoisted("Signature=s&x-amz-acl=public-read", &[]).is_some());
    }

    #[test]
    fn a_header_that_was_sent_wins() {
        let sent = [("x-amz-acl", "private")];
        assert_eq!(
            hoisted("X-Amz-Signature=s&X-Amz-Acl=public-read", &sent),
            None
        );
    }

    #[test]
    fn checksums_in_urls_are_those_of_empty_bodies() {
        let query = "X-Amz-Signature=s&x-amz-checksum-crc32=AAAAAA%3D%3D&x-amz-sdk-checksum-algorithm=CRC32";
        assert_eq!(hoisted(query, &[]), None);
        assert!(hoisted("X-Amz-Signature=s&x-amz-checksum-mode=ENABLED", &[]).is_some());
    }

    #[test]
    fn only_presigned_urls_carry_headers() {
        assert_eq!(hoisted("x-amz-acl=public-read", &[]), None);
    }
}
