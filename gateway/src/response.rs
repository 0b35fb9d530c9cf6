//! What handlers answer with: a response whose body is empty, whole, or a stream.
//!
//! A stream that fails ends its connection without the closing frame, so that a client never takes a torn body
//! for a whole one. A body that is already in memory is given to hyper in one piece, which makes header and body
//! leave in one write.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::Stream;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};
use http_body::{Body, Frame, SizeHint};

use crate::connection_activity::Http2Answer;
use crate::document_memory::DocumentRoom;
use crate::request_log::RequestLog;

/// A response of the gateway.
pub type Response = http::Response<ResponseBody>;

/// A failed body stream, as the connection sees it. The reason was logged where it was known.
pub type StreamError = Box<dyn std::error::Error + Send + Sync>;

type ByteStream = Pin<Box<dyn Stream<Item = Result<Bytes, StreamError>> + Send>>;

/// The body of a [`Response`].
pub struct ResponseBody {
    content: Content,
    /// Told when the body has been sent, or dropped before.
    log: Option<RequestLog>,
    /// Told when the peer asks for some of the body, and when it gets it.
    http2: Option<Http2Answer>,
}

/// The end of a body, which is dropped when it has handed this over; a slow client takes it much later. Until then the
/// request keeps its place among the running ones, which bounds what waits for clients, and is watched.
struct LastPiece {
    piece: Bytes,
    _log: Option<RequestLog>,
    _http2: Option<Http2Answer>,
}

impl AsRef<[u8]> for LastPiece {
    fn as_ref(&self) -> &[u8] {
        &self.piece
    }
}

enum Content {
    Whole(Option<Bytes>),
    /// Of known length, which is announced.
    Sized {
        stream: ByteStream,
        remaining: u64,
    },
    /// Of unknown length: chunked.
    Unsized(ByteStream),
}

impl ResponseBody {
    /// No bytes.
    pub fn empty() -> Self {
        Self {
            content: Content::Whole(None),
            log: None,
            http2: None,
        }
    }

    /// These bytes.
    pub fn whole(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self {
            content: Content::Whole((!bytes.is_empty()).then_some(bytes)),
            log: None,
            http2: None,
        }
    }

    /// Exactly `size_bytes` bytes, as they come.
    pub fn sized(
        stream: impl Stream<Item = Result<Bytes, StreamError>> + Send + 'static,
        size_bytes: u64,
    ) -> Self {
        Self {
            content: Content::Sized {
                stream: Box::pin(stream),
                remaining: size_bytes,
            },
            log: None,
            http2: None,
        }
    }

    /// Bytes as they come, until the stream ends.
    pub fn chunked(
        stream: impl Stream<Item = Result<Bytes, StreamError>> + Send + 'static,
    ) -> Self {
        Self {
            content: Content::Unsized(Box::pin(stream)),
            log: None,
            http2: None,
        }
    }

