//! The digests of a body, computed beside its stream.
//!
//! MD5 alone runs at 0.6 GiB/s and must not hold up an async thread. Content is gathered into batches; each
//! batch is hashed on a blocking thread while the next arrives. One batch is under way and one is gathering,
//! never more: [`Digests::poll_ready`] is what makes the stream wait. No thread is kept while a slow client
//! sends nothing, which a worker per upload would do. Small bodies are hashed where they are: the switch
//! would cost more than the hashing.

use std::future::Future;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use md5::{Digest, Md5};
use sha2::Sha256;
use tokio::task::JoinHandle;

use crate::checksum::{Checksum, ChecksumAlgorithm, ChecksumHasher};
use crate::s3_error::{ErrorCode, S3Error};

/// Bodies up to this size are hashed inline: 128 KiB of MD5 take 0.2 ms.
const INLINE_SIZE_BYTES_MAX: u64 = 128 << 10;

/// A batch is worth the 10 µs of handing it to another thread: it takes 0.8 ms to hash.
const BATCH_SIZE_BYTES: usize = 512 << 10;

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

/// The running hashes.
struct Hashers {
    size_bytes: u64,
    md5: Md5,
    /// The payload's, unless the checksum is the same.
    sha256: Option<Sha256>,
    checksum: ChecksumHasher,
}

impl Hashers {
    fn update(&mut self, bytes: &[u8]) {
        self.size_bytes += bytes.len() as u64;
        self.md5.update(bytes);
        if let Some(sha256) = &mut self.sha256 {
            sha256.update(bytes);
        }
        self.checksum.update(bytes);
    }

    fn finish(self) -> (u64, [u8; 16], Option<[u8; 32]>, Checksum) {
        let checksum = self.checksum.finish();
        let own = self.sha256.map(|sha256| sha256.finalize().into());
        let shared = || <[u8; 32]>::try_from(checksum.as_bytes()).ok();
        (
            self.size_bytes,
            self.md5.finalize().into(),
            own.or_else(shared),
            checksum,
        )
    }
}

/// Computes the digests of one body.
pub(super) struct Digests {
    state: State,
    is_inline: bool,
    batch: Vec<Bytes>,
    batch_size: usize,
}

enum State {
    Idle(Box<Hashers>),
    Hashing(JoinHandle<Box<Hashers>>),
    /// The hashing thread panicked, or the digests were taken.
    Gone,
}

impl Digests {
    /// `is_signed`: the payload's SHA-256 is needed too.
    pub(super) fn new(algorithm: ChecksumAlgorithm, is_signed: bool, length: u64) -> Digests {
        let needs_own_sha256 = is_signed && algorithm != ChecksumAlgorithm::Sha256;
        let hashers = Hashers {
            size_bytes: 0,
            md5: Md5::new(),
            sha256: needs_own_sha256.then(Sha256::new),
            checksum: ChecksumHasher::new(algorithm),
        };
        Digests {
            state: State::Idle(Box::new(hashers)),
            is_inline: length <= INLINE_SIZE_BYTES_MAX,
            batch: Vec::new(),
            batch_size: 0,
        }
    }

    /// Waits until there is room for more content.
    pub(super) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S3Error>> {
        if self.batch_size < BATCH_SIZE_BYTES {
            return Poll::Ready(Ok(()));
        }
        ready!(self.poll_idle(cx))?;
        self.start_batch();
        Poll::Ready(Ok(()))
    }

    /// Adds content. The bytes are shared, not copied.
    pub(super) fn push(&mut self, content: &Bytes) {
        if self.is_inline {
            if let State::Idle(hashers) = &mut self.state {
                hashers.update(content);
            }
            return;
        }
        self.batch_size += content.len();
        self.batch.push(content.clone());
        if self.batch_size >= BATCH_SIZE_BYTES && matches!(self.state, State::Idle(_)) {
            self.start_batch();
        }
    }

    /// Waits for all that was added to be hashed.
    pub(super) fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S3Error>> {
        while self.batch_size > 0 || matches!(self.state, State::Hashing(_)) {
            ready!(self.poll_idle(cx))?;
            if self.batch_size > 0 {
                self.start_batch();
            }
        }
        Poll::Ready(Ok(()))
    }

    /// The digests, once [`Digests::poll_finish`] is done.
    pub(super) fn take(&mut self) -> Result<DigestSet, S3Error> {
        match std::mem::replace(&mut self.state, State::Gone) {
            State::Idle(hashers) => {
                let (size_bytes, md5, sha256, checksum) = hashers.finish();
                Ok(DigestSet {
                    size_bytes,
                    md5,
                    sha256,
                    checksum,
                    checksum_was_declared: false,
                })
            }
            State::Hashing(_) | State::Gone => Err(ErrorCode::InternalError.into()),
        }
    }

    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S3Error>> {
        if let State::Hashing(task) = &mut self.state {
            let joined = ready!(std::pin::Pin::new(task).poll(cx));
            self.state = match joined {
                Ok(hashers) => State::Idle(hashers),
                Err(error) => {
                    tracing::error!(%error, "the task that hashes a request body failed");
                    State::Gone
                }
            };
        }
        match self.state {
            State::Gone => Poll::Ready(Err(ErrorCode::InternalError.into())),
            State::Idle(_) | State::Hashing(_) => Poll::Ready(Ok(())),
        }
    }

    fn start_batch(&mut self) {
        match std::mem::replace(&mut self.state, State::Gone) {
            State::Idle(mut hashers) => {
                let batch = std::mem::take(&mut self.batch);
                self.batch_size = 0;
                self.state = State::Hashing(tokio::task::spawn_blocking(move || {
                    for piece in &batch {
                        hashers.update(piece);
                    }
                    hashers
                }));
            }
            other => self.state = other,
        }
    }
}

impl std::fmt::Debug for Digests {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Digests")
            .field("batch_size", &self.batch_size)
            .finish_non_exhaustive()
    }
}
