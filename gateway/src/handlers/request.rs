//! A request that was let in: authenticated, authorized, its names checked, its bucket looked up.

use std::sync::Arc;

use cairn_meta::{BucketName, BucketRecord, CanonicalId, ObjectKey};
use http::HeaderMap;
use http::request::Parts;

use crate::addressing::{self, Target};
use crate::auth::{self, PayloadMode, Principal, RequestHead};
use crate::authorize::{self, Decision, Resource};
use crate::entrance::{Entrance, Scheme};
use crate::gateway::Gateway;
use crate::operation::{self, Operation, Query};
use crate::request_body::RequestBody;
use crate::request_id::RequestId;
use crate::request_log::RequestLog;
use crate::request_size;
use crate::s3_error::{ErrorCode, S3Error};

/// What a handler works on.
#[derive(Debug)]
pub(crate) struct S3Request {
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) id: RequestId,
    pub(crate) operation: Operation,
    pub(crate) headers: HeaderMap,
    pub(crate) query: Query,
    /// The path as it was sent, for error documents that are written late.
    pub(crate) resource: String,
    /// Where the client sent it: the scheme of the connection and the host, if it named one.
    pub(crate) scheme: Scheme,
    pub(crate) host: Option<String>,
    pub(crate) principal: Principal,
    pub(crate) payload: PayloadMode,
    pub(crate) body: RequestBody,
    /// The time of the request, by the gateway's clock.
    pub(crate) now_ms: u64,
    pub(crate) place: Place,
    /// Held by whatever goes on for this request when it was answered.
    pub(crate) log: RequestLog,
}

/// What is addressed, as far as it exists.
#[derive(Debug)]
pub(crate) enum Place {
    Service,
    /// The bucket to be created, and the one of that name if there is one.
    NewBucket(BucketName, Option<BucketRecord>),
    Bucket(BucketRecord),
    Object(BucketRecord, ObjectKey),
}

impl S3Request {
    /// Lets a request in, or says why not. Does not touch the body.
    pub(crate) async fn admit(
        gateway: &Arc<Gateway>,
        entrance: Entrance,
        id: RequestId,
        parts: Parts,
        body: RequestBody,
        log: &RequestLog,
    ) -> Result<Self, S3Error> {
        let target = addressing::resolve(&parts.uri, &parts.headers, gateway.domains())?;
        let query = Query::parse(parts.uri.query())?;
        // All but the signature is about these: what a URL carries must be honoured or refused like a header.
        let hoisted = auth::with_hoisted_headers(&query, &parts.headers)?;
        if let Some(all) = &hoisted {
            request_size::check_headers(all, gateway.config().limits.header_section_bytes_max)?;
        }
        let headers = hoisted.as_ref().unwrap_or(&parts.headers);
        let operation = operation::route(&parts.method, target.addressing(), &query, headers)?;
        log.operation(operation.name(), target.bucket());

        let now_ms = gateway.now_ms();
        let head = RequestHead::of(&parts);
        let authenticated = gateway
            .verifier()
            .verify(head, gateway.keyring(), now_ms)
            .await?;
        if let Some(refusal) = operation.refusal() {
            return Err(refusal);
        }
        let principal = authenticated.principal;
        refuse_overrides_by_anybody(&principal, operation, &query)?;
        let place = find_place(gateway, operation, &target).await?;
        let action = operation.action(query.contains("versionId"));
        match &place {
            Place::Service => decide(&principal, action, Resource::Service)?,
            // Somebody else's bucket is refused by its name being taken, as at S3.
            Place::NewBucket(..) => decide(&principal, action, Resource::NewBucket)?,
            Place::Bucket(bucket) | Place::Object(bucket, _) => permit(&principal, action, bucket)
                .map_err(|error| with_region_for_head_bucket(error, operation, bucket))?,
        }
        check_expected_owner(headers, "x-amz-expected-bucket-owner", place.bucket())?;
        operation::check_headers(operation, headers)?;

        let resource = parts.uri.path().to_owned();
        let host = addressing::host(&parts.uri, &parts.headers).map(str::to_owned);
        Ok(Self {
            gateway: Arc::clone(gateway),
            id,
            operation,
            headers: hoisted.unwrap_or(parts.headers),
            query,
            resource,
            scheme: entrance.scheme,
            host,
            principal,
            payload: authenticated.payload,
            body,
            now_ms,
            place,
            log: log.clone(),
        })
    }

    /// The bucket of an operation on a bucket.
    pub(crate) fn bucket(&self) -> Result<&BucketRecord, S3Error> {
        self.place.bucket().ok_or_else(misrouted)
    }

    /// The bucket and key of an operation on an object.
    pub(crate) fn object(&self) -> Result<(&BucketRecord, &ObjectKey), S3Error> {
        match &self.place {
            Place::Object(bucket, key) => Ok((bucket, key)),
            Place::Service | Place::NewBucket(..) | Place::Bucket(_) => Err(misrouted()),
        }
    }

    /// The canonical id of whoever signed.
    pub(crate) fn account(&self) -> Result<CanonicalId, S3Error> {
        let id = self
            .principal
            .canonical_id()
            .ok_or(ErrorCode::AccessDenied)?;
        id.parse().map_err(|_| misrouted())
    }

