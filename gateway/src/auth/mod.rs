//! Who sent a request: Signature Version 4, in the `Authorization` header or in a presigned URL. Presigned URLs
//! of version 2 are [`version_2`]'s, where they are taken at all.
//!
//! [`Verifier::verify`] looks at the request's head only. It rebuilds exactly what the client says it signed,
//! lets `aws-sigv4` compute the signature with the secret of the named key, and compares in constant time.
//! What it returns is an identity ([`Principal`]) and how the body is covered by the signature
//! ([`PayloadMode`]); whether the identity may do what it asks is [`crate::authorize`]'s question.
//!
//! Invariants: `Host` and every `x-amz-*` header that is sent were signed, `x-amz-content-sha256` at least by its value
//! (HTTP's own, as `If-Match` or `Content-MD5`, need not be, as at S3); a secret leaves the process in no message, log
//! or `Debug` output; a wrong signature and an early failure differ in what they say, never in how long the comparison
//! took.

mod authorization_header;
mod canonical_request;
mod chunk_signature;
mod credential;
mod hoisted_headers;
mod payload;
mod presigned_url;
mod secret;
mod signing_key;
#[cfg(test)]
mod tests;
mod version_2;

use std::sync::Arc;

use async_trait::async_trait;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};

pub use chunk_signature::ChunkSigner;
pub use hoisted_headers::with_hoisted_headers;
pub use payload::PayloadMode;
pub use secret::Secret;

use crate::addressing::Domains;
use crate::operation::Query;
use crate::s3_error::{ErrorCode, S3Error};
use crate::timestamp;
use canonical_request::{CanonicalRequest, PathForm};
use credential::Credential;
use payload::DeclaredPayload;
use presigned_url::PresignedQuery;
use signing_key::SigningKeyCache;

/// The part of a request that is signed: all but the body.
#[derive(Debug, Clone, Copy)]
pub struct RequestHead<'a> {
    /// The method.
    pub method: &'a Method,
    /// The target as it arrived, still encoded.
    pub uri: &'a Uri,
    /// The headers.
    pub headers: &'a HeaderMap,
}

impl<'a> RequestHead<'a> {
    /// The head of an HTTP request.
    pub fn of(parts: &'a http::request::Parts) -> RequestHead<'a> {
        RequestHead {
            method: &parts.method,
            uri: &parts.uri,
            headers: &parts.headers,
        }
    }

    fn header(&self, name: &str) -> Option<&'a str> {
        self.headers.get(name)?.to_str().ok()
    }

    fn host(&self) -> Option<&'a str> {
        crate::addressing::host(self.uri, self.headers)
    }
}

/// Who a request comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Principal {
    /// Whoever holds the credentials the server was started with.
    Root {
        /// The canonical id that owns what root creates.
        canonical_id: Arc<str>,
    },
    /// A user.
    User {
        /// The canonical id that owns what the user creates.
        canonical_id: Arc<str>,
        /// The user's name.
        name: Arc<str>,
    },
    /// Nobody signed.
    Anonymous,
}

impl Principal {
    /// The canonical id, if the request was signed.
    pub fn canonical_id(&self) -> Option<&str> {
        match self {
            Principal::Root { canonical_id } | Principal::User { canonical_id, .. } => {
                Some(canonical_id)
            }
            Principal::Anonymous => None,
        }
    }

    /// Whether nobody signed.
    pub fn is_anonymous(&self) -> bool {
        matches!(self, Principal::Anonymous)
    }
}

/// What is known of an access key.
#[derive(Debug, Clone)]
pub struct KeyEntry {
    /// Its secret.
    pub secret: Secret,
    /// Whose key it is.
    pub principal: Principal,
}

/// Where access keys are looked up.
#[async_trait]
pub trait KeyLookup: Send + Sync {
    /// The entry of an access key; `None` if there is no such key.
    ///
    /// # Errors
    /// Whatever kept the lookup from being answered, as clients are to be told.
    async fn key(&self, access_key: &str) -> Result<Option<KeyEntry>, S3Error>;
}

/// Where a signature was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClaimSource {
    /// In the `Authorization` header.
    Header,
    /// In the query: a presigned URL.
    Query,
}

/// The outcome for a request that may be who it says.
#[derive(Debug, Clone)]
pub struct Authenticated {
    /// Who sent it.
    pub principal: Principal,
    /// How the body is covered.
    pub payload: PayloadMode,
    /// Where the signature was; `None` for anonymous requests.
    pub source: Option<ClaimSource>,
}

/// What a request claims about its signature, parsed but not verified.
#[derive(Debug)]
struct Claim<'a> {
    source: ClaimSource,
    credential: Credential<'a>,
    signed_headers: &'a str,
    signature: &'a str,
    time_ms: u64,
    /// The time as it stands in the string to sign.
    amz_date: String,
    payload: &'a str,
}

/// A clock may be this wrong, in either direction, before signatures are refused.
const SKEW_MS_MAX: u64 = 15 * 60 * 1000;

