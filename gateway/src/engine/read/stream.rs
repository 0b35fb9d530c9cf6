//! The bytes of a read, as they arrive.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::vec;

use bytes::Bytes;
use futures_util::Stream;
use futures_util::stream::BoxStream;

use super::ReadError;
use crate::engine::core::Core;
use crate::engine::memory::Reservation;
use crate::engine::pins::Pin as DataPin;

/// One chunk's bytes with the memory they occupy.
#[derive(Debug)]
pub(crate) struct ReadChunk {
    pub(crate) pieces: Vec<Bytes>,
    pub(crate) memory: Option<Reservation>,
}

/// A piece that was handed out. Its memory is given back when nobody has it any more: the reader may have ended long before
/// a slow client has taken the last one.
struct PaidPiece {
    piece: Bytes,
    _memory: Reservation,
}

impl AsRef<[u8]> for PaidPiece {
    fn as_ref(&self) -> &[u8] {
        &self.piece
    }
}

/// Verified bytes in order. Ends early only with an error, after which it ends.
///
/// Dropping it stops the read. While it lives, the data it reads is not deleted by this process.
#[must_use = "streams do nothing unless polled"]
pub struct ReadStream {
    pieces: vec::IntoIter<Bytes>,
    /// Of the pieces that are not handed out yet.
    memory: Option<Reservation>,
    rest: Option<BoxStream<'static, Result<ReadChunk, ReadError>>>,
    remaining_bytes: u64,
    core: Arc<Core>,
    _pin: DataPin,
}

impl ReadStream {
    pub(super) fn new(
        first: ReadChunk,
        rest: Option<BoxStream<'static, Result<ReadChunk, ReadError>>>,
        remaining_bytes: u64,
        core: Arc<Core>,
        pin: DataPin,
    ) -> Self {
        let ReadChunk { pieces, memory } = first;
        Self {
            pieces: pieces.into_iter(),
            memory,
            rest,
            remaining_bytes,
            core,
            _pin: pin,
        }
    }

    /// How many bytes are still to come.
    pub fn remaining_bytes(&self) -> u64 {
        self.remaining_bytes
    }

    /// The piece with what it occupies of the memory that is paid for. What decoding might have taken is given back with the
    /// last one.
    fn with_memory(&mut self, piece: Bytes) -> Bytes {
        let memory = self.memory.as_mut();
        let memory = memory.and_then(|memory| memory.split(piece.len()));
        if self.pieces.len() == 0 {
            self.memory = None;
        }
        match memory {
            Some(memory) => Bytes::from_owner(PaidPiece {
                piece,
                _memory: memory,
            }),
            None => piece,
        }
    }

    fn end(&mut self, error: ReadError) -> Poll<Option<Result<Bytes, ReadError>>> {
        self.rest = None;
        self.remaining_bytes = 0;
        Poll::Ready(Some(Err(error)))
    }
}

impl Stream for ReadStream {
    type Item = Result<Bytes, ReadError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(piece) = self.pieces.next() {
                self.remaining_bytes = self.remaining_bytes.saturating_sub(piece.len() as u64);
                self.core.counters.bytes_read.add(piece.len() as u64);
                return Poll::Ready(Some(Ok(self.with_memory(piece))));
            }
            self.memory = None;
            let next = match self.rest.as_mut() {
                Some(rest) => ready!(rest.as_mut().poll_next(context)),
                None => None,
            };
            match next {
                Some(Ok(chunk)) => {
                    self.pieces = chunk.pieces.into_iter();
                    self.memory = chunk.memory;
                }
                Some(Err(error)) => return self.end(error),
                None if self.remaining_bytes > 0 => {
                    let detail = format!("{} bytes are missing at the end", self.remaining_bytes);
                    return self.end(ReadError::Damaged { detail });
                }
                None => {
                    self.rest = None;
                    return Poll::Ready(None);
                }
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (usize::from(self.remaining_bytes > 0), None)
    }
}

impl fmt::Debug for ReadStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadStream")
            .field("remaining_bytes", &self.remaining_bytes)
            .finish_non_exhaustive()
    }
}
