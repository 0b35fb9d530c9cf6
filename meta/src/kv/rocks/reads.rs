//! Reads that need the disk.
//!
//! What memory answers is answered on the caller's thread, which is nearly always. A read that needs the disk may never
//! return, if the disk hangs:
//! - it takes a thread of the blocking pool and none of those that all requests share;
//! - at most `DISK_READS_MAX` are under way, since a thread in such a read is lost until the disk comes back, and others
//!   need the pool too. The RocksDB that serves after a failover has as many of its own;
//! - who asked waits for the time-out. If the disk does not answer otherwise either, RocksDB is moved to another one, and
//!   asked there once more. If it does it is only slow: a listing may need a thousand blocks from a disk that is busy and
//!   has none of them in memory, and would take as long on the next. It is waited for then, within bounds.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use super::RocksKv;
use super::database::{Database, ReadError};
use super::shared::{Live, Suspicion};
use super::writer::{Control, Request};
use crate::kv::KvError;

/// How long a read that is late is waited for while its disk answers: clients wait about a minute.
const LATE_WAIT: Duration = Duration::from_mins(1);
/// Between two looks whether it does.
const PROBE_PAUSE: Duration = Duration::from_secs(1);
/// How long a read that failed waits for RocksDB to move to another disk.
const FAILOVER_WAIT: Duration = Duration::from_secs(20);

/// Why a read gave nothing.
#[derive(Debug)]
enum Unread {
    /// It did not begin: too many others were under way, or RocksDB has moved meanwhile. That says nothing of the disk.
    NotBegun,
    /// It takes too long, on a disk that answers.
    Late,
    /// It failed, or did not return in time.
    Failed(ReadError),
}

impl From<Unread> for KvError {
    fn from(unread: Unread) -> Self {
        match unread {
            Unread::NotBegun => Self::Unavailable {
                detail: "too many reads wait for the disk".to_owned(),
            },
            Unread::Late => Self::Unavailable {
                detail: "the disk is too slow for this read".to_owned(),
            },
            Unread::Failed(error) => error.into(),
        }
    }
}

impl RocksKv {
    /// Does `read` where it may wait for the disk: on the RocksDB of `live`, or if that fails and there is another copy,
    /// on the one that serves next.
    ///
    /// # Errors
    /// [`KvError::Unavailable`] and [`KvError::Corrupt`].
    pub(super) async fn read_from_disk<T, R>(&self, live: Arc<Live>, read: R) -> Result<T, KvError>
    where
        T: Send + 'static,
        R: Fn(&Database) -> Result<T, ReadError> + Clone + Send + 'static,
    {
        match self.try_disk(&live, read.clone()).await {
            Ok(found) => Ok(found),
            Err(unread) => {
                let live = self.after_failover(live.generation, unread).await?;
                Ok(self.try_disk(&live, read).await?)
            }
        }
    }

    /// Both waits are bounded. The first is until those that hang were given up and RocksDB has moved. The second is counted
    /// from when the read begins: a disk is not suspected for what it was not asked yet.
    async fn try_disk<T, R>(&self, live: &Arc<Live>, read: R) -> Result<T, Unread>
    where
        T: Send + 'static,
        R: FnOnce(&Database) -> Result<T, ReadError> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let start = async {
            let permit = Arc::clone(&live.disk_reads).acquire_owned().await;
            let permit = permit.map_err(|_| Unread::NotBegun)?;
            let (begins, begun) = oneshot::channel();
            let live = Arc::clone(live);
            tokio::task::spawn_blocking(move || {
                // An error means that nobody waits any more.
                if begins.send(()).is_err() {
                    return;
                }
                let result = read(&live.database);
                // Whoever has the answer may close the store and open it again.
                drop(live);
                drop(permit);
                answer.send(result).unwrap_or_default();
            });
            begun.await.map_err(|_| Unread::NotBegun)
        };
        let limit = self.shared.copy_timeout;
        timeout(limit + FAILOVER_WAIT, start)
            .await
            .unwrap_or(Err(Unread::NotBegun))?;
        let answered = async {
            answered.await.unwrap_or_else(|_| {
                let detail = "a read panicked".to_owned();
                Err(ReadError::Failed(KvError::Unavailable { detail }))
            })
        };
        tokio::pin!(answered);
        if let Ok(found) = timeout(limit, &mut answered).await {
            return found.map_err(Unread::Failed);
        }
        tokio::select! {
            biased;
            found = answered => found.map_err(Unread::Failed),
            () = self.silence(live) => Err(Unread::Failed(ReadError::NeedsDisk)),
            () = sleep(LATE_WAIT) => Err(Unread::Late),
        }
    }

    /// Returns when the disk of `live` does not answer, or when RocksDB has left it.
    async fn silence(&self, live: &Arc<Live>) {
        let mut generations = self.shared.generations();
        let moved = generations.wait_for(|&current| current > live.generation);
        let silent = async {
            while live.answers(self.shared.copy_timeout).await {
                sleep(PROBE_PAUSE).await;
            }
        };
        tokio::select! {
            _ = moved => {}
            () = silent => {}
        }
    }

    /// The RocksDB to read again from after a read failed: waits for the failover, if there is another copy.
    async fn after_failover(&self, generation: u64, unread: Unread) -> Result<Arc<Live>, KvError> {
        let suspicion = match &unread {
            Unread::NotBegun | Unread::Late => None,
            Unread::Failed(error) => Some(Suspicion::from(error)),
        };
        let error = KvError::from(unread);
        tracing::warn!(%error, "a metadata read failed");
        if self.shared.live().generation == generation {
            let Some(suspicion) = suspicion.filter(|_| self.shared.view().holders.len() > 1) else {
                return Err(error);
            };
            let suspect = Control::Suspect {
                generation,
                suspicion,
            };
            // A full queue is no matter: the writer looks every second by itself.
            self.requests
                .try_send(Request::Control(suspect))
                .unwrap_or_default();
        }
        let mut generations = self.shared.generations();
        let moved = async {
            generations
                .wait_for(|&current| current > generation)
                .await
                .is_ok()
        };
        if timeout(FAILOVER_WAIT, moved).await.unwrap_or(false) {
            Ok(self.shared.live())
        } else {
            Err(error)
        }
    }
}
