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

/// Verified bytes in order. Ends early only with an error, after which it ends.
///
/// Dropping it stops the read. While it lives, the data it reads is not deleted by this process.
#[must_use = "streams do nothing unless polled"]
pub struct ReadStream {
    pieces: vec::IntoIter<Bytes>,
    memory: Option<Reservation>,
    /// Of the pieces that were handed out, what is not given back yet: the last one is on its way until the reader
    /// asks for the next.
    handed_out_bytes: usize,
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
            handed_out_bytes: 0,
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

    fn end(&mut self, error: ReadError) -> Poll<Option<Result<Bytes, ReadError>>> {
        self.rest = None;
        self.remaining_bytes = 0;
        Poll::Ready(Some(Err(error)))
    }
}

impl Stream for ReadStream {
    type Item = Result<Bytes, ReadError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let handed_out_bytes = self.handed_out_bytes;
        if let Some(memory) = &mut self.memory {
            self.handed_out_bytes = memory.give_back(handed_out_bytes);
        }
        loop {
            if let Some(piece) = self.pieces.next() {
                self.handed_out_bytes += piece.len();
                self.remaining_bytes = self.remaining_bytes.saturating_sub(piece.len() as u64);
                self.core.counters.bytes_read.add(piece.len() as u64);
                return Poll::Ready(Some(Ok(piece)));
            }
            self.memory = None;
            self.handed_out_bytes = 0;
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
