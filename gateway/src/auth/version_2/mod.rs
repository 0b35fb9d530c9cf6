//! Presigned URLs of Signature Version 2: `AWSAccessKeyId`, `Expires` and `Signature` in the query.
//!
//! boto3, version 1 of the AWS command line and s3cmd still make these by default. They are verified where the
//! setting says so (ADR 12); in the `Authorization` header version 2 is never taken.
//!
//! Version 2 signs less than version 4 does: not the host, not the body, and of the query only what names or
//! changes a resource. Hence these invariants, each stricter than or equal to S3:
//!
//! - whatever else the query holds is known to change nothing but the extent of a listing ([`parameters`]);
//! - an `x-amz-*` header, sent or carried in the query, is signed by its value;
//! - the body is never framed: nothing would vouch for the frames;
//! - no URL is valid for longer than one of version 4 could be.

mod claim;
mod parameters;
mod string_to_sign;
#[cfg(test)]
mod tests;

use super::{Authenticated, ClaimSource, KeyLookup, PayloadMode, RequestHead, spaced_hex};
use crate::addressing::Domains;
use crate::operation::Query;
use crate::s3_error::{ErrorCode, S3Error};
use claim::Claim;
use parameters::Parameter;
use string_to_sign::StringToSign;

/// Finds out who made a URL. `domains` tell where a host names a bucket, which is signed with the path.
pub(super) async fn verify(
    head: &RequestHead<'_>,
    query: &Query,
    domains: &Domains,
    lookup: &dyn KeyLookup,
    now_ms: u64,
) -> Result<Authenticated, S3Error> {
    let claim = Claim::parse(query, now_ms)?;
    super::refuse_session_tokens(head)?;
    refuse_unsigned_parameters(query)?;
    refuse_framed_body(head)?;
    let Some(entry) = lookup.key(claim.access_key).await? else {
        return Err(
            S3Error::of(ErrorCode::InvalidAccessKeyId).with("AWSAccessKeyId", claim.access_key)
        );
    };
    let text = StringToSign::new(head, query, domains, claim.expires);
    let is_signed = text
        .forms()
        .any(|form| claim.is_signature_of(&form, &entry.secret));
    if !is_signed {
        return Err(mismatch(&claim, &text));
    }
    Ok(Authenticated {
        principal: entry.principal,
        payload: PayloadMode::Unsigned,
        source: Some(ClaimSource::Query),
    })
}

fn mismatch(claim: &Claim<'_>, text: &StringToSign) -> S3Error {
    let as_sent = text.as_sent();
    S3Error::of(ErrorCode::SignatureDoesNotMatch)
        .with("AWSAccessKeyId", claim.access_key)
        .with("StringToSign", String::from_utf8_lossy(&as_sent))
        .with("SignatureProvided", claim.signature)
        .with("StringToSignBytes", spaced_hex(&as_sent))
}

/// S3 ignores parameters it does not know. Here each was either signed or is known to be harmless, so that what
/// an operation does with a parameter can never be decided by whoever got hold of a URL.
fn refuse_unsigned_parameters(query: &Query) -> Result<(), S3Error> {
    for (name, value) in query.iter() {
        match Parameter::of(name, value) {
            Parameter::OfTheClaim
            | Parameter::SubResource
            | Parameter::Value
            | Parameter::Header
            | Parameter::Harmless => {}
            Parameter::OfVersion4 => {
                return Err(S3Error::invalid_argument(
                    "Only one auth mechanism allowed; the parameters of Signature Version 2 and 4 cannot be mixed",
                    name,
                    value,
                ));
            }
            Parameter::Unsigned => {
                return Err(S3Error::new(
                    ErrorCode::AccessDenied,
                    "There was a query parameter present in the request which Signature Version 2 does not sign. \
                     Please use AWS4-HMAC-SHA256.",
                )
                .with("ParameterNotSigned", name));
            }
        }
    }
    Ok(())
}

/// Chunk signatures continue a signature of version 4, and unsigned chunks gain nothing here.
fn refuse_framed_body(head: &RequestHead<'_>) -> Result<(), S3Error> {
    let is_declared_unsigned = head
        .headers
        .get_all("x-amz-content-sha256")
        .iter()
        .all(|value| value.as_bytes() == b"UNSIGNED-PAYLOAD");
    let is_framed = head
        .headers
        .get_all(http::header::CONTENT_ENCODING)
        .iter()
        .any(|value| is_aws_chunked(value.as_bytes()));
    if is_declared_unsigned && !is_framed {
        return Ok(());
    }
    Err(S3Error::new(
        ErrorCode::InvalidRequest,
        "The body of a request with a version 2 signature is neither signed nor aws-chunked. \
         Please use AWS4-HMAC-SHA256.",
    ))
}

fn is_aws_chunked(content_encoding: &[u8]) -> bool {
    content_encoding
        .split(|byte| *byte == b',')
        .any(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"aws-chunked"))
}
