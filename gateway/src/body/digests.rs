//! The digests of a body, computed beside its stream.
//!
//! A CRC is computed where the bytes are. MD5 (0.6 GiB/s) and SHA must not hold up an async thread: content is
//! gathered into batches, and each batch is hashed elsewhere while the next arrives: MD5 together with that of other
//! requests by the [`Md5Pool`], SHA on a blocking thread of its own, both at once. One batch is under way and one is
//! gathering, never more: [`Digests::poll_ready`] is what makes the stream wait. No thread is kept while a slow
//! client sends nothing, which a worker per upload would do. Small bodies are hashed where they are: the switch
//! would cost more than the hashing.
//!
//! A piece of content keeps the whole buffer it was read into, which is of 8 KiB or more however few bytes arrived. So
//! that a client that sends byte by byte cannot have a batch keep gigabytes, small pieces are copied together. And so
//! that many slow clients do not each keep a batch that is never full, it does not wait for long to be that.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use sha2::{Digest, Sha256};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::checksum::{Checksum, ChecksumAlgorithm, ChecksumHasher};
use crate::md5_lanes::{Md5Pool, Md5Stream};
use crate::s3_error::{ErrorCode, S3Error};

/// Bodies up to this size are hashed inline: 128 KiB of MD5 take 0.2 ms.
const INLINE_SIZE_BYTES_MAX: u64 = 128 << 10;

/// A batch is worth the 10 µs of handing it to another thread: it takes 0.8 ms to hash.
const BATCH_SIZE_BYTES: usize = 512 << 10;

/// A batch that is older than this when the client has nothing to send is hashed as it is. Only clients below 25 MB/s
/// take so long to fill one, with which smaller batches take 0.4 % of a core.
const BATCH_AGE_MAX: Duration = Duration::from_millis(20);

/// Less is not handed over before the end.
const BATCH_SIZE_BYTES_MIN: usize = 64 << 10;

/// Pieces below this size are copied: the buffers of larger ones are at most a few times as large as they are.
const SHARED_SIZE_BYTES_MIN: usize = 32 << 10;

/// All digests of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DigestSet {
    /// The length of the content.
    pub size_bytes: u64,
    /// Its MD5: the `ETag`.
    pub md5: [u8; 16],
    /// Its SHA-256, if the payload's signature or the checksum asked for it.
    pub sha256: Option<[u8; 32]>,
    /// Its checksum, by the algorithm the request named or S3's default.
    pub checksum: Checksum,
    /// Whether the request named that algorithm.
    pub checksum_was_declared: bool,
}

/// The running hashes besides MD5.
struct Sums {
    /// The payload's, unless the checksum is the same.
    sha256: Option<Sha256>,
    checksum: ChecksumHasher,
}

impl Sums {
    fn update(&mut self, bytes: &[u8]) {
        if let Some(sha256) = &mut self.sha256 {
            sha256.update(bytes);
        }
        self.checksum.update(bytes);
    }

    fn finish(self) -> (Option<[u8; 32]>, Checksum) {
        let checksum = self.checksum.finish();
        let own = self.sha256.map(|sha256| sha256.finalize().into());
        let shared = || <[u8; 32]>::try_from(checksum.as_bytes()).ok();
        (own.or_else(shared), checksum)
    }
}

/// Where some hashes are computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// As the content arrives.
    Inline,
    /// In batches, elsewhere.
    Aside,
}

/// Running hashes that are here, or away with a batch.
enum Running<T> {
    Here(T),
    Away(oneshot::Receiver<T>),
    /// The hashing thread panicked, or the digests were taken.
    Gone,
}

impl<T> Running<T> {
    /// Waits until they are here.
    fn poll_here(&mut self, cx: &mut Context<'_>) -> Poll<Result<&mut T, S3Error>> {
        if let Running::Away(receiver) = self {
            let received = ready!(Pin::new(receiver).poll(cx));
            if received.is_err() {
                tracing::error!("the task that hashes a request body failed");
            }
            *self = received.map_or(Running::Gone, Running::Here);
        }
        Poll::Ready(match self {
            Running::Here(hashes) => Ok(hashes),
            Running::Away(_) | Running::Gone => Err(ErrorCode::InternalError.into()),
        })
    }