    /// A header as text; `None` where it is absent.
    ///
    /// # Errors
    /// 400 `InvalidArgument` if it is not text.
    pub(crate) fn header(&self, name: &'static str) -> Result<Option<&str>, S3Error> {
        header_text(&self.headers, name)
    }
}

/// A header as text; `None` where it is absent, 400 `InvalidArgument` where it is not text.
pub(crate) fn header_text<'a>(
    headers: &'a HeaderMap,
    name: &'static str,
) -> Result<Option<&'a str>, S3Error> {
    let Some(value) = headers.get(name) else {
        return Ok(None);
    };
    let text = value
        .to_str()
        .map_err(|_| S3Error::invalid_argument("Header value cannot be represented.", name, ""))?;
    Ok(Some(text))
}

impl Place {
    /// The bucket that exists.
    pub(crate) fn bucket(&self) -> Option<&BucketRecord> {
        match self {
            Self::Service => None,
            Self::NewBucket(_, existing) => existing.as_ref(),
            Self::Bucket(bucket) | Self::Object(bucket, _) => Some(bucket),
        }
    }
}

/// Asks whether `principal` may do `action` to `bucket` and what is in it.
///
/// # Errors
/// 403 `AccessDenied`.
pub(crate) fn permit(
    principal: &Principal,
    action: &'static str,
    bucket: &BucketRecord,
) -> Result<(), S3Error> {
    decide(
        principal,
        action,
        Resource::Bucket {
            owner: &bucket.owner.to_string(),
        },
    )
}

fn decide(
    principal: &Principal,
    action: &'static str,
    resource: Resource<'_>,
) -> Result<(), S3Error> {
    match authorize::authorize(principal, action, resource) {
        Decision::Allow => Ok(()),
        Decision::Deny { reason } => {
            tracing::debug!(action, reason = %reason, "access denied");
            Err(S3Error::of(ErrorCode::AccessDenied))
        }
    }
}

/// Whoever makes a link must not decide what its target is served as.
fn refuse_overrides_by_anybody(
    principal: &Principal,
    operation: Operation,
    query: &Query,
) -> Result<(), S3Error> {
    let is_read = matches!(operation, Operation::GetObject | Operation::HeadObject);
    let overrides = || query.iter().any(|(name, _)| name.starts_with("response-"));
    if !(is_read && principal.is_anonymous() && overrides()) {
        return Ok(());
    }
    Err(S3Error::new(
        ErrorCode::InvalidRequest,
        "Request specific response headers cannot be used for anonymous GET requests.",
    ))
}

/// Looks a bucket up by the name a client gave.
///
/// # Errors
/// 400 `InvalidBucketName`, 404 `NoSuchBucket`.
pub(crate) async fn find_bucket(gateway: &Gateway, name: &str) -> Result<BucketRecord, S3Error> {
    let name = bucket_name(name)?;
    let found = gateway.meta().bucket(&name).await?;
    found.ok_or_else(|| S3Error::of(ErrorCode::NoSuchBucket).with("BucketName", name.as_str()))
}

/// Checks a key that a client gave.
///
/// # Errors
/// 400 `KeyTooLongError`, `InvalidArgument`.
pub(crate) fn object_key(key: &str) -> Result<ObjectKey, S3Error> {
    addressing::check_key_size(key)?;
    ObjectKey::parse(key).map_err(|error| S3Error::invalid_argument(error.to_string(), "Key", key))
}

/// Refuses a request whose client expects the bucket to belong to somebody else.
pub(crate) fn check_expected_owner(
    headers: &HeaderMap,
    header: &'static str,
    bucket: Option<&BucketRecord>,
) -> Result<(), S3Error> {
    let (Some(expected), Some(bucket)) = (headers.get(header), bucket) else {
        return Ok(());
    };
    let is_owner = expected
        .to_str()
        .is_ok_and(|expected| expected.parse() == Ok(bucket.owner));
    if is_owner {
        Ok(())
    } else {
        Err(S3Error::of(ErrorCode::AccessDenied))
    }
}

async fn find_place(
    gateway: &Gateway,
    operation: Operation,
    target: &Target,
) -> Result<Place, S3Error> {
    let Some(bucket) = target.bucket() else {
        return Ok(Place::Service);
    };
    if operation == Operation::CreateBucket {
        let name = bucket_name(bucket)?;
        let existing = gateway.meta().bucket(&name).await?;
        return Ok(Place::NewBucket(name, existing));
    }
    let bucket = find_bucket(gateway, bucket).await?;
    match target.key() {
        None => Ok(Place::Bucket(bucket)),
        Some(key) => Ok(Place::Object(bucket, object_key(key)?)),
    }
}

fn bucket_name(name: &str) -> Result<BucketName, S3Error> {
    BucketName::parse(name).map_err(|error| {
        S3Error::new(ErrorCode::InvalidBucketName, error.to_string()).with("BucketName", name)
    })
}

/// Clients find a bucket's region by `HeadBucket`, also where they may not do more.
fn with_region_for_head_bucket(
    error: S3Error,
    operation: Operation,
    bucket: &BucketRecord,
) -> S3Error {
    match http::HeaderValue::from_str(&bucket.region) {
        Ok(region) if operation == Operation::HeadBucket => {
            error.with_header(http::HeaderName::from_static("x-amz-bucket-region"), region)
        }
        _ => error,
    }
}

fn misrouted() -> S3Error {
    tracing::error!("a handler was given a request for something else");
    S3Error::of(ErrorCode::InternalError)
}
