//! A cluster in memory: disks with fault switches, metadata, an engine, and objects in one bucket.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cairn_meta::kv::{Batch, KvStore, MemoryKv};
use cairn_meta::{
    BucketName, BucketRecord, CanonicalId, ClusterId, ClusterRecord, Coding, DataId, DataOwner,
    DiskNode, DiskRecord, DiskState, MasterKey, Meta, MetaError, NewObject, ObjectBody, ObjectKey,
    SystemHeaders,
};
use cairn_storage_node::fault::{Fault, FaultSwitch, FaultyShardStore, ShardCall};
use cairn_storage_node::{DiskId, MemoryShardStore, ShardId, ShardStore};
use futures_util::{StreamExt, TryStreamExt, stream};

use crate::clock::Clock;
use crate::engine::descriptor::Descriptor;
use crate::engine::pace::Pace;
use crate::engine::repair::QueueStep;
use crate::engine::{
    DiskEntry, DiskRole, Disks, Engine, EngineOptions, Geometry, Locality, ReadError, RepairReport,
    StoreError, StoredData,
};
use crate::testing::MovedClock;

pub(super) const CHUNK: usize = 4000;
pub(super) const SMALL: usize = 300;
pub(super) const DEADLINE: Duration = Duration::from_millis(400);

pub(super) struct Cluster {
    pub(super) engine: Engine,
    pub(super) meta: Meta,
    /// What the metadata are in: for tests that damage records.
    pub(super) kv: MemoryKv,
    pub(super) disks: Disks,
    pub(super) clock: Arc<MovedClock>,
    pub(super) stores: Vec<Arc<MemoryShardStore>>,
    pub(super) switches: Vec<FaultSwitch>,
    entries: Vec<DiskEntry>,
    pub(super) bucket: BucketRecord,
}

/// Every disk is on a host of its own, two hosts to a zone.
fn entry(number: u8) -> (Arc<MemoryShardStore>, FaultSwitch, DiskEntry) {
    let store = Arc::new(MemoryShardStore::new(DiskId([number; 16])));
    let faulty = FaultyShardStore::new(Arc::clone(&store) as Arc<dyn ShardStore>);
    let switch = faulty.switch();
    let entry = DiskEntry {
        store: Arc::new(faulty),
        path: String::new(),
        host: format!("host-{number}"),
        zone: format!("zone-{}", number / 2),
        locality: Locality::Local,
        role: DiskRole::Active,
    };
    (store, switch, entry)
}

pub(super) fn options(disk_count: usize) -> EngineOptions {
    EngineOptions {
        chunk_size_bytes: CHUNK,
        small_size_bytes_max: SMALL,
        memory_wait_max: Duration::from_millis(200),
        put_deadline: DEADLINE,
        put_replace_after_min: Duration::from_millis(50),
        sync_deadline: DEADLINE,
        get_deadline: DEADLINE,
        status_deadline: Duration::from_millis(50),
        disk_absence_max: Duration::ZERO,
        random_seed: Some(7),
        // Most tests are about shards.
        staged_at_once_max: 0,
        ..EngineOptions::new(Geometry::for_disk_count(disk_count))
    }
}

impl Cluster {
    pub(super) async fn new(disk_count: usize) -> Self {
        Self::with(disk_count, options(disk_count)).await
    }

    pub(super) async fn with(disk_count: usize, options: EngineOptions) -> Self {
        let (mut stores, mut switches, mut entries) = (Vec::new(), Vec::new(), Vec::new());
        for number in 0..disk_count {
            let (store, switch, entry) = entry(number as u8);
            stores.push(store);
            switches.push(switch);
            entries.push(entry);
        }
        let clock = Arc::new(MovedClock::default());
        Self::on(stores, switches, entries, clock, options).await
    }

    /// The same disks under metadata that know nothing of them.
    pub(super) async fn with_empty_metadata(&self) -> Self {
        Self::on(
            self.stores.clone(),
            self.switches.clone(),
            self.entries.clone(),
            Arc::clone(&self.clock),
            self.engine.options().clone(),
        )
        .await
    }

