//! The server processes: parse the configuration, start the log, then run until told to stop.

use crate::command::CommandError;
use crate::config::{
    Effective, GatewayConfig, LogConfig, MetaConfig, Problems, Process, ServeConfig, Sources, StorageNodeConfig,
};
use crate::logging;

/// Runs a process until it is told to stop.
///
/// # Errors
/// Wrong configuration, or what kept the process from starting.
pub fn run(process: Process, sources: &Sources) -> Result<(), CommandError> {
    match process {
        Process::Serve => start(ServeConfig::parse(sources), |config| &config.log).map(drop),
        Process::Gateway => start(GatewayConfig::parse(sources), |config| &config.log).map(drop),
        Process::StorageNode => start(StorageNodeConfig::parse(sources), |config| &config.log).map(drop),
        Process::Meta => start(MetaConfig::parse(sources), |config| &config.log).map(drop),
    }?;
    Err(CommandError::failed("this build has no server processes yet"))
}

/// Starts the log of a process whose configuration is right.
fn start<T>(parsed: Result<(T, Vec<Effective>), Problems>, log: fn(&T) -> &LogConfig) -> Result<T, CommandError> {
    let (config, effective) = parsed?;
    logging::start(log(&config))?;
    logging::effective_configuration(&effective);
    Ok(config)
}
