//! The bound on buffer memory, and the reuse of buffers.
//!
//! Bytes in flight are paid for from a budget. Past it nobody waits for long who holds a part of it already, or slow
//! clients could keep each other from ever ending: reads go on in smaller pieces, and writes store what they have. What
//! storing takes beside is paid for too; where it is not free, one chunk at a time goes beyond the budget by that.
//! Buffers of chunk size go back to a pool: fresh ones cost a page fault per 4 KiB, which is more than coding them.

use std::fmt;
use std::mem;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// The unit in which memory is counted: semaphores count to 2^32 at most.
const UNIT_BYTES: usize = 1 << 10;

/// Memory for chunks in flight, shared by all requests of one direction.
#[derive(Debug)]
pub(crate) struct MemoryBudget {
    units: Arc<Semaphore>,
    unit_count: u32,
    wait_max: Duration,
    /// The leave to go beyond the budget, of which there is one.
    overdraft: Arc<Semaphore>,
}

/// A part of the budget, given back when dropped.
#[derive(Debug)]
pub(crate) struct Reservation {
    permit: OwnedSemaphorePermit,
    overdraft: Option<OwnedSemaphorePermit>,
}

impl Reservation {
    fn of(permit: OwnedSemaphorePermit) -> Self {
        Self {
            permit,
            overdraft: None,
        }
    }

    /// Makes one of two of the same budget.
    pub(crate) fn merge(&mut self, other: Self) {
        self.permit.merge(other.permit);
    }

    /// Takes off what so many bytes occupy, in whole units, or all that is left.
    pub(crate) fn split(&mut self, size_bytes: usize) -> Option<Self> {
        let units = size_bytes
            .div_ceil(UNIT_BYTES)
            .min(self.permit.num_permits());
        self.permit.split(units).map(Self::of)
    }
}

/// The budget stayed used up for as long as a request may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OutOfBudget;

impl MemoryBudget {
    pub(crate) fn new(size_bytes: usize, wait_max: Duration) -> Self {
        let unit_count = u32::try_from(size_bytes / UNIT_BYTES)
            .unwrap_or(u32::MAX)
            .clamp(1, u32::MAX >> 4);
        Self {
            units: Arc::new(Semaphore::new(unit_count as usize)),
            unit_count,
            wait_max,
            overdraft: Arc::new(Semaphore::new(1)),
        }
    }

    /// Waits for a share of the budget, in the order of asking. One share is never more than the whole.
    ///
    /// # Errors
    /// [`OutOfBudget`] after the longest wait.
    pub(crate) async fn reserve(&self, size_bytes: usize) -> Result<Reservation, OutOfBudget> {
        self.reserve_within(size_bytes, self.wait_max).await
    }

    /// As [`MemoryBudget::reserve`], with a longest wait of its own.
    ///
    /// # Errors
    /// [`OutOfBudget`] after that.
    pub(crate) async fn reserve_within(
        &self,
        size_bytes: usize,
        wait_max: Duration,
    ) -> Result<Reservation, OutOfBudget> {
        let units = Arc::clone(&self.units);
        let acquired = units.acquire_many_owned(self.units_of(size_bytes));
        match timeout(wait_max, acquired).await {
            Ok(Ok(permit)) => Ok(Reservation::of(permit)),
            Ok(Err(_)) | Err(_) => Err(OutOfBudget),
        }
    }

    /// A share of the budget, if that much is free and nobody waits for it.
    pub(crate) fn try_reserve(&self, size_bytes: usize) -> Option<Reservation> {
        let permit = Arc::clone(&self.units).try_acquire_many_owned(self.units_of(size_bytes));
        permit.ok().map(Reservation::of)
    }

    /// Makes a share one of `size_bytes`, if it is less. While that much is not free, one share at a time is enlarged beyond
    /// the budget: if all waited for what the others have, nobody would go on. What that takes is given back with the share,
    /// which should be soon.
    pub(crate) async fn enlarge(&self, share: &mut Reservation, size_bytes: usize) {
        let held = u32::try_from(share.permit.num_permits()).unwrap_or(u32::MAX);
        let missing = self.units_of(size_bytes).saturating_sub(held);
        if missing == 0 || share.overdraft.is_some() {
            return;
        }
        let (units, overdraft) = (Arc::clone(&self.units), Arc::clone(&self.overdraft));
        tokio::select! {
            biased;
            Ok(permit) = units.acquire_many_owned(missing) => share.permit.merge(permit),
            Ok(leave) = overdraft.acquire_owned() => share.overdraft = Some(leave),
            // They are never closed.
            else => {}
        }
    }

    /// Whether nothing is free, or what is would not do for those who wait.
    pub(crate) fn is_used_up(&self) -> bool {
        self.units.available_permits() == 0
    }

    fn units_of(&self, size_bytes: usize) -> u32 {
        u32::try_from(size_bytes.div_ceil(UNIT_BYTES))
            .unwrap_or(u32::MAX)
            .clamp(1, self.unit_count)
    }

    /// What is in use.
    pub(crate) fn used_bytes(&self) -> u64 {
        let free = u32::try_from(self.units.available_permits()).unwrap_or(u32::MAX);
        u64::from(self.unit_count.saturating_sub(free)) * UNIT_BYTES as u64
    }
}

