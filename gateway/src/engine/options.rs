//! What can be set of the engine. Settings are data: nothing here is read after [`super::Engine::new`].

use std::time::Duration;

use super::geometry::Geometry;

/// Largest chunk: what one shard may hold, since a copy is a whole chunk.
pub const CHUNK_SIZE_BYTES_MAX: usize = cairn_storage_node::SHARD_SIZE_BYTES_MAX;

/// Settings of the engine.
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// How large chunks are coded.
    pub geometry: Geometry,
    /// The unit of coding; at most [`CHUNK_SIZE_BYTES_MAX`].
    pub chunk_size_bytes: usize,
    /// Up to here a chunk is stored as whole copies; at most the chunk size.
    pub small_size_bytes_max: usize,
    /// Memory for chunks being written, parity included. Past it writes wait, then are told to slow down.
    pub write_memory_bytes: usize,
    /// Memory for chunks being read.
    pub read_memory_bytes: usize,
    /// How long a request waits for memory.
    pub memory_wait_max: Duration,
    /// How many small writes may be under way at a time that are acknowledged after one round of syncs; others take
    /// two, which costs less under load. 0: all others.
    pub staged_at_once_max: usize,
    /// Bytes of such writes that may wait in the metadata for their shards.
    pub staged_bytes_max: u32,
    /// How many chunks of one write are being stored while the next one arrives.
    pub write_ahead_chunk_count: usize,
    /// How many chunks of one read are fetched while one is being sent.
    pub read_ahead_chunk_count: usize,
    /// After this long a put is given up and its disk counts as unreachable.
    pub put_deadline: Duration,
    /// Puts of a chunk that are still open this long after they began, or ten times as long as puts usually take if that
    /// is longer, are repeated on other disks, however many they are.
    pub put_replace_after_min: Duration,
    /// After this long a sync is given up.
    pub sync_deadline: Duration,
    /// After this long a get, list, delete, stat or verify is given up.
    pub get_deadline: Duration,
    /// After this long a disk that gives no status is unreachable.
    pub status_deadline: Duration,
    /// A write that takes longer than this fails. Must be well below [`EngineOptions::orphan_age_min`], because what
    /// an unfinished write has stored looks like an orphan.
    pub store_duration_max: Duration,
    /// Shards that no metadata names are deleted when they are older than this.
    pub orphan_age_min: Duration,
    /// A disk that has been away for longer than this counts as lost: its shards are made again elsewhere.
    pub disk_absence_max: Duration,
    /// Makes placement and names repeatable; for tests.
    pub random_seed: Option<u64>,
}

impl EngineOptions {
    /// The defaults for a geometry.
    pub fn new(geometry: Geometry) -> Self {
        const MIB: usize = 1 << 20;
        const MINUTE: Duration = Duration::from_mins(1);
        Self {
            geometry,
            chunk_size_bytes: CHUNK_SIZE_BYTES_MAX,
            small_size_bytes_max: 32 << 10,
            // 16 chunks of 4+2, or five uploads at full pace.
            write_memory_bytes: 96 * MIB,
            read_memory_bytes: 64 * MIB,
            memory_wait_max: Duration::from_secs(10),
            staged_at_once_max: 4,
            staged_bytes_max: 16 << 20,
            write_ahead_chunk_count: 2,
            read_ahead_chunk_count: 1,
            put_deadline: Duration::from_secs(10),
            put_replace_after_min: Duration::from_secs(1),
            sync_deadline: Duration::from_secs(30),
            get_deadline: Duration::from_secs(10),
            status_deadline: Duration::from_secs(3),
            store_duration_max: 12 * 60 * MINUTE,
            orphan_age_min: 24 * 60 * MINUTE,
            disk_absence_max: 15 * MINUTE,
            random_seed: None,
        }
    }

    /// Brings values into the ranges that the code relies on.
    pub(crate) fn clamped(mut self) -> Self {
        self.chunk_size_bytes = self.chunk_size_bytes.clamp(1, CHUNK_SIZE_BYTES_MAX);
        self.small_size_bytes_max = self.small_size_bytes_max.min(self.chunk_size_bytes);
        self.write_ahead_chunk_count = self.write_ahead_chunk_count.max(1);
        self
    }
}
