//! From the bytes of a body to its content, whatever its framing.

use bytes::Bytes;

use super::chunked::{ChunkedDecoder, incomplete};
use crate::auth::PayloadMode;
use crate::s3_error::S3Error;

/// Decodes one body of a known content length.
#[derive(Debug)]
pub(super) enum Decoder {
    /// The body is the content.
    Plain { remaining: u64 },
    /// The content is framed.
    Chunked(Box<ChunkedDecoder>),
}

impl Decoder {
    pub(super) fn new(payload: PayloadMode, length: u64) -> Decoder {
        let chunked = |signer, has_trailer| {
            Decoder::Chunked(Box::new(ChunkedDecoder::new(signer, has_trailer, length)))
        };
        match payload {
            PayloadMode::Unsigned | PayloadMode::Signed(_) => Decoder::Plain { remaining: length },
            PayloadMode::Streaming { signer, trailer } => chunked(Some(signer), trailer),
            PayloadMode::StreamingUnsignedTrailer => chunked(None, true),
        }
    }

    /// Consumes input until content comes out of it; `None` when the input is used up.
    pub(super) fn push(&mut self, input: &mut Bytes) -> Result<Option<Bytes>, S3Error> {
        match self {
            Decoder::Chunked(decoder) => decoder.push(input),
            Decoder::Plain { .. } if input.is_empty() => Ok(None),
            Decoder::Plain { remaining } => {
                let content = std::mem::take(input);
                *remaining = remaining
                    .checked_sub(content.len() as u64)
                    .ok_or_else(incomplete)?;
                Ok(Some(content))
            }
        }
    }

    /// The input has ended: the content must be complete. Returns the trailer's fields.
    pub(super) fn finish(&mut self) -> Result<Vec<(String, String)>, S3Error> {
        match self {
            Decoder::Chunked(decoder) => decoder.finish(),
            Decoder::Plain { remaining: 0 } => Ok(Vec::new()),
            Decoder::Plain { .. } => Err(incomplete()),
        }
    }
}
