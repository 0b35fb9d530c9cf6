//! The end of the process, at once.
//!
//! Ordinarily libraries tidy up when a process ends, and RocksDB waits for its threads. One of them may be in a call that
//! a hung disk never answers: then the process would not end. All that must be closed in order has been by then, and the
//! rest needs no tidying.

use std::io::Write as _;

/// Ends the process with this exit code.
#[expect(unsafe_code, reason = "ending at once is a C function")]
pub fn end(exit_code: u8) -> ! {
    // What cannot be printed now was lost anyway.
    drop(std::io::stdout().flush());
    // SAFETY: it takes a number, may be called at any time, and does not return.
    unsafe { libc::_exit(i32::from(exit_code)) }
}
