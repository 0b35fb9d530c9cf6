//! The bytes of the node API. The order of fields and variants is the format: new ones go to the end.

use std::ops::Range;
use std::path::PathBuf;

use bytes::{BufMut, Bytes, BytesMut};
use cairn_rpc::BodyParts;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::{
    DESCRIPTOR_SIZE_BYTES_MAX, DiskId, DiskStatus, Durability, SHARD_SIZE_BYTES_MAX, ShardError,
    ShardId, ShardPut,
};

/// What comes before the payload of a put: its length field, the fixed fields, and room.
const PUT_HEAD_LEN_MAX: usize = DESCRIPTOR_SIZE_BYTES_MAX + 256;
/// Largest body of a request.
pub(crate) const REQUEST_SIZE_BYTES_MAX: usize = SHARD_SIZE_BYTES_MAX + PUT_HEAD_LEN_MAX;
/// Largest reply: a whole shard, which is more than a full page of a listing.
pub(crate) const REPLY_SIZE_BYTES_MAX: usize = SHARD_SIZE_BYTES_MAX + (64 << 10);
/// Most ids in one delete; the client splits longer lists.
pub(crate) const DELETE_COUNT_MAX: usize = 10_000;

/// Where a node is, as its operator says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeInfo {
    /// The machine: a failure domain.
    pub host: String,
    /// The zone (a rack, a room, a site): a larger failure domain.
    pub zone: String,
}

/// What a node says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeDescription {
    /// Where it is.
    pub info: NodeInfo,
    /// The disks it serves.
    pub disks: Vec<NodeDisk>,
}