    /// How many bytes are still to come, where that is known.
    pub fn len_bytes(&self) -> Option<u64> {
        match &self.content {
            Content::Whole(bytes) => Some(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Content::Sized { remaining, .. } => Some(*remaining),
            Content::Unsized(_) => None,
        }
    }

    /// The last piece, with what lasts until the client has taken it.
    fn end_with(&mut self, piece: Bytes) -> Bytes {
        let (log, http2) = (self.log.take(), self.http2.take());
        if log.is_none() {
            return piece;
        }
        Bytes::from_owner(LastPiece {
            piece,
            _log: log,
            _http2: http2,
        })
    }

    /// Makes `log` be finished when the client has this body.
    pub(crate) fn attach(&mut self, log: RequestLog) {
        self.http2 = log.http2_answer();
        self.log = Some(log);
    }
}

impl fmt::Debug for ResponseBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseBody")
            .field("len_bytes", &self.len_bytes())
            .finish_non_exhaustive()
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = StreamError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, StreamError>>> {
        let this = &mut *self;
        if let Some(http2) = &this.http2 {
            http2.taken();
        }
        let next = match &mut this.content {
            Content::Whole(bytes) => Poll::Ready(bytes.take().map(Ok)),
            Content::Unsized(stream) => stream.as_mut().poll_next(cx),
            Content::Sized { remaining: 0, .. } => Poll::Ready(None),
            Content::Sized { stream, remaining } => match stream.as_mut().poll_next(cx) {
                Poll::Ready(Some(Ok(bytes))) => match remaining.checked_sub(bytes.len() as u64) {
                    Some(rest) => {
                        *remaining = rest;
                        Poll::Ready(Some(Ok(bytes)))
                    }
                    None => Poll::Ready(Some(Err("the body is longer than announced".into()))),
                },
                Poll::Ready(None) => {
                    Poll::Ready(Some(Err("the body is shorter than announced".into())))
                }
                other => other,
            },
        };
        if let Some(log) = &this.log {
            match &next {
                Poll::Ready(Some(Ok(bytes))) => log.sent(bytes.len() as u64),
                Poll::Ready(Some(Err(error))) => log.broke(error.as_ref()),
                Poll::Ready(None) | Poll::Pending => {}
            }
        }
        if let (Some(http2), Poll::Ready(Some(Ok(bytes)))) = (&this.http2, &next) {
            http2.offered(bytes.len() as u64);
        }
        let is_last = this.is_end_stream();
        next.map(|item| {
            let item = item?;
            Some(item.map(|piece| {
                let piece = if is_last { this.end_with(piece) } else { piece };
                Frame::data(piece)
            }))
        })
    }

    fn is_end_stream(&self) -> bool {
        matches!(
            self.content,
            Content::Whole(None) | Content::Sized { remaining: 0, .. }
        )
    }

    fn size_hint(&self) -> SizeHint {
        self.len_bytes()
            .map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// A response with this status and no body.
pub(crate) fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(ResponseBody::empty());
    *response.status_mut() = status;
    response
}

/// A response with an XML document that may be long, and the room it takes until the client has taken it: the bytes
/// themselves keep it, for a body is dropped when they are handed over.
pub(crate) fn long_xml(status: StatusCode, document: String, mut room: DocumentRoom) -> Response {
    let mut document = document.into_bytes();
    document.shrink_to_fit();
    room.shrink_to(document.capacity());
    let bytes = Bytes::from_owner(DocumentInRoom {
        document,
        _room: room,
    });
    of_xml(status, ResponseBody::whole(bytes))
}

struct DocumentInRoom {
    document: Vec<u8>,
    _room: DocumentRoom,
}

impl AsRef<[u8]> for DocumentInRoom {
    fn as_ref(&self) -> &[u8] {
        &self.document
    }
}

/// A response with an XML document.
pub(crate) fn xml(status: StatusCode, document: String) -> Response {
    of_xml(status, ResponseBody::whole(document))
}

fn of_xml(status: StatusCode, body: ResponseBody) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    response
}

/// Takes the body off a response to HEAD, keeping what its headers say of it.
///
/// One that has no body to GET either has no length: caches would take that of a 304 for the object's (RFC 9110, 8.6).
pub(crate) fn without_body(response: Response) -> Response {
    let (mut parts, body) = response.into_parts();
    let may_have_body = !matches!(
        parts.status,
        StatusCode::NOT_MODIFIED | StatusCode::NO_CONTENT
    );
    if let (Some(len), false) = (body.len_bytes(), parts.headers.contains_key(CONTENT_LENGTH))
        && may_have_body
    {
        parts.headers.insert(CONTENT_LENGTH, HeaderValue::from(len));
    }
    http::Response::from_parts(parts, ResponseBody::empty())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http_body_util::BodyExt;

    use super::*;
    use crate::document_memory::{DocumentMemory, NoRoom};

    #[tokio::test]
    async fn a_long_document_keeps_its_room_until_its_bytes_are_gone() {
        let memory = DocumentMemory::new(100, Duration::from_millis(20));
        let mut room = memory.room();
        room.grow(100).await.unwrap();
        let response = long_xml(StatusCode::OK, "x".repeat(70), room);
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(bytes, "x".repeat(70));
        let mut other = memory.room();
        other.grow(30).await.unwrap();
        assert_eq!(other.grow(1).await, Err(NoRoom));
        drop(bytes);
        other.grow(70).await.unwrap();
    }
}
