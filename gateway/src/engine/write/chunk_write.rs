//! Writes one chunk: chooses coding and disks, puts the shards, and tries again narrower when disks fail meanwhile.

use bytes::Bytes;
use cairn_meta::{ChunkRecord, Coding};
use cairn_storage_node::{DataId, DiskId, Durability, WriteTicket};
use tokio::time::Instant;

use super::WriteError;
use super::stored_data::WriteGuard;
use super::write_quorum::{WriteVerdict, judge};
use crate::engine::chunker::Chunk;
use crate::engine::coding::coded_bytes;
use crate::engine::core::Core;
use crate::engine::descriptor::{Describer, LastChunk};
use crate::engine::disks::Dependability;
use crate::engine::geometry::{ChunkKind, spare_count};
use crate::engine::ids;
use crate::engine::placement::{Candidate, choose};

/// How often a chunk is begun anew because too many of its disks failed while it was written. Each time, those that
/// failed are left out, so that one round per lost disk that a geometry can bear is enough.
const ROUND_COUNT_MAX: usize = 3;

/// What the chunks of one write share.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WriteContext<'a> {
    pub(super) core: &'a Core,
    pub(super) describer: &'a Describer,
    pub(super) guard: &'a WriteGuard,
}

/// A chunk on its disks.
#[derive(Debug, Clone)]
pub(crate) struct WrittenChunk {
    pub(crate) index: u32,
    pub(crate) size_bytes: u32,
    pub(crate) coding: Coding,
    /// By shard index; `None` is missing.
    pub(crate) slots: Vec<Option<Slot>>,
}

/// Where a shard is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slot {
    pub(crate) disk_id: DiskId,
    /// What to sync for it to be durable.
    pub(crate) ticket: WriteTicket,
}

impl WrittenChunk {
    /// What the metadata says of it.
    pub(crate) fn record(&self) -> ChunkRecord {
        let shards = self
            .slots
            .iter()
            .map(|slot| slot.map(|slot| ids::meta_disk(slot.disk_id)))
            .collect();
        ChunkRecord {
            size_bytes: self.size_bytes,
            coding: self.coding,
            shards,
        }
    }

    pub(super) fn verdict(&self) -> WriteVerdict {
        judge(self.coding, self.slots.iter().flatten().count())
    }
}

impl<'a> WriteContext<'a> {
    pub(super) fn new(core: &'a Core, describer: &'a Describer, guard: &'a WriteGuard) -> Self {
        Self {
            core,
            describer,
            guard,
        }
    }

    pub(super) fn data_id(&self) -> DataId {
        self.describer.data_id
    }

    /// Puts all shards of a chunk, none of them on the disks `failed`; gives its memory back when they are stored.
    pub(super) async fn write_chunk(
        &self,
        mut chunk: Chunk,
        durability: Durability,
        last: Option<&LastChunk>,
        failed: &[DiskId],
    ) -> Result<WrittenChunk, WriteError> {
        let mut failed = failed.to_vec();
        for _ in 0..ROUND_COUNT_MAX {
            let (coding, candidates) = self.core.coding(chunk.size_bytes, &failed)?;
            // On fewer disks than when its bytes came it is coded narrower, which takes more.
            if let Some(memory) = &mut chunk.memory {
                let size_bytes = coded_bytes(chunk.size_bytes as usize, coding);
                self.core.write_budget.enlarge(memory, size_bytes).await;
            }
            let seed = if self.core.is_small(chunk.size_bytes) {
                self.core.entropy.seed_of_small()
            } else {
                self.core.entropy.seed()
            };
            let chosen = choose(
                &candidates,
                &[],
                coding.shard_count(),
                spare_count(coding),
                seed,
            );
            let descriptor = self.describe(chunk.index, chunk.size_bytes, coding, &chosen, last);
            let payloads = self
                .core
                .encode(&chunk.padded, chunk.size_bytes, coding)
                .await?;
            let shards = self.shard_puts(chunk.index, &payloads, &descriptor);
            let outcome = self
                .put_shards(shards, chosen, &candidates, spare_count(coding), durability)
                .await;
            let written = WrittenChunk {
                index: chunk.index,
                size_bytes: chunk.size_bytes,
                coding,
                slots: outcome.slots,
            };
            if written.verdict() != WriteVerdict::Insufficient {
                return Ok(written);
            }
            failed.extend(outcome.failed);
        }
        Err(self.too_few_disks())
    }

    pub(super) fn too_few_disks(&self) -> WriteError {
        let map = self.core.disks.map();
        let usable_count = map.candidates(Dependability::Any, Instant::now()).len();
        WriteError::TooFewDisks { usable_count }
    }

    fn describe(
        &self,
        index: u32,
        size_bytes: u32,
        coding: Coding,
        chosen: &[Candidate],
        last: Option<&LastChunk>,
    ) -> Bytes {
        let placement = chosen.iter().map(|candidate| Some(candidate.disk_id));
        self.describer
            .describe(index, size_bytes, coding, placement, last.cloned())
    }
}

impl Core {
    /// How a large chunk is coded on the disks that are there now.
    pub(crate) fn coding_now(&self) -> Coding {
        let size_bytes = u32::try_from(self.options.chunk_size_bytes).unwrap_or(u32::MAX);
        // What is refused takes no more than its bytes.
        let refused = Coding::Copies { count: 1 };
        let coding = self.coding(size_bytes, &[]);
        coding.map_or(refused, |(coding, _)| coding)
    }

    pub(super) fn is_small(&self, size_bytes: u32) -> bool {
        size_bytes as usize <= self.options.small_size_bytes_max
    }

    /// The coding of a chunk and the disks for it. Disks that were slow lately are left out if the others have room for
    /// a coding that bears as many losses: a narrower one now is better than waiting for them, a weaker one is not.
    pub(super) fn coding(
        &self,
        size_bytes: u32,
        failed: &[DiskId],
    ) -> Result<(Coding, Vec<Candidate>), WriteError> {
        let kind = if self.is_small(size_bytes) {
            ChunkKind::Small
        } else {
            ChunkKind::Large
        };
        let map = self.disks.map();
        let now = Instant::now();
        let mut usable_count = 0;
        for dependability in [Dependability::InTime, Dependability::Any] {
            let mut candidates = map.candidates(dependability, now);
            candidates.retain(|candidate| !failed.contains(&candidate.disk_id));
            usable_count = candidates.len();
            let Some(coding) = self.options.geometry.coding(kind, usable_count) else {
                continue;
            };
            if dependability == Dependability::Any || coding.shard_count() <= usable_count {
                return Ok((coding, candidates));
            }
        }
        Err(WriteError::TooFewDisks { usable_count })
    }
}
