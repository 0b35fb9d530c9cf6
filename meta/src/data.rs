//! Data records: reading placements, replacing one, walking all data.

use bytes::Bytes;

use crate::codec::{Stored, decode, encode};
use crate::error::MetaError;
use crate::ids::{DataId, WriteId};
use crate::keys;
use crate::kv::Batch;
use crate::meta::{Committed, Meta};
use crate::records::{
    CHUNKS_PER_RECORD, ChunkRecord, DataChunks, DataHead, DataRecord, NewData, RepairReason,
    RepairRecord, StagedRecord,
};

/// Most records of one datum: 5 GiB parts of 4 MiB chunks need 3; chunks of 64 KiB would need 160.
const DATA_RECORDS_MAX: usize = 4096;

/// A page of all data, in the order of their ids.
#[derive(Debug, Clone)]
pub struct DataPage {
    /// The data; [`MetaError::Corrupt`] in place of a record that does not decode, so that it hides no other.
    pub data: Vec<(DataId, Result<DataRecord, MetaError>)>,
    /// If there are more: the last id here, for `after`.
    pub next: Option<DataId>,
}

impl Meta {
    /// Where the bytes of a datum are; `None` if there is no such datum (any more).
    ///
    /// # Errors
    /// Those of the store; [`MetaError::Corrupt`].
    pub async fn data(&self, id: DataId) -> Result<Option<DataRecord>, MetaError> {
        // Nearly all data are one record: a get is cheaper than a scan, and their record says when it is not all.
        let Some(head) = self.data_head(id).await? else {
            return Ok(None);
        };
        let chunk_count = usize_from(head.chunk_count);
        if head.chunks.len() == chunk_count {
            return data_record(head, Vec::new()).map(Some);
        }
        let prefix = keys::data(id);
        let page = self
            .records(&prefix, prefix.clone(), DATA_RECORDS_MAX)
            .await?;
        let mut values = page.records.iter().map(|(_, value)| value);
        let Some(head) = values.next() else {
            return Ok(None);
        };
        let runs = values
            .map(|value| decode(value))
            .collect::<Result<Vec<DataChunks>, _>>()?;
        data_record(decode(head)?, runs).map(Some)
    }

    /// The chunks from index `from_chunk` on, at most `count`; reads only the records that hold them.
    ///
    /// # Errors
    /// [`MetaError::NoSuchData`] if there is no such datum (any more).
    pub async fn data_chunks(
        &self,
        id: DataId,
        from_chunk: u32,
        count: usize,
    ) -> Result<Vec<ChunkRecord>, MetaError> {
        let mut run = usize_from(from_chunk) / CHUNKS_PER_RECORD;
        let mut skip = usize_from(from_chunk) % CHUNKS_PER_RECORD;
        let mut chunks = Vec::new();
        while chunks.len() < count {
            let Some(stored) = self.data_run(id, run).await? else {
                break;
            };
            let found = stored.chunks()?;
            let is_last = found.len() < CHUNKS_PER_RECORD;
            chunks.extend(found.into_iter().skip(skip).take(count - chunks.len()));
            if is_last {
                return Ok(chunks);
            }
            (run, skip) = (run + 1, 0);
        }
        // A datum that ends with a full record is only known to be there by its first one.
        if chunks.is_empty() && self.data_head(id).await?.is_none() {
            return Err(MetaError::NoSuchData);
        }
        Ok(chunks)
    }

    /// Whether each of these data exists: what does not is garbage wherever its shards are found.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn data_exists(&self, ids: &[DataId]) -> Result<Vec<bool>, MetaError> {
        let mut exists = Vec::with_capacity(ids.len());
        for id in ids {
            exists.push(self.kv.get(&keys::data(*id)).await?.is_some());
        }
        Ok(exists)
    }

    /// Data in the order of their ids, behind `after`: how everything on a lost disk is found.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn list_data(
        &self,
        after: Option<DataId>,
        limit: usize,
    ) -> Result<DataPage, MetaError> {
        let table = keys::all_data();
        // Behind all records of `after`, continuations included.
        let start = after.map_or_else(
            || Some(table.clone()),
            |after| keys::end_of_prefix(&keys::data(after)),
        );
        let Some(start) = start else {
            return Ok(DataPage {
                data: Vec::new(),
                next: None,
            });
        };
        let page = self.records(&table, start, limit.max(1)).await?;
        let mut data = Vec::new();
        let mut last = None;
        for id in page
            .records
            .iter()
            .filter_map(|(key, _)| keys::data_id(key))
        {
            last = Some(id);
            // Read again, whole: a datum may have continuations behind the end of this page.
            match self.data(id).await {
                Ok(None) => {}
                Ok(Some(record)) => data.push((id, Ok(record))),
                Err(error @ MetaError::Corrupt { .. }) => data.push((id, Err(error))),
                Err(error) => return Err(error),
            }
        }
        Ok(DataPage {
            data,
            next: last.filter(|_| page.is_truncated),
        })
    }

    /// Replaces the placement of one chunk after a repair.
    ///
    /// # Errors
    /// [`MetaError::NoSuchData`] if the datum was deleted meanwhile (the new shards are garbage then);
    /// [`MetaError::PlacementChanged`] if the chunk's record is not `old` any more.
    pub async fn replace_placement(
        &self,
        id: DataId,
        chunk_index: u32,
        old: &ChunkRecord,
        new: ChunkRecord,
    ) -> Result<(), MetaError> {
        let run = usize_from(chunk_index) / CHUNKS_PER_RECORD;
        let index = usize_from(chunk_index) % CHUNKS_PER_RECORD;
        let mut attempts = self.jitter.attempts();
        loop {
            let stored = self.data_run(id, run).await?.ok_or(MetaError::NoSuchData)?;
            let mut chunks = stored.chunks()?;
            let Some(chunk) = chunks.get_mut(index) else {
                return Err(MetaError::NoSuchData);
            };
            if *chunk == new {
                // Done already: by us, in a commit whose outcome we did not learn.
                return Ok(());
            }
            if chunk != old {
                return Err(MetaError::PlacementChanged);
            }
            *chunk = new.clone();
            let mut batch = Batch::default();
            batch.check(stored.key.clone(), Some(stored.bytes().clone()));
            batch.put(stored.key.clone(), stored.with_chunks(&chunks));
            match self.try_commit(batch).await? {
                Committed::Applied => return Ok(()),
                Committed::Conflict => attempts.after_conflict().await?,
                Committed::Unknown(error) => return Err(error.into()),
            }
        }
    }

    async fn data_head(&self, id: DataId) -> Result<Option<DataHead>, MetaError> {
        Ok(self
            .read(&keys::data(id))
            .await?
            .map(|stored: Stored<DataHead>| stored.record))
    }

    async fn data_run(&self, id: DataId, run: usize) -> Result<Option<StoredRun>, MetaError> {
        let key = keys::data_run(id, u32::try_from(run).unwrap_or(u32::MAX));
        let record = if run == 0 {
            self.read(&key).await?.map(RunRecord::Head)
        } else {
            self.read(&key).await?.map(RunRecord::Continuation)
        };
        Ok(record.map(|record| StoredRun { key, record }))
    }
}

