//! How large the header of a request may be.

use http::HeaderMap;
use http::request::Parts;

use crate::s3_error::{ErrorCode, S3Error};

/// Longest query of a URL: room for two keys of 1,024 bytes, escaped, a signature and a session token.
const QUERY_BYTES_MAX: usize = 16 << 10;

/// Bounds headers and query, before anything is looked for among them.
///
/// # Errors
/// 400 `RequestHeaderSectionTooLarge`.
pub(crate) fn check(parts: &Parts, header_section_bytes_max: usize) -> Result<(), S3Error> {
    check_headers(&parts.headers, header_section_bytes_max)?;
    let query_bytes = parts.uri.query().map_or(0, str::len);
    check_one(query_bytes, QUERY_BYTES_MAX)
}

/// Bounds all headers together, counted as S3 counts them.
///
/// # Errors
/// 400 `RequestHeaderSectionTooLarge`.
pub(crate) fn check_headers(headers: &HeaderMap, limit: usize) -> Result<(), S3Error> {
    let size: usize = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len())
        .sum();
    check_one(size, limit)
}

fn check_one(size: usize, limit: usize) -> Result<(), S3Error> {
    if size <= limit {
        return Ok(());
    }
    Err(S3Error::of(ErrorCode::RequestHeaderSectionTooLarge)
        .with("MaxSizeAllowed", limit.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(query_bytes: usize, header_bytes: usize) -> Parts {
        let request = http::Request::builder()
            .uri(format!("/b?{}", "a".repeat(query_bytes)))
            .header("a", "x".repeat(header_bytes - 1));
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn headers_and_query_are_bounded_each() {
        assert!(check(&parts(QUERY_BYTES_MAX, 100), 100).is_ok());
        for parts in [parts(1, 101), parts(QUERY_BYTES_MAX + 1, 1)] {
            assert_eq!(
                check(&parts, 100).unwrap_err().code(),
                ErrorCode::RequestHeaderSectionTooLarge
            );
        }
    }
}
