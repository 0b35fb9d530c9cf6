//! The bytes of the metadata API: postcard of the contract's own types. The order of fields and variants is the
//! format: new ones go to the end.

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::kv::{
    BATCH_BYTES_MAX, KEY_LEN_MAX, KvError, SCAN_BYTES_MAX, SCAN_LIMIT_MAX, VALUE_LEN_MAX,
};

/// Largest request: a batch at its limit, whose framing is part of the limit, and room.
pub(super) const REQUEST_SIZE_BYTES_MAX: usize = BATCH_BYTES_MAX + (1 << 10);
/// Largest reply: a page that reached its bound with one of the largest records, framed.
pub(super) const REPLY_SIZE_BYTES_MAX: usize =
    SCAN_BYTES_MAX + KEY_LEN_MAX + VALUE_LEN_MAX + SCAN_LIMIT_MAX * 16;

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct GetRequest {
    pub(super) key: Bytes,
}

/// A [`KvError`] on its way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum WireError {
    Conflict,
    Unavailable {
        detail: String,
    },
    UnknownOutcome {
        detail: String,
    },
    Corrupt {
        detail: String,
    },
    Busy,
    TooLarge {
        detail: String,
    },
    /// The request is not one of this API; nothing was done.
    Malformed,
}

impl From<KvError> for WireError {
    fn from(error: KvError) -> Self {
        match error {
            KvError::Conflict => Self::Conflict,
            KvError::Unavailable { detail } => Self::Unavailable { detail },
            KvError::UnknownOutcome { detail } => Self::UnknownOutcome { detail },
            KvError::Corrupt { detail } => Self::Corrupt { detail },
            KvError::Busy => Self::Busy,
            KvError::TooLarge { detail } => Self::TooLarge { detail },
        }
    }
}

impl From<WireError> for KvError {
    fn from(error: WireError) -> Self {
        match error {
            WireError::Conflict => Self::Conflict,
            WireError::Unavailable { detail } => Self::Unavailable { detail },
            WireError::UnknownOutcome { detail } => Self::UnknownOutcome { detail },
            WireError::Corrupt { detail } => Self::Corrupt { detail },
            WireError::Busy => Self::Busy,
            WireError::TooLarge { detail } => Self::TooLarge { detail },
            WireError::Malformed => Self::Unavailable {
                detail: "the metadata service does not understand the request; do both run the same version?"
                    .to_owned(),
            },
        }
    }
}

pub(super) fn encode(message: &impl Serialize) -> Option<Bytes> {
    postcard::to_stdvec(message).ok().map(Bytes::from)
}

/// `None` unless `bytes` is exactly one message.
pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let (message, rest) = postcard::take_from_bytes(bytes).ok()?;
    rest.is_empty().then_some(message)
}
