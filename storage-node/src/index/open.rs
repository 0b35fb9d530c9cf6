//! Opening: the index as it was left, or an empty one in the place of what cannot be used.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::RwLock;

use rocksdb::{DB, Direction, IteratorMode, ReadOptions, ReadTier, WriteOptions};

use super::options::options;
use super::rows::{FORMAT_VERSION, HEADER_KEY, IndexHeader, SEGMENT_PREFIX, decode};
use super::{Index, IndexError, LogState, SegmentStatsMap};
use crate::segment::SegmentNumber;
use crate::{DiskId, durable_file};

/// Its presence beside the index directory says that the index was found damaged, or to lack a shard: in use, or while it
/// was brought up to the segments at an opening.
const REBUILD_MARKER: &str = "index-rebuild";

impl Index {
    /// Opens the index in `<disk>/index`, empty if it is missing, damaged, of another version or another disk.
    /// Then the returned state is empty too, and all segments must be replayed.
    pub(crate) fn open(
        disk: &Path,
        disk_id: DiskId,
        cache_bytes: usize,
    ) -> Result<(Self, LogState), IndexError> {
        let marker = disk.join(REBUILD_MARKER);
        let is_marked = exists(&marker)?;
        let opened = if is_marked {
            Ok(None)
        } else {
            Self::try_open(disk, disk_id, cache_bytes)
        };
        match opened {
            Ok(Some(found)) => return Ok(found),
            Ok(None) => {}
            Err(err) if !err.is_damage() => return Err(err),
            Err(err) => {
                tracing::warn!(disk = %disk.display(), error = %err, "index is damaged and will be rebuilt");
            }
        }
        let directory = Self::directory(disk);
        durable_file::remove_dir_all(&directory).map_err(IndexError::io(&directory))?;
        let index = Self::new(&directory, cache_bytes)?;
        let state = LogState {
            next_lsn: 1,
            next_segment: 1,
            ..LogState::default()
        };
        index.save_header(disk_id, &state)?;
        if is_marked {
            durable_file::remove_file(&marker).map_err(IndexError::io(&marker))?;
        }
        Ok((index, state))
    }

    /// Where the index of a disk is.
    pub(crate) fn directory(disk: &Path) -> PathBuf {
        disk.join("index")
    }

    /// Makes the next open start from an empty index.
    pub(crate) fn request_rebuild(disk: &Path) -> io::Result<()> {
        durable_file::touch(&disk.join(REBUILD_MARKER))
    }

    fn try_open(
        disk: &Path,
        disk_id: DiskId,
        cache_bytes: usize,
    ) -> Result<Option<(Self, LogState)>, IndexError> {
        let directory = Self::directory(disk);
        if !exists(&directory.join("CURRENT"))? {
            return Ok(None);
        }
        let index = Self::new(&directory, cache_bytes)?;
        let Some(bytes) = index.db.get_pinned(HEADER_KEY)? else {
            return Ok(None);
        };
        let header: IndexHeader = decode(&bytes, "the header")?;
        drop(bytes);
        if header.format_version != FORMAT_VERSION || header.disk_id != disk_id {
            return Ok(None);
        }
        let stats = index.saved_stats()?;
        Ok(Some((
            index,
            LogState {
                stats,
                next_lsn: header.next_lsn,
                next_segment: header.next_segment,
            },
        )))
    }

    fn new(directory: &Path, cache_bytes: usize) -> Result<Self, IndexError> {
        let mut writes = WriteOptions::default();
        writes.disable_wal(true);
        let mut cached_reads = ReadOptions::default();
        cached_reads.set_read_tier(ReadTier::BlockCache);
        Ok(Self {
            db: DB::open(&options(cache_bytes)?, directory)?,
            writes,
            cached_reads,
            pending: RwLock::default(),
        })
    }

    fn saved_stats(&self) -> Result<SegmentStatsMap, IndexError> {
        let mut stats = SegmentStatsMap::new();
        for row in self
            .db
            .iterator(IteratorMode::From(&[SEGMENT_PREFIX], Direction::Forward))
        {
            let (key, value) = row?;
            let Some((&SEGMENT_PREFIX, number)) = key.split_first() else {
                break;
            };
            let number = number
                .try_into()
                .map_err(|_| IndexError::Value("a segment key"))?;
            let value = decode(&value, "a segment")?;
            stats.insert(SegmentNumber(u64::from_be_bytes(number)), value);
        }
        Ok(stats)
    }
}

/// Whether there is such a file. That the disk cannot tell does not mean that there is none.
fn exists(path: &Path) -> Result<bool, IndexError> {
    path.try_exists().map_err(IndexError::io(path))
}
