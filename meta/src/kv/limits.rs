//! What one batch may hold; every backend refuses the same.

use super::{Batch, KEY_LEN_MAX, KvError, VALUE_LEN_MAX, Write};

/// Most bytes of keys and values (checks included) in one batch: several of the largest values, and small
/// enough that a queue of batches fits in memory.
pub const BATCH_BYTES_MAX: usize = 16 << 20;

/// What each check and write counts besides its bytes: no less than its framing takes in any encoding of a
/// batch (a log record, a message), so that one bound holds for all of them.
const RECORD_OVERHEAD_BYTES: usize = 16;

/// Refuses what exceeds the limits, before anything is written.
///
/// # Errors
/// [`KvError::TooLarge`], naming what was too large.
pub fn check_batch_limits(batch: &Batch) -> Result<(), KvError> {
    let mut total_bytes = 0;
    for check in &batch.checks {
        total_bytes +=
            check_record_limits(&check.key, check.expected.as_deref().unwrap_or_default())?;
    }
    for write in &batch.writes {
        total_bytes += match write {
            Write::Put { key, value } => check_record_limits(key, value)?,
            Write::Delete { key } => check_record_limits(key, &[])?,
        };
    }
    refuse_above(BATCH_BYTES_MAX, "batch", total_bytes)
}

/// The size of a record whose parts are within the limits.
fn check_record_limits(key: &[u8], value: &[u8]) -> Result<usize, KvError> {
    refuse_above(KEY_LEN_MAX, "key", key.len())?;
    refuse_above(VALUE_LEN_MAX, "value", value.len())?;
    Ok(key.len() + value.len() + RECORD_OVERHEAD_BYTES)
}

fn refuse_above(limit_bytes: usize, what: &str, size_bytes: usize) -> Result<(), KvError> {
    if size_bytes > limit_bytes {
        return Err(KvError::TooLarge {
            detail: format!("a {what} of {size_bytes} bytes exceeds the limit of {limit_bytes}"),
        });
    }
    Ok(())
}