    /// Gives them away until they come back.
    fn send(&mut self, away: impl FnOnce(T) -> oneshot::Receiver<T>) {
        *self = match std::mem::replace(self, Running::Gone) {
            Running::Here(hashes) => Running::Away(away(hashes)),
            other => other,
        };
    }
}

/// Computes the digests of one body.
pub(super) struct Digests {
    size_bytes: u64,
    md5: Running<Md5Stream>,
    md5_place: Place,
    sums: Running<Box<Sums>>,
    sums_place: Place,
    pool: Md5Pool,
    batch: Vec<Bytes>,
    /// Small pieces, to be put into the batch as one.
    gathered: BytesMut,
    /// How much is kept, and not on its way to be hashed.
    pub(super) batch_size: usize,
    /// When the batch's first piece came.
    batch_since: Option<Instant>,
    pub(super) batch_age_max: Duration,
}

impl Digests {
    /// `is_signed`: the payload's SHA-256 is needed too.
    pub(super) fn new(
        algorithm: ChecksumAlgorithm,
        is_signed: bool,
        length: u64,
        pool: Md5Pool,
    ) -> Digests {
        let needs_own_sha256 = is_signed && algorithm != ChecksumAlgorithm::Sha256;
        let sums = Sums {
            sha256: needs_own_sha256.then(Sha256::new),
            checksum: ChecksumHasher::new(algorithm),
        };
        let is_small = length <= INLINE_SIZE_BYTES_MAX;
        let place = |is_cheap: bool| {
            if is_cheap {
                Place::Inline
            } else {
                Place::Aside
            }
        };
        Digests {
            size_bytes: 0,
            md5: Running::Here(Md5Stream::new()),
            md5_place: place(is_small),
            sums: Running::Here(Box::new(sums)),
            sums_place: place(is_small || (algorithm.is_crc() && !needs_own_sha256)),
            pool,
            batch: Vec::new(),
            gathered: BytesMut::new(),
            batch_size: 0,
            batch_since: None,
            batch_age_max: BATCH_AGE_MAX,
        }
    }

    /// Waits until there is room for more content.
    pub(super) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S3Error>> {
        if self.batch_size >= BATCH_SIZE_BYTES {
            ready!(self.poll_idle(cx))?;
            self.start_batch();
        }
        Poll::Ready(Ok(()))
    }

    /// Takes the time that the client does not use: does not let a batch wait that takes long to fill.
    pub(super) fn client_pauses(&mut self, cx: &mut Context<'_>) -> Result<(), S3Error> {
        let is_old = |since: Instant| since.elapsed() >= self.batch_age_max;
        if self.batch_size < BATCH_SIZE_BYTES_MIN || !self.batch_since.is_some_and(is_old) {
            return Ok(());
        }
        match self.poll_idle(cx) {
            Poll::Ready(Ok(())) => self.start_batch(),
            Poll::Ready(Err(error)) => return Err(error),
            Poll::Pending => {}
        }
        Ok(())
    }

    /// Adds content. Large pieces are shared, not copied.
    pub(super) fn push(&mut self, content: &Bytes) {
        self.size_bytes += content.len() as u64;
        if let (Place::Inline, Running::Here(md5)) = (self.md5_place, &mut self.md5) {
            md5.update(content);
        }
        if let (Place::Inline, Running::Here(sums)) = (self.sums_place, &mut self.sums) {
            sums.update(content);
        }
        if self.md5_place == Place::Inline {
            return;
        }
        self.batch_since.get_or_insert_with(Instant::now);
        self.batch_size += content.len();
        if content.len() < SHARED_SIZE_BYTES_MIN {
            self.gathered.extend_from_slice(content);
        } else {
            self.end_gathering();
            self.batch.push(content.clone());
        }
        let is_idle = matches!(self.md5, Running::Here(_)) && matches!(self.sums, Running::Here(_));
        if self.batch_size >= BATCH_SIZE_BYTES && is_idle {
            self.start_batch();
        }
    }

    /// Waits for all that was added to be hashed.
    pub(super) fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S3Error>> {
        ready!(self.poll_idle(cx))?;
        if self.batch_size > 0 {
            self.start_batch();
            ready!(self.poll_idle(cx))?;
        }
        Poll::Ready(Ok(()))
    }

