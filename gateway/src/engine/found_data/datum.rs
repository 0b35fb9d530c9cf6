//! Puts the shards of one datum together, and decides whether they are enough. Pure.
//!
//! Invariant: what is called whole can be read, if need be when disks that are awaited are back: of every chunk as many
//! shards of one coding as it needs were found, or were meant for such a disk, and the chunks have the size that their
//! last one says they have together. In which order shards are added does not matter.

use std::collections::{BTreeMap, BTreeSet};

use cairn_meta::{
    self as meta, BucketId, ChunkRecord, Coding, DataOwner, DataRecord, ObjectKey, PartNumber,
    PartOwner, UploadId,
};
use cairn_storage_node::{DataId, DiskId, ShardId};

use crate::engine::coding::shard_size_bytes;
use crate::engine::descriptor::{Descriptor, LastChunk};
use crate::engine::ids;

/// A datum that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// It can be read, at the latest when the awaited disks are back.
    Whole(WholeDatum),
    /// It cannot.
    Incomplete(IncompleteDatum),
}

/// A datum that can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WholeDatum {
    /// Which.
    pub data_id: meta::DataId,
    /// Where it is.
    pub record: DataRecord,
    /// What was kept with it: the manifest of its last chunk.
    pub kept: Vec<u8>,
}

/// A datum that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IncompleteDatum {
    /// Which.
    pub data_id: meta::DataId,
    /// What it was written for.
    pub owner: DataOwner,
    /// When it was written, in milliseconds since 1970.
    pub created_at_ms: u64,
    /// What is wrong with it.
    pub reason: IncompleteReason,
}

/// Why a datum cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IncompleteReason {
    /// No shard of its last chunk was found: the write was never finished, or these shards are lost.
    #[error("no shard of its last chunk was found; the write was interrupted, or they are lost")]
    EndMissing,
    /// Too few shards of a chunk were found.
    #[error(
        "{found_count} shards of chunk {chunk_index} were found, of {needed_count} that are needed"
    )]
    ChunkMissing {
        /// Which chunk, 0-based.
        chunk_index: u32,
        /// How many shards were found.
        found_count: usize,
        /// How many are needed.
        needed_count: usize,
    },
    /// The chunks do not add up to what the last one says.
    #[error("its chunks have {found_bytes} bytes instead of {size_bytes}")]
    SizesDisagree {
        /// Of the chunks together.
        found_bytes: u64,
        /// As the last chunk says.
        size_bytes: u64,
    },
}

/// A datum in the making.
#[derive(Debug)]
pub(super) struct Assembly {
    data_id: DataId,
    /// Whose it is and since when; all descriptors say the same.
    origin: Option<(DataOwner, u64)>,
    /// By index. A chunk that was begun anew because disks failed may be there in several codings.
    chunks: BTreeMap<u32, Vec<CodedChunk>>,
    last: Option<(u32, LastChunk)>,
}

/// What was found of a chunk in one coding.
#[derive(Debug)]
struct CodedChunk {
    coding: Coding,
    size_bytes: u32,
    /// By shard index, as the descriptor says.
    meant: Vec<Option<DiskId>>,
    /// By shard index. Repair and replaced writes may leave a shard on two disks.
    found: BTreeMap<usize, BTreeSet<DiskId>>,
}

impl Assembly {
    pub(super) fn new(data_id: DataId) -> Self {
        Self {
            data_id,
            origin: None,
            chunks: BTreeMap::new(),
            last: None,
        }
    }

    /// Takes a shard that was found on `disk_id`. What contradicts its own name, or what is known already, is left out.
    pub(super) fn add(
        &mut self,
        disk_id: DiskId,
        id: ShardId,
        size_bytes: u32,
        descriptor: Descriptor,
    ) {
        let shard_index = usize::from(id.shard_index);
        let coding = descriptor.coding;
        let is_consistent = id.data_id == self.data_id
            && descriptor.data_id == self.data_id.0
            && descriptor.chunk_index == id.chunk_index
            && shard_index < coding.shard_count()
            && coding.shards_needed() > 0
            && size_bytes == shard_size_bytes(descriptor.chunk_size_bytes, coding);
        let Some(owner) = owner(&descriptor).filter(|_| is_consistent) else {
            return;
        };
        let origin = (owner, descriptor.created_at_ms);
        if *self.origin.get_or_insert_with(|| origin.clone()) != origin {
            return;
        }
        let codings = self.chunks.entry(id.chunk_index).or_default();
        let is_same = |chunk: &&mut CodedChunk| {
            chunk.coding == coding && chunk.size_bytes == descriptor.chunk_size_bytes
        };
        if let Some(chunk) = codings.iter_mut().find(is_same) {
            chunk.found.entry(shard_index).or_default().insert(disk_id);
        } else {
            codings.push(CodedChunk {
                coding,
                size_bytes: descriptor.chunk_size_bytes,
                meant: descriptor
                    .placement
                    .iter()
                    .map(|disk| disk.map(DiskId))
                    .collect(),
                found: BTreeMap::from([(shard_index, BTreeSet::from([disk_id]))]),
            });
        }
        if let Some(last) = descriptor.last {
            self.last.get_or_insert((id.chunk_index, last));
        }
    }

