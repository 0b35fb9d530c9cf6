//! The store's records in order, as a scan walks them.

use rocksdb::{DBRawIterator, ErrorKind};

use super::error::read_error;
use super::keys::USER_PREFIX;
use crate::kv::KvError;
use crate::kv::scan::Cursor;

/// [`Cursor`] over a RocksDB iterator, which is a snapshot.
pub(super) struct RocksCursor<'db> {
    iterator: DBRawIterator<'db>,
    scratch: Vec<u8>,
    /// The last move stopped where memory did not suffice.
    pub(super) needs_disk: bool,
}

impl<'db> RocksCursor<'db> {
    pub(super) fn new(iterator: DBRawIterator<'db>) -> Self {
        Self {
            iterator,
            scratch: Vec::new(),
            needs_disk: false,
        }
    }

    fn prefixed(&mut self, key: &[u8]) -> &[u8] {
        self.scratch.clear();
        self.scratch.push(USER_PREFIX);
        self.scratch.extend_from_slice(key);
        &self.scratch
    }

    fn status(&mut self) -> Result<(), KvError> {
        self.iterator.status().map_err(|error| {
            self.needs_disk = error.kind() == ErrorKind::Incomplete;
            read_error(&error)
        })
    }
}

impl Cursor for RocksCursor<'_> {
    fn seek(&mut self, key: &[u8]) -> Result<(), KvError> {
        self.prefixed(key);
        self.iterator.seek(&self.scratch);
        self.status()
    }

    fn seek_before(&mut self, key: Option<&[u8]>) -> Result<(), KvError> {
        match key {
            None => self.iterator.seek_to_last(),
            Some(key) => {
                self.prefixed(key);
                self.iterator.seek_for_prev(&self.scratch);
                if self.iterator.key() == Some(&self.scratch) {
                    self.iterator.prev();
                }
            }
        }
        self.status()
    }

    fn next(&mut self) -> Result<(), KvError> {
        if self.iterator.valid() {
            self.iterator.next();
        }
        self.status()
    }

    fn prev(&mut self) -> Result<(), KvError> {
        if self.iterator.valid() {
            self.iterator.prev();
        }
        self.status()
    }

    fn current(&self) -> Option<(&[u8], &[u8])> {
        let (key, value) = self.iterator.item()?;
        Some((key.strip_prefix(&[USER_PREFIX])?, value))
    }
}
