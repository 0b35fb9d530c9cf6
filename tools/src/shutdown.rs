//! When to stop: SIGTERM or SIGINT.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::command::CommandError;
use crate::process_end;

/// A token that is cancelled by the first SIGTERM or SIGINT; the second SIGINT ends the process at once, as a
/// person at a terminal expects.
///
/// # Errors
/// When the handlers cannot be installed.
pub(crate) fn on_signal() -> Result<CancellationToken, CommandError> {
    let failed = |error| CommandError::failed(format!("cannot listen for signals: {error}"));
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let stop = CancellationToken::new();
    let token = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => tracing::info!(signal = "SIGTERM", "stopping"),
            _ = interrupt.recv() => tracing::info!(signal = "SIGINT", "stopping"),
        }
        token.cancel();
        interrupt.recv().await;
        tracing::warn!("second SIGINT: ending without finishing running requests");
        process_end::end(1);
    });
    Ok(stop)
}
