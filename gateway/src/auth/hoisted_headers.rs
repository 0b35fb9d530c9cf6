//! Headers that a presigned URL carries as query parameters.
//!
//! Presigners move `x-amz-*` headers into the query ("hoisting"), so that whoever uses the URL need not send
//! them. They are signed like every parameter, and S3 takes them for headers: what they ask for must be
//! honoured or refused, exactly as if they had come as headers. A header that says something else than the parameter
//! of its name is refused, as at S3: which of the two was meant nobody can tell.
//!
//! Checksums are the exception: SDKs presign without knowing the body and put the checksum of an empty one
//! into the URL; S3 ignores those, and so must everybody who wants such uploads to work.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::operation::Query;
use crate::s3_error::{ErrorCode, S3Error};

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
/// To be used for everything but verifying the signature, which is about the headers that were sent.
///
/// # Errors
/// `InvalidArgument` for a parameter that no header can be, `InvalidRequest` for one that a header contradicts.
pub fn with_hoisted_headers(
    query: &Query,
    headers: &HeaderMap,
) -> Result<Option<HeaderMap>, S3Error> {
    if !query.contains("X-Amz-Signature") && !query.contains("Signature") {
        return Ok(None);
    }
    let mut carried = HeaderMap::new();
    for (parameter, value) in query.iter().filter(|(name, _)| is_hoisted(name)) {
        let (name, value) = header(parameter, value)
            .ok_or_else(|| S3Error::invalid_argument(NO_HEADER, parameter, value))?;
        carried.append(name, value);
    }
    let mut all: Option<HeaderMap> = None;
    for name in carried.keys() {
        if !headers.contains_key(name) {
            let all = all.get_or_insert_with(|| headers.clone());
            for value in carried.get_all(name) {
                all.append(name, value.clone());
            }
        } else if joined(headers, name) != joined(&carried, name) {
            return Err(S3Error::new(ErrorCode::InvalidRequest, CONTRADICTION)
                .with("HeaderName", name.as_str()));
        }
    }
    Ok(all)
}

const NO_HEADER: &str = "The query parameter stands for a header and cannot be one.";
const CONTRADICTION: &str = "Conflicting values provided in HTTP headers and query parameters.";

fn is_hoisted(parameter: &str) -> bool {
    let name = parameter.to_ascii_lowercase();
    name.starts_with("x-amz-") && !is_of_version_4(&name) && !is_checksum(&name)
}

fn header(parameter: &str, value: &str) -> Option<(HeaderName, HeaderValue)> {
    let name = HeaderName::try_from(parameter.to_ascii_lowercase()).ok()?;
    let value = HeaderValue::from_bytes(value.trim_ascii().as_bytes()).ok()?;
    Some((name, value))
}

/// Repeated headers are one whose values are joined by commas.
fn joined(headers: &HeaderMap, name: &HeaderName) -> Vec<u8> {
    let values = headers.get_all(name).iter();
    let values: Vec<_> = values.map(|value| value.as_bytes().trim_ascii()).collect();
    values.join(&b',')
}

/// `x-amz-checksum-mode` asks for checksums and is no checksum.
fn is_checksum(name: &str) -> bool {
    name == "x-amz-sdk-checksum-algorithm"
        || (name.starts_with("x-amz-checksum-") && name != "x-amz-checksum-mode")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn try_hoisted(
        query: &str,
        sent: &[(&'static str, &str)],
    ) -> Result<Option<HeaderMap>, S3Error> {
        let mut headers = HeaderMap::new();
        for (name, value) in sent {
            headers.append(*name, value.parse().unwrap());
        }
        with_hoisted_headers(&Query::parse(Some(query)).unwrap(), &headers)
    }

    fn hoisted(query: &str, sent: &[(&'static str, &str)]) -> Option<HeaderMap> {
        try_hoisted(query, sent).unwrap()
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
    fn a_header_may_repeat_a_parameter_and_not_contradict_it() {
        let twice = [("x-amz-meta-a", "1"), ("x-amz-meta-a", "2")];
        for (carried, sent) in [
            ("X-Amz-Acl=private", &[("x-amz-acl", " private")][..]),
            ("x-amz-meta-a=1&x-amz-meta-a=2", &twice),
            ("x-amz-meta-a=1,2", &twice),
        ] {
            let query = format!("X-Amz-Signature=s&{carried}");
            assert_eq!(hoisted(&query, sent), None, "{carried}");
        }
        for (carried, sent) in [
            ("X-Amz-Acl=public-read", &[("x-amz-acl", "private")][..]),
            ("x-amz-acl=", &[("x-amz-acl", "private")]),
            ("x-amz-meta-a=2&x-amz-meta-a=1", &twice),
            ("x-amz-meta-a=1", &twice),
        ] {
            for signature in ["X-Amz-Signature", "Signature"] {
                let error = try_hoisted(&format!("{signature}=s&{carried}"), sent).unwrap_err();
                assert_eq!(error.code(), ErrorCode::InvalidRequest, "{carried}");
            }
        }
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
