//! The body of a request, counted, and drained if nobody reads it.
//!
//! A refusal is usually decided before the body is read. A client that is still sending would then see its
//! connection reset instead of the answer, so what is left of a body is read and thrown away for a while, in
//! the background, while the answer is already on its way. `Expect: 100-continue` makes the client wait instead:
//! hyper sends the `100` when the body is first polled, so a body that was never polled is simply dropped, and the
//! connection with it ([`Expectation`]).

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::EXPECT;
use http::{HeaderMap, Request, Version};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;

/// How much of an unread body is thrown away before the connection is closed.
const DRAIN_BYTES_MAX: u64 = 64 << 20;
/// For how long.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(10);

/// A request body on its way in.
#[derive(Debug)]
pub(crate) struct RequestBody {
    /// `None` once it has ended, or failed, or was taken to be drained.
    incoming: Option<Incoming>,
    received: Arc<AtomicU64>,
    is_http1: bool,
    expectation: Expectation,
}

/// Whether the client waits to be told to send its body.
///
/// One that still does when it is answered must be told that there is no next request on the connection (RFC 9110,
/// 10.1.1): whether the body will follow nobody can know, so hyper closes. The same holds where the body is empty, for which
/// hyper sends no `100`: botocore, which asks also then, takes the answer for that of the next request, too.
#[derive(Debug, Clone)]
pub(crate) struct Expectation {
    /// `None` where it never did.
    is_waiting: Option<Arc<AtomicBool>>,
}

impl Expectation {
    fn of(headers: &HeaderMap) -> Self {
        let does_expect = headers.contains_key(EXPECT);
        Self {
            is_waiting: does_expect.then(|| Arc::new(AtomicBool::new(true))),
        }
    }

    pub(crate) fn is_waiting(&self) -> bool {
        let is_waiting = self.is_waiting.as_ref();
        is_waiting.is_some_and(|is_waiting| is_waiting.load(Ordering::Relaxed))
    }

    /// Polling a body that is not empty makes the client send.
    fn meet(&self) {
        if let Some(is_waiting) = &self.is_waiting {
            is_waiting.store(false, Ordering::Relaxed);
        }
    }
}

impl RequestBody {
    /// Takes the body off a request; its bytes are added to `received`.
    pub(crate) fn take(
        request: Request<Incoming>,
        received: Arc<AtomicU64>,
    ) -> (http::request::Parts, Self) {
        let (parts, incoming) = request.into_parts();
        let is_http1 = parts.version < Version::HTTP_2;
        let expectation = Expectation::of(&parts.headers);
        let incoming = (!incoming.is_end_stream()).then_some(incoming);
        (
            parts,
            Self {
                incoming,
                received,
                is_http1,
                expectation,
            },
        )
    }

    pub(crate) fn expectation(&self) -> &Expectation {
        &self.expectation
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = &mut *self;
        let Some(incoming) = &mut this.incoming else {
            return Poll::Ready(None);
        };
        this.expectation.meet();
        let next = std::task::ready!(Pin::new(incoming).poll_frame(cx));
        match &next {
            Some(Ok(frame)) => {
                let len = frame.data_ref().map_or(0, |data| data.len() as u64);
                this.received.fetch_add(len, Ordering::Relaxed);
            }
            Some(Err(_)) | None => this.incoming = None,
        }
        Poll::Ready(next)
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming
            .as_ref()
            .map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        let Some(incoming) = self.incoming.take() else {
            return;
        };
        // HTTP/2 resets the one stream; nothing else is lost with it.
        if self.is_http1 && !self.expectation.is_waiting() && !incoming.is_end_stream() {
            tokio::spawn(drain(incoming));
        }
    }
}

async fn drain(mut incoming: Incoming) {
    let reading = async {
        let mut drained = 0;
        while let Some(Ok(frame)) = incoming.frame().await {
            drained += frame.data_ref().map_or(0, |data| data.len() as u64);
            if drained > DRAIN_BYTES_MAX {
                return;
            }
        }
    };
    if tokio::time::timeout(DRAIN_TIME_MAX, reading).await.is_err() {
        tracing::debug!("a client kept sending a refused body; its connection is closed");
    }
}
