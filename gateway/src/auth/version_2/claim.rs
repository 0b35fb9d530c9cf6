//! What a URL claims: who signed it, until when it is valid, and the signature.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;

use crate::auth::{SKEW_MS_MAX, Secret};
use crate::operation::Query;
use crate::s3_error::{ErrorCode, S3Error};
use crate::timestamp;

/// A URL may be valid for seven days, as those of version 4. It carries no time of signing: what can be checked
/// is how far ahead of our clock it ends, and its maker's clock may be ahead of ours.
const VALIDITY_MS_MAX: u64 = 7 * 24 * 60 * 60 * 1000 + SKEW_MS_MAX;

/// A claim that is valid now; whether it is true is for the signature to show.
#[derive(Debug)]
pub(super) struct Claim<'a> {
    pub(super) access_key: &'a str,
    pub(super) signature: &'a str,
    /// As it was sent, which is what was signed.
    pub(super) expires: &'a str,
}

impl<'a> Claim<'a> {
    /// Reads a claim and refuses one that is not valid at `now_ms`.
    pub(super) fn parse(query: &'a Query, now_ms: u64) -> Result<Claim<'a>, S3Error> {
        let needed = |name: &str| {
            query.get(name).filter(|value| !value.is_empty()).ok_or_else(|| {
                S3Error::new(
                    ErrorCode::AccessDenied,
                    "Query-string authentication requires the Signature, Expires and AWSAccessKeyId parameters",
                )
            })
        };
        let claim = Claim {
            access_key: needed("AWSAccessKeyId")?,
            signature: needed("Signature")?,
            expires: needed("Expires")?,
        };
        check_validity(claim.expires, now_ms)?;
        Ok(claim)
    }

    /// Whether this is the signature that `secret` gives `text`, in time that does not depend on where they differ.
    pub(super) fn is_signature_of(&self, text: &[u8], secret: &Secret) -> bool {
        let Ok(provided) = STANDARD.decode(self.signature) else {
            return false;
        };
        #[expect(
            clippy::expect_used,
            reason = "HMAC is defined for keys of every length (RFC 2104, section 2)"
        )]
        let mut mac =
            Hmac::<Sha1>::new_from_slice(secret.expose().as_bytes()).expect("a key of any length");
        mac.update(text);
        mac.verify_slice(&provided).is_ok()
    }
}

fn check_validity(expires: &str, now_ms: u64) -> Result<(), S3Error> {
    let is_number = expires.bytes().all(|byte| byte.is_ascii_digit());
    let seconds: Option<u64> = if is_number {
        expires.parse().ok()
    } else {
        None
    };
    let expiry_ms = seconds
        .and_then(|seconds| seconds.checked_mul(1000))
        .ok_or_else(|| {
            S3Error::new(
                ErrorCode::AccessDenied,
                format!("Invalid date (should be seconds since epoch): {expires}"),
            )
        })?;
    if now_ms > expiry_ms {
        return Err(S3Error::new(ErrorCode::AccessDenied, "Request has expired")
            .with("Expires", timestamp::iso8601_seconds(expiry_ms))
            .with("ServerTime", timestamp::iso8601_seconds(now_ms)));
    }
    if expiry_ms - now_ms > VALIDITY_MS_MAX {
        return Err(S3Error::new(
            ErrorCode::AuthorizationQueryParametersError,
            "Expires must be less than a week (604800 seconds) ahead of the server's time",
        )
        .with("Expires", expires)
        .with("ServerTime", timestamp::iso8601_seconds(now_ms)));
    }
    Ok(())
}
