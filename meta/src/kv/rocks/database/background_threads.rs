//! The threads that flush and compact, which all databases of a process share.

use std::ffi::c_int;
use std::sync::{Mutex, PoisonError};

use rocksdb::Env;

/// How many flushes and compactions of one database run at a time.
pub(super) const BACKGROUND_FLUSH_COUNT: c_int = 1;
pub(super) const BACKGROUND_COMPACTION_COUNT: c_int = 1;

/// Lets RocksDB have one more thread for flushes, and one for compactions. All databases of a process share them, whatever
/// disks they are on, and each counts on one of each kind: a flush that hangs on one disk stops those on all others.
pub(crate) fn add_background_threads() {
    static ADDED_COUNT: Mutex<c_int> = Mutex::new(0);
    let mut added_count = ADDED_COUNT.lock().unwrap_or_else(PoisonError::into_inner);
    match Env::new() {
        Ok(mut env) => {
            *added_count += 1;
            env.set_background_threads(BACKGROUND_COMPACTION_COUNT + *added_count);
            env.set_high_priority_background_threads(BACKGROUND_FLUSH_COUNT + *added_count);
        }
        Err(error) => tracing::error!(%error, "no more threads for RocksDB"),
    }
}
