//! What befalls disks, metadata and the process, and when: drawn from the seed, within the bounds of the fault model.

use std::sync::Arc;
use std::time::Duration;

use cairn_meta::{ChunkRecord, Coding, DataId};
use cairn_storage_node::ShardId;
use rand::RngExt;
use rand::rngs::SmallRng;
use tokio::time::{Instant, sleep, sleep_until};

use crate::fault_model::DISKS_AWAY_MAX;
use crate::simulated_disk::{Condition, SimulatedDisk};
use crate::world::World;

/// What a disk may become for a time.
const CONDITIONS: [Condition; 5] = [
    Condition::Vanished,
    Condition::Failed,
    Condition::Hanging,
    Condition::HangingSilently,
    Condition::Full,
];

/// What may happen.
#[derive(Debug, Clone, Copy)]
enum Misfortune {
    DiskAway,
    DiskReplaced,
    Rot,
    Crash,
    MetadataAway,
}

/// How often each of them happens is drawn for each run: none, at times, or often.
const MISFORTUNES: [Misfortune; 5] = [
    Misfortune::DiskAway,
    Misfortune::DiskReplaced,
    Misfortune::Rot,
    Misfortune::Crash,
    Misfortune::MetadataAway,
];

/// Draws one misfortune after the other.
#[derive(Debug)]
pub(crate) struct FaultSchedule {
    world: Arc<World>,
    random: SmallRng,
    /// Each as often as it is likely.
    lots: Vec<Misfortune>,
    longest_pause_ms: u64,
    away: Vec<(Instant, Arc<SimulatedDisk>)>,
    has_replaced: bool,
}

impl FaultSchedule {
    pub(crate) fn new(world: Arc<World>, mut random: SmallRng) -> Self {
        let mut lots = Vec::new();
        for misfortune in MISFORTUNES {
            let count = [0, 1, 5][random.random_range(0..3)];
            lots.extend(std::iter::repeat_n(misfortune, count));
        }
        Self {
            world,
            longest_pause_ms: [20_000, 100_000, 600_000][random.random_range(0..3)],
            random,
            lots,
            away: Vec::new(),
            has_replaced: false,
        }
    }

    /// Goes on until it is aborted; [`World::heal`] then ends what lasts.
    pub(crate) async fn run(mut self) {
        loop {
            let next = Instant::now()
                + Duration::from_millis(self.random.random_range(1..self.longest_pause_ms));
            self.wait_until(next).await;
            if self.lots.is_empty() {
                continue;
            }
            match self.lots[self.random.random_range(0..self.lots.len())] {
                Misfortune::DiskAway => self.lose_disk(),
                Misfortune::DiskReplaced => self.replace_disk().await,
                Misfortune::Rot => self.rot().await,
                Misfortune::Crash => self.crash().await,
                Misfortune::MetadataAway => self.lose_metadata().await,
            }
        }
    }

    /// Brings back the disks whose time has come meanwhile.
    async fn wait_until(&mut self, time: Instant) {
        loop {
            let first = self.away.iter().enumerate().min_by_key(|(_, (at, _))| *at);
            let Some((index, (at, _))) = first.filter(|(_, (at, _))| *at < time) else {
                return sleep_until(time).await;
            };
            sleep_until(*at).await;
            let (_, disk) = self.away.remove(index);
            let before = disk.condition();
            if matches!(before, Condition::Vanished | Condition::Failed) {
                disk.lose_power().await;
            }
            disk.set_condition(Condition::There);
            let number = disk.number();
            self.world
                .journal
                .tell(format_args!("disk {number} is back, was {before:?}"));
        }
    }

    fn lose_disk(&mut self) {
        let disks = self.world.stores.disks.iter();
        let there: Vec<_> = disks
            .filter(|disk| disk.condition() == Condition::There)
            .cloned()
            .collect();
        if self.away.len() >= DISKS_AWAY_MAX {
            return;
        }
        let disk = Arc::clone(&there[self.random.random_range(0..there.len())]);
        let condition = CONDITIONS[self.random.random_range(0..CONDITIONS.len())];
        let longest_s = [5, 60, 1200][self.random.random_range(0..3)];
        let time = Duration::from_millis(self.random.random_range(1..longest_s * 1000));
        disk.set_condition(condition);
        let number = disk.number();
        self.world
            .journal
            .tell(format_args!("disk {number} is {condition:?} for {time:?}"));
        self.away.push((Instant::now() + time, disk));
    }

