//! What a request's head says about its body: how long, how framed, with which digests.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::TRANSFER_ENCODING;

use crate::auth::PayloadMode;
use crate::checksum::{ChecksumAlgorithm, ChecksumRequest, DeclaredChecksum};
use crate::s3_error::{ErrorCode, S3Error};

/// The largest object of one PUT and the largest part: 5 GiB.
pub const BODY_SIZE_BYTES_MAX: u64 = 5 << 30;

/// How long the content of a framed body is.
const DECODED_LENGTH: &str = "x-amz-decoded-content-length";

/// A request's declarations about its body, consistent with each other.
#[derive(Debug, Clone)]
pub struct BodyPlan {
    pub(super) payload: PayloadMode,
    pub(super) length: u64,
    pub(super) content_md5: Option<[u8; 16]>,
    pub(super) checksum: Option<DeclaredChecksum>,
    /// The algorithm computed if the request names none.
    pub(super) default_algorithm: ChecksumAlgorithm,
}

impl BodyPlan {
    /// Reads the headers of a request that has a body of at most `size_bytes_max`.
    ///
    /// # Errors
    /// `MissingContentLength`, `EntityTooLarge`, `InvalidDigest`, `InvalidArgument`, `InvalidRequest`, `NotImplemented`:
    /// all before the body was touched.
    pub fn of_request(
        headers: &HeaderMap,
        payload: PayloadMode,
        size_bytes_max: u64,
    ) -> Result<BodyPlan, S3Error> {
        refuse_unannounced_frames(headers, &payload)?;
        let length = content_length(headers, &payload)?;
        if length > size_bytes_max {
            return Err(S3Error::of(ErrorCode::EntityTooLarge)
                .with("ProposedSize", length.to_string())
                .with("MaxSizeAllowed", size_bytes_max.to_string()));
        }
        let checksum = ChecksumRequest::parse(headers)?.declared;
        let has_trailer = matches!(
            payload,
            PayloadMode::StreamingUnsignedTrailer | PayloadMode::Streaming { trailer: true, .. }
        );
        if matches!(checksum, Some(DeclaredChecksum::Trailer(_))) && !has_trailer {
            return Err(S3Error::new(
                ErrorCode::InvalidRequest,
                "x-amz-trailer requires an x-amz-content-sha256 that announces a trailer",
            ));
        }
        Ok(BodyPlan {
            payload,
            length,
            content_md5: content_md5(headers)?,
            checksum,
            default_algorithm: ChecksumAlgorithm::Crc64Nvme,
        })
    }

    /// Computes this algorithm instead of S3's default if the request names none: for parts of an upload that
    /// was created with one.
    #[must_use]
    pub fn with_default_algorithm(mut self, algorithm: ChecksumAlgorithm) -> BodyPlan {
        self.default_algorithm = algorithm;
        self
    }

    /// The length of the content, without framing.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// What the request says about its checksum.
    pub fn declared_checksum(&self) -> Option<DeclaredChecksum> {
        self.checksum
    }

    /// Whether the content is protected by `Content-MD5` or a checksum, as some operations demand.
    pub fn has_digest(&self) -> bool {
        self.content_md5.is_some()
            || matches!(
                self.checksum,
                Some(DeclaredChecksum::Header(_) | DeclaredChecksum::Trailer(_))
            )
    }
}

/// A body that is longer than its content is framed. Where `x-amz-content-sha256` does not say so, the frames would
/// be stored as content. (`Content-Encoding: aws-chunked` alone frames nothing: S3 takes it off and stores the body.)
fn refuse_unannounced_frames(headers: &HeaderMap, payload: &PayloadMode) -> Result<(), S3Error> {
    if payload.is_chunked() || !headers.contains_key(DECODED_LENGTH) {
        return Ok(());
    }
    Err(S3Error::new(
        ErrorCode::InvalidRequest,
        "x-amz-decoded-content-length requires an x-amz-content-sha256 that announces an aws-chunked body",
    ))
}

