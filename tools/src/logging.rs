//! The log: `tracing` events on standard error, as text for people or JSON for collectors.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

use crate::command::CommandError;
use crate::config::{Effective, LogConfig, LogFormat};

/// Installs the log of this process.
///
/// # Errors
/// When the filter is invalid or a log is installed already.
pub(crate) fn start(config: &LogConfig) -> Result<(), CommandError> {
    let failed = |error: &dyn std::fmt::Display| {
        CommandError::failed(format!("cannot start the log: {error}"))
    };
    let filter = EnvFilter::try_new(&config.filter).map_err(|error| failed(&error))?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let is_terminal = std::io::stderr().is_terminal();
    let is_json = match config.format {
        LogFormat::Auto => !is_terminal,
        LogFormat::Text => false,
        LogFormat::Json => true,
    };
    if is_json {
        builder
            .json()
            .flatten_event(true)
            .with_current_span(true)
            .with_span_list(false)
            .try_init()
            .map_err(|error| failed(&error))
    } else {
        builder
            .with_ansi(is_terminal)
            .try_init()
            .map_err(|error| failed(&error))
    }
}

/// Says what is in force, and since when that is so: one event per setting.
pub(crate) fn effective_configuration(effective: &[Effective]) {
    for line in effective {
        tracing::info!(setting = line.name, value = %line.value, origin = %line.origin, "configuration");
    }
}