/// One of the records of a datum.
struct StoredRun {
    key: Bytes,
    record: RunRecord,
}

enum RunRecord {
    Head(Stored<DataHead>),
    Continuation(Stored<DataChunks>),
}

impl StoredRun {
    fn bytes(&self) -> &Bytes {
        match &self.record {
            RunRecord::Head(head) => &head.bytes,
            RunRecord::Continuation(chunks) => &chunks.bytes,
        }
    }

    fn chunks(&self) -> Result<Vec<ChunkRecord>, MetaError> {
        match &self.record {
            RunRecord::Head(head) => head.record.chunks.clone().unpack(),
            RunRecord::Continuation(chunks) => chunks.record.clone().unpack(),
        }
    }

    fn with_chunks(&self, chunks: &[ChunkRecord]) -> Bytes {
        let packed = DataChunks::pack(chunks);
        match &self.record {
            RunRecord::Head(head) => encode(&DataHead {
                chunks: packed,
                ..head.record.clone()
            }),
            RunRecord::Continuation(_) => encode(&packed),
        }
    }
}

fn data_record(head: DataHead, runs: Vec<DataChunks>) -> Result<DataRecord, MetaError> {
    let mut chunks = head.chunks.unpack()?;
    for run in runs {
        chunks.extend(run.unpack()?);
    }
    if chunks.len() != usize_from(head.chunk_count) {
        let detail = format!("it has {} chunks of {}", chunks.len(), head.chunk_count);
        return Err(MetaError::Corrupt {
            record: "data record",
            detail,
        });
    }
    Ok(DataRecord {
        size_bytes: head.size_bytes,
        owner: head.owner,
        created_at_ms: head.created_at_ms,
        chunks,
    })
}

/// Writes all records of a datum, and its bytes if it is staged; enqueues the repair of chunks that lack shards.
pub(crate) fn put_data(batch: &mut Batch, new: &NewData, now_ms: u64) {
    let NewData { id, record, staged } = new;
    let id = *id;
    debug_assert_eq!(
        staged.is_some(),
        record.chunks.iter().any(ChunkRecord::is_staged),
        "bytes without shards are handed over"
    );
    if let Some(staged) = staged {
        batch.put(keys::staged(id), encode(&StagedRecord::new(staged)));
    }
    let mut runs = record.chunks.chunks(CHUNKS_PER_RECORD);
    let head = DataHead {
        size_bytes: record.size_bytes,
        owner: record.owner.clone(),
        created_at_ms: record.created_at_ms,
        chunk_count: u32::try_from(record.chunks.len()).unwrap_or(u32::MAX),
        chunks: DataChunks::pack(runs.next().unwrap_or_default()),
    };
    batch.put(keys::data(id), encode(&head));
    for (run, chunks) in (1..).zip(runs) {
        batch.put(keys::data_run(id, run), encode(&DataChunks::pack(chunks)));
    }
    for (chunk_index, _) in (0..)
        .zip(&record.chunks)
        .filter(|(_, chunk)| chunk.is_reduced())
    {
        batch.put(
            keys::repair(id, chunk_index),
            new_repair(RepairReason::Missing, now_ms),
        );
    }
}

/// A new entry of the repair queue.
pub(crate) fn new_repair(reason: RepairReason, now_ms: u64) -> Bytes {
    encode(&RepairRecord {
        enqueued_at_ms: now_ms,
        ticket: WriteId::random(),
        reason,
    })
}

/// Chunk counts are 32-bit on disk; `usize` is never narrower on the machines Cairn runs on.
fn usize_from(count: u32) -> usize {
    count as usize
}
