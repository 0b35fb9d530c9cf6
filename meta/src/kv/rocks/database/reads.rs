//! Reads, which go as far as the caller may wait.

use bytes::Bytes;
use rocksdb::{DBPinnableSlice, ErrorKind, ReadOptions, ReadTier};

use super::Database;
use super::cursor::RocksCursor;
use super::error::{ReadError, read_error};
use super::keys::{USER_END, USER_PREFIX, user_key};
use super::recent_records::Known;
use crate::kv::{Scan, ScanPage, scan};

/// How much is read at once where everything is.
const READ_PIECE_BYTES: usize = 4 << 20;

/// How far a read goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// To what is in memory: returns at once, and is [`ReadError::NeedsDisk`] where that does not suffice.
    Memory,
    /// To the disk: returns when the disk answers, if it does.
    Disk,
}

impl Database {
    /// The value of `key`.
    pub(crate) fn get(&self, key: &[u8], reach: Reach) -> Result<Option<Bytes>, ReadError> {
        let reading = match self.recent_records.look_up(key) {
            Known::Value(value) => return Ok(value),
            Known::Nothing(reading) => reading,
        };
        let found = self.pinned(key, reach)?;
        let value = found.map(|value| Bytes::copy_from_slice(&value));
        self.recent_records.remember(reading, key, value.as_ref());
        Ok(value)
    }

    /// Whether `key` has exactly `expected`, without copying the value.
    pub(crate) fn holds(
        &self,
        key: &[u8],
        expected: Option<&[u8]>,
        reach: Reach,
    ) -> Result<bool, ReadError> {
        match self.recent_records.look_up(key) {
            Known::Value(value) => Ok(value.as_deref() == expected),
            Known::Nothing(_) => Ok(self.pinned(key, reach)?.as_deref() == expected),
        }
    }

    fn pinned(&self, key: &[u8], reach: Reach) -> Result<Option<DBPinnableSlice<'_>>, ReadError> {
        let found = match reach {
            Reach::Memory => self.db().get_pinned_opt(user_key(key), &self.memory_reads),
            Reach::Disk => {
                self.touch_disk();
                self.db().get_pinned(user_key(key))
            }
        };
        found.map_err(|error| {
            if error.kind() == ErrorKind::Incomplete {
                ReadError::NeedsDisk
            } else {
                ReadError::Failed(read_error(&error))
            }
        })
    }

    /// What `scan` finds now, if it was found lately and is still known.
    pub(crate) fn recent_page(&self, scan: &Scan) -> Option<ScanPage> {
        self.recent_pages.look_up(scan)
    }

    /// Runs `scan` over the store's records, as they are now.
    pub(crate) fn scan(&self, scan: &Scan, reach: Reach) -> Result<ScanPage, ReadError> {
        if reach == Reach::Disk {
            self.touch_disk();
            #[cfg(test)]
            self.slow_scans.wait();
        }
        let mut read = read_options(reach);
        read.set_iterate_lower_bound([USER_PREFIX]);
        read.set_iterate_upper_bound(USER_END);
        // It allocates for each block that a seek comes to, and a scan of one page gains nothing from it.
        read.set_auto_readahead_size(false);
        // Before the iterator is made, which is the snapshot.
        let reading = self.recent_pages.begin_read(scan);
        let mut cursor = RocksCursor::new(self.db().raw_iterator_opt(read));
        let page = scan::scan(&mut cursor, scan);
        if let (Some(reading), Ok(page)) = (reading, &page) {
            reading.remember(page);
        }
        page.map_err(|error| {
            if cursor.needs_disk {
                ReadError::NeedsDisk
            } else {
                ReadError::Failed(error)
            }
        })
    }

    /// Reads everything, which verifies the blocks that are not in the cache. `progress` is called with the size of pieces
    /// that were read, and may wait or fail. Damage is [`ErrorKind::InvalidData`](std::io::ErrorKind::InvalidData).
    pub(crate) fn read_all(
        &self,
        progress: &mut dyn FnMut(usize) -> std::io::Result<()>,
    ) -> std::io::Result<()> {
        self.touch_disk();
        #[cfg(test)]
        self.count_unreadable()?;
        let mut read = read_options(Reach::Disk);
        read.fill_cache(false);
        read.set_readahead_size(READ_PIECE_BYTES);
        let mut iterator = self.db().raw_iterator_opt(read);
        iterator.seek_to_first();
        let mut piece_bytes = 0;
        while let Some((key, value)) = iterator.item() {
            piece_bytes += key.len() + value.len();
            if piece_bytes >= READ_PIECE_BYTES {
                progress(std::mem::take(&mut piece_bytes))?;
            }
            iterator.next();
        }
        iterator.status().map_err(|error| {
            let kind = match error.kind() {
                ErrorKind::Corruption => std::io::ErrorKind::InvalidData,
                _ => std::io::ErrorKind::Other,
            };
            std::io::Error::new(kind, self.error(error))
        })
    }
}

pub(super) fn read_options(reach: Reach) -> ReadOptions {
    let mut options = ReadOptions::default();
    options.set_read_tier(match reach {
        Reach::Memory => ReadTier::BlockCache,
        Reach::Disk => ReadTier::All,
    });
    options
}
