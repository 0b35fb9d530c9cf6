//! Work that waits for disks, done beside the async threads: whoever waits for it can still be told to stop.

/// Does `work` on a thread that may wait, and returns what came of it.
///
/// Dropping the future does not end the work. A panic goes on in the caller.
pub(crate) async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Only the end of the runtime cancels it, and then nobody waits any more.
            Err(_) => std::future::pending().await,
        },
    }
}
