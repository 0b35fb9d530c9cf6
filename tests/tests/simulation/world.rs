//! All that a simulation consists of.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cairn_gateway::gateway::Gateway;
use cairn_meta::{ClusterId, ClusterRecord, Coding};
use cairn_rpc::clock::Clock;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::time::sleep;

use crate::clock::SimulatedClock;
use crate::fault_model::FaultModel;
use crate::history::History;
use crate::journal::Journal;
use crate::life::Life;
use crate::process::{Process, Stores};
use crate::simulated_disk::{Condition, SimulatedDisk};
use crate::simulated_metadata::SimulatedMetadata;
use crate::values::Values;

/// As many as a chunk has shards, or more: then disks that are away have stand-ins.
const DISK_COUNTS: [u8; 3] = [6, 7, 9];

/// How far the clock of the second gateway may be from the first one's.
const SKEW_MS_MAX: i64 = 4 * 60_000;

/// Disks, metadata, the processes that run, and what is known of all that happened.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) seed: u64,
    pub(crate) journal: Arc<Journal>,
    pub(crate) stores: Stores,
    pub(crate) values: Values,
    pub(crate) history: History,
    /// By place; `None` where none runs now.
    processes: Mutex<Vec<Option<Process>>>,
    process_count: AtomicU64,
    skew_ms: i64,
}

impl World {
    /// Empty disks and metadata, and one process or two. Nothing goes wrong yet.
    pub(crate) async fn begin(seed: u64, journal: Arc<Journal>) -> Arc<Self> {
        let mut random = SmallRng::seed_from_u64(!seed);
        let place_count = random.random_range(1..=2);
        let disk_count = DISK_COUNTS[random.random_range(0..DISK_COUNTS.len())];
        let clock = Arc::new(SimulatedClock::new());
        let disk = |number| {
            let clock = Arc::clone(&clock) as Arc<dyn Clock>;
            let seed = seed.wrapping_mul(257).wrapping_add(u64::from(number));
            SimulatedDisk::new(number, seed, clock, Arc::clone(&journal))
        };
        let stores = Stores {
            disks: (0..disk_count).map(disk).collect(),
            metadata: SimulatedMetadata::new(seed, Arc::clone(&journal)),
            clock,
        };
        let cluster = ClusterRecord {
            cluster_id: ClusterId([1; 16]),
            geometry: Coding::Copies { count: 1 },
            // What a late clock names must not look older: such is never an orphan.
            created_at_ms: stores.clock.now_ms() - SKEW_MS_MAX.unsigned_abs(),
        };
        let meta = stores.plain_metadata();
        meta.init_cluster(&cluster).await.expect("a new cluster");
        let world = Self {
            seed,
            journal,
            stores,
            values: Values::default(),
            history: History::default(),
            processes: Mutex::new((0..place_count).map(|_| None).collect()),
            process_count: AtomicU64::new(0),
            skew_ms: random.random_range(-SKEW_MS_MAX..SKEW_MS_MAX),
        };
        world.start_processes();
        Arc::new(world)
    }

    /// Starts a process in each place that has none.
    pub(crate) fn start_processes(&self) {
        for (place, process) in (0..).zip(&mut *self.processes()) {
            if process.is_none() {
                let number = self.process_count.fetch_add(1, Ordering::SeqCst);
                let skew_ms = self.skew_ms * place;
                *process = Some(Process::start(&self.stores, self.seed, number, skew_ms));
                self.journal.tell(format_args!(
                    "process {number} begins, ahead by {skew_ms} ms"
                ));
            }
        }
    }

    /// Ends a process, if one runs there.
    pub(crate) fn kill_process(&self, place: usize) {
        let process = self.processes()[place].take();
        if let Some(process) = process {
            process.kill();
        }
    }

    pub(crate) fn place_count(&self) -> usize {
        self.processes().len()
    }

    /// The gateway in this place, once there is one.
    pub(crate) async fn gateway(&self, place: usize) -> (Arc<Gateway>, Life) {
        loop {
            if let Some(process) = &self.processes()[place] {
                return (Arc::clone(&process.gateway), process.life.clone());
            }
            sleep(Duration::from_millis(500)).await;
        }
    }

    fn processes(&self) -> MutexGuard<'_, Vec<Option<Process>>> {
        self.processes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on calls suffer this.
    pub(crate) fn suffer(&self, model: FaultModel) {
        for disk in &self.stores.disks {
            disk.suffer(model);
        }
        // Commits are few beside the calls to disks, and their unknown outcomes are what clients meet.
        self.stores.metadata.suffer(FaultModel {
            late: model.late * 4.0,
            ..model
        });
    }

    /// Everything is there again, and works from now on.
    pub(crate) async fn heal(&self) {
        self.suffer(FaultModel::CALM);
        self.stores.metadata.set_away(false);
        for disk in &self.stores.disks {
            match disk.condition() {
                Condition::Vanished | Condition::Failed => disk.lose_power().await,
                _ => {}
            }
            disk.set_condition(Condition::There);
        }
        self.start_processes();
        self.journal.tell("all is well again");
    }
}
