//! How journal records reach RocksDB, and which was the last.
//!
//! One record of our own, `!applied`, holds the sequence and hash of the last journal record applied and is written in
//! the same RocksDB batch as its writes, in the same column family: whatever RocksDB has flushed is the state after
//! exactly that record.

use rocksdb::{ErrorKind, WriteBatch};

use super::super::record::{MalformedPayload, WriteRef, u64_at, writes};
use super::keys::{APPLIED_KEY, USER_PREFIX};
use super::{Database, DatabaseError, recent_pages, recent_records};

/// The last journal record that RocksDB holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Applied {
    /// 0 when nothing was applied yet.
    pub(crate) sequence: u64,
    /// The record's hash, which no other write has.
    pub(crate) hash: [u8; 32],
}

impl Applied {
    /// Before the first record.
    pub(crate) const NOTHING: Self = Self {
        sequence: 0,
        hash: [0; 32],
    };
}

impl Database {
    /// What the database holds.
    pub(crate) fn applied(&self) -> Result<Applied, DatabaseError> {
        self.touch_disk();
        let Some(value) = self
            .db()
            .get(APPLIED_KEY)
            .map_err(|source| self.error(source))?
        else {
            return Ok(Applied::NOTHING);
        };
        u64_at(&value, 0)
            .zip(value.get(8..).and_then(|hash| hash.try_into().ok()))
            .map(|(sequence, hash)| Applied { sequence, hash })
            .ok_or_else(|| DatabaseError::Applied {
                path: self.path.clone(),
            })
    }

    /// Applies the writes of a record and remembers that they were, atomically. Waits while RocksDB lets no write pass
    /// because its flushes are behind, which on a disk that hangs is for ever.
    pub(crate) fn apply(&self, payload: &[u8], applied: Applied) -> Result<(), DatabaseError> {
        self.touch_disk();
        #[cfg(test)]
        self.refuse()?;
        let batch = write_batch(payload, applied)?;
        let _forgotten = self.forget(payload);
        self.db()
            .write_opt(batch, &self.write_options)
            .map_err(|source| self.error(source))
    }

    /// As [`Database::apply`], but never waits: `false` says that it would have had to, and nothing was applied.
    pub(crate) fn try_apply(
        &self,
        payload: &[u8],
        applied: Applied,
    ) -> Result<bool, DatabaseError> {
        #[cfg(test)]
        self.refuse()?;
        let batch = write_batch(payload, applied)?;
        let _forgotten = self.forget(payload);
        match self.db().write_opt(batch, &self.prompt_write_options) {
            Ok(()) => Ok(true),
            // Writes that a failed flush has stopped say the same; `apply` then says what failed.
            Err(error) if error.kind() == ErrorKind::Incomplete => Ok(false),
            Err(source) => Err(self.error(source)),
        }
    }

    /// Forgets what was read lately and is written now, until what is returned is dropped.
    fn forget(&self, payload: &[u8]) -> (recent_records::Writing<'_>, recent_pages::Writing<'_>) {
        // Of a malformed record nothing is written.
        let changes = || writes(payload).map_while(Result::ok);
        let keys = changes().map(|(WriteRef::Put { key, .. } | WriteRef::Delete { key })| key);
        (
            self.recent_records.begin_write(keys),
            self.recent_pages.begin_write(changes()),
        )
    }
}

/// The writes of a record, and that they were applied.
fn write_batch(payload: &[u8], applied: Applied) -> Result<WriteBatch, MalformedPayload> {
    let mut batch = WriteBatch::default();
    let mut key_scratch = vec![USER_PREFIX];
    for write in writes(payload) {
        let (WriteRef::Put { key, .. } | WriteRef::Delete { key }) = write?;
        key_scratch.truncate(1);
        key_scratch.extend_from_slice(key);
        match write? {
            WriteRef::Put { value, .. } => batch.put(&key_scratch, value),
            WriteRef::Delete { .. } => batch.delete(&key_scratch),
        }
    }
    let mut value = applied.sequence.to_le_bytes().to_vec();
    value.extend_from_slice(&applied.hash);
    batch.put(APPLIED_KEY, value);
    Ok(batch)
}