/// Verifies signatures for one region. Shared by all connections.
#[derive(Debug)]
pub struct Verifier {
    region: String,
    keys: SigningKeyCache,
    /// Where presigned URLs of version 2 are taken: what a bucket's host name is made of.
    version_2: Option<Domains>,
}

impl Verifier {
    /// A verifier for the region clients must sign for. It takes version 4 only.
    pub fn new(region: impl Into<String>) -> Verifier {
        Verifier {
            region: region.into(),
            keys: SigningKeyCache::default(),
            version_2: None,
        }
    }

    /// Takes presigned URLs of version 2 too; these sign the bucket that a host below `domains` names.
    #[must_use]
    pub fn with_presigned_version_2(mut self, domains: Domains) -> Verifier {
        self.version_2 = Some(domains);
        self
    }

    /// The region clients must sign for.
    pub fn region(&self) -> &str {
        &self.region
    }

    /// Finds out who sent a request.
    ///
    /// # Errors
    /// S3's error for whatever is wrong with the signature, or the lookup's own.
    pub async fn verify(
        &self,
        head: RequestHead<'_>,
        lookup: &dyn KeyLookup,
        now_ms: u64,
    ) -> Result<Authenticated, S3Error> {
        let presigned;
        let claim = match find_signature(&head)? {
            Found::Header(value) => {
                let claim = authorization_header::parse(value, &head)?;
                self.check_scope(&claim)?;
                check_skew(&claim, now_ms)?;
                claim
            }
            Found::Query(query) => {
                presigned = PresignedQuery::new(query);
                let claim = presigned.parse(&head, now_ms)?;
                self.check_scope(&claim)?;
                claim
            }
            Found::Version2(query) => {
                let domains = self.version_2.as_ref().ok_or_else(unsupported_mechanism)?;
                return version_2::verify(&head, &query, domains, lookup, now_ms).await;
            }
            Found::Nothing => return anonymous(&head),
        };
        let declared = DeclaredPayload::parse(claim.payload)?;
        refuse_session_tokens(&head)?;
        if let Some(missing) = canonical_request::headers_not_signed(head.headers, &claim) {
            return Err(S3Error::new(
                ErrorCode::AccessDenied,
                "There were headers present in the request which were not signed",
            )
            .with("HeadersNotSigned", missing));
        }
        let access_key = claim.credential.access_key;
        let Some(entry) = lookup.key(access_key).await? else {
            return Err(
                S3Error::of(ErrorCode::InvalidAccessKeyId).with("AWSAccessKeyId", access_key)
            );
        };
        let signer = self.check_signature(&head, &claim, &entry.secret)?;
        Ok(Authenticated {
            principal: entry.principal,
            payload: declared.with_signer(signer),
            source: Some(claim.source),
        })
    }

    fn check_scope(&self, claim: &Claim<'_>) -> Result<(), S3Error> {
        let credential = &claim.credential;
        if credential.service != "s3" {
            let what = format!(
                "incorrect service \"{}\". This endpoint belongs to \"s3\".",
                credential.service
            );
            return Err(claim.scope_error(&what));
        }
        if credential.region != self.region {
            let what = format!(
                "the region '{}' is wrong; expecting '{}'",
                credential.region, self.region
            );
            return Err(self.with_region(claim.scope_error(&what)));
        }
        let day = claim.amz_date.get(..8).unwrap_or_default();
        if credential.date != day {
            let what = format!(
                "Invalid credential date \"{}\". This date is not the same as X-Amz-Date: \"{day}\".",
                credential.date
            );
            return Err(claim.scope_error(&what));
        }
        Ok(())
    }

    /// SDKs go where these say: the element, or the header where a HEAD has no document.
    fn with_region(&self, error: S3Error) -> S3Error {
        let error = error.with("Region", self.region.clone());
        match HeaderValue::from_str(&self.region) {
            Ok(region) => error.with_header(HeaderName::from_static("x-amz-bucket-region"), region),
            Err(_) => error,
        }
    }

    /// The heart of it. On success returns what verifies the chunks of a streamed body.
    fn check_signature(
        &self,
        head: &RequestHead<'_>,
        claim: &Claim<'_>,
        secret: &Secret,
    ) -> Result<ChunkSigner, S3Error> {
        let scope = claim.credential.scope;
        let key = self.keys.key(&claim.credential, secret, claim.time_ms);
        for &path_form in PathForm::of(head.uri.path()) {
            let request = CanonicalRequest::build(head, path_form, claim);
            let expected = key.sign(&request.string_to_sign(&claim.amz_date, scope));
            if expected.matches(claim.signature) {
                let seed = expected.into_verified();
                return Ok(ChunkSigner::new(key, &claim.amz_date, scope, seed));
            }
        }
        let request = CanonicalRequest::build(head, PathForm::AsSent, claim);
        let string_to_sign = request.string_to_sign(&claim.amz_date, scope);
        Err(S3Error::of(ErrorCode::SignatureDoesNotMatch)
            .with("AWSAccessKeyId", claim.credential.access_key)
            .with("StringToSignBytes", spaced_hex(string_to_sign.as_bytes()))
            .with("StringToSign", string_to_sign)
            .with("SignatureProvided", claim.signature)
            .with("CanonicalRequestBytes", spaced_hex(&request.bytes))
            .with("CanonicalRequest", String::from_utf8_lossy(&request.bytes)))
    }
}

