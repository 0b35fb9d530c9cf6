//! Presigned URLs: the same signature, carried in query parameters, valid for a time its maker chose.

use super::credential::Credential;
use super::{Claim, ClaimSource, RequestHead, signed_headers_are_sane};
use crate::operation::Query;
use crate::s3_error::{ErrorCode, S3Error};
use crate::timestamp;

/// Seven days: the longest a presigned URL may be valid.
const EXPIRES_SECONDS_MAX: i64 = 604_800;

/// How far ahead of our clock a URL's maker may be.
const SKEW_MS_MAX: u64 = super::SKEW_MS_MAX;

/// The parameters of a presigned URL, decoded, so that a claim can borrow from them.
#[derive(Debug)]
pub(super) struct PresignedQuery {
    query: Query,
}

impl PresignedQuery {
    pub(super) fn new(query: Query) -> PresignedQuery {
        PresignedQuery { query }
    }

    /// Reads what a presigned URL claims, and refuses one that is not valid now.
    pub(super) fn parse<'a>(
        &'a self,
        head: &RequestHead<'a>,
        now_ms: u64,
    ) -> Result<Claim<'a>, S3Error> {
        let algorithm = self.needed("X-Amz-Algorithm")?;
        if algorithm != "AWS4-HMAC-SHA256" {
            return Err(wrong("X-Amz-Algorithm only supports \"AWS4-HMAC-SHA256\""));
        }
        let credential = self.needed("X-Amz-Credential")?;
        let signature = self.needed("X-Amz-Signature")?;
        let date = self.needed("X-Amz-Date")?;
        let signed_headers = self.needed("X-Amz-SignedHeaders")?;
        let expires = self.needed("X-Amz-Expires")?;

        let credential = Credential::parse(credential).ok_or_else(|| {
            wrong(
                "Error parsing the X-Amz-Credential parameter; the Credential is mal-formed; \
                 expecting \"<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request\".",
            )
        })?;
        let time_ms = timestamp::parse_amz_date(date).ok_or_else(|| {
            wrong("X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\"")
        })?;
        let expires_seconds = parse_expires(expires)?;
        if !signed_headers_are_sane(signed_headers) {
            return Err(wrong(
                "X-Amz-SignedHeaders must be lower-case header names separated by semicolons.",
            ));
        }
        check_validity(time_ms, expires_seconds, expires, now_ms)?;
        let payload = self
            .query
            .get("X-Amz-Content-Sha256")
            .or_else(|| head.header("x-amz-content-sha256"))
            .unwrap_or("UNSIGNED-PAYLOAD");
        Ok(Claim {
            source: ClaimSource::Query,
            credential,
            signed_headers,
            signature,
            time_ms,
            amz_date: date.to_owned(),
            payload,
        })
    }

    fn needed(&self, name: &str) -> Result<&str, S3Error> {
        self.query.get(name).filter(|value| !value.is_empty()).ok_or_else(|| {
            wrong(
                "Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, \
                 X-Amz-Signature, X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters.",
            )
        })
    }
}

/// 400 `AuthorizationQueryParametersError`.
fn wrong(message: &'static str) -> S3Error {
    S3Error::new(ErrorCode::AuthorizationQueryParametersError, message)
}

fn parse_expires(text: &str) -> Result<u64, S3Error> {
    let seconds: i64 = text
        .parse()
        .map_err(|_| wrong("X-Amz-Expires should be a number"))?;
    if seconds > EXPIRES_SECONDS_MAX {
        return Err(wrong(
            "X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must be \
             less than 604800 seconds",
        ));
    }
    u64::try_from(seconds).map_err(|_| wrong("X-Amz-Expires must be non-negative"))
}

fn check_validity(
    time_ms: u64,
    expires_seconds: u64,
    expires: &str,
    now_ms: u64,
) -> Result<(), S3Error> {
    let expiry_ms = time_ms.saturating_add(expires_seconds * 1000);
    if time_ms > now_ms.saturating_add(SKEW_MS_MAX) {
        return Err(
            S3Error::new(ErrorCode::AccessDenied, "Request is not valid yet")
                .with("X-Amz-Expires", expires)
                .with("Expires", timestamp::iso8601_seconds(expiry_ms))
                .with("ServerTime", timestamp::iso8601_seconds(now_ms)),
        );
    }
    if now_ms > expiry_ms {
        return Err(S3Error::new(ErrorCode::AccessDenied, "Request has expired")
            .with("X-Amz-Expires", expires)
            .with("Expires", timestamp::iso8601_seconds(expiry_ms))
            .with("ServerTime", timestamp::iso8601_seconds(now_ms)));
    }
    Ok(())
}
