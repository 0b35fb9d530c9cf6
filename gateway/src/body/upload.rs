//! The stream of a body's content, and the verdict on it.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use http_body::Body;
use tokio::time::{Instant, Sleep};

use super::BodyPlan;
use super::chunked::incomplete;
use super::decoder::Decoder;
use super::digests::{DigestSet, Digests};
use super::trailer;
use crate::auth::PayloadMode;
use crate::checksum::{Checksum, ChecksumAlgorithm, DeclaredChecksum, invalid_value};
use crate::md5_lanes::Md5Pool;
use crate::s3_error::{ErrorCode, S3Error};

/// Nobody who means it sends more slowly; whoever does keeps a place among the running requests.
pub const RATE_BYTES_PER_SECOND_MIN: u64 = 1 << 10;
/// Over which time that counts: long enough for a mobile client to lose its network and find it again.
pub const RATE_WINDOW: Duration = Duration::from_mins(1);

/// How bodies are read.
#[derive(Debug, Clone)]
pub struct BodyOptions {
    /// A client that sends nothing for so long is given up.
    pub idle_timeout: Duration,
    /// A client that sends less than [`RATE_BYTES_PER_SECOND_MIN`] over so long is given up too.
    pub rate_window: Duration,
    /// Hashes long bodies, together with those of other requests that have the same pool.
    pub md5_pool: Md5Pool,
}

impl Default for BodyOptions {
    /// Twenty seconds, as S3; a minute; a pool of its own.
    fn default() -> BodyOptions {
        BodyOptions {
            idle_timeout: Duration::from_secs(20),
            rate_window: RATE_WINDOW,
            md5_pool: Md5Pool::new(),
        }
    }
}

/// The content of a request's body: a stream, and after its end the digests.
///
/// An error ends the stream. Dropping it at any time is safe; nothing was promised before
/// [`UploadBody::finish`].
#[derive(Debug)]
pub struct UploadBody<B> {
    /// `None` once it has ended.
    body: Option<B>,
    /// What has arrived and is not decoded yet.
    input: Bytes,
    decoder: Decoder,
    pub(super) digests: Digests,
    patience: Patience,
    expected: Expected,
    trailer: Vec<(String, String)>,
    /// Set by the first error, which is all that is said afterwards.
    failure: Option<S3Error>,
}

/// What the digests must turn out to be.
#[derive(Debug)]
struct Expected {
    sha256: Option<[u8; 32]>,
    md5: Option<[u8; 16]>,
    checksum: Option<DeclaredChecksum>,
}

impl BodyPlan {
    /// Reads a body according to this plan. Nothing is polled (and no `100 Continue` sent) before the stream is.
    pub fn open<B>(self, body: B, options: BodyOptions) -> UploadBody<B> {
        let sha256 = match self.payload {
            PayloadMode::Signed(sha256) => Some(sha256),
            PayloadMode::Unsigned
            | PayloadMode::Streaming { .. }
            | PayloadMode::StreamingUnsignedTrailer => None,
        };
        let algorithm = self
            .checksum
            .map_or(self.default_algorithm, |declared| declared.algorithm());
        UploadBody {
            body: Some(body),
            input: Bytes::new(),
            decoder: Decoder::new(self.payload, self.length),
            digests: Digests::new(algorithm, sha256.is_some(), self.length, options.md5_pool),
            patience: Patience {
                idle_timeout: options.idle_timeout,
                rate_window: options.rate_window,
                sleep: None,
                waiting_since: None,
                waited: Duration::ZERO,
                arrived_bytes: 0,
            },
            expected: Expected {
                sha256,
                md5: self.content_md5,
                checksum: self.checksum,
            },
            trailer: Vec::new(),
            failure: None,
        }
    }
}

impl<B> UploadBody<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: fmt::Display,
{
    /// Reads what is left, then verifies everything that was declared of the content.
    ///
    /// # Errors
    /// Whatever the stream failed with; `XAmzContentSHA256Mismatch`, `BadDigest`, `MalformedTrailerError`,
    /// `InvalidRequest` for content that is not what was declared. Nothing may become visible then.
    pub async fn finish(mut self) -> Result<DigestSet, S3Error> {
        while let Some(content) = self.next().await {
            content?;
        }
        poll_fn(|cx| self.digests.poll_finish(cx)).await?;
        let mut digests = self.digests.take()?;
        digests.checksum_was_declared = self.expected.checksum.is_some();
        self.expected.check(&digests, &self.trailer)?;
        Ok(digests)
    }

