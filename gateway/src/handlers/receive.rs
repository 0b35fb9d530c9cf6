//! Bytes on their way in: from a request's body, or from another object, through the digests, to durable shards.
//!
//! Invariant: what [`body`] and [`copy`] return is verified and durable, and visible to nobody. The engine's
//! source ends only after the verdict on the digests, so that a body which is not what was declared never gets
//! further than shards that are deleted again.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, TryStreamExt, stream};
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, HeaderValue};
use http_body::{Body, Frame};
use http_body_util::StreamBody;

use super::destination::Destination;
use super::read_object;
use super::request::S3Request;
use crate::auth::PayloadMode;
use crate::body::{BODY_SIZE_BYTES_MAX, BodyOptions, BodyPlan, DigestSet, RATE_WINDOW, UploadBody};
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
    /// When the last byte was there and verified, in milliseconds since 1970: the time that is kept on the disks, and
    /// so the one that the object or part has. The commit is later, if the disks are slow by minutes.
    pub(super) at_ms: u64,
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
    destination: Destination<'_>,
) -> Result<Received, S3Error> {
    let gateway = Arc::clone(&request.gateway);
    let length = plan.body.length();
    let extra = plan.stored_algorithm.filter(|algorithm| {
        plan.declared_algorithm()
            .is_some_and(|named| named != *algorithm)
    });
    let options = BodyOptions {
        idle_timeout: gateway.config().timeouts.body_idle,
        rate_window: RATE_WINDOW,
        md5_pool: gateway.md5_pool().clone(),
    };
    let content = plan.body.open(&mut request.body, options);
    store(&gateway, content, extra, destination, length).await
}

/// Stores what is read from another object.
///
/// # Errors
/// What the read fails with; 503 where it cannot be stored now.
pub(super) async fn copy(
    gateway: &Gateway,
    source: ReadStream,
    algorithm: ChecksumAlgorithm,
    destination: Destination<'_>,
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
            rate_window: COPY_IDLE_TIMEOUT,
            md5_pool: gateway.md5_pool().clone(),
        },
    );
    let result = store(gateway, content, None, destination, length).await;
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
    destination: Destination<'_>,
    length: u64,
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
            Some(verdict) => destination
                .keepsake(&verdict.digests, verdict.stored_checksum(), verdict.at_ms)
                .encode(),
            None => Bytes::new(),
        }
    };
    let source = Box::pin(verified(
        gateway,
        content,
        extra.map(ChecksumHasher::new),
        Arc::clone(&verdict),
    ));
    let stored = gateway
        .engine()
        .store(source, destination.data_owner(), Some(length), manifest)
        .await
        .map_err(store_refusal)?;
    let verdict = verdict
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take();
    // The engine ends only when its source has.
    let verdict = verdict.ok_or_else(|| S3Error::of(ErrorCode::InternalError))?;
    Ok(Received {
        stored,
        md5: verdict.digests.md5,
        checksum: *verdict.stored_checksum(),
        declared_checksum: verdict.extra.map(|_| verdict.digests.checksum),
        at_ms: verdict.at_ms,
    })
}

/// What is known of a body at its end.
struct Verdict {
    digests: DigestSet,
    /// By the algorithm that the object needs and the client did not name.
    extra: Option<Checksum>,
    /// When it was known, in milliseconds since 1970.
    at_ms: u64,
}

impl Verdict {
    fn stored_checksum(&self) -> &Checksum {
        self.extra.as_ref().unwrap_or(&self.digests.checksum)
    }
}

/// The content of a body as a stream that ends only after the verdict on its digests; `extra` is computed along
/// the way, which only CRC64NVME is, at a fraction of MD5's cost.
fn verified<B>(
    gateway: &Gateway,
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
        move |(mut content, mut extra, verdict)| async move {
            if let Some(bytes) = content.try_next().await? {
                if let Some(extra) = &mut extra {
                    extra.update(&bytes);
                }
                return Ok(Some((bytes, (content, extra, verdict))));
            }
            let digests = content.finish().await?;
            let extra = extra.map(ChecksumHasher::finish);
            *verdict.lock().unwrap_or_else(PoisonError::into_inner) = Some(Verdict {
                digests,
                extra,
                at_ms: gateway.now_ms(),
            });
            Ok(None)
        },
    )
}

pub(super) fn store_refusal(error: StoreError<S3Error>) -> S3Error {
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
