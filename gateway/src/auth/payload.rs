//! How the body is covered by the signature: the value of `x-amz-content-sha256`.

use super::ChunkSigner;
use crate::s3_error::{ErrorCode, S3Error};

/// What the request's head says about its body, with what is needed to verify that.
#[derive(Debug, Clone)]
pub enum PayloadMode {
    /// The body is not signed.
    Unsigned,
    /// The body has this SHA-256.
    Signed([u8; 32]),
    /// `aws-chunked`, each chunk signed; with `trailer`, a signed trailer follows.
    Streaming {
        /// Verifies the chunks.
        signer: ChunkSigner,
        /// Whether a trailer follows.
        trailer: bool,
    },
    /// `aws-chunked` without signatures, with a trailer.
    StreamingUnsignedTrailer,
}

impl PayloadMode {
    /// Whether the body is framed as `aws-chunked`.
    pub fn is_chunked(&self) -> bool {
        matches!(
            self,
            PayloadMode::Streaming { .. } | PayloadMode::StreamingUnsignedTrailer
        )
    }
}

/// The same before the signature was verified, when there is no signer yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DeclaredPayload {
    Unsigned,
    Signed([u8; 32]),
    Streaming { trailer: bool },
    StreamingUnsignedTrailer,
}

impl DeclaredPayload {
    /// Parses the value of `x-amz-content-sha256`.
    pub(super) fn parse(value: &str) -> Result<DeclaredPayload, S3Error> {
        match value {
            "UNSIGNED-PAYLOAD" => Ok(DeclaredPayload::Unsigned),
            "STREAMING-AWS4-HMAC-SHA256-PAYLOAD" => Ok(DeclaredPayload::Streaming { trailer: false }),
            "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER" => {
                Ok(DeclaredPayload::Streaming { trailer: true })
            }
            "STREAMING-UNSIGNED-PAYLOAD-TRAILER" => Ok(DeclaredPayload::StreamingUnsignedTrailer),
            _ => parse_sha256(value).map(DeclaredPayload::Signed).ok_or_else(|| {
                S3Error::invalid_argument(
                    "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD, \
                     STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER, STREAMING-UNSIGNED-PAYLOAD-TRAILER or a \
                     valid sha256 value.",
                    "x-amz-content-sha256",
                    value,
                )
            }),
        }
    }

    pub(super) fn with_signer(self, signer: ChunkSigner) -> PayloadMode {
        match self {
            DeclaredPayload::Unsigned => PayloadMode::Unsigned,
            DeclaredPayload::Signed(sha256) => PayloadMode::Signed(sha256),
            DeclaredPayload::Streaming { trailer } => PayloadMode::Streaming { signer, trailer },
            DeclaredPayload::StreamingUnsignedTrailer => PayloadMode::StreamingUnsignedTrailer,
        }
    }

    /// Without a signature of the head there is none to chain chunks to.
    pub(super) fn without_signer(self) -> Result<PayloadMode, S3Error> {
        match self {
            DeclaredPayload::Unsigned => Ok(PayloadMode::Unsigned),
            DeclaredPayload::Signed(sha256) => Ok(PayloadMode::Signed(sha256)),
            DeclaredPayload::StreamingUnsignedTrailer => Ok(PayloadMode::StreamingUnsignedTrailer),
            DeclaredPayload::Streaming { .. } => Err(S3Error::new(
                ErrorCode::InvalidRequest,
                "Anonymous requests don't support this x-amz-content-sha256 value. \
                 Please use UNSIGNED-PAYLOAD or STREAMING-UNSIGNED-PAYLOAD-TRAILER.",
            )),
        }
    }
}

fn parse_sha256(value: &str) -> Option<[u8; 32]> {
    let mut sha256 = [0; 32];
    hex::decode_to_slice(value, &mut sha256).ok()?;
    Some(sha256)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_five_modes_are_recognized() {
        let parse = |text: &str| DeclaredPayload::parse(text).unwrap();
        assert_eq!(parse("UNSIGNED-PAYLOAD"), DeclaredPayload::Unsigned);
        assert_eq!(parse(&"ab".repeat(32)), DeclaredPayload::Signed([0xab; 32]));
        assert_eq!(
            parse("STREAMING-AWS4-HMAC-SHA256-PAYLOAD"),
            DeclaredPayload::Streaming { trailer: false }
        );
        assert_eq!(
            parse("STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"),
            DeclaredPayload::Streaming { trailer: true }
        );
        assert_eq!(
            parse("STREAMING-UNSIGNED-PAYLOAD-TRAILER"),
            DeclaredPayload::StreamingUnsignedTrailer
        );
        for bad in [
            "",
            "unsigned-payload",
            "abc",
            &"zz".repeat(32),
            "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD",
        ] {
            assert_eq!(
                DeclaredPayload::parse(bad).unwrap_err().code(),
                ErrorCode::InvalidArgument,
                "{bad}"
            );
        }
    }
}
