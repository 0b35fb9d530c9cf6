//! What the disk does without Cairn: the yardstick for everything durable.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::args::DiskArgs;
use super::measurement::{Tally, float};
use crate::command::CommandError;
use crate::standard_output;

const APPEND_BYTES: usize = 4 << 10;
const WRITE_BYTES: usize = 1 << 20;
/// The sequential run syncs at this interval, as a store does that must not keep its clients waiting.
const SYNC_INTERVAL_BYTES: u64 = 64 << 20;

/// What was found.
#[derive(Debug, Serialize)]
struct DiskResult {
    fdatasync_ms_p50: f64,
    fdatasync_ms_p99: f64,
    fdatasync_ms_max: f64,
    sequential_mebibytes_per_second: f64,
}

/// Measures and prints.
///
/// # Errors
/// What the file system said.
pub(super) fn run(args: &DiskArgs) -> Result<(), CommandError> {
    let failed =
        |error: std::io::Error| CommandError::failed(format!("{}: {error}", args.dir.display()));
    let small = small_appends(&args.dir, args.syncs).map_err(failed)?;
    let sequential = sequential(&args.dir, args.size.0).map_err(failed)?;
    let ms = |duration: Duration| duration.as_secs_f64() * 1e3;
    let result = DiskResult {
        fdatasync_ms_p50: ms(small.latency(0.5)),
        fdatasync_ms_p99: ms(small.latency(0.99)),
        fdatasync_ms_max: ms(small.latency_max()),
        sequential_mebibytes_per_second: float(args.size.0)
            / f64::from(1 << 20)
            / sequential.as_secs_f64().max(1e-9),
    };
    if args.json {
        standard_output::print(&serde_json::json!(result).to_string())
    } else {
        standard_output::print(&text(&result))
    }
}

fn text(result: &DiskResult) -> String {
    format!(
        "append of 4 KiB + fdatasync: p50 {:.3} ms, p99 {:.3} ms, max {:.3} ms\n\
         sequential write with fdatasync every 64 MiB: {:.0} MiB/s",
        result.fdatasync_ms_p50,
        result.fdatasync_ms_p99,
        result.fdatasync_ms_max,
        result.sequential_mebibytes_per_second
    )
}

fn small_appends(dir: &Path, count: u32) -> std::io::Result<Tally> {
    let mut file = scratch_file(dir)?;
    let bytes = incompressible(APPEND_BYTES);
    let mut tally = Tally::default();
    for _ in 0..count {
        file.write_all(&bytes)?;
        let started = Instant::now();
        file.sync_data()?;
        tally.success(started.elapsed(), 0);
    }
    Ok(tally)
}

fn sequential(dir: &Path, size_bytes: u64) -> std::io::Result<Duration> {
    let mut file = scratch_file(dir)?;
    let bytes = incompressible(WRITE_BYTES);
    let mut written_bytes = 0u64;
    let started = Instant::now();
    while written_bytes < size_bytes {
        file.write_all(&bytes)?;
        written_bytes += bytes.len() as u64;
        if written_bytes.is_multiple_of(SYNC_INTERVAL_BYTES) {
            file.sync_data()?;
        }
    }
    file.sync_data()?;
    Ok(started.elapsed())
}

/// A file that has no name, so that nothing is left behind however this ends.
fn scratch_file(dir: &Path) -> std::io::Result<File> {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    rustix::fs::open(dir, flags, Mode::RUSR | Mode::WUSR)
        .map(File::from)
        .map_err(std::io::Error::from)
}

fn incompressible(len: usize) -> Vec<u8> {
    use rand::{Rng as _, SeedableRng as _};
    let mut bytes = vec![0; len];
    rand::rngs::SmallRng::seed_from_u64(1).fill_bytes(&mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left_behind() {
        let dir = tempfile::tempdir().unwrap();
        let tally = small_appends(dir.path(), 3).unwrap();
        assert_eq!(tally.request_count, 3);
        sequential(dir.path(), 3 << 20).unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
