//! Which shard is where: RocksDB in `<disk>/index/`, and in front of it the entries that are not yet durable.
//!
//! Invariants:
//! - RocksDB holds nothing of a record that is not synced in its segment: entries wait in `pending` until then.
//!   So a crash can make the index older than the segments, never newer.
//! - Entries, and the tails up to which segments are indexed, are saved in one write batch; the write-ahead log
//!   is off, and RocksDB loses a suffix of batches at most. Recovery replays segments from those tails.
//! - The directory is a cache: it can be deleted at any time when the disk is closed.
//!
//! Keys: `s` + shard id → entry; `g` + segment number (big-endian) → statistics; `m` → the index's own header. The bytes are in
//! `docs/formats/segment.md`.

mod entry;
mod stats;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use rocksdb::{
    BlockBasedIndexType, BlockBasedOptions, Cache, DB, DataBlockIndexType, Direction, ErrorKind,
    IteratorMode, LogLevel, LruCacheOptions, Options, ReadOptions, ReadTier, WriteBatch,
    WriteOptions,
};
use rustix::io::Errno;

pub(crate) use entry::{IndexEntry, LiveShard, PlacedRecord, apply, remember};
pub(crate) use stats::{SegmentStats, SegmentStatsMap, account};

use crate::durable_file::{SHORTAGES, is_shortage};
use crate::segment::SegmentNumber;
use crate::{DiskId, ShardId, durable_file};

/// Why the index could not answer.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum IndexError {
    /// RocksDB refused.
    #[error("index: {0}")]
    Database(#[from] rocksdb::Error),
    /// A value is not one of ours.
    #[error("index: a value of {0} cannot be read")]
    Value(&'static str),
    /// The file system refused, beside what RocksDB does.
    #[error("{path}: {source}")]
    Io {
        path: PathBuf,
        source: Arc<io::Error>,
    },
}

impl IndexError {
    /// Whether the process or the machine is short of something: then nothing is wrong with the index.
    pub(crate) fn is_shortage(&self) -> bool {
        match self {
            Self::Database(error) => names_one_of(&SHORTAGES, error.as_ref()),
            Self::Io { source, .. } => is_shortage(source),
            Self::Value(_) => false,
        }
    }

    /// Whether an index that cannot be opened is at fault itself, so that a new one in its place helps. A full disk, one that
    /// takes no writes, or somebody else's lock leave it as good as it was.
    fn is_damage(&self) -> bool {
        if self.is_shortage() {
            return false;
        }
        match self {
            Self::Database(error) => match error.kind() {
                ErrorKind::Corruption
                | ErrorKind::InvalidArgument
                | ErrorKind::NotFound
                | ErrorKind::NotSupported => true,
                ErrorKind::IOError => names_one_of(&LOSSES, error.as_ref()),
                _ => false,
            },
            Self::Value(_) => true,
            Self::Io { .. } => false,
        }
    }

    fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        |source| Self::Io {
            path: path.to_owned(),
            source: Arc::new(source),
        }
    }
}

/// What a system call says of a file that is not there, or that the disk cannot read.
const LOSSES: [Errno; 2] = [Errno::NOENT, Errno::IO];

/// RocksDB passes the errno of a system call on as text alone, at the end of its message.
fn names_one_of(errnos: &[Errno], message: &str) -> bool {
    errnos.iter().any(|errno| {
        let text = io::Error::from(*errno).to_string();
        // Without the number that Rust adds.
        let text = text.split(" (os error").next();
        text.is_some_and(|text| message.ends_with(text))
    })
}

/// Memory does not have the answer, or it cannot be read: [`Index::live`] tells, on a thread that may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotCached;

/// The state of the log, without its records: saved with the entries it belongs to, and ahead of the index while they
/// are pending.
#[derive(Debug, Clone, Default)]
pub(crate) struct LogState {
    pub(crate) stats: SegmentStatsMap,
    pub(crate) next_lsn: u64,
    pub(crate) next_segment: u64,
}

impl LogState {
    /// What a save needs in which only these segments changed.
    pub(crate) fn of_segments(&self, touched: &[SegmentNumber]) -> Self {
        let stats = touched
            .iter()
            .filter_map(|number| Some((*number, *self.stats.get(number)?)));
        Self {
            stats: stats.collect(),
            ..*self
        }
    }
}

/// The index of one disk.
pub(crate) struct Index {
    db: DB,
    writes: WriteOptions,
    /// For lookups that must not wait for the disk.
    cached_reads: ReadOptions,
    pending: RwLock<BTreeMap<ShardId, Option<IndexEntry>>>,
}

