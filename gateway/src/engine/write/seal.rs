//! Makes the buffered chunks of a long write durable together, and makes up for disks that cannot.

use std::collections::BTreeMap;

use bytes::Bytes;
use cairn_meta::ChunkRecord;
use cairn_storage_node::{DiskId, Durability, ShardError, ShardPut, WriteTicket};
use futures_util::future::join_all;
use tokio::time::Instant;

use super::WriteError;
use super::chunk_write::{WriteContext, WrittenChunk};
use super::write_quorum::WriteVerdict;
use crate::engine::chunker::Chunk;
use crate::engine::coding::coded_bytes;
use crate::engine::descriptor::LastChunk;
use crate::engine::disks::{Dependability, unknown_disk};
use crate::engine::geometry::spare_count;
use crate::engine::ids;
use crate::engine::memory::Reservation;
use crate::engine::placement::{Candidate, choose};
use crate::engine::read::ChunkRef;

/// One run of one disk: what was put in a run that ended may be lost.
type DiskRun = (DiskId, u64);

impl WriteContext<'_> {
    /// Syncs every disk once, up to the last of its shards. Where that fails, the shards of that disk (and run of
    /// it) are made again from the others of their chunks and put elsewhere; where too few disks are left for that,
    /// the chunk is coded anew for those that are.
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
                self.make_up(chunk, last, &failed).await?;
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

    /// Puts what a chunk has lost on other disks; where too few are left for its coding, it is written anew with a
    /// narrower one. `failed` disks get nothing.
    async fn make_up(
        &self,
        chunk: &mut WrittenChunk,
        last: Option<&LastChunk>,
        failed: &[DiskId],
    ) -> Result<(), WriteError> {
        let memory_bytes = coded_bytes(chunk.size_bytes as usize, chunk.coding);
        let Ok(memory) = self.core.write_budget.reserve(memory_bytes).await else {
            return match chunk.verdict() {
                WriteVerdict::Insufficient => Err(WriteError::OutOfBudget),
                // Enough of it is durable; the rest is left to repair.
                WriteVerdict::Whole | WriteVerdict::Reduced => Ok(()),
            };
        };
        self.put_again(chunk, last, failed).await;
        if chunk.verdict() == WriteVerdict::Insufficient {
            *chunk = self.write_anew(chunk, last, failed, memory).await?;
        }
        Ok(())
    }

    /// Makes the missing shards of a chunk again and puts them where [`StandIns`] are. Where there are none, nothing
    /// is read: what is missing is left to repair.
    async fn put_again(
        &self,
        chunk: &mut WrittenChunk,
        last: Option<&LastChunk>,
        failed: &[DiskId],
    ) {
        let stand_ins = self.stand_ins(chunk, failed);
        if stand_ins.missing.is_empty() {
            return;
        }
        let record = chunk.record();
        let reference = self.reference(chunk, &record);
        let rebuilt = match self.core.rebuild(reference, &stand_ins.missing).await {
            Ok(rebuilt) => rebuilt,
            Err(error) => {
                tracing::warn!(%error, chunk_index = chunk.index, "shards of an unsynced disk could not be made again");
                return;
            }
        };
        let descriptor = self.describe_with(chunk, &stand_ins, last);
        let shards = rebuilt.into_iter().map(|(index, payload)| ShardPut {
            id: ids::shard(self.data_id(), chunk.index, index),
            descriptor: descriptor.clone(),
            payload,
        });
        let StandIns {
            missing,
            chosen,
            free,
        } = stand_ins;
        let outcome = self
            .put_shards(
                shards.collect(),
                chosen,
                &free,
                spare_count(chunk.coding),
                Durability::Synced,
            )
            .await;
        for (index, slot) in missing.into_iter().zip(outcome.slots) {
            if let Some(place) = chunk.slots.get_mut(index) {
                *place = slot;
            }
        }
    }

    /// Disks for the missing shards of a chunk.
    fn stand_ins(&self, chunk: &WrittenChunk, failed: &[DiskId]) -> StandIns {
        let map = self.core.disks.map();
        let holding = chunk.slots.iter().flatten();
        let taken: Vec<Candidate> = holding
            .filter_map(|slot| map.disk(slot.disk_id).map(|disk| disk.as_taken()))
            .collect();
        let mut free = map.candidates(Dependability::InTime, Instant::now());
        free.retain(|candidate| {
            let is_taken = taken.iter().any(|other| other.disk_id == candidate.disk_id);
            !is_taken && !failed.contains(&candidate.disk_id)
        });
        let mut missing: Vec<usize> = (0..chunk.slots.len())
            .filter(|index| is_missing(chunk, *index))
            .collect();
        let seed = self.core.entropy.seed();
        let chosen = choose(
            &free,
            &taken,
            missing.len(),
            spare_count(chunk.coding),
            seed,
        );
        missing.truncate(chosen.len());
        StandIns {
            missing,
            chosen,
            free,
        }
    }

    /// What the shards of a chunk say of it: where those are that it has, then where the missing ones go.
    fn describe_with(
        &self,
        chunk: &WrittenChunk,
        stand_ins: &StandIns,
        last: Option<&LastChunk>,
    ) -> Bytes {
        let mut targets = stand_ins.chosen.iter().map(|candidate| candidate.disk_id);
        let placement = chunk
            .slots
            .iter()
            .map(|slot| slot.map(|slot| slot.disk_id).or_else(|| targets.next()));
        self.describer.describe(
            chunk.index,
            chunk.size_bytes,
            chunk.coding,
            placement,
            last.cloned(),
        )
    }

    /// Writes a chunk as if it had just arrived, from what can still be read of it, on the disks that are left. `memory` is
    /// what is paid for it.
    async fn write_anew(
        &self,
        chunk: &WrittenChunk,
        last: Option<&LastChunk>,
        failed: &[DiskId],
        mut memory: Reservation,
    ) -> Result<WrittenChunk, WriteError> {
        // While it is copied it is there twice.
        let copied_bytes = 2 * chunk.size_bytes as usize;
        self.core
            .write_budget
            .enlarge(&mut memory, copied_bytes)
            .await;
        let record = chunk.record();
        let reference = self.reference(chunk, &record);
        let pieces = match self.core.read_chunk(reference, 0..chunk.size_bytes).await {
            Ok(pieces) => pieces,
            Err(error) => {
                tracing::warn!(%error, chunk_index = chunk.index, "a chunk with unsynced shards could not be read again");
                return Err(self.too_few_disks());
            }
        };
        let again = Chunk {
            memory: Some(memory),
            ..Chunk::again(chunk.index, &pieces, last.is_some())
        };
        drop(pieces);
        self.write_chunk(again, Durability::Synced, last, failed)
            .await
    }

    fn reference<'r>(&self, chunk: &WrittenChunk, record: &'r ChunkRecord) -> ChunkRef<'r> {
        ChunkRef {
            data_id: self.data_id(),
            index: chunk.index,
            record,
        }
    }
}

/// Where the missing shards of a chunk go: to disks that hold none of it and did not fail, as far as there are.
struct StandIns {
    /// Indexes of shards.
    missing: Vec<usize>,
    /// A disk for each of them.
    chosen: Vec<Candidate>,
    /// All that may stand in, should one of the chosen fail too.
    free: Vec<Candidate>,
}

fn is_missing(chunk: &WrittenChunk, index: usize) -> bool {
    chunk.slots.get(index).copied().flatten().is_none()
}
