//! Reads shards and verifies what it reads.
//!
//! A record's header, descriptor and block hashes are read together with the blocks, in one call where they lie
//! close. What is in memory (the entry in the index, an open file, the pages of the cache) is read at once on the
//! caller's thread; for the rest, one of a few threads that may wait does the whole.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use tokio::sync::Semaphore;

use super::read_buffers::ReadBuffer;
use super::state::{DiskState, count};
use crate::durable_file::is_shortage;
use crate::index::LiveShard;
use crate::segment::{
    BLOCK_SIZE_BYTES, RecordFault, RecordHeader, RecordKind, RecordShape, SegmentFile,
};
use crate::{ShardError, ShardId, ShardStat, VerifiedBytes};

/// Reads up to this length are tried on the caller's thread: hashing them takes at most 20 µs, about what handing
/// over to another thread costs.
const INLINE_BYTES_MAX: usize = 128 << 10;

/// Rather than reading twice, read through a gap of this length between the hashes and the wanted blocks.
const GAP_BYTES_MAX: u64 = 64 << 10;

/// Threads that may wait for one disk at a time: what keeps a disk's own queue filled.
const READS_AT_ONCE_MAX: usize = 16;

/// A record can move (compaction) while it is read; each attempt looks it up again.
const ATTEMPTS_MAX: usize = 8;

/// Reads of one disk.
#[derive(Debug)]
pub(super) struct Reader {
    disk: Arc<DiskState>,
    slots: Arc<Semaphore>,
}

/// A record's bytes, verified as far as they were asked for.
#[derive(Debug)]
struct VerifiedRecord {
    header: RecordHeader,
    descriptor: Bytes,
    payload: Bytes,
}

/// What is asked of a shard.
#[derive(Debug)]
enum Wanted {
    /// Bytes of the payload.
    Range(Range<u32>),
    /// All of it.
    Payload,
    /// Nothing of it: header and descriptor.
    Head,
}

/// What could be done without waiting for the disk.
#[derive(Debug)]
enum FromMemory {
    Record(VerifiedRecord),
    /// With the place, if the index knew it.
    Unread(Option<LiveShard>),
}

/// Which bytes of a record are read, and where they come to lie.
#[derive(Debug, Clone, PartialEq, Eq)]
struct ReadPlan {
    shape: RecordShape,
    /// Of the payload.
    range: Range<u32>,
    first_block: u32,
    /// The buffer holds the prefix and then, from here on, the blocks.
    blocks_start: usize,
    buffer_len: usize,
    /// The second read, if the blocks lie apart: offset in the record.
    second_read_at: Option<u64>,
}