/// The index's own header: another version, or another disk's index, means a rebuild.
#[derive(Debug, Clone, Copy, serde::Serialize, serde::Deserialize)]
struct IndexHeader {
    format_version: u32,
    disk_id: DiskId,
    next_lsn: u64,
    next_segment: u64,
}

const FORMAT_VERSION: u32 = 1;
/// The block cache is divided into 2^2 parts with a lock each. RocksDB's default, parts of 512 KiB, evicts what is used
/// while other parts have room.
const CACHE_SHARD_BITS: i32 = 2;
const HEADER_KEY: &[u8] = b"m";
const SHARD_PREFIX: u8 = b's';
const SEGMENT_PREFIX: u8 = b'g';

/// Its presence beside the index directory says that the index was found damaged while in use.
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
        let opened = if marker.exists() {
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
        if marker.exists() {
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
        if !directory.join("CURRENT").exists() {
            return Ok(None);
        }
        let index = Self::new(&directory, cache_bytes)?;
        let Some(bytes) = index.db.get_pinned(HEADER_KEY)? else {
            return Ok(None);
        };
        let header: IndexHeader =
            postcard::from_bytes(&bytes).map_err(|_| IndexError::Value("the header"))?;
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
            let value = postcard::from_bytes(&value).map_err(|_| IndexError::Value("a segment"))?;
            stats.insert(SegmentNumber(u64::from_be_bytes(number)), value);
        }
        Ok(stats)
    }

    /// The newest entry, durable or not. May wait for the disk.
    pub(crate) fn entry(&self, id: ShardId) -> Result<Option<IndexEntry>, IndexError> {
        self.entry_with(id, &ReadOptions::default())
    }

    fn entry_with(
        &self,
        id: ShardId,
        reads: &ReadOptions,
    ) -> Result<Option<IndexEntry>, IndexError> {
        // First the pending ones: `save` writes to RocksDB before it removes from there, so an entry on its way
        // is seen in at least one of the two.
        if let Some(entry) = self
            .pending
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&id)
        {
            return Ok(entry.clone());
        }
        self.saved_entry(id, reads)
    }

    fn saved_entry(
        &self,
        id: ShardId,
        reads: &ReadOptions,
    ) -> Result<Option<IndexEntry>, IndexError> {
        let Some(bytes) = self.db.get_pinned_opt(shard_key(id), reads)? else {
            return Ok(None);
        };
        postcard::from_bytes(&bytes)
            .map(Some)
            .map_err(|_| IndexError::Value("a shard"))
    }

    /// The live shard, if there is one. May wait for the disk.
    pub(crate) fn live(&self, id: ShardId) -> Result<Option<LiveShard>, IndexError> {
        Ok(self.entry(id)?.and_then(IndexEntry::live))
    }

    /// As [`Self::live`], and never waits for the disk.
    pub(crate) fn live_cached(&self, id: ShardId) -> Result<Option<LiveShard>, NotCached> {
        // What RocksDB would have to read is an error too ("incomplete"). A real one comes again from `live`.
        let entry = self
            .entry_with(id, &self.cached_reads)
            .map_err(|_| NotCached)?;
        Ok(entry.and_then(IndexEntry::live))
    }

    /// Up to `limit` live shards after `after`, in id order. May wait for the disk.
    pub(crate) fn live_after(
        &self,
        after: Option<ShardId>,
        limit: usize,
    ) -> Result<Vec<(ShardId, LiveShard)>, IndexError> {
        let lower = after.map_or(Bound::Unbounded, Bound::Excluded);
        // Same order as in `entry`, for the same reason.
        let pending: Vec<(ShardId, Option<IndexEntry>)> = {
            let pending = self.pending.read().unwrap_or_else(PoisonError::into_inner);
            pending
                .range((lower, Bound::Unbounded))
                .map(|(id, entry)| (*id, entry.clone()))
                .collect()
        };
        let mut pending = pending.into_iter().peekable();
        let mut saved = self.saved_after(after).peekable();
        let mut page = Vec::new();
        while page.len() < limit {
            let saved_id = match saved.peek() {
                Some(Ok((id, _))) => Some(*id),
                Some(Err(err)) => return Err(err.clone()),
                None => None,
            };
            let pending_id = pending.peek().map(|(id, _)| *id);
            let (id, entry) = match (saved_id, pending_id) {
                (None, None) => break,
                (Some(saved_id), Some(pending_id)) if saved_id < pending_id => match saved.next() {
                    Some(row) => row.map(|(id, entry)| (id, Some(entry)))?,
                    None => break,
                },
                (Some(_), None) => match saved.next() {
                    Some(row) => row.map(|(id, entry)| (id, Some(entry)))?,
                    None => break,
                },
                (_, Some(pending_id)) => {
                    if saved_id == Some(pending_id) {
                        saved.next();
                    }
                    match pending.next() {
                        Some(row) => row,
                        None => break,
                    }
                }
            };
            if let Some(live) = entry.and_then(IndexEntry::live) {
                page.push((id, live));
            }
        }
        Ok(page)
    }

    fn saved_after(
        &self,
        after: Option<ShardId>,
    ) -> impl Iterator<Item = Result<(ShardId, IndexEntry), IndexError>> {
        let mut start = vec![SHARD_PREFIX];
        if let Some(after) = after {
            start.extend_from_slice(&after.to_bytes());
            // The next possible key: the same one with a zero byte behind it.
            start.push(0);
        }
        let mut reads = ReadOptions::default();
        reads.set_iterate_upper_bound(vec![SHARD_PREFIX + 1]);
        self.db
            .iterator_opt(IteratorMode::From(&start, Direction::Forward), reads)
            .map(|row| {
                let (key, value) = row?;
                let id = key
                    .get(1..)
                    .and_then(ShardId::from_bytes)
                    .ok_or(IndexError::Value("a shard key"))?;
                Ok((
                    id,
                    postcard::from_bytes(&value).map_err(|_| IndexError::Value("a shard"))?,
                ))
            })
    }

    /// Makes entries visible that are not durable yet; `None` forgets the id.
    pub(crate) fn set_pending(
        &self,
        entries: impl IntoIterator<Item = (ShardId, Option<IndexEntry>)>,
    ) {
        self.pending
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(entries);
    }

    pub(crate) fn pending_count(&self) -> usize {
        self.pending
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .len()
    }

    /// Moves all pending entries to RocksDB, with the statistics that belong to them: those of `touched`, which are removed
    /// where `state` has none. May wait for the disk.
    ///
    /// Only the one who calls `set_pending` may call this, and only when all records behind the entries are
    /// synced: it relies on nothing being added meanwhile.
    pub(crate) fn save_pending(
        &self,
        disk_id: DiskId,
        state: &LogState,
        touched: &[SegmentNumber],
    ) -> Result<(), IndexError> {
        let mut batch = WriteBatch::default();
        {
            let pending = self.pending.read().unwrap_or_else(PoisonError::into_inner);
            for (id, entry) in pending.iter() {
                match entry {
                    Some(entry) => batch.put(shard_key(*id), encode(entry)?),
                    None => batch.delete(shard_key(*id)),
                }
            }
        }
        for number in touched {
            match state.stats.get(number) {
                Some(segment) => batch.put(segment_key(*number), encode(segment)?),
                None => batch.delete(segment_key(*number)),
            }
        }
        batch.put(HEADER_KEY, encode(&IndexHeader::new(disk_id, state))?);
        self.db.write_opt(batch, &self.writes)?;
        self.pending
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
        Ok(())
    }

    fn save_header(&self, disk_id: DiskId, state: &LogState) -> Result<(), IndexError> {
        let mut batch = WriteBatch::default();
        batch.put(HEADER_KEY, encode(&IndexHeader::new(disk_id, state))?);
        Ok(self.db.write_opt(batch, &self.writes)?)
    }

    /// Rows written since the index exists.
    #[cfg(test)]
    pub(crate) fn written_count(&self) -> u64 {
        self.db.latest_sequence_number()
    }

    /// Writes everything to RocksDB's files, so that the next open has nothing to replay.
    pub(crate) fn flush(&self) -> Result<(), IndexError> {
        Ok(self.db.flush()?)
    }
}

