//! The command line `cairn`, as a library: server processes, administration, measurement.
//!
//! This crate wires the parts together and knows all of them; none of them knows it. What it promises: a
//! configuration is either right or refused with all its problems, a process that is told to stop finishes what
//! it has begun, results go to standard output and everything else to standard error, and exit codes are 0
//! (done), 1 (failed), 2 (wrong usage).
//!
//! - [`config`]: settings from file, environment and flags.
//! - [`serve`]: everything in one process, step by step; tests start it in theirs.
//! - [`processes`]: the other server processes, and what all have in common.
//! - [`admin`]: users, keys, state of the cluster, through a gateway.
//! - `rebuild`: metadata from the shards' descriptors, when all copies are lost.
//! - [`mod@bench`]: measures any S3 endpoint.
//!
//! It must not know: how requests are answered, shards coded, or records stored.

pub mod admin;
mod aside;
pub mod bench;
pub mod cli;
mod command;
pub mod config;
mod durable_file;
mod host_name;
mod local_disks;
mod logging;
mod open_files;
mod private_files;
mod process_end;
pub mod processes;
mod rebuild;
mod s3_client;
pub mod serve;
mod shutdown;
mod standard_output;

pub use command::CommandError;
pub use local_disks::DisksError;
pub use process_end::end;