    async fn on(
        stores: Vec<Arc<MemoryShardStore>>,
        switches: Vec<FaultSwitch>,
        entries: Vec<DiskEntry>,
        clock: Arc<MovedClock>,
        options: EngineOptions,
    ) -> Self {
        let disks = Disks::new(entries.clone());
        disks.refresh(options.status_deadline).await;
        let kv = MemoryKv::new();
        let meta =
            Meta::new(Arc::new(kv.clone()), MasterKey::random()).with_delete_delay(Duration::ZERO);
        let name = BucketName::parse("bucket").unwrap();
        let bucket = meta
            .create_bucket(name, CanonicalId([1; 32]), "region", clock.now_ms())
            .await
            .unwrap();
        let cluster = ClusterRecord {
            cluster_id: ClusterId([1; 16]),
            geometry: Coding::Copies { count: 1 },
            created_at_ms: clock.now_ms(),
        };
        meta.init_cluster(&cluster).await.unwrap();
        let engine = Engine::new(
            options,
            meta.clone(),
            disks.clone(),
            Arc::clone(&clock) as Arc<dyn Clock>,
        );
        Self {
            engine,
            meta,
            kv,
            disks,
            clock,
            stores,
            switches,
            entries,
            bucket,
        }
    }

    /// The engine of another process over the same disks and metadata.
    pub(super) fn another_engine(&self, options: EngineOptions) -> Engine {
        let clock = Arc::clone(&self.clock) as Arc<dyn Clock>;
        Engine::new(options, self.meta.clone(), self.disks.clone(), clock)
    }

    /// What all shards say of themselves.
    pub(super) async fn descriptors(&self) -> Vec<Descriptor> {
        let mut descriptors = Vec::new();
        for (shard, disks) in self.shards().await {
            let stat = self.stores[disks[0]].stat(shard).await.unwrap().unwrap();
            descriptors.push(Descriptor::decode(&stat.descriptor.unwrap()).unwrap());
        }
        descriptors
    }

    pub(super) fn fail(&self, disks: &[usize], fault: Fault) {
        for disk in disks {
            self.switches[*disk].set(fault);
        }
    }

    pub(super) async fn recover(&self) {
        for switch in &self.switches {
            switch.clear();
        }
        self.refresh().await;
    }

    pub(super) async fn refresh(&self) {
        self.disks.refresh(Duration::from_millis(50)).await;
    }

    /// Puts a new, empty disk where the last one is, or adds one.
    pub(super) async fn add_disk(&mut self) -> usize {
        let (store, switch, entry) = entry(self.stores.len() as u8);
        self.stores.push(store);
        self.switches.push(switch);
        self.entries.push(entry);
        self.disks.update(self.entries.clone());
        self.refresh().await;
        self.stores.len() - 1
    }

    pub(super) fn remove_disk(&mut self, disk: usize) {
        let id = self.stores[disk].disk_id();
        self.entries.retain(|entry| entry.store.disk_id() != id);
        self.disks.update(self.entries.clone());
    }

    /// Enters all disks into the metadata, as a process does that starts.
    pub(super) async fn register_disks(&self) {
        for entry in &self.entries {
            let record = DiskRecord {
                id: crate::engine::ids::meta_disk(entry.store.disk_id()),
                node: DiskNode::Local,
                path: String::new(),
                host: entry.host.clone(),
                zone: entry.zone.clone(),
                state: DiskState::Active,
                added_at_ms: 0,
            };
            self.meta.put_disk(&record).await.unwrap();
        }
    }

    pub(super) fn drain_disk(&mut self, disk: usize) {
        let id = self.stores[disk].disk_id();
        for entry in self
            .entries
            .iter_mut()
            .filter(|entry| entry.store.disk_id() == id)
        {
            entry.role = DiskRole::Draining;
        }
        self.disks.update(self.entries.clone());
    }

