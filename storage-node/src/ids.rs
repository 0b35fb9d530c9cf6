//! The identities that cross the border of this crate.

use std::fmt;

/// Names one disk for its whole life; written into its identity file when the disk is adopted.
#[derive(
    Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
pub struct DiskId(pub [u8; 16]);

/// Names one cluster: a disk that belongs to another one is refused.
#[derive(
    Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
pub struct ClusterId(pub [u8; 16]);

/// Names the bytes of one upload (one PUT or one part): all its chunks carry it. Never reused. What is in it is the
/// caller's affair.
#[derive(
    Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
pub struct DataId(pub [u8; 16]);

/// Names one shard: the `shard_index`-th piece of the `chunk_index`-th chunk of `data_id` (both 0-based).
///
/// The order is that of the fields, so a listing keeps the shards of one datum together.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
pub struct ShardId {
    /// The datum the shard belongs to.
    pub data_id: DataId,
    /// Which chunk of the datum, 0-based.
    pub chunk_index: u32,
    /// Which shard of the chunk, 0-based: data shards first, then parity.
    pub shard_index: u8,
}

impl ShardId {
    /// Length of [`ShardId::to_bytes`].
    pub const ENCODED_LEN: usize = 21;

    /// Big-endian fields in order, so that byte order is the order of the type.
    pub fn to_bytes(self) -> [u8; Self::ENCODED_LEN] {
        let mut out = [0; Self::ENCODED_LEN];
        let (data, rest) = out.split_at_mut(16);
        let (chunk, shard) = rest.split_at_mut(4);
        data.copy_from_slice(&self.data_id.0);
        chunk.copy_from_slice(&self.chunk_index.to_be_bytes());
        shard.copy_from_slice(&[self.shard_index]);
        out
    }

    /// The inverse of [`ShardId::to_bytes`]; `None` if `bytes` has another length.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; Self::ENCODED_LEN] = bytes.try_into().ok()?;
        let (data, rest) = bytes.split_first_chunk::<16>()?;
        let (chunk, rest) = rest.split_first_chunk::<4>()?;
        let [shard_index] = rest else { return None };
        Some(Self {
            data_id: DataId(*data),
            chunk_index: u32::from_be_bytes(*chunk),
            shard_index: *shard_index,
        })
    }
}

macro_rules! hex_identity {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), hex::encode(self.0))
            }
        }

        impl std::str::FromStr for $name {
            type Err = hex::FromHexError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let mut bytes = [0; 16];
                hex::decode_to_slice(text, &mut bytes)?;
                Ok(Self(bytes))
            }
        }
    };
}
hex_identity!(DiskId);
hex_identity!(ClusterId);
hex_identity!(DataId);

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}/{}/{}",
            self.data_id, self.chunk_index, self.shard_index
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn shard_id_bytes_round_trip_and_keep_order(a: ([u8; 16], u32, u8), b: ([u8; 16], u32, u8)) {
            let [a, b] = [a, b].map(|(data, chunk_index, shard_index)| ShardId { data_id: DataId(data), chunk_index, shard_index });
            prop_assert_eq!(ShardId::from_bytes(&a.to_bytes()), Some(a));
            prop_assert_eq!(a.to_bytes().cmp(&b.to_bytes()), a.cmp(&b));
        }
    }
}
