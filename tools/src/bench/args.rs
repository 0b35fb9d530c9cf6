//! The command line of `cairn bench`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use super::operation::Operation;
use crate::config::{ByteSize, duration};

/// Measure an S3 endpoint, or a disk.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct BenchArgs {
    #[command(subcommand)]
    pub(super) target: Option<Target>,
    #[command(flatten)]
    pub(super) s3: S3Args,
}

#[derive(Debug, Subcommand)]
pub(super) enum Target {
    /// Measure what the disk below a directory does without Cairn: fdatasync latency, sequential writing.
    Disk(DiskArgs),
}

/// What to run against an S3 endpoint.
#[derive(Debug, Clone, Args)]
pub(crate) struct S3Args {
    /// The endpoint.
    #[arg(long, env = "CAIRN_ENDPOINT", default_value = "http://127.0.0.1:9000")]
    pub(super) endpoint: String,
    /// For https:// endpoints: PEM file with the CA certificates to verify the server with, instead of this machine's.
    #[arg(long, env = "CAIRN_CA_FILE", value_name = "FILE")]
    pub(super) ca_file: Option<PathBuf>,
    /// Access key; also read from `AWS_ACCESS_KEY_ID`.
    #[arg(long, env = "CAIRN_ROOT_ACCESS_KEY")]
    pub(super) access_key: Option<String>,
    /// Secret key; also read from `AWS_SECRET_ACCESS_KEY`.
    #[arg(long, env = "CAIRN_ROOT_SECRET_KEY", hide_env_values = true)]
    pub(super) secret_key: Option<String>,
    /// Region to sign for.
    #[arg(long, env = "CAIRN_REGION", default_value = "us-east-1")]
    pub(super) region: String,
    /// Bucket to use; it is made if it does not exist. Default: a fresh one, removed at the end.
    #[arg(long)]
    pub(super) bucket: Option<String>,
    /// What to measure, in this order.
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["put", "get", "list", "delete"])]
    pub(super) operations: Vec<Operation>,
    /// Object sizes, one sweep each.
    #[arg(long, value_delimiter = ',', default_values = ["4KiB", "64MiB"])]
    pub(super) size: Vec<ByteSize>,
    /// Numbers of requests under way at once, one measurement each.
    #[arg(long, value_delimiter = ',', default_values = ["1", "64"])]
    pub(super) concurrency: Vec<usize>,
    /// How long each measurement takes.
    #[arg(long, value_parser = duration, default_value = "10s")]
    pub(super) duration: Duration,
    /// Requests per measurement, instead of a duration.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) count: Option<u64>,
    /// Runs this long before each measurement, uncounted. (Objects it puts are there to be read.)
    #[arg(long, value_parser = duration, default_value = "1s")]
    pub(super) warm_up: Duration,
    /// Which answers to GET are compared with what was stored.
    #[arg(long, value_enum, default_value_t = Verify::Full)]
    pub(super) verify: Verify,
    /// Payloads follow from it; objects of an earlier run (`--keep`) can be read with the same seed.
    #[arg(long, default_value_t = 1)]
    pub(super) seed: u64,
    /// Threads of this client.
    #[arg(long, default_value_t = 1)]
    pub(super) threads: usize,
    /// Leave bucket and objects.
    #[arg(long)]
    pub(super) keep: bool,
    /// Process of the server on this machine: its CPU time and resident memory are reported.
    #[arg(long)]
    pub(super) server_pid: Option<u32>,
    /// Print JSON instead of a table.
    #[arg(long)]
    pub(super) json: bool,
    /// Write JSON to this file as well.
    #[arg(long)]
    pub(super) json_file: Option<PathBuf>,
    /// Draw throughput and latency over concurrency into this SVG file.
    #[arg(long)]
    pub(super) plot: Option<PathBuf>,
}

/// Which answers are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Verify {
    /// All bytes of all answers.
    Full,
    /// All bytes of every 16th answer, the length of all.
    Sample,
}

/// Which disk to measure.
#[derive(Debug, Clone, Args)]
pub(crate) struct DiskArgs {
    /// A directory on it; files made there are removed again.
    #[arg(long)]
    pub(super) dir: PathBuf,
    /// How much is written sequentially.
    #[arg(long, default_value = "1GiB")]
    pub(super) size: ByteSize,
    /// How many small appends are synced.
    #[arg(long, default_value_t = 1000)]
    pub(super) syncs: u32,
    /// Print JSON instead of a table.
    #[arg(long)]
    pub(super) json: bool,
}
