//! Waiting for what a running system does by and by.

use std::time::{Duration, Instant};

/// Larger than any wait should take, on a machine that compiles or runs other tests at the same time.
pub const PATIENCE: Duration = Duration::from_mins(1);
/// Between two attempts.
const INTERVAL: Duration = Duration::from_millis(50);

/// Repeats `attempt` until it succeeds; its last error is what the test fails with.
///
/// # Panics
/// If it has not succeeded within [`PATIENCE`].
pub async fn eventually<T>(what: &str, attempt: impl AsyncFnMut() -> Result<T, String>) -> T {
    eventually_within(PATIENCE, what, attempt).await
}

/// As [`eventually`], for what may take longer.
///
/// # Panics
/// If it has not succeeded within `patience`.
pub async fn eventually_within<T>(
    patience: Duration,
    what: &str,
    mut attempt: impl AsyncFnMut() -> Result<T, String>,
) -> T {
    let deadline = Instant::now() + patience;
    loop {
        match attempt().await {
            Ok(value) => return value,
            Err(missing) => assert!(Instant::now() < deadline, "{what}: {missing}"),
        }
        tokio::time::sleep(INTERVAL).await;
    }
}
