//! Buffers that large shards are read into, used again and again.
//!
//! A fresh one costs a page fault for every 4 KiB, and zeroing one that is used again costs a tenth of reading into it. So a
//! buffer keeps its old bytes until they are overwritten: whoever has one shows nothing of it that was not read into it.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;

/// Smaller ones are cheap to make.
const POOLED_BYTES_MIN: usize = 256 << 10;

/// Buffers that wait to be used again take at most this much: those of a few reads of whole chunks.
const IDLE_BYTES_MAX: usize = 24 << 20;

/// They belong to no disk: all disks of a process share them, and their bound.
static IDLE: Idle = Idle::new();

/// A buffer of a length, with anything in it. It returns to be used again when it, or the last [`Bytes`] made of it, is
/// dropped.
#[derive(Debug)]
pub(super) struct ReadBuffer {
    bytes: Vec<u8>,
    len: usize,
}

impl ReadBuffer {
    pub(super) fn new(len: usize) -> Self {
        let bytes = IDLE.take(len).unwrap_or_else(|| vec![0; len]);
        Self { bytes, len }
    }

    pub(super) fn as_mut_slice(&mut self) -> &mut [u8] {
        self.bytes.get_mut(..self.len).unwrap_or_default()
    }

    /// Hands the bytes out for sharing, without a copy.
    pub(super) fn freeze(mut self) -> Bytes {
        if self.bytes.len() < POOLED_BYTES_MIN {
            return Bytes::from(std::mem::take(&mut self.bytes));
        }
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for ReadBuffer {
    fn as_ref(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

impl Drop for ReadBuffer {
    fn drop(&mut self) {
        IDLE.give_back(std::mem::take(&mut self.bytes));
    }
}

/// Buffers of any length, the longest idle one first.
#[derive(Debug)]
struct Idle {
    buffers: Mutex<VecDeque<Vec<u8>>>,
}

impl Idle {
    const fn new() -> Self {
        Self {
            buffers: Mutex::new(VecDeque::new()),
        }
    }

    /// One that is long enough, and at most a quarter longer: readers pay for the length that they asked for. The last used
    /// one that fits: its pages may still be in the processor's cache.
    fn take(&self, len: usize) -> Option<Vec<u8>> {
        if len < POOLED_BYTES_MIN {
            return None;
        }
        let mut buffers = self.buffers.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = |buffer: &Vec<u8>| (len..=len.saturating_add(len / 4)).contains(&buffer.len());
        let index = buffers.iter().rposition(fits)?;
        buffers.remove(index)
    }

    fn give_back(&self, buffer: Vec<u8>) {
        if !(POOLED_BYTES_MIN..=IDLE_BYTES_MAX).contains(&buffer.len()) {
            return;
        }
        let mut freed = Vec::new();
        let mut buffers = self.buffers.lock().unwrap_or_else(PoisonError::into_inner);
        buffers.push_back(buffer);
        let mut idle_bytes: usize = buffers.iter().map(Vec::len).sum();
        while idle_bytes > IDLE_BYTES_MAX {
            let Some(oldest) = buffers.pop_front() else {
                break;
            };
            idle_bytes -= oldest.len();
            freed.push(oldest);
        }
        // Freed when nobody waits for the lock: it is a call to the kernel.
        drop(buffers);
        drop(freed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    fn lengths(idle: &Idle) -> Vec<usize> {
        idle.buffers.lock().unwrap().iter().map(Vec::len).collect()
    }

    #[test]
    fn a_buffer_has_the_length_that_was_asked_for_whichever_it_was_made_of() {
        for len in [0, 1, POOLED_BYTES_MIN - 1, POOLED_BYTES_MIN, 3 * MIB] {
            let mut buffer = ReadBuffer::new(len);
            assert_eq!(buffer.as_mut_slice().len(), len);
            buffer.as_mut_slice().fill(7);
            let bytes = buffer.freeze();
            assert!(bytes.len() == len && bytes.iter().all(|byte| *byte == 7));
        }
        assert_eq!(ReadBuffer::new(2 * MIB).freeze().len(), 2 * MIB);
    }

    #[test]
    fn only_what_fits_is_used_again_and_the_last_of_those() {
        let idle = Idle::new();
        for len in [MIB, MIB + MIB / 4, 2 * MIB] {
            idle.give_back(vec![0; len]);
        }
        assert_eq!(idle.take(MIB).unwrap().len(), MIB + MIB / 4);
        assert_eq!(idle.take(MIB).unwrap().len(), MIB);
        assert!(idle.take(MIB).is_none(), "twice as long");
        assert!(idle.take(3 * MIB).is_none());
        assert_eq!(lengths(&idle), [2 * MIB]);
    }

    #[test]
    fn what_is_idle_is_bounded_and_the_oldest_goes_first() {
        let idle = Idle::new();
        idle.give_back(vec![0; 1]);
        idle.give_back(vec![0; IDLE_BYTES_MAX + 1]);
        assert!(lengths(&idle).is_empty());
        idle.give_back(vec![0; 5 * MIB]);
        for _ in 0..5 {
            idle.give_back(vec![0; 4 * MIB]);
        }
        assert_eq!(lengths(&idle), [4 * MIB; 5]);
        idle.give_back(vec![0; 8 * MIB]);
        assert_eq!(
            lengths(&idle),
            [4 * MIB, 4 * MIB, 4 * MIB, 4 * MIB, 8 * MIB]
        );
    }
}
