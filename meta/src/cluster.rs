//! The cluster map: the cluster's identity and geometry, and its disks.

use crate::codec::{Stored, decode, encode};
use crate::error::MetaError;
use crate::ids::DiskId;
use crate::keys;
use crate::kv::Batch;
use crate::meta::{Committed, Meta};
use crate::records::{ClusterRecord, DiskRecord, DiskState, RebuildRecord};

/// Most disks of a cluster; far beyond what one metadata engine serves.
const DISKS_MAX: usize = 10_000;

impl Meta {
    /// The cluster's record, if it was initialized.
    ///
    /// # Errors
    /// Those of the store; [`MetaError::Corrupt`].
    pub async fn cluster(&self) -> Result<Option<ClusterRecord>, MetaError> {
        Ok(self
            .read(&keys::cluster())
            .await?
            .map(|stored: Stored<ClusterRecord>| stored.record))
    }

    /// Initializes the cluster, unless it is already: returns the record that holds.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn init_cluster(&self, record: &ClusterRecord) -> Result<ClusterRecord, MetaError> {
        let mut attempts = self.jitter.attempts();
        loop {
            if let Some(existing) = self.cluster().await? {
                return Ok(existing);
            }
            let mut batch = Batch::default();
            batch
                .check(keys::cluster(), None)
                .put(keys::cluster(), encode(record));
            match self.try_commit(batch).await? {
                Committed::Applied => return Ok(record.clone()),
                Committed::Conflict => attempts.after_conflict().await?,
                Committed::Unknown(error) => return Err(error.into()),
            }
        }
    }

    /// Changes the cluster's record: the geometry of new chunks, say.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn put_cluster(&self, record: &ClusterRecord) -> Result<(), MetaError> {
        let mut batch = Batch::default();
        batch.put(keys::cluster(), encode(record));
        Ok(self.kv.commit(batch).await?)
    }

    /// Notes that the metadata were made anew from the shards.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn note_rebuild(&self, now_ms: u64) -> Result<(), MetaError> {
        let mut batch = Batch::default();
        batch.put(keys::rebuild(), encode(&RebuildRecord { at_ms: now_ms }));
        Ok(self.kv.commit(batch).await?)
    }

    /// When the metadata were made anew from the shards, in milliseconds since 1970; `None` if they never were.
    ///
    /// # Errors
    /// Those of the store; [`MetaError::Corrupt`].
    pub async fn rebuilt_at_ms(&self) -> Result<Option<u64>, MetaError> {
        let stored: Option<Stored<RebuildRecord>> = self.read(&keys::rebuild()).await?;
        Ok(stored.map(|stored| stored.record.at_ms))
    }

    /// Adds a disk, or changes its record.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn put_disk(&self, disk: &DiskRecord) -> Result<(), MetaError> {
        let mut batch = Batch::default();
        batch.put(keys::disk(disk.id), encode(disk));
        Ok(self.kv.commit(batch).await?)
    }

    /// A disk's record.
    ///
    /// # Errors
    /// Those of the store; [`MetaError::Corrupt`].
    pub async fn disk(&self, id: DiskId) -> Result<Option<DiskRecord>, MetaError> {
        Ok(self
            .read(&keys::disk(id))
            .await?
            .map(|stored: Stored<DiskRecord>| stored.record))
    }

    /// All disks, by id.
    ///
    /// # Errors
    /// Those of the store; [`MetaError::Corrupt`].
    pub async fn disks(&self) -> Result<Vec<DiskRecord>, MetaError> {
        let table = keys::all_disks();
        let page = self.records(&table, table.clone(), DISKS_MAX).await?;
        // One record that does not decode fails the whole. To whom a disk was missing here, it would be one that was
        // removed: a gateway would take it out of its map and make all its shards anew, and its own process would enter it
        // again as active, though it may have been retired.
        page.records
            .iter()
            .map(|(_, value)| decode(value))
            .collect()
    }

    /// The disks that may hold something: all but the retired ones.
    ///
    /// # Errors
    /// Those of the store; [`MetaError::Corrupt`].
    pub async fn supposed_disks(&self) -> Result<Vec<DiskId>, MetaError> {
        let mut disks = self.disks().await?;
        disks.retain(|disk| disk.state != DiskState::Retired);
        Ok(disks.into_iter().map(|disk| disk.id).collect())
    }

    /// Forgets a disk.
    ///
    /// # Errors
    /// Those of the store. That it is not known is none.
    pub async fn remove_disk(&self, id: DiskId) -> Result<(), MetaError> {
        let mut batch = Batch::default();
        batch.delete(keys::disk(id));
        Ok(self.kv.commit(batch).await?)
    }
}
