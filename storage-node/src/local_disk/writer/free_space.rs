//! Watches the disk: whether it is there, how much may still be written, and what a failed write means.

use std::io;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::ShardError;
use crate::durable_file::{is_full, is_shortage};
use crate::local_disk::space::FREE_BYTES_MIN;
use crate::local_disk::state::DiskState;
use crate::segment::SegmentClass;

use super::Writer;

/// How often the writer looks whether the directory is still there and how much space is left.
pub(super) const CHECK_INTERVAL: Duration = Duration::from_secs(1);

impl Writer {
    /// Once in a while: is the directory still there, how much space is left.
    pub(super) fn check_disk(&mut self) {
        if self.disk.has_failed()
            || self
                .checked_at
                .is_some_and(|at| at.elapsed() < CHECK_INTERVAL)
        {
            return;
        }
        self.checked_at = Some(Instant::now());
        // What it means has been noted.
        if self.disk.check_in_place().is_err() {
            return;
        }
        let is_full = self.save_refused_at.is_some();
        self.disk.is_full.store(is_full, Ordering::Relaxed);
        self.measure_space();
    }

    fn measure_space(&mut self) {
        // An error has been noted by `DiskState::measure_space`, and every request is refused from now on.
        self.free_bytes = self
            .disk
            .measure_space()
            .map_or(0, |space| space.free_bytes);
    }

    /// Refuses a put that would take from the reserve, or that the index has no room for.
    pub(super) fn check_space(&mut self, record_len: u64) -> Result<(), ShardError> {
        if self.save_refused_at.is_some() {
            return Err(self.disk.full_error());
        }
        let needed = record_len.max(FREE_BYTES_MIN);
        if self.free_bytes < needed {
            self.measure_space();
        }
        if self.free_bytes < needed {
            return Err(self.disk.full_error());
        }
        self.free_bytes -= record_len;
        Ok(())
    }

    pub(super) fn zero_ahead(&mut self) {
        if self.disk.has_failed() || self.free_bytes < FREE_BYTES_MIN {
            return;
        }
        let Some(active) = self
            .active
            .get_mut(&SegmentClass::Small)
            .filter(|active| active.wants_zeros())
        else {
            return;
        };
        if let Err(err) = active.zero_ahead() {
            write_error(&self.disk, "zeroing ahead", &err);
        }
    }

    pub(super) fn write_error(&self, what: &str, err: &io::Error) -> ShardError {
        write_error(&self.disk, what, err)
    }
}

/// A full disk is a state that passes, and so is a process that is short of something; any other failed write puts the
/// disk out of service.
pub(super) fn write_error(disk: &DiskState, what: &str, err: &io::Error) -> ShardError {
    if is_full(err) {
        disk.filled_up()
    } else if is_shortage(err) {
        tracing::warn!(disk_id = %disk.disk_id(), error = %err, what, "a write was refused");
        disk.busy_error()
    } else {
        disk.fail_writes(format!("{what}: {err}"))
    }
}
