//! The `Authorization` header: `AWS4-HMAC-SHA256 Credential=…, SignedHeaders=…, Signature=…`.

use super::credential::Credential;
use super::{Claim, ClaimSource, RequestHead, signed_headers_are_sane, unsupported_mechanism};
use crate::s3_error::{ErrorCode, S3Error};
use crate::timestamp;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// Reads what a header claims: who signed what, and when.
pub(super) fn parse<'a>(value: &'a str, head: &RequestHead<'a>) -> Result<Claim<'a>, S3Error> {
    let (algorithm, parameters) = value.split_once(' ').unwrap_or((value, ""));
    match algorithm {
        ALGORITHM => {}
        // "AWS key:signature" is version 2; AWS4-ECDSA-P256-SHA256 is version 4A. S3 names what it takes.
        "AWS" | "AWS4-ECDSA-P256-SHA256" => return Err(unsupported_mechanism()),
        _ => {
            return Err(S3Error::invalid_argument(
                "Unsupported Authorization Type",
                "Authorization",
                value,
            ));
        }
    }
    let (mut credential, mut signed_headers, mut signature) = (None, None, None);
    for parameter in parameters.split(',') {
        match parameter.trim().split_once('=') {
            Some(("Credential", text)) => credential = Some(text),
            Some(("SignedHeaders", text)) => signed_headers = Some(text),
            Some(("Signature", text)) => signature = Some(text),
            _ => {}
        }
    }
    let needed = |value: Option<&'a str>, name: &str| {
        value.filter(|text| !text.is_empty()).ok_or_else(|| {
            malformed(&format!(
                "the authorization header requires three components: Credential, SignedHeaders, and \
                 Signature ({name} is missing)."
            ))
        })
    };
    let credential = needed(credential, "Credential")?;
    let signed_headers = needed(signed_headers, "SignedHeaders")?;
    let signature = needed(signature, "Signature")?;
    let credential = Credential::parse(credential).ok_or_else(|| {
        malformed("the Credential is mal-formed; expecting \"<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request\".")
    })?;
    if !signed_headers_are_sane(signed_headers) {
        return Err(malformed(
            "the SignedHeaders must be lower-case header names separated by semicolons.",
        ));
    }
    let (time_ms, amz_date) = request_time(head)?;
    Ok(Claim {
        source: ClaimSource::Header,
        credential,
        signed_headers,
        signature,
        time_ms,
        amz_date,
        payload: head.header("x-amz-content-sha256").ok_or_else(|| {
            S3Error::new(
                ErrorCode::InvalidRequest,
                "Missing required header for this request: x-amz-content-sha256",
            )
        })?,
    })
}

/// 400 `AuthorizationHeaderMalformed` in S3's wording.
pub(super) fn malformed(what: &str) -> S3Error {
    S3Error::new(
        ErrorCode::AuthorizationHeaderMalformed,
        format!("The authorization header is malformed; {what}"),
    )
}

/// When the request was signed: `x-amz-date`, else `Date`.
fn request_time(head: &RequestHead<'_>) -> Result<(u64, String), S3Error> {
    let text = head.header("x-amz-date").or_else(|| head.header("date"));
    let time_ms = text.and_then(|text| {
        timestamp::parse_amz_date(text).or_else(|| timestamp::parse_http_date(text))
    });
    let time_ms = time_ms.ok_or_else(|| {
        S3Error::new(
            ErrorCode::AccessDenied,
            "AWS authentication requires a valid Date or x-amz-date header",
        )
    })?;
    Ok((time_ms, timestamp::amz_date(time_ms)))
}
