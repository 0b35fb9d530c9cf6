//! Bytes on their way in: from a request's body, or from another object, through the digests, to durable shards.
//!
//! Invariant: what [`body`] and [`copy`] return is verified and durable, and visible to nobody. The engine's
//! source ends only after the verdict on the digests, so that a body which is not what was declared never gets
//! further than shards that are deleted again.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use cairn_meta::DataOwner;
use futures_util::{Stream, TryStreamExt, stream};
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, HeaderValue};
use http_body::{Body, Frame};
use http_body_util::StreamBody;

use super::keepsake;
use super::object_attributes::ObjectAttributes;
use super::read_object;
use super::request::S3Request;
use crate::auth::PayloadMode;
use crate::body::{BODY_SIZE_BYTES_MAX, BodyOptions, BodyPlan, DigestSet, UploadBody};
use crate::checksum::{Checksum, ChecksumAlgorithm, ChecksumHasher};
use crate::engine::{ReadStream, StoreError, StoredData};
use crate::gateway::Gateway;
use crate::s3_error::{ErrorCode, S3Error};

/// Disks have their own deadlines; this only keeps a copy from waiting for ever.
const COPY_IDLE_TIMEOUT: Duration = Duration::from_hours(1);

/// What arrived: durable, verified, not yet visible.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) stored: StoredData,
    pub(super) md5: [u8; 16],
    /// By the algorithm that is stored.
    pub(super) checksum: Checksum,
    /// By the algorithm the client named, where that is another.
    pub(super) declared_checksum: Option<Checksum>,
}

/// What a request says of its body, and which checksum is to be stored with it.
#[derive(Debug)]
pub(super) struct Plan {
    body: BodyPlan,
    /// `None`: whichever the client names.
    stored_algorithm: Option<ChecksumAlgorithm>,
}

impl Plan {
    /// Judges the headers; nothing is read yet.
    ///
    /// # Errors
    /// Those of [`BodyPlan::of_request`].
    pub(super) fn of_request(
        request: &S3Request,
        stored_algorithm: Option<ChecksumAlgorithm>,
    ) -> Result<Self, S3Error> {
        let body = BodyPlan::of_request(
            &request.headers,
            request.payload.clone(),
            BODY_SIZE_BYTES_MAX,
        )?;
        let body = match stored_algorithm {
            Some(algorithm) => body.with_default_algorithm(algorithm),
            None => body,
        };
        Ok(Self {
            body,
            stored_algorithm,
        })
    }

    /// The algorithm the client named.
    pub(super) fn declared_algorithm(&self) -> Option<ChecksumAlgorithm> {
        self.body
            .declared_checksum()
            .map(|declared| declared.algorithm())
    }
}

/// Stores the body of a request.
///
/// # Errors
/// What the body fails with; 503 where it cannot be stored now.
pub(super) async fn body(
    request: &mut S3Request,
    plan: Plan,
    owner: DataOwner,
    attributes: &ObjectAttributes,
) -> Result<Received, S3Error> {
    let gateway = Arc::clone(&request.gateway);
    let length = plan.body.length();
    let extra = plan.stored_algorithm.filter(|algorithm| {
        plan.declared_algorithm()
            .is_some_and(|named| named != *algorithm)
    });
    let options = BodyOptions {
        idle_timeout: gateway.config().timeouts.body_idle,
    };
    let content = plan.body.open(&mut request.body, options);
    store(&gateway, content, extra, owner, length, attributes).await
}

