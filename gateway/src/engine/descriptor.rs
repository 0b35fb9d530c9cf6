//! What every shard says of itself, so that lost metadata can be rebuilt from the disks.
//!
//! The bytes are described in `docs/formats/descriptor.md`: a version byte, then the fields in postcard's encoding.

use bytes::Bytes;
use cairn_meta::{ChunkRecord, Coding, DataOwner};
use cairn_storage_node::{DataId, DiskId};
use serde::{Deserialize, Serialize};

use super::ids;

/// First byte of every descriptor.
pub const FORMAT_VERSION: u8 = 1;
/// Largest manifest: leaves room for the key and the placement below the shard store's limit of 64 KiB.
pub const MANIFEST_SIZE_BYTES_MAX: usize = 48 << 10;

/// The descriptor of the shards of one chunk. All shards of a chunk carry the same one: which shard it is says its
/// name, and where it is says the disk it was found on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Descriptor {
    /// The bucket.
    pub bucket: [u8; 8],
    /// The key.
    pub key: String,
    /// The upload and part number, if the datum is a part.
    pub part: Option<([u8; 16], u16)>,
    /// The datum.
    pub data_id: [u8; 16],
    /// Which chunk of it, 0-based.
    pub chunk_index: u32,
    /// How many bytes the chunk has.
    pub chunk_size_bytes: u32,
    /// How it is coded.
    pub coding: Coding,
    /// Where its shards were meant to go. A shard may have been placed elsewhere since: the disk it is found on is
    /// the truth; this says where those may be that are on disks which are not there.
    pub placement: Vec<Option<[u8; 16]>>,
    /// When the write began, in milliseconds since 1970.
    pub created_at_ms: u64,
    /// Only in the last chunk.
    pub last: Option<LastChunk>,
}

/// What only the last chunk of a datum can know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastChunk {
    /// Of the whole datum.
    pub size_bytes: u64,
    /// What the writer wants to have kept with the bytes; opaque here.
    pub manifest: Vec<u8>,
}

/// Why a descriptor cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DescriptorError {
    /// Written by a newer Cairn.
    #[error("descriptor of unknown format version {version}")]
    UnknownVersion {
        /// Its first byte.
        version: u8,
    },
    /// Not a descriptor.
    #[error("descriptor does not decode")]
    Malformed,
}

/// Describes the chunks of one datum.
#[derive(Debug, Clone)]
pub(crate) struct Describer {
    pub(crate) owner: DataOwner,
    pub(crate) data_id: DataId,
    pub(crate) created_at_ms: u64,
}

impl Describer {
    /// The encoded descriptor of one chunk.
    pub(crate) fn describe(
        &self,
        chunk_index: u32,
        chunk_size_bytes: u32,
        coding: Coding,
        placement: impl Iterator<Item = Option<DiskId>>,
        last: Option<LastChunk>,
    ) -> Bytes {
        let part = self.owner.part.as_ref();
        Descriptor {
            bucket: self.owner.bucket.0,
            key: self.owner.key.as_str().to_owned(),
            part: part.map(|part| (part.upload_id.0, part.part_number.get())),
            data_id: self.data_id.0,
            chunk_index,
            chunk_size_bytes,
            coding,
            placement: placement.map(|disk| disk.map(|disk| disk.0)).collect(),
            created_at_ms: self.created_at_ms,
            last,
        }
        .encode()
    }
}

impl Descriptor {
    /// The bytes that are stored with a shard.
    pub fn encode(&self) -> Bytes {
        let mut bytes = Vec::with_capacity(256);
        bytes.push(FORMAT_VERSION);
        // Writing plain data to memory cannot fail; were it to, the descriptor would be unreadable, not wrong.
        postcard::to_extend(self, bytes)
            .map(Bytes::from)
            .unwrap_or_default()
    }

    /// The inverse of [`Descriptor::encode`].
    ///
    /// # Errors
    /// [`DescriptorError`] if the bytes are no descriptor of this version.
    pub fn decode(bytes: &[u8]) -> Result<Self, DescriptorError> {
        match bytes.split_first() {
            Some((&FORMAT_VERSION, rest)) => {
                postcard::from_bytes(rest).map_err(|_| DescriptorError::Malformed)
            }
            Some((&version, _)) => Err(DescriptorError::UnknownVersion { version }),
            None => Err(DescriptorError::Malformed),
        }
    }

    /// The chunk's record as it was meant.
    pub fn chunk_record(&self) -> ChunkRecord {
        ChunkRecord {
            size_bytes: self.chunk_size_bytes,
            coding: self.coding,
            shards: self
                .placement
                .iter()
                .map(|disk| disk.map(|id| ids::meta_disk(DiskId(id))))
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn example() -> Descriptor {
        Descriptor {
            bucket: [0xb0; 8],
            key: "a/é".to_owned(),
            part: Some(([0x0f; 16], 300)),
            data_id: [0xda; 16],
            chunk_index: 2,
            chunk_size_bytes: 5,
            coding: Coding::Erasure { data: 2, parity: 1 },
            placement: vec![Some([1; 16]), None],
            created_at_ms: 1,
            last: Some(LastChunk {
                size_bytes: 130,
                manifest: b"m".to_vec(),
            }),
        }
    }

    /// The bytes in the documentation. They are on disks: a change here is a new format version.
    #[test]
    fn descriptor_bytes_are_those_documented() {
        let expected = [
            "01",                                     // format version
            "b0b0b0b0b0b0b0b0",                       // bucket
            "04612fc3a9",                             // key
            "010f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0fac02", // part
            "dadadadadadadadadadadadadadadada",       // datum
            "02",                                     // chunk index
            "05",                                     // chunk size
            "000201",                                 // coding
            "02010101010101010101010101010101010100", // placement
            "01",                                     // created
            "018201016d",                             // last chunk
        ];
        assert_eq!(hex::encode(example().encode()), expected.concat());
        assert_eq!(Descriptor::decode(&example().encode()), Ok(example()));
    }

    #[test]
    fn other_versions_and_nothing_are_refused() {
        assert_eq!(
            Descriptor::decode(&[9, 0]),
            Err(DescriptorError::UnknownVersion { version: 9 })
        );
        assert_eq!(Descriptor::decode(&[]), Err(DescriptorError::Malformed));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            drop(Descriptor::decode(&bytes));
        }
    }
}
