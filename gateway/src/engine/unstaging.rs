//! Gives staged data their shards.

use std::time::Duration;

use cairn_meta::{self as meta, DataRecord, MetaError, StagedBytes};
use cairn_storage_node::DataId;
use futures_util::{StreamExt, stream};
use tokio::time::sleep;

use super::chunker::Chunk;
use super::core::{Core, Engine};
use super::descriptor::{Describer, LastChunk};
use super::entropy::named_at_ms;
use super::ids;
use super::staging::Waiting;

/// What was staged gets its shards this much later, so that many share the syncs of each disk. Longer would share
/// more and need more memory: at 0.3 ms a write and 32 KiB this is 20 MiB.
const UNSTAGE_AFTER: Duration = Duration::from_millis(200);
/// How many get their shards at the same time: enough to share syncs, few enough not to hold up requests.
const UNSTAGED_AT_ONCE: usize = 32;
/// What is staged longer than this was forgotten by the process that staged it.
const ABANDONED_AFTER_MS: u64 = 60_000;

impl Engine {
    /// Gives shards to what this process staged, a moment after.
    pub(crate) async fn unstage_for_ever(self) {
        loop {
            self.core().staging.wait().await;
            sleep(UNSTAGE_AFTER).await;
            self.unstage_waiting().await;
        }
    }

    /// Gives shards to all that this process staged; what fails is left to [`Engine::unstage_abandoned_once`].
    pub(crate) async fn unstage_waiting(&self) {
        let core = self.core();
        let _turn = core.staging.turn().await;
        stream::iter(core.staging.take())
            .for_each_concurrent(UNSTAGED_AT_ONCE, |waiting| async move {
                let data_id = waiting.data_id;
                let Waiting { record, bytes, .. } = &waiting;
                if let Err(error) = core.unstage(data_id, record, bytes.clone()).await {
                    tracing::warn!(%data_id, %error, "staged bytes get their shards later");
                }
            })
            .await;
    }

    /// Gives shards to up to `limit` data behind `after` that were staged long ago, and returns where to go on, if
    /// there may be more.
    ///
    /// # Errors
    /// Those of the metadata.
    pub async fn unstage_abandoned_once(
        &self,
        after: Option<meta::DataId>,
        limit: usize,
    ) -> Result<Option<meta::DataId>, MetaError> {
        let core = self.core();
        let now_ms = core.clock.now_ms();
        let listed = core.meta.list_staged(after, limit).await?;
        // Names begin with their time: behind a young one there are only young ones.
        let is_abandoned = |id: &&meta::DataId| {
            now_ms.saturating_sub(named_at_ms(ids::data(**id))) >= ABANDONED_AFTER_MS
        };
        let abandoned: Vec<_> = listed.iter().take_while(is_abandoned).copied().collect();
        for id in &abandoned {
            let done = core.unstage_abandoned(*id).await;
            core.unless_damaged(format_args!("staged datum {id}"), done)?;
        }
        let may_be_more = abandoned.len() >= limit;
        Ok(abandoned.last().copied().filter(|_| may_be_more))
    }
}

impl Core {
    async fn unstage_abandoned(&self, id: meta::DataId) -> Result<(), MetaError> {
        let _held = self.exclusion.hold(ids::data(id)).await;
        let (record, bytes) = (self.meta.data(id).await?, self.meta.staged(id).await?);
        match (record, bytes) {
            (Some(record), Some(bytes)) => self.unstage(ids::data(id), &record, bytes).await,
            // It has shards by now, or is gone.
            _ => Ok(()),
        }
    }

    /// Shards durable, then one commit that names them and drops the bytes. Where too few disks can be written to,
    /// the datum stays staged.
    async fn unstage(
        &self,
        data_id: DataId,
        record: &DataRecord,
        bytes: StagedBytes,
    ) -> Result<(), MetaError> {
        let describer = Describer {
            owner: record.owner.clone(),
            data_id,
            created_at_ms: record.created_at_ms,
        };
        let last = LastChunk {
            size_bytes: record.size_bytes,
            manifest: bytes.manifest.to_vec(),
        };
        let stored = match self
            .write_whole(describer, Chunk::whole(&bytes.payload), last)
            .await
        {
            Ok(stored) => stored,
            Err(error) => {
                tracing::info!(%data_id, ?error, "staged bytes cannot get their shards now");
                return Ok(());
            }
        };
        let (data, guard) = stored.begin_commit();
        let Some(chunk) = data.record.chunks.first() else {
            return Ok(());
        };
        let placed = self
            .meta
            .place_staged(ids::meta_data(data_id), chunk, self.clock.now_ms())
            .await;
        match placed {
            Ok(()) => {
                guard.committed();
                self.counters.writes_unstaged.increment();
                Ok(())
            }
            // Deleted, or placed by another process: these shards are garbage.
            Err(MetaError::NoSuchData | MetaError::PlacementChanged) => {
                guard.refused();
                Ok(())
            }
            Err(error) => Err(error),
        }
    }
}
