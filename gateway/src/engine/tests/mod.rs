//! The engine as its callers see it, on disks in memory that fail on command.
//!
//! Chunks are 4,000 bytes here and small ones 300, so that every border is met with little data; deadlines are
//! short, so that hanging disks cost fractions of a second.

#![expect(
    clippy::cast_possible_truncation,
    reason = "test inputs are small numbers"
)]

mod abandoned;
mod background;
mod cluster;
mod damaged_records;
mod failing_disks;
mod garbage;
mod repairs;
mod round_trips;
mod slow_clients;
mod staging;