    fn poll_content(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, S3Error>> {
        loop {
            if let Some(content) = self.decoder.push(&mut self.input)? {
                self.digests.push(&content);
                return Poll::Ready(Ok(Some(content)));
            }
            let Some(body) = &mut self.body else {
                return Poll::Ready(Ok(None));
            };
            match Pin::new(body).poll_frame(cx) {
                Poll::Pending => {
                    self.digests.client_pauses(cx)?;
                    return self
                        .patience
                        .poll_expired(cx)
                        .map(|()| Err(ErrorCode::RequestTimeout.into()));
                }
                Poll::Ready(Some(Ok(frame))) => {
                    // HTTP's own trailers are not S3's.
                    self.input = frame.into_data().unwrap_or_default();
                    self.patience.arrived(self.input.len() as u64)?;
                }
                Poll::Ready(Some(Err(error))) => {
                    tracing::debug!(%error, "a client went away while sending its body");
                    return Poll::Ready(Err(incomplete()));
                }
                Poll::Ready(None) => {
                    self.body = None;
                    self.trailer = self.decoder.finish()?;
                    return Poll::Ready(Ok(None));
                }
            }
        }
    }
}

impl<B> Stream for UploadBody<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: fmt::Display,
{
    type Item = Result<Bytes, S3Error>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if let Some(failure) = &this.failure {
            return Poll::Ready(Some(Err(failure.clone())));
        }
        let result = match ready!(this.digests.poll_ready(cx)) {
            Ok(()) => ready!(this.poll_content(cx)),
            Err(error) => Err(error),
        };
        if let Err(error) = &result {
            this.failure = Some(error.clone());
        }
        Poll::Ready(result.transpose())
    }
}

impl Expected {
    fn check(&self, digests: &DigestSet, trailer: &[(String, String)]) -> Result<(), S3Error> {
        if let (Some(expected), Some(computed)) = (self.sha256, digests.sha256)
            && expected != computed
        {
            return Err(S3Error::of(ErrorCode::XAmzContentSHA256Mismatch)
                .with("ClientComputedContentSHA256", hex::encode(expected))
                .with("S3ComputedContentSHA256", hex::encode(computed)));
        }
        if let Some(expected) = self.md5
            && expected != digests.md5
        {
            return Err(S3Error::new(
                ErrorCode::BadDigest,
                "The Content-MD5 you specified did not match what we received.",
            )
            .with("ExpectedDigest", STANDARD.encode(expected))
            .with("CalculatedDigest", STANDARD.encode(digests.md5)));
        }
        let announced = match self.checksum {
            Some(DeclaredChecksum::Trailer(algorithm)) => Some(algorithm),
            Some(DeclaredChecksum::Header(_) | DeclaredChecksum::AlgorithmOnly(_)) | None => None,
        };
        let in_trailer = checksum_in_trailer(announced, trailer)?;
        let expected = match self.checksum {
            Some(DeclaredChecksum::Header(checksum)) => Some(checksum),
            _ => in_trailer,
        };
        match expected {
            Some(expected) if expected != digests.checksum => Err(S3Error::new(
                ErrorCode::BadDigest,
                format!(
                    "The {} you specified did not match the calculated checksum.",
                    expected.algorithm().name()
                ),
            )),
            _ => Ok(()),
        }
    }
}

/// The trailer holds exactly what was announced.
fn checksum_in_trailer(
    announced: Option<ChecksumAlgorithm>,
    trailer: &[(String, String)],
) -> Result<Option<Checksum>, S3Error> {
    match (announced, trailer) {
        (None, []) => Ok(None),
        (Some(algorithm), [(name, value)]) if name == algorithm.header() => {
            let checksum = Checksum::from_base64(algorithm, value);
            checksum
                .map(Some)
                .ok_or_else(|| invalid_value(name, "trailing header"))
        }
        _ => Err(trailer::malformed()),
    }
}

/// Counts the time a client keeps us waiting; not the time we keep it waiting.
#[derive(Debug)]
struct Patience {
    idle_timeout: Duration,
    rate_window: Duration,
    sleep: Option<Pin<Box<Sleep>>>,
    /// Since when the next bytes are waited for, if they are.
    waiting_since: Option<Instant>,
    /// How long was waited, in pieces, since the rate was last judged; and what came in that time.
    waited: Duration,
    arrived_bytes: u64,
}

impl Patience {
    /// Takes note of bytes. The end of a window is seen when bytes come; that some do, the idle time-out sees to.
    fn arrived(&mut self, bytes: u64) -> Result<(), S3Error> {
        if let Some(since) = self.waiting_since.take() {
            self.waited += since.elapsed();
        }
        self.arrived_bytes += bytes;
        if self.waited < self.rate_window {
            return Ok(());
        }
        let waited_ms = u64::try_from(self.waited.as_millis()).unwrap_or(u64::MAX);
        let expected_bytes = waited_ms.saturating_mul(RATE_BYTES_PER_SECOND_MIN) / 1000;
        let is_too_slow = self.arrived_bytes < expected_bytes;
        self.waited = Duration::ZERO;
        self.arrived_bytes = 0;
        if is_too_slow {
            return Err(ErrorCode::RequestTimeout.into());
        }
        Ok(())
    }

    fn poll_expired(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let timeout = self.idle_timeout;
        let sleep = self
            .sleep
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
        if self.waiting_since.is_none() {
            let now = Instant::now();
            sleep.as_mut().reset(now + timeout);
            self.waiting_since = Some(now);
        }
        sleep.as_mut().poll(cx)
    }
}