    /// Decides; `None` if nothing was taken. Missing shards that were meant for `awaited` disks are taken to be there.
    pub(super) fn finish(self, awaited: &BTreeSet<DiskId>) -> Option<Finding> {
        let data_id = ids::meta_data(self.data_id);
        let (owner, created_at_ms) = self.origin?;
        let incomplete = |owner, reason| {
            Some(Finding::Incomplete(IncompleteDatum {
                data_id,
                owner,
                created_at_ms,
                reason,
            }))
        };
        let Some((last_index, last)) = self.last else {
            return incomplete(owner, IncompleteReason::EndMissing);
        };
        let mut chunks = Vec::new();
        let mut found_bytes = 0u64;
        for chunk_index in 0..=last_index {
            let best = self
                .chunks
                .get(&chunk_index)
                .and_then(|codings| codings.iter().max_by_key(|chunk| chunk.rank(awaited)));
            match best {
                Some(best) if best.is_readable(awaited) => {
                    found_bytes += u64::from(best.size_bytes);
                    chunks.push(best.record(awaited));
                }
                best => {
                    let reason = IncompleteReason::ChunkMissing {
                        chunk_index,
                        found_count: best.map_or(0, |best| best.found.len()),
                        needed_count: best.map_or(1, |best| best.coding.shards_needed()),
                    };
                    return incomplete(owner, reason);
                }
            }
        }
        if found_bytes != last.size_bytes {
            let reason = IncompleteReason::SizesDisagree {
                found_bytes,
                size_bytes: last.size_bytes,
            };
            return incomplete(owner, reason);
        }
        Some(Finding::Whole(WholeDatum {
            data_id,
            record: DataRecord {
                size_bytes: last.size_bytes,
                owner,
                created_at_ms,
                chunks,
            },
            kept: last.manifest,
        }))
    }
}

impl CodedChunk {
    /// Whether it can be read now, or when the `awaited` disks are back: what is on one of them must not be given up.
    fn is_readable(&self, awaited: &BTreeSet<DiskId>) -> bool {
        self.found.len() + self.awaited_count(awaited) >= self.coding.shards_needed()
    }

    /// The higher, the better: readable now, then with the awaited disks, then with most shards to spare.
    fn rank(&self, awaited: &BTreeSet<DiskId>) -> (bool, bool, usize) {
        let spare = self.found.len().checked_sub(self.coding.shards_needed());
        (
            spare.is_some(),
            self.is_readable(awaited),
            spare.unwrap_or_default(),
        )
    }

    /// How many shards that were not found were meant for `awaited` disks.
    fn awaited_count(&self, awaited: &BTreeSet<DiskId>) -> usize {
        let missing =
            (0..self.coding.shard_count()).filter(|index| !self.found.contains_key(index));
        let meant = missing.filter_map(|index| self.meant.get(index).copied().flatten());
        meant.filter(|disk| awaited.contains(disk)).count()
    }

    /// Each shard on a disk where it was found, and on a disk of its own where that can be.
    fn record(&self, awaited: &BTreeSet<DiskId>) -> ChunkRecord {
        let mut shards = vec![None; self.coding.shard_count()];
        let mut taken = BTreeSet::new();
        let mut by_choice: Vec<(&usize, &BTreeSet<DiskId>)> = self.found.iter().collect();
        by_choice.sort_by_key(|(_, disks)| disks.len());
        for (index, disks) in by_choice {
            let disk = disks
                .iter()
                .find(|disk| !taken.contains(*disk))
                .or_else(|| disks.first());
            taken.extend(disk.copied());
            if let Some(place) = shards.get_mut(*index) {
                *place = disk.copied();
            }
        }
        for (place, meant) in shards.iter_mut().zip(&self.meant) {
            *place = place.or_else(|| meant.filter(|disk| awaited.contains(disk)));
        }
        ChunkRecord {
            size_bytes: self.size_bytes,
            coding: self.coding,
            shards: shards
                .into_iter()
                .map(|disk| disk.map(ids::meta_disk))
                .collect(),
        }
    }
}

fn owner(descriptor: &Descriptor) -> Option<DataOwner> {
    let part = match descriptor.part {
        None => None,
        Some((upload_id, number)) => Some(PartOwner {
            upload_id: UploadId(upload_id),
            part_number: PartNumber::new(number).ok()?,
        }),
    };
    Some(DataOwner {
        bucket: BucketId(descriptor.bucket),
        key: ObjectKey::parse(descriptor.key.as_str()).ok()?,
        part,
    })
}