/// The length of the content: S3 takes no body without knowing it.
fn content_length(headers: &HeaderMap, payload: &PayloadMode) -> Result<u64, S3Error> {
    let name = if payload.is_chunked() {
        DECODED_LENGTH
    } else {
        "content-length"
    };
    let Some(value) = headers.get(name) else {
        // A body that says where it ends in its framing alone: S3 names the header.
        return Err(
            if !payload.is_chunked() && headers.contains_key(TRANSFER_ENCODING) {
                S3Error::header_not_implemented("Transfer-Encoding")
            } else {
                ErrorCode::MissingContentLength.into()
            },
        );
    };
    let text = value.to_str().unwrap_or_default();
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let length = if is_number { text.parse().ok() } else { None };
    length.ok_or_else(|| {
        S3Error::invalid_argument("The content length is not a valid number.", name, text)
    })
}

fn content_md5(headers: &HeaderMap) -> Result<Option<[u8; 16]>, S3Error> {
    let Some(value) = headers.get("content-md5") else {
        return Ok(None);
    };
    let decoded = STANDARD.decode(value.as_bytes().trim_ascii()).ok();
    let md5 = decoded.and_then(|bytes| <[u8; 16]>::try_from(bytes).ok());
    md5.map(Some).ok_or_else(|| {
        S3Error::of(ErrorCode::InvalidDigest)
            .with("Content-MD5", String::from_utf8_lossy(value.as_bytes()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(payload: PayloadMode, headers: &[(&'static str, &str)]) -> Result<BodyPlan, S3Error> {
        let headers = headers
            .iter()
            .map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap()))
            .collect();
        BodyPlan::of_request(&headers, payload, BODY_SIZE_BYTES_MAX)
    }

    fn refused(payload: PayloadMode, headers: &[(&'static str, &str)]) -> ErrorCode {
        plan(payload, headers).unwrap_err().code()
    }

    #[test]
    fn the_length_must_be_known_and_allowed() {
        assert_eq!(
            plan(PayloadMode::Unsigned, &[("content-length", "5")])
                .unwrap()
                .length(),
            5
        );
        let chunked = PayloadMode::StreamingUnsignedTrailer;
        let both = [
            ("content-length", "99"),
            ("x-amz-decoded-content-length", "5"),
        ];
        assert_eq!(plan(chunked.clone(), &both).unwrap().length(), 5);
        assert_eq!(
            refused(PayloadMode::Unsigned, &[]),
            ErrorCode::MissingContentLength
        );
        assert_eq!(
            refused(chunked.clone(), &[("content-length", "5")]),
            ErrorCode::MissingContentLength
        );
        let framed = [("transfer-encoding", "chunked")];
        assert_eq!(refused(chunked, &framed), ErrorCode::MissingContentLength);
        assert_eq!(
            refused(PayloadMode::Unsigned, &framed),
            ErrorCode::NotImplemented
        );
        assert_eq!(
            refused(PayloadMode::Unsigned, &[("content-length", "+5")]),
            ErrorCode::InvalidArgument
        );
        let error = plan(PayloadMode::Unsigned, &[("content-length", "5368709121")]).unwrap_err();
        assert_eq!(error.code(), ErrorCode::EntityTooLarge);
        assert_eq!(error.extra("ProposedSize"), Some("5368709121"));
        assert_eq!(error.extra("MaxSizeAllowed"), Some("5368709120"));
        assert!(error.must_close());
    }

    #[test]
    fn content_md5_is_sixteen_bytes() {
        let length = ("content-length", "0");
        let good = plan(
            PayloadMode::Unsigned,
            &[length, ("content-md5", "1B2M2Y8AsgTpgAmY7PhCfg==")],
        )
        .unwrap();
        assert!(good.content_md5.is_some() && good.has_digest());
        for bad in ["", "abc", "AAAA", "1B2M2Y8AsgTpgAmY7PhCfg"] {
            assert_eq!(
                refused(PayloadMode::Unsigned, &[length, ("content-md5", bad)]),
                ErrorCode::InvalidDigest
            );
        }
    }

    #[test]
    fn a_trailer_must_be_announced_by_the_payload_mode() {
        let headers = [
            ("content-length", "0"),
            ("x-amz-trailer", "x-amz-checksum-crc32"),
        ];
        assert_eq!(
            refused(PayloadMode::Unsigned, &headers),
            ErrorCode::InvalidRequest
        );
    }
}
