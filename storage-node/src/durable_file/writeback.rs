//! Has the kernel begin to write what it buffers.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd as _;

/// Begins to write these bytes to the disk, so that a later sync finds less to do; makes nothing durable. May wait while
/// the disk's queue is full (`SYNC_FILE_RANGE_WRITE`, see sync_file_range(2)).
#[expect(unsafe_code, reason = "it is a C function")]
pub(super) fn start(file: &File, range: &Range<u64>) -> io::Result<()> {
    let number =
        |value: u64| libc::off64_t::try_from(value).map_err(|_| io::ErrorKind::InvalidInput);
    let (offset, len) = (number(range.start)?, number(range.end - range.start)?);
    // SAFETY: it takes a descriptor, which `file` keeps open, and numbers.
    let result = unsafe {
        libc::sync_file_range(file.as_raw_fd(), offset, len, libc::SYNC_FILE_RANGE_WRITE)
    };
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