/// Stores what is read from another object.
///
/// # Errors
/// What the read fails with; 503 where it cannot be stored now.
pub(super) async fn copy(
    gateway: &Gateway,
    source: ReadStream,
    algorithm: ChecksumAlgorithm,
    owner: DataOwner,
    attributes: &ObjectAttributes,
) -> Result<Received, S3Error> {
    let length = source.remaining_bytes();
    let headers = HeaderMap::from_iter([(CONTENT_LENGTH, HeaderValue::from(length))]);
    let plan = BodyPlan::of_request(&headers, PayloadMode::Unsigned, length)?
        .with_default_algorithm(algorithm);
    // A body knows only that it broke off; why is kept here.
    let failure: Arc<Mutex<Option<S3Error>>> = Arc::default();
    let failed = Arc::clone(&failure);
    let frames = source.map_ok(Frame::data).map_err(move |error| {
        let text = error.to_string();
        *failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(read_object::refusal(error));
        text
    });
    let content = plan.open(
        StreamBody::new(frames),
        BodyOptions {
            idle_timeout: COPY_IDLE_TIMEOUT,
        },
    );
    let result = store(gateway, content, None, owner, length, attributes).await;
    let failure = failure
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take();
    result.map_err(|error| failure.unwrap_or(error))
}

async fn store<B>(
    gateway: &Gateway,
    content: UploadBody<B>,
    extra: Option<ChecksumAlgorithm>,
    owner: DataOwner,
    length: u64,
    attributes: &ObjectAttributes,
) -> Result<Received, S3Error>
where
    B: Body<Data = Bytes> + Unpin + Send,
    B::Error: fmt::Display,
{
    let verdict: Arc<Mutex<Option<Verdict>>> = Arc::default();
    let manifest = {
        let verdict = Arc::clone(&verdict);
        move || match verdict
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .as_ref()
        {
            Some(verdict) => keepsake::encode(&verdict.digests, attributes),
            None => Bytes::new(),
        }
    };
    let source = Box::pin(verified(
        content,
        extra.map(ChecksumHasher::new),
        Arc::clone(&verdict),
    ));
    let stored = gateway
        .engine()
        .store(source, owner, Some(length), manifest)
        .await
        .map_err(store_refusal)?;
    let verdict = verdict
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take();
    // The engine ends only when its source has.
    let Verdict { digests, extra } =
        verdict.ok_or_else(|| S3Error::of(ErrorCode::InternalError))?;
    Ok(Received {
        stored,
        md5: digests.md5,
        checksum: extra.unwrap_or(digests.checksum),
        declared_checksum: extra.map(|_| digests.checksum),
    })
}

/// What is known of a body at its end.
struct Verdict {
    digests: DigestSet,
    /// By the algorithm that the object needs and the client did not name.
    extra: Option<Checksum>,
}

/// The content of a body as a stream that ends only after the verdict on its digests; `extra` is computed along
/// the way, which only CRC64NVME is, at a fraction of MD5's cost.
fn verified<B>(
    content: UploadBody<B>,
    extra: Option<ChecksumHasher>,
    verdict: Arc<Mutex<Option<Verdict>>>,
) -> impl Stream<Item = Result<Bytes, S3Error>> + Send
where
    B: Body<Data = Bytes> + Unpin + Send,
    B::Error: fmt::Display,
{
    stream::try_unfold(
        (content, extra, verdict),
        |(mut content, mut extra, verdict)| async move {
            if let Some(bytes) = content.try_next().await? {
                if let Some(extra) = &mut extra {
                    extra.update(&bytes);
                }
                return Ok(Some((bytes, (content, extra, verdict))));
            }
            let digests = content.finish().await?;
            let extra = extra.map(ChecksumHasher::finish);
            *verdict.lock().unwrap_or_else(PoisonError::into_inner) =
                Some(Verdict { digests, extra });
            Ok(None)
        },
    )
}

fn store_refusal(error: StoreError<S3Error>) -> S3Error {
    match error {
        StoreError::Source(error) => error,
        StoreError::SlowDown => S3Error::of(ErrorCode::SlowDown),
        StoreError::TooFewDisks { .. } => {
            tracing::error!(%error, "write refused");
            S3Error::new(
                ErrorCode::ServiceUnavailable,
                "Too few disks are there and have space left for the object to be stored durably. Please try again later.",
            )
        }
        StoreError::TooSlow => S3Error::of(ErrorCode::RequestTimeout),
        StoreError::Unstorable { .. } => {
            tracing::error!(%error, "write failed");
            S3Error::of(ErrorCode::InternalError)
        }
    }
}
