//! Bytes of small data that have no shards yet.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::codec::Record;
use crate::error::MetaError;

/// The bytes of a small datum, and what its shards will have to carry beside them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StagedBytes {
    /// All its bytes.
    pub payload: Bytes,
    /// What the writer wants to have kept with the shards; opaque here.
    pub manifest: Bytes,
}

/// [`StagedBytes`] as they are stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StagedRecord {
    /// BLAKE3 of the payload: until there are shards, nothing else proves these bytes.
    payload_hash: [u8; 32],
    payload: Bytes,
    manifest: Bytes,
}

impl Record for StagedRecord {
    const NAME: &'static str = "staged record";
}

impl StagedRecord {
    pub(crate) fn new(staged: &StagedBytes) -> Self {
        Self {
            payload_hash: *blake3::hash(&staged.payload).as_bytes(),
            payload: staged.payload.clone(),
            manifest: staged.manifest.clone(),
        }
    }

    /// The bytes, if they are those that were staged.
    pub(crate) fn verified(self) -> Result<StagedBytes, MetaError> {
        if *blake3::hash(&self.payload).as_bytes() == self.payload_hash {
            return Ok(StagedBytes {
                payload: self.payload,
                manifest: self.manifest,
            });
        }
        Err(MetaError::Corrupt {
            record: Self::NAME,
            detail: "its payload does not match its hash".to_owned(),
        })
    }
}
