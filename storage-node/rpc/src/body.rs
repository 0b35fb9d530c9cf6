//! Bodies: sent as a head and a tail without joining them, received whole and digested on the way.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, SizeHint};

use crate::seal::BodyDigest;

/// A body of two pieces, so that a few bytes of framing do not cost a copy of what they frame.
#[derive(Debug, Clone, Default)]
pub struct BodyParts {
    head: Bytes,
    tail: Bytes,
}

impl BodyParts {
    /// `head` followed by `tail`; either may be empty.
    pub fn new(head: impl Into<Bytes>, tail: impl Into<Bytes>) -> Self {
        Self {
            head: head.into(),
            tail: tail.into(),
        }
    }

    /// Length of both.
    pub fn len(&self) -> usize {
        self.head.len() + self.tail.len()
    }

    /// Whether both are empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn digest(&self) -> BodyDigest {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.head).update(&self.tail);
        BodyDigest(*hasher.finalize().as_bytes())
    }
}

impl<B: Into<Bytes>> From<B> for BodyParts {
    fn from(body: B) -> Self {
        Self::new(body, Bytes::new())
    }
}

impl Body for BodyParts {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let head = std::mem::take(&mut self.head);
        let piece = if head.is_empty() {
            std::mem::take(&mut self.tail)
        } else {
            head
        };
        Poll::Ready((!piece.is_empty()).then(|| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.len() as u64)
    }
}

/// Why a body could not be received.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CollectError {
    #[error("the body exceeds {limit_bytes} bytes")]
    TooLarge { limit_bytes: usize },
    #[error("the body broke off: {0}")]
    Broken(String),
}

/// Receives a whole body of at most `limit_bytes`. A body that arrives in one frame is not copied.
pub(crate) async fn collect<B>(
    mut body: B,
    limit_bytes: usize,
) -> Result<(Bytes, BodyDigest), CollectError>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    let expected_bytes = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    let too_large = CollectError::TooLarge { limit_bytes };
    if expected_bytes > limit_bytes {
        return Err(too_large);
    }
    let mut hasher = blake3::Hasher::new();
    let mut first = Bytes::new();
    let mut joined = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| CollectError::Broken(error.to_string()))?;
        let Ok(piece) = frame.into_data() else {
            continue;
        };
        if first.len().max(joined.len()) + piece.len() > limit_bytes {
            return Err(too_large);
        }
        hasher.update(&piece);
        if first.is_empty() && joined.is_empty() {
            first = piece;
            continue;
        }
        if joined.is_empty() {
            joined.reserve(expected_bytes.max(first.len() + piece.len()));
            joined.extend_from_slice(&first);
        }
        joined.extend_from_slice(&piece);
    }
    let whole = if joined.is_empty() {
        first
    } else {
        joined.freeze()
    };
    Ok((whole, BodyDigest(*hasher.finalize().as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn head_and_tail_arrive_as_one_body_with_its_digest() {
        for (head, tail) in [("head", "tail"), ("head", ""), ("", "tail"), ("", "")] {
            let parts = BodyParts::new(head, tail);
            let digest = parts.digest();
            let (whole, received) = collect(parts, 8).await.unwrap();
            assert_eq!(whole, format!("{head}{tail}"));
            assert!(received == digest && digest.0 == *blake3::hash(&whole).as_bytes());
        }
    }

    #[tokio::test]
    async fn a_body_beyond_the_limit_is_refused() {
        let refused = collect(BodyParts::new("head", "tail"), 7).await;
        assert!(matches!(
            refused,
            Err(CollectError::TooLarge { limit_bytes: 7 })
        ));
    }
}
