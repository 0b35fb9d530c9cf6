//! Data: the bytes of one PUT or one part, as chunks with their placements.
//!
//! A datum of up to [`CHUNKS_PER_RECORD`] chunks is one record; a bigger one has further records for the chunks
//! behind those. Each record lists the disks it mentions once, and its chunks' shards by index into that list.

use serde::{Deserialize, Serialize};

use crate::codec::Record;
use crate::error::MetaError;
use crate::ids::{BucketId, DataId, DiskId, ObjectKey, PartNumber, UploadId};
use crate::records::StagedBytes;

/// Most chunks in one record: 2 GiB of 4 MiB chunks, about 7 KiB with 4+2 shards each.
pub(crate) const CHUNKS_PER_RECORD: usize = 512;

/// The bytes of one PUT or one part: where they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataRecord {
    /// The sum of the chunks' sizes.
    pub size_bytes: u64,
    /// What it was written for.
    pub owner: DataOwner,
    /// When it was written, in milliseconds since 1970.
    pub created_at_ms: u64,
    /// Its chunks, in order.
    pub chunks: Vec<ChunkRecord>,
}

/// What a datum was written for. For reports: an object's record says which datum is its body, not the other way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataOwner {
    /// The bucket.
    pub bucket: BucketId,
    /// The key.
    pub key: ObjectKey,
    /// The part, if it was written for one.
    pub part: Option<PartOwner>,
}

/// The part a datum was written for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartOwner {
    /// The upload.
    pub upload_id: UploadId,
    /// The part.
    pub part_number: PartNumber,
}

/// One chunk and its placement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkRecord {
    /// How many bytes of the datum it holds.
    pub size_bytes: u32,
    /// How it is coded.
    pub coding: Coding,
    /// Which disk holds which shard, by shard index; `None` is missing and waits for repair.
    pub shards: Vec<Option<DiskId>>,
}

impl ChunkRecord {
    /// Whether its bytes are still in the metadata: no shard of it was made yet.
    pub fn is_staged(&self) -> bool {
        self.shards.iter().all(Option::is_none)
    }

    /// Whether a shard is known to be missing, of a chunk that has shards.
    pub fn is_reduced(&self) -> bool {
        self.shards.iter().any(Option::is_none) && !self.is_staged()
    }
}

/// How a chunk becomes shards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Coding {
    /// Reed–Solomon: any `data` of the `data + parity` shards suffice.
    Erasure {
        /// How many data shards (k).
        data: u8,
        /// How many parity shards (m).
        parity: u8,
    },
    /// Whole copies: any one suffices.
    Copies {
        /// How many.
        count: u8,
    },
}

impl Coding {
    /// How many shards a chunk has.
    pub fn shard_count(self) -> usize {
        match self {
            Self::Erasure { data, parity } => usize::from(data) + usize::from(parity),
            Self::Copies { count } => usize::from(count),
        }
    }

    /// How many shards suffice to read a chunk.
    pub fn shards_needed(self) -> usize {
        match self {
            Self::Erasure { data, .. } => usize::from(data),
            Self::Copies { .. } => 1,
        }
    }
}

/// The first record of a datum.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DataHead {
    pub(crate) size_bytes: u64,
    pub(crate) owner: DataOwner,
    pub(crate) created_at_ms: u64,
    /// Of the whole datum.
    pub(crate) chunk_count: u32,
    /// The first [`CHUNKS_PER_RECORD`].
    pub(crate) chunks: DataChunks,
}

impl Record for DataHead {
    const NAME: &'static str = "data record";
}

/// A run of at most [`CHUNKS_PER_RECORD`] chunks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DataChunks {
    /// The disks that are mentioned, each once.
    disks: Vec<DiskId>,
    chunks: Vec<CompactChunk>,
}

impl Record for DataChunks {
    const NAME: &'static str = "data continuation record";
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct CompactChunk {
    size_bytes: u32,
    coding: Coding,
    /// By shard index: 0 is a missing shard, otherwise 1 + the index of its disk in the record's list.
    shards: Vec<u32>,
}

impl DataChunks {
    pub(crate) fn pack(chunks: &[ChunkRecord]) -> Self {
        let mut disks: Vec<DiskId> = chunks
            .iter()
            .flat_map(|chunk| chunk.shards.iter().flatten().copied())
            .collect();
        disks.sort_unstable();
        disks.dedup();
        let position = |disk: &DiskId| position_of(*disk, &disks);
        let chunks = chunks
            .iter()
            .map(|chunk| CompactChunk {
                size_bytes: chunk.size_bytes,
                coding: chunk.coding,
                shards: chunk
                    .shards
                    .iter()
                    .map(|shard| shard.as_ref().map_or(0, position))
                    .collect(),
            })
            .collect();
        Self { disks, chunks }
    }

    pub(crate) fn unpack(self) -> Result<Vec<ChunkRecord>, MetaError> {
        let disks = &self.disks;
        let shard = |position: u32| match position.checked_sub(1) {
            None => Ok(None),
            Some(index) => {
                disks
                    .get(index as usize)
                    .copied()
                    .map(Some)
                    .ok_or_else(|| MetaError::Corrupt {
                        record: "data record",
                        detail: format!("a shard is on disk {index} of {}", disks.len()),
                    })
            }
        };
        self.chunks
            .into_iter()
            .map(|chunk| {
                let shards = chunk
                    .shards
                    .into_iter()
                    .map(shard)
                    .collect::<Result<_, MetaError>>()?;
                Ok(ChunkRecord {
                    size_bytes: chunk.size_bytes,
                    coding: chunk.coding,
                    shards,
                })
            })
            .collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.chunks.len()
    }
}

#[expect(
    clippy::expect_used,
    reason = "the list was made of these disks, and has at most 512 chunks of 255 shards"
)]
fn position_of(disk: DiskId, disks: &[DiskId]) -> u32 {
    let index = disks.binary_search(&disk).expect("the disk is listed");
    u32::try_from(index + 1).expect("the list is short")
}

/// What the caller of a put hands over: a datum whose shards are durable already, or which is staged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewData {
    /// Its name.
    pub id: DataId,
    /// Where its bytes are.
    pub record: DataRecord,
    /// The bytes themselves, if they are to be kept here until they have shards: then the record has one chunk,
    /// which [is staged](ChunkRecord::is_staged).
    pub staged: Option<StagedBytes>,
}

impl NewData {
    /// A datum whose shards are durable already.
    pub fn placed(id: DataId, record: DataRecord) -> Self {
        Self {
            id,
            record,
            staged: None,
        }
    }
}
