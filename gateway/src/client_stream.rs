//! The stream of a client, which is given up when the client does not take what is written to it.
//!
//! hyper asks for no more of a response than it can write, and lets the client take its time: a response that nobody
//! reads would hold its place among the running requests for ever. Here a write that makes no progress for a while
//! fails, and with it the connection. Any progress starts the time anew, so that who reads slowly is served.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use crate::connection_activity::ConnectionActivity;

/// A stream whose writes have a deadline and are known to the connection's activity.
#[derive(Debug)]
pub(crate) struct ClientStream<S> {
    stream: S,
    stall_max: Duration,
    activity: ConnectionActivity,
    /// The deadline of a write that waits; kept for the next one.
    deadline: Option<Pin<Box<Sleep>>>,
    is_waiting: bool,
}

impl<S> ClientStream<S> {
    pub(crate) fn new(stream: S, stall_max: Duration, activity: ConnectionActivity) -> Self {
        Self {
            stream,
            stall_max,
            activity,
            deadline: None,
            is_waiting: false,
        }
    }

    /// Takes the outcome of a write: bytes that went are a sign of the client.
    fn judge_write(
        &mut self,
        cx: &mut Context<'_>,
        outcome: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if outcome.is_ready() {
            self.activity.wrote();
        }
        self.judge(cx, outcome)
    }

    /// Takes the outcome of a write, or of the like; turns one that waits for too long into a failure.
    fn judge<T>(
        &mut self,
        cx: &mut Context<'_>,
        outcome: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            // A flush is often one of nothing: alone it is no sign of the client.
            if std::mem::take(&mut self.is_waiting) {
                self.activity.wrote();
            }
            return outcome;
        }
        let stall_max = self.stall_max;
        let deadline = self
            .deadline
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(stall_max)));
        if !self.is_waiting {
            self.is_waiting = true;
            self.activity.write_waits();
            deadline.as_mut().reset(Instant::now() + stall_max);
        }
        ready!(deadline.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the client does not take what it asked for",
        )))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ClientStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ClientStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.judge_write(cx, outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.judge_write(cx, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_flush(cx);
        self.judge(cx, outcome)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.judge(cx, outcome)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn a_write_that_nobody_takes_fails() {
        let (near, mut far) = tokio::io::duplex(8);
        let stall_max = Duration::from_millis(20);
        let mut stream = ClientStream::new(near, stall_max, ConnectionActivity::default());
        stream.write_all(&[1; 8]).await.unwrap();
        let error = stream.write_all(&[2; 8]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        // Who begins to read again finds nothing spoilt.
        far.read_exact(&mut [0; 8]).await.unwrap();
        stream.write_all(&[3; 8]).await.unwrap();
    }

    /// hyper flushes whenever it looks at a connection, also at one that is to end.
    #[tokio::test]
    async fn a_flush_of_nothing_does_not_put_off_the_end() {
        let activity = ConnectionActivity::default();
        drop(activity.begin_request(http::Version::HTTP_2));
        let (near, _far) = tokio::io::duplex(8);
        let mut stream = ClientStream::new(near, Duration::from_mins(1), activity.clone());
        stream.flush().await.unwrap();
        let quiet = tokio::time::timeout(Duration::from_secs(2), activity.quiet());
        assert!(quiet.await.is_ok());
    }
}
