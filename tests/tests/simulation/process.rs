//! A gateway process with its background work, over the simulated disks and metadata.

use std::sync::Arc;
use std::time::Duration;

use cairn_gateway::config::{GatewayConfig, RootCredentials};
use cairn_gateway::engine::{
    Background, BackgroundOptions, DiskEntry, DiskRole, Disks, Engine, EngineOptions, Geometry,
    Locality,
};
use cairn_gateway::gateway::{Components, Gateway};
use cairn_gateway::metadata_state::SilentMetadata;
use cairn_gateway::testing::{ROOT_ACCESS_KEY, ROOT_SECRET_KEY};
use cairn_meta::{MasterKey, Meta};
use cairn_rpc::clock::Clock;

use crate::clock::SimulatedClock;
use crate::life::Life;
use crate::simulated_disk::SimulatedDisk;
use crate::simulated_metadata::SimulatedMetadata;

const MINUTE: Duration = Duration::from_mins(1);

/// What outlives processes.
#[derive(Debug)]
pub(crate) struct Stores {
    pub(crate) disks: Vec<Arc<SimulatedDisk>>,
    pub(crate) metadata: Arc<SimulatedMetadata>,
    pub(crate) clock: Arc<SimulatedClock>,
}

/// One process.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) life: Life,
    background: Background,
}

impl Stores {
    /// The metadata without a fault.
    pub(crate) fn plain_metadata(&self) -> Meta {
        Meta::new(self.metadata.plain(), master_key())
    }
}

impl Process {
    /// Starts the `number`th process, whose clock is so much ahead.
    pub(crate) fn start(stores: &Stores, seed: u64, number: u64, skew_ms: i64) -> Self {
        let life = Life::default();
        let seed = seed.wrapping_mul(1_000_003).wrapping_add(number);
        let kv = stores.metadata.seen_by(life.clone());
        let meta = Meta::new(kv, master_key()).with_random_seed(seed);
        let entries = stores.disks.iter().map(|disk| DiskEntry {
            store: disk.seen_by(life.clone()),
            path: String::new(),
            host: format!("host-{}", disk.number()),
            zone: String::new(),
            locality: Locality::Local,
            role: DiskRole::Active,
        });
        let clock: Arc<dyn Clock> = Arc::new(stores.clock.skewed_by(skew_ms));
        let engine = Engine::new(
            engine_options(stores.disks.len(), seed),
            meta.clone(),
            Disks::new(entries.collect()),
            Arc::clone(&clock),
        );
        let background = engine.start_background(background_options(number));
        let config = GatewayConfig::new(RootCredentials::new(ROOT_ACCESS_KEY, ROOT_SECRET_KEY));
        let components = Components {
            meta,
            engine: Arc::new(engine),
            clock,
            metadata_state: Arc::new(SilentMetadata),
        };
        Self {
            gateway: Gateway::new(config, components).expect("a gateway"),
            life,
            background,
        }
    }

    /// Ends it where it is.
    pub(crate) fn kill(self) {
        self.life.end();
        drop(self.background);
    }
}

fn master_key() -> MasterKey {
    MasterKey::new([7; 32])
}

/// Small chunks, so that every border is met with little data; times a tenth of the usual ones, at most.
fn engine_options(disk_count: usize, seed: u64) -> EngineOptions {
    EngineOptions {
        chunk_size_bytes: 4000,
        small_size_bytes_max: 300,
        put_deadline: Duration::from_secs(3),
        put_replace_after_min: Duration::from_millis(300),
        sync_deadline: Duration::from_secs(5),
        get_deadline: Duration::from_secs(3),
        status_deadline: Duration::from_secs(1),
        store_duration_max: 10 * MINUTE,
        orphan_age_min: 30 * MINUTE,
        disk_absence_max: 5 * MINUTE,
        random_seed: Some(seed),
        ..EngineOptions::new(Geometry::for_disk_count(disk_count))
    }
}

fn background_options(number: u64) -> BackgroundOptions {
    BackgroundOptions {
        refresh_every: Duration::from_secs(5),
        delete_every: Duration::from_secs(30),
        repair_every: Duration::from_secs(10),
        unstage_abandoned_every: Duration::from_secs(30),
        collect_orphans_every: 10 * MINUTE,
        first_pass_after: MINUTE,
        scrub_every: 20 * MINUTE,
        ..BackgroundOptions::new(format!("process-{number}"))
    }
}