impl Claim<'_> {
    /// The error for a credential that does not fit: its code depends on where the credential stood.
    fn scope_error(&self, what: &str) -> S3Error {
        match self.source {
            ClaimSource::Header => authorization_header::malformed(what),
            ClaimSource::Query => S3Error::new(
                ErrorCode::AuthorizationQueryParametersError,
                format!("Error parsing the X-Amz-Credential parameter; {what}"),
            ),
        }
    }
}

enum Found<'a> {
    Header(&'a str),
    Query(Query),
    Version2(Query),
    Nothing,
}

/// Looks for a signature, and refuses requests with two of them.
fn find_signature<'a>(head: &RequestHead<'a>) -> Result<Found<'a>, S3Error> {
    let header = match head.headers.get(http::header::AUTHORIZATION) {
        None => None,
        // A blank one claims nothing, as at S3.
        Some(value) if value.as_bytes().trim_ascii().is_empty() => None,
        Some(value) => Some(value.to_str().map_err(|_| {
            S3Error::invalid_argument("Unsupported Authorization Type", "Authorization", "")
        })?),
    };
    let raw_query = head.uri.query().unwrap_or_default();
    let names = || {
        raw_query
            .split('&')
            .map(|pair| pair.split_once('=').map_or(pair, |(name, _)| name))
    };
    let is_presigned = names().any(|name| {
        matches!(
            name,
            "X-Amz-Algorithm" | "X-Amz-Signature" | "X-Amz-Credential"
        )
    });
    let is_version_2 = names().any(|name| matches!(name, "AWSAccessKeyId" | "Signature"));
    let query = || Query::parse(head.uri.query());
    match (header, is_presigned, is_version_2) {
        (Some(value), false, false) => Ok(Found::Header(value)),
        (None, true, false) => query().map(Found::Query),
        (None, false, true) => query().map(Found::Version2),
        (None, false, false) => Ok(Found::Nothing),
        (header, _, _) => Err(S3Error::invalid_argument(
            "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query string \
             parameter or the Authorization header should be specified",
            "Authorization",
            header.unwrap_or_default(),
        )),
    }
}

fn anonymous(head: &RequestHead<'_>) -> Result<Authenticated, S3Error> {
    let declared = match head.header("x-amz-content-sha256") {
        Some(value) => DeclaredPayload::parse(value)?,
        None => DeclaredPayload::Unsigned,
    };
    Ok(Authenticated {
        principal: Principal::Anonymous,
        payload: declared.without_signer()?,
        source: None,
    })
}

fn check_skew(claim: &Claim<'_>, now_ms: u64) -> Result<(), S3Error> {
    if claim.time_ms.abs_diff(now_ms) <= SKEW_MS_MAX {
        return Ok(());
    }
    Err(S3Error::of(ErrorCode::RequestTimeTooSkewed)
        .with("RequestTime", claim.amz_date.clone())
        .with("ServerTime", timestamp::iso8601_seconds(now_ms))
        .with("MaxAllowedSkewMilliseconds", SKEW_MS_MAX.to_string()))
}

/// No token was ever issued by this server, so every token is somebody else's.
fn refuse_session_tokens(head: &RequestHead<'_>) -> Result<(), S3Error> {
    let in_header = head.headers.contains_key("x-amz-security-token");
    let in_query = head.uri.query().is_some_and(|query| {
        query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .any(|(name, _)| name.eq_ignore_ascii_case("X-Amz-Security-Token"))
    });
    if in_header || in_query {
        Err(ErrorCode::InvalidToken.into())
    } else {
        Ok(())
    }
}

fn unsupported_mechanism() -> S3Error {
    S3Error::new(
        ErrorCode::InvalidRequest,
        "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.",
    )
}

/// `host;x-amz-date`: names a header can have, in lower case. Anything else could smuggle line ends into
/// the canonical request.
fn signed_headers_are_sane(signed_headers: &str) -> bool {
    let is_name_byte = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"!#$%&'*+-.^_`|~".contains(&byte)
    };
    signed_headers
        .split(';')
        .all(|name| !name.is_empty() && name.bytes().all(is_name_byte))
}

/// `41 57 53`: how S3 prints the bytes of what it signed.
fn spaced_hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 3);
    for (index, byte) in bytes.iter().enumerate() {
        if index > 0 {
            text.push(' ');
        }
        text.push_str(&hex::encode([*byte]));
    }
    text
}
