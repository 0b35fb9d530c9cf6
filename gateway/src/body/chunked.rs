//! The `aws-chunked` framing, decoded incrementally and without copying content.
//!
//! ```text
//! body    = *( chunk ) last-chunk [ trailer ] [ CRLF ]
//! chunk   = size-in-hex [ ";chunk-signature=" 64hex ] CRLF  size bytes  CRLF
//! last    = the same with size 0 and no bytes
//! trailer = *( name ":" value CRLF ) [ "x-amz-trailer-signature:" 64hex CRLF ]
//! ```
//! Lines are bounded by [`LINE_SIZE_BYTES_MAX`] and the trailer by [`TRAILER_SIZE_BYTES_MAX`]; chunks by the
//! content length that was announced. Content leaves as it arrives, before its chunk's signature can be
//! checked: the caller may store it but not show it until the end was reached.

use bytes::{Buf, Bytes};
use sha2::{Digest, Sha256};

use super::trailer::{self, Trailer};
use crate::auth::ChunkSigner;
use crate::s3_error::{ErrorCode, S3Error};

/// A chunk header is 16 digits and a signature, 98 bytes; a trailer line a name and a digest.
const LINE_SIZE_BYTES_MAX: usize = 1024;

/// All lines of a trailer together.
const TRAILER_SIZE_BYTES_MAX: usize = 4096;

/// S3 refuses smaller chunks, except the last.
const CHUNK_SIZE_BYTES_MIN: u64 = 8192;

/// The decoder of one body.
#[derive(Debug)]
pub(super) struct ChunkedDecoder {
    state: State,
    /// The signer of a signed body.
    signer: Option<ChunkSigner>,
    has_trailer: bool,
    /// Content that is still to come, of what was announced.
    remaining: u64,
    /// The chunk before, if it was too small to be followed by another: its number and size.
    small_chunk: Option<(u64, u64)>,
    /// Chunks begun.
    chunk_count: u64,
    /// The part of a line that has arrived.
    line: Vec<u8>,
    trailer_size: usize,
    trailer: Trailer,
    fields: Vec<(String, String)>,
}

#[derive(Debug)]
enum State {
    ChunkHeader,
    ChunkData {
        left: u64,
        check: Option<ChunkCheck>,
    },
    ChunkEnd {
        check: Option<ChunkCheck>,
    },
    Trailer,
    /// After the last chunk of a body without trailer, or after a trailer: nothing but one line end may come.
    End,
    /// After that line end: nothing may come.
    Closed,
}

/// What is needed to verify a signed chunk once it is complete.
#[derive(Debug)]
struct ChunkCheck {
    sha256: Sha256,
    signature: String,
}

impl ChunkedDecoder {
    pub(super) fn new(
        signer: Option<ChunkSigner>,
        has_trailer: bool,
        length: u64,
    ) -> ChunkedDecoder {
        ChunkedDecoder {
            state: State::ChunkHeader,
            signer,
            has_trailer,
            remaining: length,
            small_chunk: None,
            chunk_count: 0,
            line: Vec::new(),
            trailer_size: 0,
            trailer: Trailer::default(),
            fields: Vec::new(),
        }
    }

    /// Consumes input until content comes out of it; `None` when the input is used up.
    pub(super) fn push(&mut self, input: &mut Bytes) -> Result<Option<Bytes>, S3Error> {
        while !input.is_empty() {
            if let State::ChunkData { left, check } = &mut self.state {
                let available = u64::try_from(input.len()).unwrap_or(u64::MAX);
                let take = usize::try_from(available.min(*left)).unwrap_or(usize::MAX);
                let content = input.split_to(take.min(input.len()));
                *left -= content.len() as u64;
                self.remaining -= content.len() as u64;
                if let Some(check) = check {
                    check.sha256.update(&content);
                }
                if *left == 0 {
                    self.state = State::ChunkEnd {
                        check: check.take(),
                    };
                }
                return Ok(Some(content));
            }
            let Some(line) = self.take_line(input)? else {
                return Ok(None);
            };
            self.on_line(&line)?;
        }
        Ok(None)
    }

    /// The input has ended. Returns the trailer's fields.
    pub(super) fn finish(&mut self) -> Result<Vec<(String, String)>, S3Error> {
        match self.state {
            // The line end after the last chunk is optional: some clients leave it out.
            State::End | State::Closed if self.line.is_empty() => {}
            State::Trailer if self.line.is_empty() => self.end_trailer()?,
            _ => return Err(incomplete()),
        }
        if self.remaining > 0 {
            return Err(incomplete());
        }
        Ok(std::mem::take(&mut self.fields))
    }