    pub(super) fn owner(&self, key: &str) -> DataOwner {
        DataOwner {
            bucket: self.bucket.id,
            key: ObjectKey::parse(key).unwrap(),
            part: None,
        }
    }

    /// Stores bytes that arrive in frames of 777.
    pub(super) async fn store(
        &self,
        key: &str,
        bytes: &[u8],
    ) -> Result<StoredData, StoreError<Infallible>> {
        let frames: Vec<_> = bytes
            .chunks(777)
            .map(|frame| Ok(Bytes::copy_from_slice(frame)))
            .collect();
        let manifest = || Bytes::from_static(b"manifest");
        self.engine
            .store(
                stream::iter(frames),
                self.owner(key),
                Some(bytes.len() as u64),
                manifest,
            )
            .await
    }

    /// Stores bytes and commits them as an object.
    pub(super) async fn put(&self, key: &str, bytes: &[u8]) -> Result<(), StoreError<Infallible>> {
        self.commit(key, self.store(key, bytes).await?).await;
        Ok(())
    }

    /// Commits what was stored as an object.
    pub(super) async fn commit(&self, key: &str, stored: StoredData) {
        let size_bytes = stored.size_bytes();
        let (data, guard) = stored.begin_commit();
        let new = NewObject {
            modified_ms: None,
            size_bytes,
            etag: String::new(),
            owner: CanonicalId([1; 32]),
            storage_class: "STANDARD".to_owned(),
            headers: SystemHeaders::default(),
            user_metadata: Vec::new(),
            tags: Vec::new(),
            checksum: None,
            data: Some(data),
        };
        let key = ObjectKey::parse(key).unwrap();
        let any = |_: Option<&cairn_meta::ObjectRecord>| Ok::<(), Infallible>(());
        self.meta
            .put_object(&self.bucket, &key, new, self.clock.now_ms(), &any)
            .await
            .unwrap();
        guard.committed();
    }

    pub(super) async fn delete(&self, key: &str) {
        let key = ObjectKey::parse(key).unwrap();
        let any = |_: Option<&cairn_meta::ObjectRecord>| Ok::<(), Infallible>(());
        self.meta
            .delete_object(&self.bucket, &key, None, self.clock.now_ms(), &any)
            .await
            .unwrap();
    }

    pub(super) async fn parts(&self, key: &str) -> Vec<(DataId, u64)> {
        let record = self
            .meta
            .object(self.bucket.id, &ObjectKey::parse(key).unwrap())
            .await
            .unwrap()
            .unwrap();
        match record.body {
            ObjectBody::Single(id) => vec![(id, record.size_bytes)],
            _ => Vec::new(),
        }
    }

    pub(super) async fn get(&self, key: &str) -> Result<Vec<u8>, ReadError> {
        let parts = self.parts(key).await;
        let size = parts.iter().map(|(_, size)| size).sum();
        self.get_range(key, 0..size).await
    }

    pub(super) async fn get_range(
        &self,
        key: &str,
        range: Range<u64>,
    ) -> Result<Vec<u8>, ReadError> {
        let stream = self.engine.open_read(&self.parts(key).await, range).await?;
        let pieces: Vec<Bytes> = stream.try_collect().await?;
        Ok(pieces.concat())
    }

    /// All shards, with the disks they are on.
    pub(super) async fn shards(&self) -> BTreeMap<ShardId, Vec<usize>> {
        let mut shards: BTreeMap<ShardId, Vec<usize>> = BTreeMap::new();
        for (disk, store) in self.stores.iter().enumerate() {
            for shard in store.list(None, 10_000).await.unwrap().shards {
                shards.entry(shard.id).or_default().push(disk);
            }
        }
        shards
    }

    pub(super) async fn shard_count(&self) -> usize {
        self.shards().await.values().map(Vec::len).sum()
    }

    /// How many calls of this kind all disks were asked.
    pub(super) fn call_count(&self, call: ShardCall) -> usize {
        let switches = self.switches.iter();
        switches.map(|switch| switch.call_count(call)).sum()
    }