/// Why a record could not be read.
#[derive(Debug, thiserror::Error)]
enum ReadFault {
    #[error("reading failed: {0}")]
    Io(#[from] std::io::Error),
    #[error(transparent)]
    Record(#[from] RecordFault),
}

impl Reader {
    pub(super) fn new(disk: Arc<DiskState>) -> Self {
        Self {
            disk,
            slots: Arc::new(Semaphore::new(READS_AT_ONCE_MAX)),
        }
    }

    /// As many calls as may be under way, none of which returns before the answer is dropped.
    #[cfg(test)]
    pub(super) async fn hang(&self) -> tokio::sync::OwnedSemaphorePermit {
        let count = u32::try_from(READS_AT_ONCE_MAX).unwrap();
        let taken = Arc::clone(&self.slots).acquire_many_owned(count).await;
        taken.unwrap()
    }

    pub(super) async fn get(
        &self,
        id: ShardId,
        range: Range<u32>,
    ) -> Result<VerifiedBytes, ShardError> {
        let record = self.read(id, Wanted::Range(range)).await?;
        count(&self.disk.counters.get_count, 1);
        count(&self.disk.counters.bytes_read, record.payload.len() as u64);
        Ok(VerifiedBytes::after_check(record.payload))
    }

    pub(super) async fn verify(&self, id: ShardId) -> Result<ShardStat, ShardError> {
        let record = self.read(id, Wanted::Payload).await?;
        Ok(record.stat())
    }

    pub(super) async fn stat(&self, id: ShardId) -> Result<Option<ShardStat>, ShardError> {
        match self.read(id, Wanted::Head).await {
            Ok(record) => Ok(Some(record.stat())),
            Err(ShardError::NotFound { .. }) => Ok(None),
            Err(err) => Err(err),
        }
    }

    async fn read(&self, id: ShardId, wanted: Wanted) -> Result<VerifiedRecord, ShardError> {
        self.disk.check_readable()?;
        match self.read_cached(id, &wanted)? {
            FromMemory::Record(record) => Ok(record),
            FromMemory::Unread(found) => {
                self.wait_for(move |disk| read(disk, id, &wanted, found))
                    .await
            }
        }
    }

    /// Goes as far as memory allows, and leaves whatever looks wrong to [`read`].
    fn read_cached(&self, id: ShardId, wanted: &Wanted) -> Result<FromMemory, ShardError> {
        let Ok(found) = self.disk.index.live_cached(id) else {
            return Ok(FromMemory::Unread(None));
        };
        let live = found.ok_or_else(|| not_found(&self.disk, id))?;
        let plan = ReadPlan::new(live.shape, wanted.range_in(id, live.shape)?);
        let offset = live.place.offset;
        if plan.buffer_len <= INLINE_BYTES_MAX
            && let Some(segment) = self.disk.segments.opened(live.place.segment)
            && let Some(buffer) = plan.read_cached(&segment, offset)
            && let Ok(record) = plan.check(id, live.lsn, &buffer, &segment, offset)
        {
            return Ok(FromMemory::Record(record));
        }
        Ok(FromMemory::Unread(Some(live)))
    }

    /// Does what may wait for the disk on a thread that may. A disk that hangs keeps [`READS_AT_ONCE_MAX`] of them; who
    /// comes later waits without one, for as long as the caller likes.
    pub(super) async fn wait_for<T: Send + 'static>(
        &self,
        work: impl FnOnce(&DiskState) -> Result<T, ShardError> + Send + 'static,
    ) -> Result<T, ShardError> {
        let disk = Arc::clone(&self.disk);
        let permit = Arc::clone(&self.slots).acquire_owned().await;
        let done = tokio::task::spawn_blocking(move || {
            let call = disk.open_calls.begin();
            let result = work(&disk);
            drop((call, permit));
            result
        });
        done.await.unwrap_or_else(|_| Err(self.disk.failed_error()))
    }
}

/// Reads a record that is at `found`, if that is known, and looks it up again if it is there no more.
fn read(
    disk: &DiskState,
    id: ShardId,
    wanted: &Wanted,
    found: Option<LiveShard>,
) -> Result<VerifiedRecord, ShardError> {
    let mut live = found.map_or_else(|| find(disk, id), Ok)?;
    for _ in 0..ATTEMPTS_MAX {
        let plan = ReadPlan::new(live.shape, wanted.range_in(id, live.shape)?);
        let fault = match read_at(disk, id, &live, &plan) {
            Ok(record) => return Ok(record),
            Err(fault) => fault,
        };
        // Moved by compaction, replaced, or deleted and punched out meanwhile? Then nothing is wrong.
        let now = find(disk, id)?;
        if now.place == live.place {
            return Err(unread(disk, id, &fault));
        }
        live = now;
    }
    Err(disk.busy_error())
}

fn find(disk: &DiskState, id: ShardId) -> Result<LiveShard, ShardError> {
    let found = disk.index.live(id).map_err(|err| disk.lookup_error(&err))?;
    found.ok_or_else(|| not_found(disk, id))
}

fn read_at(
    disk: &DiskState,
    id: ShardId,
    live: &LiveShard,
    plan: &ReadPlan,
) -> Result<VerifiedRecord, ReadFault> {
    let segment = disk.segments.open(live.place.segment)?;
    let offset = live.place.offset;
    let buffer = plan.read(&segment, offset)?;
    plan.check(id, live.lsn, &buffer, &segment, offset)
}

fn not_found(disk: &DiskState, id: ShardId) -> ShardError {
    ShardError::NotFound {
        id,
        disk_id: disk.disk_id(),
    }
}

/// What a caller gets whose shard could not be read for this reason.
#[cfg(test)]
pub(super) fn read_error(disk: &DiskState, id: ShardId, err: std::io::Error) -> ShardError {
    unread(disk, id, &err.into())
}

fn unread(disk: &DiskState, id: ShardId, fault: &ReadFault) -> ShardError {
    match fault {
        ReadFault::Io(err) if is_shortage(err) => disk.busy_error(),
        _ => corrupt(disk, id, fault),
    }
}

/// A block that the device cannot read is treated like one with wrong bytes: others have the shard, and a
/// bad sector is no reason to give up the disk.
fn corrupt(disk: &DiskState, id: ShardId, fault: &ReadFault) -> ShardError {
    count(&disk.counters.corrupt_count, 1);
    let total = disk.counters.corrupt_count.load(Ordering::Relaxed);
    tracing::warn!(shard = %id, disk_id = %disk.disk_id(), fault = %fault, total, "corrupt shard");
    ShardError::Corrupt {
        id,
        disk_id: disk.disk_id(),
        detail: fault.to_string(),
    }
}

impl Wanted {
    /// What is to be read of a payload of this length.
    fn range_in(&self, id: ShardId, shape: RecordShape) -> Result<Range<u32>, ShardError> {
        match self {
            Self::Range(range) if range.start <= range.end && range.end <= shape.payload_len => {
                Ok(range.clone())
            }
            Self::Range(range) => Err(ShardError::OutOfRange {
                id,
                start: range.start,
                end: range.end,
                size_bytes: shape.payload_len,
            }),
            Self::Payload => Ok(0..shape.payload_len),
            Self::Head => Ok(0..0),
        }
    }
}

impl VerifiedRecord {
    fn stat(&self) -> ShardStat {
        ShardStat {
            id: self.header.id,
            size_bytes: self.header.shape.payload_len,
            written_at_ms: self.header.stamp.written_at_ms,
            descriptor: Some(self.descriptor.clone()),
        }
    }
}

impl ReadPlan {
    fn new(shape: RecordShape, range: Range<u32>) -> Self {
        let first_block = range.start / BLOCK_SIZE_BYTES;
        let start = u64::from(first_block) * u64::from(BLOCK_SIZE_BYTES);
        let end = u64::from(range.end)
            .next_multiple_of(u64::from(BLOCK_SIZE_BYTES))
            .min(u64::from(shape.payload_len));
        let (start, end) = if range.is_empty() {
            (0, 0)
        } else {
            (start, end)
        };
        let first_block = if range.is_empty() { 0 } else { first_block };
        let prefix_len = shape.prefix_len();
        let is_apart = start > GAP_BYTES_MAX;
        let blocks_start = if is_apart {
            prefix_len
        } else {
            prefix_len + start
        };
        Self {
            shape,
            range,
            first_block,
            blocks_start: length(blocks_start),
            buffer_len: length(blocks_start + (end - start)),
            second_read_at: is_apart.then_some(prefix_len + start),
        }
    }

