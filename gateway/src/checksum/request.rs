//! What a request's headers say about checksums.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::{Checksum, ChecksumAlgorithm, ChecksumKind};
use crate::s3_error::{ErrorCode, S3Error};

/// Where a request announces the value of its body's checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeclaredChecksum {
    /// In a header: known before the body.
    Header(Checksum),
    /// In the trailer: known after it.
    Trailer(ChecksumAlgorithm),
    /// Only the algorithm is named; the server computes the value.
    AlgorithmOnly(ChecksumAlgorithm),
}

impl DeclaredChecksum {
    /// The algorithm named.
    pub fn algorithm(&self) -> ChecksumAlgorithm {
        match self {
            DeclaredChecksum::Header(checksum) => checksum.algorithm(),
            DeclaredChecksum::Trailer(algorithm) | DeclaredChecksum::AlgorithmOnly(algorithm) => {
                *algorithm
            }
        }
    }
}

/// What a request with a body says about the checksum of that body.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ChecksumRequest {
    /// `None` if it says nothing.
    pub declared: Option<DeclaredChecksum>,
}

const SDK_ALGORITHM: &str = "x-amz-sdk-checksum-algorithm";
const ALGORITHM: &str = "x-amz-checksum-algorithm";
const TRAILER: &str = "x-amz-trailer";

impl ChecksumRequest {
    /// Parses the headers of a request whose `x-amz-checksum-*` is that of its body.
    ///
    /// # Errors
    /// `InvalidRequest` for contradictions and malformed values, `NotImplemented` for algorithms only Amazon has.
    pub fn parse(headers: &HeaderMap) -> Result<ChecksumRequest, S3Error> {
        let in_header = checksum_headers(headers)?;
        let in_trailer = announced_trailer(headers)?;
        let declared = match (in_header, in_trailer) {
            (Some(_), Some(_)) => return Err(several_checksums()),
            (Some(checksum), None) => Some(DeclaredChecksum::Header(checksum)),
            (None, Some(algorithm)) => Some(DeclaredChecksum::Trailer(algorithm)),
            (None, None) => None,
        };
        check_sdk_algorithm(headers, declared.as_ref())?;
        let declared = match declared {
            Some(declared) => Some(declared),
            None => parse_checksum_algorithm(headers)?.map(DeclaredChecksum::AlgorithmOnly),
        };
        Ok(ChecksumRequest { declared })
    }
}

/// The one `x-amz-checksum-<algorithm>` header of a request, if it has one.
///
/// # Errors
/// `InvalidRequest` if there are several or the value is malformed.
pub fn checksum_headers(headers: &HeaderMap) -> Result<Option<Checksum>, S3Error> {
    let mut found = None;
    for algorithm in ChecksumAlgorithm::ALL {
        for value in headers.get_all(algorithm.header()) {
            if found.is_some() {
                return Err(several_checksums());
            }
            let checksum = value
                .to_str()
                .ok()
                .and_then(|text| Checksum::from_base64(algorithm, text));
            let Some(checksum) = checksum else {
                return Err(invalid_value(algorithm.header(), "header"));
            };
            found = Some(checksum);
        }
    }
    Ok(found)
}

/// The algorithm in `x-amz-checksum-algorithm`, as `CreateMultipartUpload` and `CopyObject` send it.
///
/// # Errors
/// `InvalidRequest` if it is no algorithm, `NotImplemented` if it is one of those only Amazon has.
pub fn parse_checksum_algorithm(headers: &HeaderMap) -> Result<Option<ChecksumAlgorithm>, S3Error> {
    match headers.get(ALGORITHM) {
        None => Ok(None),
        Some(value) => parse_algorithm(value, ALGORITHM).map(Some),
    }
}

/// The kind in `x-amz-checksum-type`.
///
/// # Errors
/// `InvalidRequest` if it is no kind.
pub fn parse_checksum_kind(headers: &HeaderMap) -> Result<Option<ChecksumKind>, S3Error> {
    const NAME: &str = "x-amz-checksum-type";
    let Some(value) = headers.get(NAME) else {
        return Ok(None);
    };
    let kind = value.to_str().ok().and_then(ChecksumKind::from_name);
    kind.map(Some).ok_or_else(|| invalid_value(NAME, "header"))
}

/// 400 for more than one checksum of the same content.
pub(crate) fn several_checksums() -> S3Error {
    S3Error::new(
        ErrorCode::InvalidRequest,
        "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.",
    )
}

/// 400 for a malformed value, in S3's wording.
pub(crate) fn invalid_value(name: &str, place: &str) -> S3Error {
    S3Error::new(
        ErrorCode::InvalidRequest,
        format!("Value for {name} {place} is invalid."),
    )
}

/// Algorithms of Amazon's that Cairn does not have.
const NOT_IMPLEMENTED: [&str; 5] = ["SHA512", "MD5", "XXHASH64", "XXHASH3", "XXHASH128"];

fn parse_algorithm(value: &HeaderValue, header: &str) -> Result<ChecksumAlgorithm, S3Error> {
    let text = value.to_str().unwrap_or_default();
    if let Some(algorithm) = ChecksumAlgorithm::from_name(text) {
        return Ok(algorithm);
    }
    if NOT_IMPLEMENTED
        .iter()
        .any(|name| name.eq_ignore_ascii_case(text))
    {
        return Err(S3Error::header_not_implemented(header));
    }
    Err(invalid_value(header, "header"))
}