    /// The digests, once [`Digests::poll_finish`] is done.
    pub(super) fn take(&mut self) -> Result<DigestSet, S3Error> {
        let md5 = std::mem::replace(&mut self.md5, Running::Gone);
        let sums = std::mem::replace(&mut self.sums, Running::Gone);
        let (Running::Here(md5), Running::Here(sums)) = (md5, sums) else {
            return Err(ErrorCode::InternalError.into());
        };
        let (sha256, checksum) = sums.finish();
        Ok(DigestSet {
            size_bytes: self.size_bytes,
            md5: md5.finish(),
            sha256,
            checksum,
            checksum_was_declared: false,
        })
    }

    /// Waits for what is being hashed.
    pub(super) fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S3Error>> {
        ready!(self.md5.poll_here(cx))?;
        ready!(self.sums.poll_here(cx))?;
        Poll::Ready(Ok(()))
    }

    fn end_gathering(&mut self) {
        if !self.gathered.is_empty() {
            self.batch.push(std::mem::take(&mut self.gathered).freeze());
        }
    }

    /// Both must be here.
    fn start_batch(&mut self) {
        self.end_gathering();
        let batch = std::mem::take(&mut self.batch);
        self.batch_size = 0;
        self.batch_since = None;
        if self.sums_place == Place::Aside {
            let batch = batch.clone();
            self.sums.send(|sums| hash_aside(sums, batch));
        }
        self.md5.send(|md5| self.pool.update(md5, batch));
    }
}

fn hash_aside(mut sums: Box<Sums>, batch: Vec<Bytes>) -> oneshot::Receiver<Box<Sums>> {
    let (reply, receiver) = oneshot::channel();
    // Detached: should it panic, the receiver says so.
    drop(tokio::task::spawn_blocking(move || {
        for piece in &batch {
            sums.update(piece);
        }
        // Nobody may be there any more to take it.
        drop(reply.send(sums));
    }));
    receiver
}

impl std::fmt::Debug for Digests {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Digests")
            .field("batch_size", &self.batch_size)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    /// One byte at a time, each in a buffer of its own: what is kept grows with the content only.
    #[tokio::test]
    async fn small_pieces_do_not_keep_their_buffers() {
        let content = vec![7; 3 * BATCH_SIZE_BYTES / 2];
        let length = content.len() as u64;
        let algorithm = ChecksumAlgorithm::Crc32;
        let mut digests = Digests::new(algorithm, true, length, Md5Pool::new());
        for byte in &content {
            poll_fn(|cx| digests.poll_ready(cx)).await.unwrap();
            digests.push(&Bytes::copy_from_slice(&[*byte]));
            assert!(digests.batch.is_empty() && digests.gathered.len() <= BATCH_SIZE_BYTES);
        }
        poll_fn(|cx| digests.poll_finish(cx)).await.unwrap();
        let found = digests.take().unwrap();
        assert_eq!(found.md5, <[u8; 16]>::from(md5::Md5::digest(&content)));
        assert_eq!(found.sha256, Some(Sha256::digest(&content).into()));
        assert_eq!(found.checksum, ChecksumHasher::of(algorithm, &content));
    }

    /// Large and small ones, in their order.
    #[tokio::test]
    async fn pieces_are_hashed_in_order() {
        let lens = [
            1,
            SHARED_SIZE_BYTES_MIN,
            5,
            7,
            2 * SHARED_SIZE_BYTES_MIN,
            300_000,
            3,
            400_000,
        ];
        let mut content = Vec::new();
        let mut digests = Digests::new(ChecksumAlgorithm::Sha256, true, 1 << 20, Md5Pool::new());
        for (number, len) in (1_u8..).zip(lens) {
            let piece = Bytes::from(vec![number; len]);
            poll_fn(|cx| digests.poll_ready(cx)).await.unwrap();
            digests.push(&piece);
            content.extend_from_slice(&piece);
        }
        poll_fn(|cx| digests.poll_finish(cx)).await.unwrap();
        let found = digests.take().unwrap();
        assert_eq!(found.size_bytes, content.len() as u64);
        assert_eq!(found.md5, <[u8; 16]>::from(md5::Md5::digest(&content)));
        assert_eq!(found.sha256, Some(Sha256::digest(&content).into()));
    }
}