    /// Reads only if nothing has to wait for the disk.
    fn read_cached(&self, segment: &SegmentFile, offset: u64) -> Option<Bytes> {
        let mut buffer = ReadBuffer::new(self.buffer_len);
        let mut is_complete = true;
        self.for_each_read(buffer.as_mut_slice(), offset, |part, at| {
            is_complete = is_complete && segment.read_cached(part, at);
        });
        is_complete.then(|| buffer.freeze())
    }

    fn read(&self, segment: &SegmentFile, offset: u64) -> std::io::Result<Bytes> {
        let mut buffer = ReadBuffer::new(self.buffer_len);
        let mut result = Ok(());
        self.for_each_read(buffer.as_mut_slice(), offset, |part, at| {
            if result.is_ok() {
                result = segment.read_exact_at(part, at);
            }
        });
        result.map(|()| buffer.freeze())
    }

    fn for_each_read(&self, buffer: &mut [u8], offset: u64, mut read: impl FnMut(&mut [u8], u64)) {
        match self.second_read_at {
            None => read(buffer, offset),
            Some(second) => {
                if let Some((prefix, blocks)) = buffer.split_at_mut_checked(self.blocks_start) {
                    read(prefix, offset);
                    read(blocks, offset + second);
                }
            }
        }
    }

    /// Nothing of `buffer`, all of which was read, leaves before the header named this very record and every block matched
    /// its hash.
    fn check(
        &self,
        id: ShardId,
        lsn: u64,
        buffer: &Bytes,
        segment: &SegmentFile,
        offset: u64,
    ) -> Result<VerifiedRecord, ReadFault> {
        let header = RecordHeader::decode(buffer, &segment.key, offset)?;
        if (header.kind, header.id, header.stamp.lsn, header.shape)
            != (RecordKind::Put, id, lsn, self.shape)
        {
            return Err(RecordFault::Other.into());
        }
        let body = header.section(buffer)?;
        let blocks = buffer.slice(self.blocks_start..);
        body.check_blocks(self.first_block, &blocks)?;
        let descriptor = buffer.slice_ref(body.descriptor);
        let skipped = self.first_block * BLOCK_SIZE_BYTES;
        let payload = if self.range.is_empty() {
            Bytes::new()
        } else {
            blocks.slice((self.range.start - skipped) as usize..(self.range.end - skipped) as usize)
        };
        Ok(VerifiedRecord {
            header,
            descriptor,
            payload,
        })
    }
}

/// Lengths inside one record are bounded by its limits, far below `usize`.
fn length(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: RecordShape = RecordShape {
        descriptor_len: 72,
        payload_len: 1 << 20,
    };

    #[test]
    fn a_range_touches_only_its_blocks() {
        let block = BLOCK_SIZE_BYTES as usize;
        let prefix = 128 + 72 + 16 * 32;
        let plan = ReadPlan::new(SHAPE, 10..20);
        assert_eq!(
            (plan.blocks_start, plan.buffer_len, plan.second_read_at),
            (prefix, prefix + block, None)
        );
        let plan = ReadPlan::new(SHAPE, 70_000..70_001);
        assert_eq!(
            (plan.blocks_start, plan.buffer_len),
            (prefix + block, prefix + 2 * block)
        );
        let last = (1 << 20) - 1..1 << 20;
        let plan = ReadPlan::new(SHAPE, last);
        assert_eq!(
            (plan.first_block, plan.blocks_start, plan.buffer_len),
            (15, prefix, prefix + block)
        );
        assert_eq!(plan.second_read_at, Some((prefix + 15 * block) as u64));
    }

    #[test]
    fn an_empty_range_reads_the_prefix_alone() {
        let plan = ReadPlan::new(SHAPE, 500_000..500_000);
        assert_eq!(
            (plan.buffer_len, plan.second_read_at),
            (128 + 72 + 16 * 32, None)
        );
    }
}
