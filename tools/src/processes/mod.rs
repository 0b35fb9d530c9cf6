//! The server processes: parse the configuration, start the log, start the parts, run until told to stop.

mod coding_choice;
mod condition;
mod gateway;
mod internal_server;
mod meta;
mod operator_service;
mod storage_node;

use std::future::Future;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::command::CommandError;
use crate::config::{
    Effective, GatewayConfig, LogConfig, MetaConfig, Problems, Process, ServeConfig, Sources,
    StorageNodeConfig,
};
use crate::open_files::raise_open_files_limit;
use crate::private_files::keep_files_private;
use crate::{logging, serve, shutdown, standard_output};

/// Runs a process until it is told to stop.
///
/// # Errors
/// Wrong configuration, what kept the process from starting, or what ended it.
pub fn run(process: Process, sources: &Sources) -> Result<(), CommandError> {
    match process {
        Process::Serve => {
            let config = start(ServeConfig::parse(sources), |config| &config.log)?;
            block_on(|stop| serve_until(config, stop))
        }
        Process::Gateway => {
            let config = start(GatewayConfig::parse(sources), |config| &config.log)?;
            block_on(|stop| gateway::run(config, stop))
        }
        Process::StorageNode => {
            let config = start(StorageNodeConfig::parse(sources), |config| &config.log)?;
            block_on(|stop| storage_node::run(config, stop))
        }
        Process::Meta => {
            let config = start(MetaConfig::parse(sources), |config| &config.log)?;
            block_on(|stop| meta::run(config, stop))
        }
    }
}

/// How long the end of a process waits for calls that nobody waits for any more.
const STUCK_CALLS_TIMEOUT: Duration = Duration::from_secs(1);

/// Starts the log of a process whose configuration is right, raises its limit of open files, and keeps what it will write
/// from other users.
fn start<T>(
    parsed: Result<(T, Vec<Effective>), Problems>,
    log: fn(&T) -> &LogConfig,
) -> Result<T, CommandError> {
    let (config, effective) = parsed?;
    logging::start(log(&config))?;
    logging::effective_configuration(&effective);
    raise_open_files_limit();
    keep_files_private();
    Ok(config)
}

/// Runs `work` in a runtime of its own, with a token that SIGTERM and SIGINT cancel.
fn block_on<F: Future<Output = Result<(), CommandError>>>(
    work: impl FnOnce(CancellationToken) -> F,
) -> Result<(), CommandError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let runtime =
        runtime.map_err(|error| CommandError::failed(format!("cannot start threads: {error}")))?;
    let result = runtime.block_on(async {
        let stop = shutdown::on_signal()?;
        work(stop).await
    });
    // All that must end in order has ended: what is still in a call is in one that its disk does not answer.
    runtime.shutdown_timeout(STUCK_CALLS_TIMEOUT);
    result
}

async fn serve_until(config: ServeConfig, stop: CancellationToken) -> Result<(), CommandError> {
    let mut server = tokio::select! {
        started = serve::start(&config) => started?,
        // Nothing is half-done by a start that is dropped: the next one goes on from what is on the disks.
        () = stop.cancelled() => return Ok(()),
    };
    say(&server.welcome(&config).text());
    let failure = tokio::select! {
        error = server.failed() => Some(error),
        () = stop.cancelled() => None,
    };
    server.stop().await;
    match failure {
        Some(error) => Err(error.into()),
        None => Ok(()),
    }
}

/// Prints for the person, or the script, that started the process.
fn say(text: &str) {
    if let Err(error) = standard_output::write(text) {
        // A closed standard output is no reason not to serve.
        tracing::debug!(%error, "nobody is told where this process listens");
    }
}
