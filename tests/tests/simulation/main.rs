//! The gateway with its engine and all background work, and the metadata above their key-value contract, in one
//! process from one seed: in virtual time, over disks and metadata that fail as `fault_model` says.
//!
//! Clients put, read, overwrite, delete, copy and upload through the gateway's own HTTP, while disks vanish, hang, fill and
//! rot, calls are lost or late, commits have unknown outcomes, and the process ends and begins anew. Checked is
//! - that each key behaves like one register, a change of unknown outcome having happened at some time or never;
//! - that no read returns bytes that were not written whole under the ETag it tells;
//! - that no answer is one that no fault explains;
//! - that when nothing goes wrong any more and the background work is done, every object can be read and every shard of
//!   it is in its place, no shard is anywhere that nothing names, and nothing waits;
//! - and that when all objects are deleted nothing is left.
//!
//! `CAIRN_SIMULATION_SEEDS=100..400` runs those seeds in place of the usual ones, `CAIRN_SIMULATION_SEEDS=7` replays one
//! and tells every call.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test ends by panicking with the reason, after it has told the seed"
)]

mod checker;
mod clock;
mod fault_model;
mod fault_schedule;
mod history;
mod journal;
mod life;
mod process;
mod run;
mod simulated_disk;
mod simulated_metadata;
mod values;
mod workload;
mod world;

use std::ops::Range;

use run::run;

/// What every change is tested with; about half a minute.
const SEEDS: Range<u64> = 0..100;

/// The seeds to run, and whether one of them is replayed.
fn seeds() -> (Range<u64>, bool) {
    let Ok(wanted) = std::env::var("CAIRN_SIMULATION_SEEDS") else {
        return (SEEDS, false);
    };
    let number = |text: &str| text.parse::<u64>().expect("a seed, or a range as 0..100");
    match wanted.split_once("..") {
        Some((first, end)) => (number(first)..number(end), false),
        None => (number(&wanted)..number(&wanted) + 1, true),
    }
}

#[test]
fn what_was_acknowledged_is_kept_and_nothing_else() {
    let (seeds, is_replay) = seeds();
    let mut failed = Vec::new();
    for seed in seeds {
        let report = run(seed, is_replay);
        if is_replay || (report.failure.is_some() && failed.is_empty()) {
            println!("{}", report.lines.join("\n"));
        }
        if let Some(failure) = report.failure {
            println!(
                "seed {seed} failed: {failure}\nreplay it: CAIRN_SIMULATION_SEEDS={seed} cargo test --package cairn-tests --test simulation"
            );
            failed.push(seed);
        }
    }
    assert!(failed.is_empty(), "failed seeds: {failed:?}");
}

#[test]
fn two_runs_of_a_seed_are_identical() {
    for seed in [1, 2] {
        let [first, second] = [run(seed, true), run(seed, true)];
        let differing = first
            .lines
            .iter()
            .zip(&second.lines)
            .find(|(one, other)| one != other);
        assert_eq!(differing, None, "seed {seed}");
        assert_eq!(first.digest, second.digest, "seed {seed}");
    }
}
