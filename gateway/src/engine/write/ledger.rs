//! Which shards a write may have left on which disks, so that they can be deleted if it is not committed.

use cairn_storage_node::{DataId, DiskId, ShardId};

/// Every put that was begun, whatever became of it. Eight bytes per shard, since the largest part has tens of
/// thousands of them.
#[derive(Debug, Clone)]
pub(crate) struct Ledger {
    data_id: DataId,
    disks: Vec<DiskId>,
    attempts: Vec<Attempt>,
}

#[derive(Debug, Clone, Copy)]
struct Attempt {
    /// Its index in the datum.
    chunk: u32,
    /// Its index in [`Ledger::disks`].
    disk: u16,
    /// Its index in the chunk.
    shard: u8,
}

impl Ledger {
    pub(crate) fn new(data_id: DataId) -> Self {
        Self {
            data_id,
            disks: Vec::new(),
            attempts: Vec::new(),
        }
    }

    /// The datum being written.
    pub(crate) fn data_id(&self) -> DataId {
        self.data_id
    }

    /// Notes a put before it begins.
    pub(crate) fn note(&mut self, disk: DiskId, shard: ShardId) {
        let position = self
            .disks
            .iter()
            .position(|known| *known == disk)
            .unwrap_or_else(|| {
                self.disks.push(disk);
                self.disks.len() - 1
            });
        // A write meets at most the disks of the cluster; one beyond 65,536 is left to the orphan collector.
        if let Ok(disk) = u16::try_from(position) {
            self.attempts.push(Attempt {
                chunk: shard.chunk_index,
                disk,
                shard: shard.shard_index,
            });
        }
    }

    /// All that was noted.
    pub(crate) fn shards(&self) -> impl Iterator<Item = (DiskId, ShardId)> + '_ {
        self.attempts.iter().filter_map(|attempt| {
            let disk = self.disks.get(usize::from(attempt.disk))?;
            let id = ShardId {
                data_id: self.data_id,
                chunk_index: attempt.chunk,
                shard_index: attempt.shard,
            };
            Some((*disk, id))
        })
    }
}
