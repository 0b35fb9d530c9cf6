//! Staged data: small bytes that are kept in the metadata until they have shards.
//!
//! Invariant: the bytes of a datum are here exactly as long as its one chunk has no shard. Whoever staged them may
//! vanish at any moment: the table of staged bytes is the queue from which others go on.

use crate::codec::{Stored, encode};
use crate::data::new_repair;
use crate::error::MetaError;
use crate::ids::DataId;
use crate::keys;
use crate::kv::Batch;
use crate::meta::{Committed, Meta};
use crate::records::{ChunkRecord, DataChunks, DataHead, RepairReason, StagedBytes, StagedRecord};

impl Meta {
    /// The bytes of a staged datum, verified; `None` if it has shards by now, or is gone.
    ///
    /// # Errors
    /// Those of the store; [`MetaError::Corrupt`].
    pub async fn staged(&self, id: DataId) -> Result<Option<StagedBytes>, MetaError> {
        let stored: Option<Stored<StagedRecord>> = self.read(&keys::staged(id)).await?;
        stored.map(|stored| stored.record.verified()).transpose()
    }

    /// Staged data in the order of their ids, behind `after`.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn list_staged(
        &self,
        after: Option<DataId>,
        limit: usize,
    ) -> Result<Vec<DataId>, MetaError> {
        let table = keys::all_staged();
        let start = after.map_or_else(
            || table.clone(),
            |after| keys::successor(&keys::staged(after)),
        );
        let page = self.records(&table, start, limit.max(1)).await?;
        let ids = page.records.iter();
        Ok(ids.filter_map(|(key, _)| keys::data_id(key)).collect())
    }

    /// Records where the shards of a staged datum are, which are durable already, and drops its bytes from here. If
    /// `placed` lacks shards, their repair is enqueued.
    ///
    /// # Errors
    /// [`MetaError::NoSuchData`] if the datum was deleted meanwhile (the new shards are garbage then);
    /// [`MetaError::PlacementChanged`] if somebody else was first.
    pub async fn place_staged(
        &self,
        id: DataId,
        placed: &ChunkRecord,
        now_ms: u64,
    ) -> Result<(), MetaError> {
        let key = keys::data(id);
        let mut attempts = self.jitter.attempts();
        loop {
            let stored: Stored<DataHead> = self.read(&key).await?.ok_or(MetaError::NoSuchData)?;
            let chunks = stored.record.chunks.clone().unpack()?;
            if chunks.first() == Some(placed) {
                // Done already: by us, in a commit whose outcome we did not learn.
                return Ok(());
            }
            if !chunks.first().is_some_and(ChunkRecord::is_staged) {
                return Err(MetaError::PlacementChanged);
            }
            let head = DataHead {
                chunks: DataChunks::pack(std::slice::from_ref(placed)),
                ..stored.record
            };
            let mut batch = Batch::default();
            batch
                .check(key.clone(), Some(stored.bytes))
                .put(key.clone(), encode(&head))
                .delete(keys::staged(id));
            if placed.is_reduced() {
                let repair = new_repair(RepairReason::Missing, now_ms);
                batch.put(keys::repair(id, 0), repair);
            }
            match self.try_commit(batch).await? {
                Committed::Applied => return Ok(()),
                Committed::Conflict => attempts.after_conflict().await?,
                Committed::Unknown(error) => return Err(error.into()),
            }
        }
    }
}