/// Buffers of one capacity that wait to be used again.
pub(crate) struct BufferPool {
    capacity_bytes: usize,
    idle_count_max: usize,
    idle: Mutex<Vec<Vec<u8>>>,
}

impl BufferPool {
    pub(crate) fn new(capacity_bytes: usize, idle_count_max: usize) -> Arc<Self> {
        Arc::new(Self {
            capacity_bytes,
            idle_count_max,
            idle: Mutex::default(),
        })
    }

    /// An empty buffer for at least `size_bytes`. One that is much smaller than those of the pool is not taken from
    /// it, so that a middling object does not hold a whole chunk.
    pub(crate) fn buffer(self: &Arc<Self>, size_bytes: usize) -> PooledBuffer {
        if size_bytes <= self.capacity_bytes / 2 || size_bytes > self.capacity_bytes {
            return PooledBuffer {
                bytes: Vec::with_capacity(size_bytes),
                pool: None,
            };
        }
        let idle = self
            .idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        let bytes = idle.unwrap_or_else(|| Vec::with_capacity(self.capacity_bytes));
        PooledBuffer {
            bytes,
            pool: Some(Arc::clone(self)),
        }
    }

    fn give_back(&self, mut bytes: Vec<u8>) {
        bytes.clear();
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < self.idle_count_max && bytes.capacity() >= self.capacity_bytes {
            idle.push(bytes);
        }
    }
}

impl fmt::Debug for BufferPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BufferPool")
            .field("capacity_bytes", &self.capacity_bytes)
            .finish_non_exhaustive()
    }
}

/// A growing buffer; its memory returns to the pool when it, or the last [`Bytes`] made of it, is dropped.
pub(crate) struct PooledBuffer {
    bytes: Vec<u8>,
    pool: Option<Arc<BufferPool>>,
}

impl PooledBuffer {
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn extend(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Appends zeros, or cuts, to reach a length.
    pub(crate) fn resize(&mut self, len: usize) {
        self.bytes.resize(len, 0);
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    /// Hands the bytes out for sharing, without a copy.
    pub(crate) fn freeze(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for PooledBuffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for PooledBuffer {
    fn drop(&mut self) {
        if let Some(pool) = self.pool.take() {
            pool.give_back(mem::take(&mut self.bytes));
        }
    }
}

impl fmt::Debug for PooledBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PooledBuffer")
            .field("len", &self.bytes.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::poll;

    use super::*;

    #[tokio::test]
    async fn past_the_budget_a_request_waits_and_is_then_refused() {
        let budget = MemoryBudget::new(8 << 10, Duration::from_millis(20));
        let first = budget.reserve(5 << 10).await.unwrap();
        assert_eq!(budget.used_bytes(), 5 << 10);
        assert_eq!(budget.reserve(4 << 10).await.unwrap_err(), OutOfBudget);
        drop(first);
        assert!(
            budget.reserve(usize::MAX).await.is_ok(),
            "one share is at most the whole budget"
        );
    }

    #[tokio::test]
    async fn a_share_grows_if_there_is_room_and_is_divided() {
        let budget = MemoryBudget::new(8 << 10, Duration::from_millis(20));
        let mut share = budget.reserve(5 << 10).await.unwrap();
        assert!(budget.try_reserve(4 << 10).is_none());
        share.merge(budget.try_reserve(3 << 10).unwrap());
        assert_eq!(budget.used_bytes(), 8 << 10);
        let part = share.split((5 << 10) + 1).unwrap();
        let all_left = share.split(6 << 10).unwrap();
        drop(share);
        assert_eq!(budget.used_bytes(), 8 << 10);
        drop(part);
        assert_eq!(budget.used_bytes(), 2 << 10);
        drop(all_left);
        assert_eq!(budget.used_bytes(), 0);
    }

    #[tokio::test]
    async fn one_share_at_a_time_is_enlarged_beyond_the_budget() {
        let budget = MemoryBudget::new(8 << 10, Duration::from_millis(20));
        let mut first = budget.reserve(4 << 10).await.unwrap();
        let mut second = budget.reserve(4 << 10).await.unwrap();
        budget.enlarge(&mut second, 4 << 10).await;
        budget.enlarge(&mut first, 6 << 10).await;
        let mut waiting = Box::pin(budget.enlarge(&mut second, 6 << 10));
        assert!(poll!(&mut waiting).is_pending());
        drop(first);
        waiting.await;
        assert_eq!(budget.used_bytes(), 6 << 10);
        let mut third = budget.reserve(2 << 10).await.unwrap();
        budget.enlarge(&mut third, 3 << 10).await;
        assert_eq!(budget.used_bytes(), 8 << 10);
    }

    #[test]
    fn a_buffer_returns_when_its_last_slice_is_dropped() {
        let pool = BufferPool::new(1000, 1);
        let mut buffer = pool.buffer(900);
        buffer.extend(b"shards");
        let bytes = buffer.freeze();
        let slice = bytes.slice(2..4);
        drop(bytes);
        assert_eq!(pool.idle.lock().unwrap().len(), 0);
        drop(slice);
        assert_eq!(pool.idle.lock().unwrap().len(), 1);
        assert_eq!(pool.buffer(900).len(), 0);
    }
}
