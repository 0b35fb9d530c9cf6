//! What is sent.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::{Digest, Sha256};

/// S3's unreserved characters.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');
const RESERVED_IN_PATH: &AsciiSet = &RESERVED.remove(b'/');

/// A request before it is signed.
#[derive(Debug)]
pub(crate) struct Request {
    /// The method.
    pub(crate) method: http::Method,
    /// Percent-encoded path, as it is signed and sent.
    pub(crate) path: String,
    /// Canonical query without `?`: encoded and sorted; empty if there is none.
    pub(crate) query: String,
    /// Further headers; they are sent and not signed.
    pub(crate) headers: Vec<(http::HeaderName, http::HeaderValue)>,
    /// The body.
    pub(crate) body: Body,
    /// How the signature covers the body.
    pub(crate) payload: Payload,
}

/// How the signature covers the body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Payload {
    /// Not at all (`UNSIGNED-PAYLOAD`).
    Unsigned,
    /// By its SHA-256, in hexadecimal.
    Signed(String),
}

impl Payload {
    /// The value of `x-amz-content-sha256`.
    pub(crate) fn header_value(&self) -> &str {
        match self {
            Self::Unsigned => "UNSIGNED-PAYLOAD",
            Self::Signed(hash) => hash,
        }
    }
}

impl Request {
    /// A request without a body.
    pub(crate) fn new(method: http::Method, path: String) -> Self {
        Self {
            method,
            path,
            query: String::new(),
            headers: Vec::new(),
            body: Body::default(),
            payload: Payload::Unsigned,
        }
    }

    /// Sets the query.
    pub(crate) fn query(mut self, parameters: &[(&str, &str)]) -> Self {
        self.query = canonical_query(parameters);
        self
    }

    /// Sets a body that the signature does not cover.
    pub(crate) fn unsigned_body(mut self, body: Body) -> Self {
        self.body = body;
        self
    }

    /// Sets a small body that the signature covers.
    pub(crate) fn signed_body(mut self, body: impl Into<Bytes>) -> Self {
        let body = body.into();
        self.payload = Payload::Signed(hex::encode(Sha256::digest(&body)));
        self.body = Body::from(body);
        self
    }
}

/// Encodes a path, leaving its slashes.
pub(crate) fn encode_path(path: &str) -> String {
    utf8_percent_encode(path, RESERVED_IN_PATH).to_string()
}

/// Encodes and sorts query parameters as SigV4 wants them.
pub(crate) fn canonical_query(parameters: &[(&str, &str)]) -> String {
    let encode = |text| utf8_percent_encode(text, RESERVED).to_string();
    let mut pairs: Vec<(String, String)> = parameters
        .iter()
        .map(|(name, value)| (encode(name), encode(value)))
        .collect();
    pairs.sort();
    pairs
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect::<Vec<_>>()
        .join("&")
}

/// A body of known length made of pieces that are shared, not copied.
#[derive(Debug, Default)]
pub(crate) struct Body {
    pieces: VecDeque<Bytes>,
    remaining_bytes: u64,
}

impl FromIterator<Bytes> for Body {
    fn from_iter<I: IntoIterator<Item = Bytes>>(pieces: I) -> Self {
        let pieces: VecDeque<Bytes> = pieces
            .into_iter()
            .filter(|piece| !piece.is_empty())
            .collect();
        let remaining_bytes = pieces.iter().map(|piece| piece.len() as u64).sum();
        Self {
            pieces,
            remaining_bytes,
        }
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        [bytes].into_iter().collect()
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = self.pieces.pop_front();
        self.remaining_bytes -= piece.as_ref().map_or(0, |piece| piece.len() as u64);
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.remaining_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn query_is_encoded_and_sorted() {
        assert_eq!(
            canonical_query(&[("prefix", "a b/ü"), ("list-type", "2"), ("acl", "")]),
            "acl=&list-type=2&prefix=a%20b%2F%C3%BC"
        );
        assert_eq!(encode_path("/b/a b~c"), "/b/a%20b~c");
    }

    #[test]
    fn body_says_how_long_it_is() {
        use hyper::body::Body as _;
        let body: Body = [
            Bytes::from_static(b"ab"),
            Bytes::new(),
            Bytes::from_static(b"c"),
        ]
        .into_iter()
        .collect();
        assert_eq!(body.size_hint().exact(), Some(3));
        assert!(Body::default().is_end_stream());
    }
}
