//! A connection that was accepted: it occupies one of a bounded number of places, and gives it back when it ends or its
//! peer has to go.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Sleep;

use crate::standing::Standing;
use crate::stream::Stream;

/// A [`Stream`] with a place and a bound on how long it may occupy it without an authentic request, or without taking
/// what is sent to it.
#[derive(Debug)]
pub struct ServedConnection {
    stream: Stream,
    standing: Arc<Standing>,
    timer: Pin<Box<Sleep>>,
    /// While a write waits for the peer.
    deaf_timer: Option<Pin<Box<Sleep>>>,
    _place: OwnedSemaphorePermit,
}

impl ServedConnection {
    /// Reading and writing end with an error of kind [`io::ErrorKind::TimedOut`] when the peer has to go.
    pub(crate) fn new(
        stream: Stream,
        place: OwnedSemaphorePermit,
        standing: Arc<Standing>,
    ) -> Self {
        Self {
            stream,
            timer: standing.timer(),
            deaf_timer: None,
            standing,
            _place: place,
        }
    }

    pub(crate) fn standing(&self) -> &Arc<Standing> {
        &self.standing
    }

    /// The stream, unless the peer has to go; `context` is woken when it has.
    fn poll_stream<T>(
        &mut self,
        context: &mut Context<'_>,
        poll: impl FnOnce(Pin<&mut Stream>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        // First, or one that never pauses could stay for ever.
        if self.standing.poll_over(&mut self.timer, context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        poll(Pin::new(&mut self.stream), context)
    }

    /// As [`Self::poll_stream`], for what waits until the peer takes something.
    fn poll_send<T>(
        &mut self,
        context: &mut Context<'_>,
        poll: impl FnOnce(Pin<&mut Stream>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let sent = self.poll_stream(context, poll);
        if sent.is_ready() {
            self.deaf_timer = None;
            return sent;
        }
        let standing = &self.standing;
        let timer = self.deaf_timer.get_or_insert_with(|| standing.deaf_timer());
        timer
            .as_mut()
            .poll(context)
            .map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for ServedConnection {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.get_mut()
            .poll_stream(context, |stream, context| stream.poll_read(context, buffer))
    }
}

impl AsyncWrite for ServedConnection {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.get_mut()
            .poll_send(context, |stream, context| stream.poll_write(context, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().poll_send(context, |stream, context| {
            stream.poll_write_vectored(context, pieces)
        })
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_send(context, AsyncWrite::poll_flush)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_send(context, AsyncWrite::poll_shutdown)
    }
}