/// The algorithm whose value `x-amz-trailer` announces.
fn announced_trailer(headers: &HeaderMap) -> Result<Option<ChecksumAlgorithm>, S3Error> {
    let mut found = None;
    for value in headers.get_all(TRAILER) {
        let text = value.to_str().unwrap_or_default();
        for name in text
            .split(',')
            .map(str::trim)
            .filter(|name| !name.is_empty())
        {
            if found.is_some() {
                return Err(several_checksums());
            }
            let Some(algorithm) = ChecksumAlgorithm::from_header(name) else {
                return Err(unsupported_trailer(name));
            };
            found = Some(algorithm);
        }
    }
    Ok(found)
}

fn unsupported_trailer(name: &str) -> S3Error {
    let algorithm = name.get("x-amz-checksum-".len()..).unwrap_or_default();
    if NOT_IMPLEMENTED
        .iter()
        .any(|known| known.eq_ignore_ascii_case(algorithm))
    {
        return S3Error::header_not_implemented(TRAILER);
    }
    S3Error::new(
        ErrorCode::InvalidRequest,
        "The value specified in the x-amz-trailer header is not supported",
    )
}

/// An SDK that says which algorithm it used must have sent the value too; otherwise something dropped it on the way.
fn check_sdk_algorithm(
    headers: &HeaderMap,
    declared: Option<&DeclaredChecksum>,
) -> Result<(), S3Error> {
    let Some(value) = headers.get(SDK_ALGORITHM) else {
        return Ok(());
    };
    let algorithm = parse_algorithm(value, SDK_ALGORITHM)?;
    match declared {
        None => Err(S3Error::new(
            ErrorCode::InvalidRequest,
            "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or x-amz-trailer \
             headers were found.",
        )),
        Some(declared) if declared.algorithm() != algorithm => {
            Err(invalid_value(SDK_ALGORITHM, "header"))
        }
        Some(_) => Ok(()),
    }
}

impl Checksum {
    /// The response header that carries this value.
    pub fn to_header(&self) -> Option<(HeaderName, HeaderValue)> {
        let value = HeaderValue::from_str(&self.to_base64()).ok()?;
        Some((HeaderName::from_static(self.algorithm().header()), value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(headers: &[(&'static str, &str)]) -> Result<Option<DeclaredChecksum>, S3Error> {
        let headers: HeaderMap = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()))
            .collect();
        ChecksumRequest::parse(&headers).map(|request| request.declared)
    }

    fn refused(headers: &[(&'static str, &str)]) -> S3Error {
        parse(headers).unwrap_err()
    }

    #[test]
    fn a_value_comes_in_a_header_or_a_trailer_or_not_at_all() {
        assert_eq!(parse(&[]).unwrap(), None);
        let crc = Checksum::from_base64(ChecksumAlgorithm::Crc32c, "sOO8/Q==").unwrap();
        assert_eq!(
            parse(&[
                ("x-amz-checksum-crc32c", "sOO8/Q=="),
                ("x-amz-sdk-checksum-algorithm", "CRC32C")
            ])
            .unwrap(),
            Some(DeclaredChecksum::Header(crc))
        );
        assert_eq!(
            parse(&[
                ("x-amz-trailer", "x-amz-checksum-sha1"),
                ("x-amz-sdk-checksum-algorithm", "SHA1")
            ])
            .unwrap(),
            Some(DeclaredChecksum::Trailer(ChecksumAlgorithm::Sha1))
        );
        assert_eq!(
            parse(&[("x-amz-checksum-algorithm", "SHA256")]).unwrap(),
            Some(DeclaredChecksum::AlgorithmOnly(ChecksumAlgorithm::Sha256))
        );
    }

    #[test]
    fn contradictions_are_refused() {
        let two = refused(&[
            ("x-amz-checksum-crc32c", "sOO8/Q=="),
            ("x-amz-checksum-crc32", "sOO8/Q=="),
        ]);
        assert!(
            two.message()
                .starts_with("Expecting a single x-amz-checksum- header")
        );
        let both = refused(&[
            ("x-amz-checksum-crc32c", "sOO8/Q=="),
            ("x-amz-trailer", "x-amz-checksum-crc32c"),
        ]);
        assert_eq!(both.code(), ErrorCode::InvalidRequest);
        let alone = refused(&[("x-amz-sdk-checksum-algorithm", "CRC32")]);
        assert!(alone.message().contains("no corresponding"));
        let other = refused(&[
            ("x-amz-checksum-crc32c", "sOO8/Q=="),
            ("x-amz-sdk-checksum-algorithm", "CRC32"),
        ]);
        assert_eq!(
            other.message(),
            "Value for x-amz-sdk-checksum-algorithm header is invalid."
        );
    }

    #[test]
    fn malformed_and_unknown_values_are_refused() {
        assert_eq!(
            refused(&[("x-amz-checksum-crc32", "AAA=")]).message(),
            "Value for x-amz-checksum-crc32 header is invalid."
        );
        assert_eq!(
            refused(&[("x-amz-trailer", "x-amz-meta-a")]).code(),
            ErrorCode::InvalidRequest
        );
        assert_eq!(
            refused(&[("x-amz-trailer", "x-amz-checksum-sha512")]).code(),
            ErrorCode::NotImplemented
        );
        assert_eq!(
            refused(&[("x-amz-checksum-algorithm", "MD5")]).code(),
            ErrorCode::NotImplemented
        );
        assert_eq!(
            refused(&[("x-amz-checksum-algorithm", "foo")]).code(),
            ErrorCode::InvalidRequest
        );
    }
}