    /// Makes a record unreadable (see docs/formats/metadata.md for tables and ids); what its bytes are then.
    pub(super) async fn damage(&self, table: u8, id: &[u8]) -> Bytes {
        let mut value = self.record(table, id).await.unwrap().to_vec();
        // A format version that does not exist.
        value[0] = 99;
        let mut batch = Batch::default();
        batch.put([&[table], id].concat(), value.clone());
        self.kv.commit(batch).await.unwrap();
        value.into()
    }

    /// The bytes of a record.
    pub(super) async fn record(&self, table: u8, id: &[u8]) -> Option<Bytes> {
        self.kv.get(&[&[table], id].concat()).await.unwrap()
    }

    pub(super) async fn queued_repairs(&self) -> usize {
        self.meta.repairs(None, 1000).await.unwrap().repairs.len()
    }

    /// Every shard that a record names is on its disk, and nothing is missing.
    pub(super) async fn assert_full_redundancy(&self) {
        for (data_id, record) in self.meta.list_data(None, 1000).await.unwrap().data {
            let record = record.unwrap();
            for (chunk_index, chunk) in record.chunks.iter().enumerate() {
                assert!(!chunk.is_reduced(), "{data_id} {chunk_index}: {chunk:?}");
                let mut disks = BTreeSet::new();
                for (shard_index, placed) in chunk.shards.iter().enumerate() {
                    let placed = placed.unwrap();
                    assert!(disks.insert(placed), "two shards of one chunk on one disk");
                    let store = self
                        .stores
                        .iter()
                        .find(|store| store.disk_id().0 == placed.0)
                        .unwrap();
                    let id = crate::engine::ids::shard(
                        crate::engine::ids::data(data_id),
                        chunk_index as u32,
                        shard_index,
                    );
                    assert!(
                        store.stat(id).await.unwrap().is_some(),
                        "{id} is not on its disk"
                    );
                }
            }
        }
    }

    pub(super) fn counter(&self, name: &str) -> u64 {
        let metrics = self.engine.metrics();
        metrics
            .counters
            .iter()
            .find(|sample| sample.name == name)
            .unwrap()
            .value
    }
}

/// What a step did, and where to go on.
type Step<Position> = Result<(RepairReport, Option<Position>), MetaError>;

/// The steps of repair at full speed.
impl Engine {
    pub(super) async fn repair_queue_once(
        &self,
        after: Option<(DataId, u32)>,
        limit: usize,
    ) -> Step<(DataId, u32)> {
        let step = QueueStep {
            after,
            limit,
            since_ms: 0,
        };
        self.repair_queue_step(step, &mut Pace::unlimited()).await
    }

    pub(super) async fn scrub_once(&self, after: Option<DataId>, limit: usize) -> Step<DataId> {
        self.scrub_step(after, limit, &mut Pace::unlimited()).await
    }

    pub(super) async fn leave_disks_once(
        &self,
        disks: &BTreeSet<DiskId>,
        after: Option<DataId>,
        limit: usize,
    ) -> Step<DataId> {
        self.leave_disks_step(disks, after, limit, &mut Pace::unlimited())
            .await
    }
}

/// Bytes that differ everywhere, so that any mix-up is seen.
pub(super) fn pattern(len: usize) -> Vec<u8> {
    (0..len as u32)
        .map(|index| (index.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect()
}

/// A source that gives `bytes` and then never ends.
pub(super) fn endless(
    bytes: Vec<u8>,
) -> impl futures_util::Stream<Item = Result<Bytes, Infallible>> + Send + Unpin {
    stream::iter([Ok(Bytes::from(bytes))]).chain(stream::pending())
}

/// All pairs of `0..count`.
pub(super) fn pairs(count: usize) -> impl Iterator<Item = [usize; 2]> {
    (0..count).flat_map(move |a| (a + 1..count).map(move |b| [a, b]))
}