/// One disk of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeDisk {
    /// Its identity.
    pub disk_id: DiskId,
    /// Its status, unless it could not tell.
    pub status: Option<DiskStatus>,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PutHeader {
    pub(crate) id: ShardId,
    pub(crate) is_synced: bool,
    pub(crate) descriptor: Bytes,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GetRequest {
    pub(crate) id: ShardId,
    pub(crate) start: u32,
    pub(crate) end: u32,
}

impl GetRequest {
    pub(crate) fn new(id: ShardId, range: &Range<u32>) -> Self {
        Self {
            id,
            start: range.start,
            end: range.end,
        }
    }
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ListRequest {
    pub(crate) after: Option<ShardId>,
    pub(crate) limit: u32,
}

/// A [`ShardError`] on its way, or a reason why there is none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum WireError {
    NotFound {
        id: ShardId,
        disk_id: DiskId,
    },
    Corrupt {
        id: ShardId,
        disk_id: DiskId,
        detail: String,
    },
    OutOfRange {
        id: ShardId,
        start: u32,
        end: u32,
        size_bytes: u32,
    },
    TooLarge {
        size_bytes: u64,
        limit_bytes: u64,
    },
    DiskFull {
        disk_id: DiskId,
    },
    DiskFailed {
        disk_id: DiskId,
        path: String,
        detail: String,
    },
    Busy {
        disk_id: DiskId,
    },
    Restarted {
        disk_id: DiskId,
    },
    Unreachable {
        disk_id: DiskId,
        detail: String,
    },
    /// The node does not serve this disk.
    UnknownDisk,
    /// The request is not one of this API.
    Malformed,
}

impl From<ShardError> for WireError {
    fn from(error: ShardError) -> Self {
        match error {
            ShardError::NotFound { id, disk_id } => Self::NotFound { id, disk_id },
            ShardError::Corrupt {
                id,
                disk_id,
                detail,
            } => Self::Corrupt {
                id,
                disk_id,
                detail,
            },
            ShardError::OutOfRange {
                id,
                start,
                end,
                size_bytes,
            } => Self::OutOfRange {
                id,
                start,
                end,
                size_bytes,
            },
            ShardError::TooLarge {
                size_bytes,
                limit_bytes,
            } => Self::TooLarge {
                size_bytes: size_bytes as u64,
                limit_bytes: limit_bytes as u64,
            },
            ShardError::DiskFull { disk_id } => Self::DiskFull { disk_id },
            ShardError::DiskFailed {
                disk_id,
                path,
                detail,
            } => Self::DiskFailed {
                disk_id,
                path: path.to_string_lossy().into_owned(),
                detail,
            },
            ShardError::Busy { disk_id } => Self::Busy { disk_id },
            ShardError::Restarted { disk_id } => Self::Restarted { disk_id },
            ShardError::Unreachable { disk_id, detail } => Self::Unreachable { disk_id, detail },
        }
    }
}

impl WireError {
    /// What the caller gets who asked for `disk_id` at `endpoint`.
    pub(crate) fn into_shard_error(self, disk_id: DiskId, endpoint: &str) -> ShardError {
        match self {
            Self::NotFound { id, disk_id } => ShardError::NotFound { id, disk_id },
            Self::Corrupt {
                id,
                disk_id,
                detail,
            } => ShardError::Corrupt {
                id,
                disk_id,
                detail,
            },
            Self::OutOfRange {
                id,
                start,
                end,
                size_bytes,
            } => ShardError::OutOfRange {
                id,
                start,
                end,
                size_bytes,
            },
            Self::TooLarge {
                size_bytes,
                limit_bytes,
            } => ShardError::TooLarge {
                size_bytes: usize::try_from(size_bytes).unwrap_or(usize::MAX),
                limit_bytes: usize::try_from(limit_bytes).unwrap_or(usize::MAX),
            },
            Self::DiskFull { disk_id } => ShardError::DiskFull { disk_id },
            Self::DiskFailed {
                disk_id,
                path,
                detail,
            } => ShardError::DiskFailed {
                disk_id,
                path: PathBuf::from(path),
                detail,
            },
            Self::Busy { disk_id } => ShardError::Busy { disk_id },
            Self::Restarted { disk_id } => ShardError::Restarted { disk_id },
            Self::Unreachable { disk_id, detail } => ShardError::Unreachable { disk_id, detail },
            // The node is there and the disk is not: like a disk that has failed, it needs somebody's care.
            Self::UnknownDisk => ShardError::DiskFailed {
                disk_id,
                path: PathBuf::from(endpoint),
                detail: "the node does not serve this disk".to_owned(),
            },
            Self::Malformed => ShardError::Unreachable {
                disk_id,
                detail: format!(
                    "{endpoint} does not understand the request; do both run the same version?"
                ),
            },
        }
    }
}

/// `u32` big-endian length of the header, the header, the payload; the payload is not copied.
pub(crate) fn encode_put(shard: ShardPut, durability: Durability) -> Option<BodyParts> {
    let ShardPut {
        id,
        descriptor,
        payload,
    } = shard;
    let header = PutHeader {
        id,
        is_synced: durability == Durability::Synced,
        descriptor,
    };
    let header = postcard::to_stdvec(&header).ok()?;
    let mut head = BytesMut::with_capacity(4 + header.len());
    head.put_u32(u32::try_from(header.len()).ok()?);
    head.put_slice(&header);
    Some(BodyParts::new(head.freeze(), payload))
}

/// The inverse of [`encode_put`]; the payload shares the memory of `body`.
pub(crate) fn decode_put(body: &Bytes) -> Option<(ShardPut, Durability)> {
    let (length, rest) = body.split_first_chunk::<4>()?;
    let header_len = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let PutHeader {
        id,
        is_synced,
        descriptor,
    } = decode(rest.get(..header_len)?)?;
    let payload = body.slice(4 + header_len..);
    let durability = if is_synced {
        Durability::Synced
    } else {
        Durability::Buffered
    };
    Some((
        ShardPut {
            id,
            descriptor,
            payload,
        },
        durability,
    ))
}

pub(crate) fn encode(message: &impl Serialize) -> Option<Bytes> {
    postcard::to_stdvec(message).ok().map(Bytes::from)
}

/// `None` unless `bytes` is exactly one message.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let (message, rest) = postcard::take_from_bytes(bytes).ok()?;
    rest.is_empty().then_some(message)
}
