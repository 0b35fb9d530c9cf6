//! Makes the buffered chunks of a long write durable together, and makes up for disks that cannot.

use std::collections::BTreeMap;

use cairn_storage_node::{DiskId, Durability, ShardError, ShardPut, WriteTicket};
use futures_util::future::join_all;
use tokio::time::Instant;

use super::WriteError;
use super::chunk_write::{WriteContext, WrittenChunk};
use super::shard_puts::unknown_disk;
use super::write_quorum::WriteVerdict;
use crate::engine::descriptor::LastChunk;
use crate::engine::disks::Dependability;
use crate::engine::geometry::spare_count;
use crate::engine::ids;
use crate::engine::placement::{Candidate, choose};
use crate::engine::read::ChunkRef;

/// One run of one disk: what was put in a run that ended may be lost.
type DiskRun = (DiskId, u64);

impl WriteContext<'_> {
    /// Syncs every disk once, up to the last of its shards. Where that fails, the shards of that disk (and run of
    /// it) are made again from the others of their chunks and put elsewhere.
    pub(super) async fn seal(
        &self,
        chunks: &mut [WrittenChunk],
        last: Option<&LastChunk>,
    ) -> Result<(), WriteError> {
        let unsynced = self.sync_all(chunks).await;
        if unsynced.is_empty() {
            return Ok(());
        }
        for chunk in chunks.iter_mut() {
            for slot in &mut chunk.slots {
                slot.take_if(|slot| unsynced.contains_key(&(slot.disk_id, slot.ticket.run)));
            }
        }
        // One that has restarted lost what was not synced, and takes new writes.
        let is_unfit = |error: &ShardError| !matches!(error, ShardError::Restarted { .. });
        let failed: Vec<DiskId> = unsynced
            .into_iter()
            .filter(|(_, error)| is_unfit(error))
            .map(|((disk_id, _), _)| disk_id)
            .collect();
        let last_index = chunks.last().map(|chunk| chunk.index);
        for chunk in chunks.iter_mut() {
            if chunk.verdict() != WriteVerdict::Whole {
                let last = last.filter(|_| Some(chunk.index) == last_index);
                self.put_again(chunk, last, &failed).await;
            }
            if chunk.verdict() == WriteVerdict::Insufficient {
                let usable_count = self
                    .core
                    .disks
                    .map()
                    .candidates(Dependability::Any, Instant::now())
                    .len();
                return Err(WriteError::TooFewDisks { usable_count });
            }
        }
        Ok(())
    }

    /// The runs of disks that could not be synced, and why.
    async fn sync_all(&self, chunks: &[WrittenChunk]) -> BTreeMap<DiskRun, ShardError> {
        let mut latest: BTreeMap<DiskRun, WriteTicket> = BTreeMap::new();
        for slot in chunks.iter().flat_map(|chunk| chunk.slots.iter().flatten()) {
            let ticket = latest
                .entry((slot.disk_id, slot.ticket.run))
                .or_insert(slot.ticket);
            *ticket = slot.ticket.max(*ticket);
        }
        let map = self.core.disks.map();
        let syncs = latest.into_iter().map(|(run, ticket)| {
            let disk = map.disk(run.0).cloned();
            async move {
                let Some(disk) = disk else {
                    return Some((run, unknown_disk(run.0)));
                };
                let synced = disk.sync(ticket, self.core.options.sync_deadline).await;
                synced.err().map(|error| {
                    tracing::warn!(%error, "a disk could not be synced; its shards are written elsewhere");
                    (run, error)
                })
            }
        });
        join_all(syncs).await.into_iter().flatten().collect()
    }

    /// Makes the missing shards of a chunk again and puts them on disks that hold none of it and are not among the
    /// `failed`, as far as there are. Where there are none, nothing is read: what is missing is left to repair.
    async fn put_again(
        &self,
        chunk: &mut WrittenChunk,
        last: Option<&LastChunk>,
        failed: &[DiskId],
    ) {
        let record = chunk.record();
        let reference = ChunkRef {
            data_id: self.data_id(),
            index: chunk.index,
            record: &record,
        };
        let map = self.core.disks.map();
        let mut taken: Vec<Candidate> = Vec::new();
        for slot in chunk.slots.iter().flatten() {
            taken.extend(map.disk(slot.disk_id).map(|disk| disk.as_taken()));
        }
        let mut candidates = map.candidates(Dependability::InTime, Instant::now());
        candidates.retain(|candidate| !failed.contains(&candidate.disk_id));
        let mut missing: Vec<usize> = (0..record.shards.len())
            .filter(|index| is_missing(chunk, *index))
            .collect();
        let spare_count = spare_count(chunk.coding);
        let seed = self.core.entropy.seed();
        let chosen = choose(&candidates, &taken, missing.len(), spare_count, seed);
        missing.truncate(chosen.len());
        if missing.is_empty() {
            return;
        }
        let rebuilt = match self.core.rebuild(reference, &missing).await {
            Ok(rebuilt) => rebuilt,
            Err(error) => {
                tracing::warn!(%error, chunk_index = chunk.index, "shards of an unsynced disk could not be made again");
                return;
            }
        };
        // Where the shards are now, then where the missing ones go.
        let mut targets = chosen.iter().map(|candidate| candidate.disk_id);
        let placement = chunk
            .slots
            .iter()
            .map(|slot| slot.map(|slot| slot.disk_id).or_else(|| targets.next()));
        let descriptor = self.describer.describe(
            chunk.index,
            chunk.size_bytes,
            chunk.coding,
            placement,
            last.cloned(),
        );
        let shards = rebuilt.into_iter().map(|(index, payload)| ShardPut {
            id: ids::shard(self.data_id(), chunk.index, index),
            descriptor: descriptor.clone(),
            payload,
        });
        // Only disks that hold nothing of the chunk may stand in.
        let free: Vec<Candidate> = candidates
            .iter()
            .filter(|candidate| taken.iter().all(|other| other.disk_id != candidate.disk_id))
            .copied()
            .collect();
        let outcome = self
            .put_shards(
                shards.collect(),
                chosen,
                &free,
                spare_count,
                Durability::Synced,
            )
            .await;
        for (index, slot) in missing.into_iter().zip(outcome.slots) {
            if let Some(place) = chunk.slots.get_mut(index) {
                *place = slot;
            }
        }
    }
}

fn is_missing(chunk: &WrittenChunk, index: usize) -> bool {
    chunk.slots.get(index).copied().flatten().is_none()
}
