//! The wall clock and the source of randomness, read in this one place and passed on as values.

use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds since the Unix epoch.
pub(crate) fn now_ms() -> u64 {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the clock that is passed in elsewhere"
    )]
    let now = SystemTime::now();
    // A clock before 1970 is answered with 0, a clock after the year 584,942,417 with the last moment there is.
    now.duration_since(UNIX_EPOCH)
        .map_or(0, |age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX))
}

/// Random bytes from the operating system.
///
/// # Errors
/// When the operating system has none to give.
pub(crate) fn random_bytes<const N: usize>() -> std::io::Result<[u8; N]> {
    use rand::TryRng as _;
    let mut bytes = [0; N];
    rand::rngs::SysRng
        .try_fill_bytes(&mut bytes)
        .map_err(std::io::Error::other)?;
    Ok(bytes)
}
