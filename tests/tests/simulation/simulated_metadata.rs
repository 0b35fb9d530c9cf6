//! Metadata in memory that suffer what the fault model says.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use cairn_meta::kv::{Batch, KvError, KvStore, MemoryKv, Scan, ScanPage};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use tokio::time::sleep;

use crate::fault_model::{Fate, FaultModel};
use crate::journal::Journal;
use crate::life::Life;

/// The metadata, whoever uses them.
#[derive(Debug)]
pub(crate) struct SimulatedMetadata {
    kv: MemoryKv,
    journal: Arc<Journal>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    random: SmallRng,
    model: FaultModel,
    is_away: bool,
}

impl SimulatedMetadata {
    pub(crate) fn new(seed: u64, journal: Arc<Journal>) -> Arc<Self> {
        Arc::new(Self {
            kv: MemoryKv::new(),
            journal,
            state: Mutex::new(State {
                random: SmallRng::seed_from_u64(seed),
                model: FaultModel::CALM,
                is_away: false,
            }),
        })
    }

    /// The metadata as one process sees them.
    pub(crate) fn seen_by(self: &Arc<Self>, life: Life) -> Arc<dyn KvStore> {
        Arc::new(Handle {
            metadata: Arc::clone(self),
            life,
        })
    }

    /// The metadata without a fault.
    pub(crate) fn plain(&self) -> Arc<dyn KvStore> {
        Arc::new(self.kv.clone())
    }

    pub(crate) fn suffer(&self, model: FaultModel) {
        self.state().model = model;
    }

    pub(crate) fn set_away(&self, is_away: bool) {
        self.state().is_away = is_away;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn draw(&self, call: &str) -> Fate {
        let mut state = self.state();
        let model = state.model;
        let fate = if state.is_away {
            Fate::Refused
        } else {
            model.draw(&mut state.random)
        };
        self.journal.call(format_args!("metadata {call}: {fate:?}"));
        fate
    }

    /// Reads have no unknown outcome.
    async fn before_read(&self, call: &str) -> Result<(), KvError> {
        match self.draw(call) {
            Fate::Answered { before, .. } => sleep(before).await,
            Fate::Refused | Fate::AnswerLost { .. } => return Err(unavailable()),
            Fate::Busy => return Err(KvError::Busy),
            Fate::Late { by, .. } => sleep(by / 10).await,
        }
        Ok(())
    }

    async fn commit(self: Arc<Self>, batch: Batch) -> Result<(), KvError> {
        match self.draw("commit") {
            Fate::Answered { before, after } => {
                sleep(before).await;
                let answer = self.kv.commit(batch).await;
                sleep(after).await;
                answer
            }
            Fate::Refused => Err(unavailable()),
            Fate::Busy => Err(KvError::Busy),
            Fate::AnswerLost { before } => {
                sleep(before).await;
                drop(self.kv.commit(batch).await);
                Err(unknown())
            }
            Fate::Late { by, is_done } => {
                if is_done {
                    let kv = self.kv.clone();
                    tokio::spawn(async move {
                        sleep(by).await;
                        kv.commit(batch).await
                    });
                }
                sleep(by / 10).await;
                Err(unknown())
            }
        }
    }
}

fn unavailable() -> KvError {
    KvError::Unavailable {
        detail: "simulated".to_owned(),
    }
}

fn unknown() -> KvError {
    KvError::UnknownOutcome {
        detail: "simulated".to_owned(),
    }
}

/// The metadata as one process sees them.
#[derive(Debug)]
struct Handle {
    metadata: Arc<SimulatedMetadata>,
    life: Life,
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl KvStore for Handle {
    async fn get(&self, key: &[u8]) -> Result<Option<Bytes>, KvError> {
        let call = async {
            self.metadata.before_read("get").await?;
            self.metadata.kv.get(key).await
        };
        self.life.see_through(call).await
    }

    async fn scan(&self, scan: Scan) -> Result<ScanPage, KvError> {
        let call = async {
            self.metadata.before_read("scan").await?;
            self.metadata.kv.scan(scan).await
        };
        self.life.see_through(call).await
    }

    async fn commit(&self, batch: Batch) -> Result<(), KvError> {
        let commit = Arc::clone(&self.metadata).commit(batch);
        self.life.see_through(commit).await
    }
}
