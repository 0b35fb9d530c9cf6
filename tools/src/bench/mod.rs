//! `cairn bench`: measures any S3 endpoint.
//!
//! One worker per unit of concurrency, each with one connection and one request at a time (a closed loop, so
//! latencies are those at that concurrency and not at a given rate). Payloads are distinct and every answer
//! can be compared with what was stored; see [`payload`].

mod args;
mod disk;
mod keyspace_size;
mod measurement;
mod operation;
mod payload;
mod plot;
mod progress;
mod report;
mod server_process;
mod session;
mod worker;

pub use args::BenchArgs;

use args::Target;

use crate::command::CommandError;

/// Runs the command; results on standard output, progress on standard error.
///
/// # Errors
/// When the endpoint cannot be used, or any measured request failed.
pub fn run(args: BenchArgs) -> Result<(), CommandError> {
    match args.target {
        Some(Target::Disk(disk)) => disk::run(&disk),
        None => runtime(args.s3.threads)?.block_on(session::run(args.s3)),
    }
}

/// The client shares the machine with the server: one thread unless asked for more.
fn runtime(threads: usize) -> Result<tokio::runtime::Runtime, CommandError> {
    let mut builder = match threads {
        0 | 1 => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    builder
        .worker_threads(threads.max(1))
        .enable_all()
        .build()
        .map_err(|error| CommandError::failed(format!("cannot start threads: {error}")))
}