    /// A whole line without its end, if it is there. A bare line feed ends a line too.
    fn take_line(&mut self, input: &mut Bytes) -> Result<Option<Vec<u8>>, S3Error> {
        let end = input.iter().position(|byte| *byte == b'\n');
        let piece = input.split_to(end.unwrap_or(input.len()));
        if self.line.len() + piece.len() > LINE_SIZE_BYTES_MAX {
            return Err(malformed("a line is too long"));
        }
        self.line.extend_from_slice(&piece);
        if end.is_none() {
            return Ok(None);
        }
        input.advance(1);
        let mut line = std::mem::take(&mut self.line);
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        Ok(Some(line))
    }

    fn on_line(&mut self, line: &[u8]) -> Result<(), S3Error> {
        match &mut self.state {
            State::ChunkHeader => self.on_chunk_header(line),
            State::ChunkEnd { check } => {
                if !line.is_empty() {
                    return Err(malformed("a chunk does not end where its header says"));
                }
                let check = check.take();
                self.verify(check)?;
                self.state = State::ChunkHeader;
                Ok(())
            }
            State::Trailer => self.on_trailer_line(line),
            State::End if line.is_empty() => {
                self.state = State::Closed;
                Ok(())
            }
            State::End | State::Closed => Err(malformed("something follows its end")),
            // Content is not made of lines; `push` takes it before looking for one.
            State::ChunkData { .. } => Err(malformed("its content is out of place")),
        }
    }

    fn on_chunk_header(&mut self, line: &[u8]) -> Result<(), S3Error> {
        let (size, signature) = parse_chunk_header(line, self.signer.is_some())?;
        let check = signature.map(|signature| ChunkCheck {
            sha256: Sha256::new(),
            signature,
        });
        if size == 0 {
            if self.remaining > 0 {
                return Err(incomplete());
            }
            self.verify(check)?;
            self.state = if self.has_trailer {
                State::Trailer
            } else {
                State::End
            };
            return Ok(());
        }
        if let Some((chunk, bad_size)) = self.small_chunk {
            return Err(S3Error::of(ErrorCode::InvalidChunkSizeError)
                .with("Chunk", chunk.to_string())
                .with("BadChunkSize", bad_size.to_string()));
        }
        if size > self.remaining {
            return Err(incomplete());
        }
        self.chunk_count += 1;
        if size < CHUNK_SIZE_BYTES_MIN {
            self.small_chunk = Some((self.chunk_count, size));
        }
        self.state = State::ChunkData { left: size, check };
        Ok(())
    }

    fn verify(&mut self, check: Option<ChunkCheck>) -> Result<(), S3Error> {
        match (check, &mut self.signer) {
            (Some(check), Some(signer)) => {
                signer.verify_chunk(check.sha256.finalize().into(), &check.signature)
            }
            _ => Ok(()),
        }
    }

    fn on_trailer_line(&mut self, line: &[u8]) -> Result<(), S3Error> {
        self.trailer_size += line.len() + 2;
        if self.trailer_size > TRAILER_SIZE_BYTES_MAX {
            return Err(trailer::malformed());
        }
        if !line.is_empty() {
            return self.trailer.push_line(line);
        }
        if self.trailer.ends_at_empty_line(self.signer.is_some()) {
            self.end_trailer()?;
        }
        Ok(())
    }

    fn end_trailer(&mut self) -> Result<(), S3Error> {
        let trailer = std::mem::take(&mut self.trailer);
        self.fields = trailer.finish(self.signer.as_mut())?;
        self.state = State::End;
        Ok(())
    }
}

/// `400;chunk-signature=…`: the size, and the signature if there must be one.
fn parse_chunk_header(line: &[u8], is_signed: bool) -> Result<(u64, Option<String>), S3Error> {
    let line = std::str::from_utf8(line).map_err(|_| malformed("a chunk header is not text"))?;
    let (size, extension) = line.split_once(';').unwrap_or((line, ""));
    let size = size.trim();
    let is_number =
        !size.is_empty() && size.len() <= 16 && size.bytes().all(|byte| byte.is_ascii_hexdigit());
    let size = if is_number {
        u64::from_str_radix(size, 16).ok()
    } else {
        None
    };
    let size = size.ok_or_else(|| malformed("a chunk's size is not a hexadecimal number"))?;
    if !is_signed {
        return Ok((size, None));
    }
    let signature = extension.trim().strip_prefix("chunk-signature=");
    let signature = signature.ok_or_else(|| malformed("a chunk has no signature"))?;
    Ok((size, Some(signature.to_owned())))
}

/// 400 `IncompleteBody`: less, or more, than was announced.
pub(super) fn incomplete() -> S3Error {
    ErrorCode::IncompleteBody.into()
}

/// 400 `IncompleteBody` for broken framing, which is what S3 answers to that.
fn malformed(what: &str) -> S3Error {
    S3Error::new(
        ErrorCode::IncompleteBody,
        format!("The request body is not valid aws-chunked: {what}."),
    )
}