    /// Damages a shard of a chunk that can bear it.
    async fn rot(&mut self) {
        let meta = self.world.stores.plain_metadata();
        let data = meta.list_data(None, 10_000).await.expect("a listing").data;
        if data.is_empty() {
            return;
        }
        let (data_id, record) = &data[self.random.random_range(0..data.len())];
        let chunks = &record.as_ref().expect("a record").chunks;
        let index = self.random.random_range(0..chunks.len());
        let intact = intact_shards(&self.world, *data_id, index, &chunks[index]).await;
        if intact.len() <= needed_count(chunks[index].coding) {
            return;
        }
        let (disk, shard) = &intact[self.random.random_range(0..intact.len())];
        disk.rot(*shard);
        let number = disk.number();
        self.world
            .journal
            .tell(format_args!("disk {number} has a rotten {shard}"));
    }

    /// Empties a disk, if every chunk can bear it.
    async fn replace_disk(&mut self) {
        let disks = &self.world.stores.disks;
        let disk = Arc::clone(&disks[self.random.random_range(0..disks.len())]);
        if self.has_replaced || disk.condition() != Condition::There {
            return;
        }
        let meta = self.world.stores.plain_metadata();
        let data = meta.list_data(None, 10_000).await.expect("a listing").data;
        for (data_id, record) in data {
            let chunks = record.expect("a record").chunks;
            for (index, chunk) in chunks
                .iter()
                .enumerate()
                .filter(|(_, chunk)| !chunk.is_staged())
            {
                let mut intact = intact_shards(&self.world, data_id, index, chunk).await;
                intact.retain(|(other, _)| other.id() != disk.id());
                if intact.len() < needed_count(chunk.coding) {
                    return;
                }
            }
        }
        disk.replace().await;
        self.has_replaced = true;
        let number = disk.number();
        self.world
            .journal
            .tell(format_args!("disk {number} is an empty one now"));
    }

    async fn crash(&mut self) {
        let loses_power = self.random.random();
        let place = self.random.random_range(0..self.world.place_count());
        self.world.kill_process(place);
        self.world.journal.tell(format_args!(
            "the process in place {place} ends, power lost: {loses_power}"
        ));
        if loses_power {
            for disk in &self.world.stores.disks {
                disk.lose_power().await;
            }
        }
        sleep(Duration::from_millis(self.random.random_range(0..20_000))).await;
        self.world.start_processes();
    }

    async fn lose_metadata(&mut self) {
        let time = Duration::from_millis(self.random.random_range(1..120_000));
        let metadata = &self.world.stores.metadata;
        self.world
            .journal
            .tell(format_args!("the metadata are away for {time:?}"));
        metadata.set_away(true);
        sleep(time).await;
        metadata.set_away(false);
    }
}

/// How many shards of a chunk make it readable.
fn needed_count(coding: Coding) -> usize {
    match coding {
        Coding::Erasure { data, .. } => usize::from(data),
        Coding::Copies { .. } => 1,
    }
}

/// The shards of a chunk that are where its record says, as they were put.
async fn intact_shards(
    world: &World,
    data_id: DataId,
    chunk_index: usize,
    chunk: &ChunkRecord,
) -> Vec<(Arc<SimulatedDisk>, ShardId)> {
    let mut intact = Vec::new();
    for (shard_index, placed) in (0..).zip(&chunk.shards) {
        let shard = ShardId {
            data_id: cairn_storage_node::DataId(data_id.0),
            chunk_index: u32::try_from(chunk_index).expect("few chunks"),
            shard_index,
        };
        for disk in &world.stores.disks {
            if placed.is_some_and(|id| id.0 == disk.id().0) && disk.is_intact(shard).await {
                intact.push((Arc::clone(disk), shard));
            }
        }
    }
    intact
}
