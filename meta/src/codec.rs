//! How records become bytes: one format-version byte, then postcard.
//!
//! A record type whose layout changes gets a new version and keeps reading the old ones; the golden-bytes tests
//! hold every version that was ever released. Bytes that do not decode are an error, never a panic, and so are
//! bytes left over behind a record.

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::MetaError;

/// A type that is stored as a value.
pub(crate) trait Record: Serialize + DeserializeOwned {
    /// What it is called in messages about damage.
    const NAME: &'static str;
    /// The layout that is written.
    const FORMAT_VERSION: u8 = 1;

    /// A record of an older layout, and what is left over behind it; `None` if this is none of them.
    fn take_older(_version: u8, _body: &[u8]) -> Option<postcard::Result<(Self, &[u8])>> {
        None
    }
}

/// Most records are shorter: their bytes are written where they stay.
const ENCODED_BYTES: usize = 256;

/// The bytes of `record`.
#[expect(
    clippy::expect_used,
    reason = "postcard into a growing buffer fails only for maps of unknown length, which no record has"
)]
pub(crate) fn encode<R: Record>(record: &R) -> Bytes {
    let mut bytes = Vec::with_capacity(ENCODED_BYTES);
    bytes.push(R::FORMAT_VERSION);
    let bytes = postcard::to_extend(record, bytes).expect("records serialize");
    Bytes::from(bytes)
}

/// The record in `bytes`, which must be nothing but the record.
pub(crate) fn decode<R: Record>(bytes: &[u8]) -> Result<R, MetaError> {
    let damaged = |detail: String| MetaError::Corrupt {
        record: R::NAME,
        detail,
    };
    let (version, body) = bytes
        .split_first()
        .ok_or_else(|| damaged("it is empty".to_owned()))?;
    let taken = if *version == R::FORMAT_VERSION {
        Some(postcard::take_from_bytes(body))
    } else {
        R::take_older(*version, body)
    };
    let unknown = || {
        damaged(format!(
            "its format version is {version}, this build reads {}; was it written by a newer Cairn?",
            R::FORMAT_VERSION
        ))
    };
    match taken.ok_or_else(unknown)? {
        Ok((record, [])) => Ok(record),
        Ok((_, rest)) => Err(damaged(format!("{} bytes are left over", rest.len()))),
        Err(error) => Err(damaged(error.to_string())),
    }
}

/// A record together with the exact bytes that were read, for checks at commit.
#[derive(Debug, Clone)]
pub(crate) struct Stored<R> {
    pub(crate) bytes: Bytes,
    pub(crate) record: R,
}

impl<R: Record> Stored<R> {
    /// The record as it would be read if it were written now.
    pub(crate) fn of(record: R) -> Self {
        Self {
            bytes: encode(&record),
            record,
        }
    }

    pub(crate) fn decode(bytes: Bytes) -> Result<Self, MetaError> {
        Ok(Self {
            record: decode(&bytes)?,
            bytes,
        })
    }
}
