//! What all parts of the engine share.

use std::fmt;
use std::sync::Arc;

use cairn_meta::Meta;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::clock::Clock;

use super::chunker::{ChunkerOptions, PADDING_LEN, SILENCE_MAX};
use super::coding::{CodeError, Coders};
use super::damage::{Damage, MayBeDamage};
use super::disks::Disks;
use super::entropy::Entropy;
use super::exclusion::Exclusion;
use super::ids;
use super::leftovers::Leftovers;
use super::memory::{BufferPool, MemoryBudget};
use super::metrics::{Counters, EngineMetrics};
use super::options::EngineOptions;
use super::pins::Pins;
use super::repair_notices::RepairNotices;
use super::staging::Staging;

/// Idle buffers that are kept: those of a few busy writes. More would only keep memory.
const IDLE_BUFFER_COUNT_MAX: usize = 8;

/// Stores and reads the bytes of objects and parts, and looks after them. Clones are one engine.
#[derive(Debug, Clone)]
pub struct Engine {
    core: Arc<Core>,
}

#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) options: EngineOptions,
    pub(crate) meta: Meta,
    pub(crate) disks: Disks,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Entropy,
    pub(crate) coders: Coders,
    pub(crate) pool: Arc<BufferPool>,
    pub(crate) write_budget: Arc<MemoryBudget>,
    pub(crate) read_budget: MemoryBudget,
    pub(crate) counters: Counters,
    pub(crate) damage: Damage,
    pub(crate) leftovers: Arc<Leftovers>,
    pub(crate) exclusion: Exclusion,
    pub(crate) repair_notices: RepairNotices,
    /// What is being read: its deletion waits.
    pub(crate) pins: Arc<Pins>,
    /// What is being written: it is no orphan, however old the clock makes it look.
    pub(crate) being_written: Arc<Pins>,
    pub(crate) staging: Arc<Staging>,
    /// Whether this process does the work that only one does, as it believes.
    pub(crate) is_maintainer: watch::Sender<bool>,
}

impl Engine {
    /// An engine over these disks. Nothing runs yet: see [`Engine::start_background`].
    pub fn new(options: EngineOptions, meta: Meta, disks: Disks, clock: Arc<dyn Clock>) -> Self {
        let options = options.clamped();
        let core = Core {
            entropy: Entropy::new(options.random_seed),
            coders: Coders::default(),
            pool: BufferPool::new(
                options.chunk_size_bytes + PADDING_LEN,
                IDLE_BUFFER_COUNT_MAX,
            ),
            write_budget: Arc::new(MemoryBudget::new(
                options.write_memory_bytes,
                options.memory_wait_max,
            )),
            read_budget: MemoryBudget::new(options.read_memory_bytes, options.memory_wait_max),
            counters: Counters::default(),
            damage: Damage::default(),
            leftovers: Arc::default(),
            exclusion: Exclusion::default(),
            repair_notices: RepairNotices::default(),
            pins: Arc::default(),
            being_written: Arc::default(),
            staging: Arc::new(Staging::new(
                options.staged_at_once_max,
                options.staged_bytes_max,
            )),
            is_maintainer: watch::Sender::new(false),
            options,
            meta,
            disks,
            clock,
        };
        Self {
            core: Arc::new(core),
        }
    }

    /// The disks it uses.
    pub fn disks(&self) -> &Disks {
        &self.core.disks
    }

    /// How it is set.
    pub fn options(&self) -> &EngineOptions {
        &self.core.options
    }

    /// Its state, for monitoring.
    pub fn metrics(&self) -> EngineMetrics {
        let now = Instant::now();
        EngineMetrics {
            counters: self.core.counters.samples(),
            write_memory_used_bytes: self.core.write_budget.used_bytes(),
            read_memory_used_bytes: self.core.read_budget.used_bytes(),
            staged_bytes: self.core.staging.used_bytes(),
            disks: self
                .core
                .disks
                .map()
                .disks()
                .iter()
                .map(|disk| disk.view(now))
                .collect(),
        }
    }

    /// Works off what reads and writes left to do: gives shards to what was staged, enqueues repairs that reads
    /// noticed, deletes shards of writes that were not committed. The background tasks do this all the time; tests
    /// call it.
    pub async fn run_errands(&self) {
        self.unstage_waiting().await;
        self.core.enqueue_repair_notices().await;
        self.core.clean_up().await;
    }

    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.core
    }
}

impl Core {
    pub(crate) fn chunker_options(&self) -> ChunkerOptions {
        ChunkerOptions {
            chunk_size_bytes: self.options.chunk_size_bytes,
            small_size_bytes_max: self.options.small_size_bytes_max,
            coding: self.coding_now(),
            silence_max: SILENCE_MAX,
            budget: Arc::clone(&self.write_budget),
            pool: Arc::clone(&self.pool),
        }
    }

    /// Runs work that takes longer than an async thread should be held.
    pub(crate) async fn off_thread<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, CodeError> + Send + 'static,
    ) -> Result<T, CodeError> {
        match tokio::task::spawn_blocking(work).await {
            Ok(done) => done,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => Err(CodeError::Interrupted),
            },
        }
    }

    /// What came of work on one of many things; `None` if `what` is damaged, which is noted.
    ///
    /// # Errors
    /// Every other error.
    pub(crate) fn unless_damaged<T, E: MayBeDamage>(
        &self,
        what: impl fmt::Display,
        outcome: Result<T, E>,
    ) -> Result<Option<T>, E> {
        match outcome {
            Ok(done) => Ok(Some(done)),
            Err(error) if error.is_damage() => {
                self.note_damage(what, &error);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Counts and reports something that cannot be read.
    pub(crate) fn note_damage(&self, what: impl fmt::Display, error: &impl fmt::Display) {
        self.counters.damage_passed_over.increment();
        let what = what.to_string();
        if self.damage.is_new(&what) {
            tracing::error!(what, %error, "damaged: background work leaves it as it is and goes on behind it");
        }
    }

    /// Enqueues what was noticed.
    pub(crate) async fn enqueue_repair_notices(&self) {
        for (data_id, chunk_index) in self.repair_notices.take() {
            let enqueued = self
                .meta
                .enqueue_repair(ids::meta_data(data_id), chunk_index, self.clock.now_ms())
                .await;
            if let Err(error) = enqueued {
                tracing::warn!(%data_id, chunk_index, %error, "a damaged chunk could not be enqueued for repair");
            }
        }
    }
}