impl fmt::Debug for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Index")
            .field("path", &self.db.path())
            .finish_non_exhaustive()
    }
}

impl IndexHeader {
    fn new(disk_id: DiskId, state: &LogState) -> Self {
        Self {
            format_version: FORMAT_VERSION,
            disk_id,
            next_lsn: state.next_lsn,
            next_segment: state.next_segment,
        }
    }
}

fn encode(value: &impl serde::Serialize) -> Result<Vec<u8>, IndexError> {
    postcard::to_allocvec(value).map_err(|_| IndexError::Value("a new entry"))
}

fn shard_key(id: ShardId) -> [u8; 1 + ShardId::ENCODED_LEN] {
    let mut key = [SHARD_PREFIX; 1 + ShardId::ENCODED_LEN];
    let (_, tail) = key.split_at_mut(1);
    tail.copy_from_slice(&id.to_bytes());
    key
}

fn segment_key(number: SegmentNumber) -> [u8; 9] {
    let mut key = [SEGMENT_PREFIX; 9];
    let (_, tail) = key.split_at_mut(1);
    tail.copy_from_slice(&number.0.to_be_bytes());
    key
}

/// Lean on purpose: six disks in one process share the memory of one. An entry takes about 60 bytes, so the
/// bloom filters of a million shards take 1.2 MiB and the index 60 MiB of page cache.
fn options(cache_bytes: usize) -> Result<Options, rocksdb::Error> {
    let mut cache = LruCacheOptions::default();
    cache.set_capacity(cache_bytes);
    cache.set_num_shard_bits(CACHE_SHARD_BITS);
    let mut blocks = BlockBasedOptions::default();
    blocks.set_bloom_filter(10.0, false);
    blocks.set_block_cache(&Cache::new_lru_cache_opts(&cache));
    blocks.set_cache_index_and_filter_blocks(true);
    // In pieces of 4 KiB: whole, those of one file are as large as a cache this small keeps in one place, and each lookup
    // would read them again.
    blocks.set_index_type(BlockBasedIndexType::TwoLevelIndexSearch);
    blocks.set_partition_filters(true);
    blocks.set_pin_top_level_index_and_filter(true);
    blocks.set_pin_l0_filter_and_index_blocks_in_cache(true);
    blocks.set_data_block_index_type(DataBlockIndexType::BinaryAndHash);
    // There is no setter for it. Whoever closes a disk flushes its index; where that was not done the disk has failed, or is
    // another one by now, and nothing must be written there.
    let mut options =
        Options::default().get_options_from_string("avoid_flush_during_shutdown=true")?;
    options.create_if_missing(true);
    options.set_block_based_table_factory(&blocks);
    options.set_write_buffer_size(8 << 20);
    options.set_max_write_buffer_number(2);
    options.set_max_open_files(64);
    options.set_max_background_jobs(2);
    options.set_level_compaction_dynamic_level_bytes(true);
    options.set_keep_log_file_num(1);
    options.set_log_level(LogLevel::Fatal);
    options.set_stats_dump_period_sec(0);
    options.set_bytes_per_sync(1 << 20);
    Ok(options)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DataId;
    use crate::index::entry::DeadShard;
    use crate::segment::{Place, RecordShape, SegmentClass};

    const DISK: DiskId = DiskId([1; 16]);

    fn id(chunk_index: u32) -> ShardId {
        ShardId {
            data_id: DataId([2; 16]),
            chunk_index,
            shard_index: 0,
        }
    }

    fn live(number: u32) -> LiveShard {
        LiveShard {
            place: Place {
                segment: SegmentNumber(1),
                offset: u64::from(number) * 4096,
            },
            lsn: u64::from(number),
            written_at_ms: 0,
            shape: RecordShape {
                descriptor_len: 0,
                payload_len: 100,
            },
            stale: Vec::new(),
        }
    }

    /// As `docs/formats/segment.md` has them.
    #[test]
    fn golden_bytes_of_the_index() {
        let disk = "01".repeat(16);
        let state = LogState {
            next_lsn: 300,
            next_segment: 4,
            ..LogState::default()
        };
        let live = LiveShard {
            written_at_ms: 5,
            stale: vec![SegmentNumber(1), SegmentNumber(2)],
            ..live(1)
        };
        let dead = DeadShard {
            tombstone: Some(live.place),
            lsn: 9,
            stale: vec![SegmentNumber(7)],
        };
        let unseen = DeadShard {
            tombstone: None,
            lsn: 0,
            stale: vec![SegmentNumber(7)],
        };
        let segment = SegmentStats {
            class: SegmentClass::Large,
            tail: 64,
            live_count: 1,
            live_bytes: 2,
            live_payload_bytes: 3,
            tombstone_bytes: 4,
            punched_bytes: 5,
        };
        for (bytes, expected) in [
            (
                encode(&IndexHeader::new(DISK, &state)),
                format!("01{disk}ac0204"),
            ),
            (
                encode(&IndexEntry::Live(live)),
                "0001802001050064020102".to_owned(),
            ),
            (
                encode(&IndexEntry::Dead(dead)),
                "0101018020090107".to_owned(),
            ),
            (encode(&IndexEntry::Dead(unseen)), "0100000107".to_owned()),
            (encode(&segment), "01400102030405".to_owned()),
        ] {
            assert_eq!(hex::encode(bytes.unwrap()), expected);
        }
        let shard = format!("73{}0000000100", "02".repeat(16));
        assert_eq!(hex::encode(shard_key(id(1))), shard);
        assert_eq!(
            hex::encode(segment_key(SegmentNumber(258))),
            "670000000000000102"
        );
    }

    #[test]
    fn a_shortage_is_known_by_what_rocksdb_says_of_it() {
        for (message, is_shortage) in [
            (
                "IO error: While open a file for random read: /d/index/000012.sst: Too many open files",
                true,
            ),
            (
                "IO error: While open a file for appending: /d: Too many open files in system",
                true,
            ),
            ("IO error: While mmap: /d: Cannot allocate memory", true),
            ("IO error: While pread: /d: Input/output error", false),
            ("Corruption: block checksum mismatch", false),
        ] {
            assert_eq!(names_one_of(&SHORTAGES, message), is_shortage, "{message}");
        }
    }

    #[test]
    fn an_index_with_a_file_lost_is_started_anew() {
        for lost in ["MANIFEST-", ".sst"] {
            let dir = tempfile::tempdir().unwrap();
            let (index, state) = Index::open(dir.path(), DISK, 1 << 20).unwrap();
            index.set_pending([(id(0), Some(IndexEntry::Live(live(0))))]);
            index.save_pending(DISK, &state, &[]).unwrap();
            index.flush().unwrap();
            drop(index);
            let files = std::fs::read_dir(Index::directory(dir.path())).unwrap();
            let mut files = files.map(|entry| entry.unwrap().path());
            let is_lost =
                |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().contains(lost);
            std::fs::remove_file(files.find(is_lost).unwrap()).unwrap();
            let (index, _) = Index::open(dir.path(), DISK, 1 << 20).unwrap();
            assert_eq!(index.live(id(0)).unwrap(), None);
        }
    }

    #[test]
    fn an_index_that_cannot_be_removed_says_why() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::File::create(Index::directory(dir.path())).unwrap();
        let refused = Index::open(dir.path(), DISK, 1 << 20).map(drop);
        let refused = refused.unwrap_err().to_string();
        let directory = Index::directory(dir.path());
        assert!(
            refused.starts_with(directory.to_str().unwrap()),
            "{refused}"
        );
        assert!(refused.contains("Not a directory"), "{refused}");
    }

    #[test]
    fn an_index_that_somebody_has_open_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let (index, state) = Index::open(dir.path(), DISK, 1 << 20).unwrap();
        let refused = Index::open(dir.path(), DISK, 1 << 20)
            .map(drop)
            .unwrap_err();
        assert!(!refused.is_damage(), "{refused}");
        index.set_pending([(id(0), Some(IndexEntry::Live(live(0))))]);
        index.save_pending(DISK, &state, &[]).unwrap();
        index.flush().unwrap();
        drop(index);
        let (index, _) = Index::open(dir.path(), DISK, 1 << 20).unwrap();
        assert_eq!(index.live(id(0)).unwrap(), Some(live(0)));
    }

    #[test]
    fn nothing_is_written_when_an_index_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let (index, state) = Index::open(dir.path(), DISK, 1 << 20).unwrap();
        index.set_pending([(id(0), Some(IndexEntry::Live(live(0))))]);
        index.save_pending(DISK, &state, &[]).unwrap();
        let files = || {
            let entries = std::fs::read_dir(Index::directory(dir.path())).unwrap();
            let entries = entries.map(|entry| entry.unwrap());
            let files = entries.map(|file| (file.file_name(), file.metadata().unwrap().len()));
            files.collect::<BTreeMap<_, _>>()
        };
        let before = files();
        drop(index);
        assert_eq!(files(), before);
    }

    #[test]
    fn what_is_not_in_memory_is_not_looked_for_on_the_disk_unless_one_may_wait() {
        let dir = tempfile::tempdir().unwrap();
        let (index, state) = Index::open(dir.path(), DISK, 1 << 20).unwrap();
        // Many blocks: opening reads the first one, for the statistics.
        let numbers = 0..1000;
        index.set_pending(numbers.map(|n| (id(n), Some(IndexEntry::Live(live(n))))));
        assert_eq!(index.live_cached(id(999)), Ok(Some(live(999))));
        index.save_pending(DISK, &state, &[]).unwrap();
        assert_eq!(index.live_cached(id(999)), Ok(Some(live(999))));
        index.flush().unwrap();
        drop(index);

        let (index, _) = Index::open(dir.path(), DISK, 1 << 20).unwrap();
        assert_eq!(index.live_cached(id(999)), Err(NotCached));
        assert_eq!(index.live(id(999)).unwrap(), Some(live(999)));
        assert_eq!(index.live_cached(id(999)), Ok(Some(live(999))));
    }
}
