//! System calls that fail on command, as a disk does that tears, fills or lies.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, IoSlice};
use std::ops::Range;
use std::os::unix::fs::MetadataExt as _;
use std::sync::Mutex;

use rustix::fs::FallocateFlags;
use rustix::io::Errno;

use super::*;

/// What goes wrong, once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CallFault {
    /// The next sync fails. The pages reach the disk later all the same.
    SyncKeepsPages,
    /// The next sync fails, and what was written since the last one is gone, as after a failed write-back.
    SyncLosesPages,
    /// Writing ahead of the next sync fails.
    Writeback(Errno),
    /// The next write (of records: zeros ahead of them do not count) takes only so many bytes, and the one after it
    /// fails.
    WriteStopsAfter(usize, Errno),
    /// The next write of at least so many bytes fails and writes nothing.
    LongWrite(usize, Errno),
    /// The next allocation fails.
    Allocation(Errno),
    /// The next read by a scan fails.
    Read(Errno),
    /// The next allocation panics.
    AllocationPanics,
}

/// The real calls, until a fault is set.
#[derive(Debug, Default)]
pub(super) struct FaultyCalls(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    fault: Option<CallFault>,
    /// The write that follows a short one fails so.
    next_write_fails: Option<Errno>,
    /// Bytes that writes since the last sync replaced: offset and old content.
    replaced: VecDeque<(u64, Vec<u8>)>,
    /// What cannot be read: a file's inode and a part of it.
    unreadable: Option<(u64, Range<u64>)>,
    /// How many calls changed the file or synced it since a sync failed.
    calls_after_failed_sync: Option<u64>,
}

impl FaultyCalls {
    pub(super) fn set(&self, fault: CallFault) {
        self.0.lock().unwrap().fault = Some(fault);
    }

    /// No byte of `range` can be read any more.
    pub(super) fn set_unreadable(&self, path: &Path, range: Range<u64>) {
        let inode = std::fs::metadata(path).unwrap().ino();
        self.0.lock().unwrap().unreadable = Some((inode, range));
    }

    /// Whether the fault has happened.
    pub(super) fn has_struck(&self) -> bool {
        let state = self.0.lock().unwrap();
        state.fault.is_none() && state.next_write_fails.is_none()
    }

    /// How many writes were not synced yet.
    pub(super) fn unsynced_count(&self) -> usize {
        self.0.lock().unwrap().replaced.len()
    }

    /// How many calls were made after a sync failed; `None` if none did.
    pub(super) fn calls_after_failed_sync(&self) -> Option<u64> {
        self.0.lock().unwrap().calls_after_failed_sync
    }
}

impl State {
    fn count_call(&mut self) {
        if let Some(count) = &mut self.calls_after_failed_sync {
            *count += 1;
        }
    }

    /// Takes the fault if it is one that this call suffers.
    fn take(&mut self, hits: impl Fn(CallFault) -> bool) -> Option<CallFault> {
        self.fault.take_if(|fault| hits(*fault))
    }

    fn remember(&mut self, file: &File, offset: u64, len: usize) {
        let mut old = vec![0; len];
        let found = std::os::unix::fs::FileExt::read_at(file, &mut old, offset).unwrap();
        old[found..].fill(0);
        self.replaced.push_front((offset, old));
    }
}

impl FileCalls for FaultyCalls {
    fn write(&self, file: &File, parts: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        let mut state = self.0.lock().unwrap();
        state.count_call();
        let bytes: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
        if bytes.iter().all(|byte| *byte == 0) {
            state.remember(file, offset, bytes.len());
            return SystemCalls.write(file, &[IoSlice::new(&bytes)], offset);
        }
        if let Some(errno) = state.next_write_fails.take() {
            return Err(errno.into());
        }
        let is_long =
            |fault| matches!(fault, CallFault::LongWrite(least, _) if bytes.len() >= least);
        if let Some(CallFault::LongWrite(_, errno)) = state.take(is_long) {
            return Err(errno.into());
        }
        let taken = state.take(|fault| matches!(fault, CallFault::WriteStopsAfter(..)));
        let mut len = bytes.len();
        if let Some(CallFault::WriteStopsAfter(most, errno)) = taken {
            state.next_write_fails = Some(errno);
            len = len.min(most);
        }
        if len == 0 {
            return Err(state.next_write_fails.take().unwrap().into());
        }
        state.remember(file, offset, len);
        SystemCalls.write(file, &[IoSlice::new(&bytes[..len])], offset)
    }

    fn read(&self, file: &File, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut state = self.0.lock().unwrap();
        if let Some(CallFault::Read(errno)) =
            state.take(|fault| matches!(fault, CallFault::Read(_)))
        {
            return Err(errno.into());
        }
        if let Some((inode, range)) = &state.unreadable
            && file.metadata().unwrap().ino() == *inode
            && offset < range.end
            && range.start < offset + buf.len() as u64
        {
            return Err(Errno::IO.into());
        }
        SystemCalls.read(file, buf, offset)
    }

    fn start_writeback(&self, file: &File, range: &Range<u64>) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        match state.take(|fault| matches!(fault, CallFault::Writeback(_))) {
            Some(CallFault::Writeback(errno)) => Err(errno.into()),
            _ => SystemCalls.start_writeback(file, range),
        }
    }

    fn sync_data(&self, file: &File) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        state.count_call();
        let taken = state
            .take(|fault| matches!(fault, CallFault::SyncKeepsPages | CallFault::SyncLosesPages));
        let Some(fault) = taken else {
            state.replaced.clear();
            return SystemCalls.sync_data(file);
        };
        if fault == CallFault::SyncLosesPages {
            for (offset, old) in state.replaced.drain(..) {
                std::os::unix::fs::FileExt::write_all_at(file, &old, offset).unwrap();
            }
        }
        state.calls_after_failed_sync = Some(0);
        Err(Errno::IO.into())
    }

    fn truncate(&self, file: &File, len: u64) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        state.count_call();
        state.replaced.clear();
        SystemCalls.truncate(file, len)
    }

    fn allocate(&self, file: &File, flags: FallocateFlags, range: Range<u64>) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        state.count_call();
        let hits = |fault| {
            matches!(
                fault,
                CallFault::Allocation(_) | CallFault::AllocationPanics
            )
        };
        match state.take(hits) {
            Some(CallFault::Allocation(errno)) => Err(errno.into()),
            Some(CallFault::AllocationPanics) => {
                drop(state);
                panic!("injected")
            }
            _ => SystemCalls.allocate(file, flags, range),
        }
    }
}
