//! What the whole-system tests share: real `cairn` processes on temporary disks, clients for them, seeded payloads.
//!
//! The tests themselves are in `tests/`, one file per property of the system; each begins with what it shows and how.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    clippy::disallowed_methods,
    reason = "a test ends by panicking with the reason, and its files need not be durable"
)]

pub mod authority;
pub mod cluster;
pub mod damage;
pub mod eventually;
pub mod faults;
pub mod http;
pub mod linearizability;
mod log;
pub mod metrics;
pub mod payload;
pub mod process;
pub mod s3;
pub mod serve;
pub mod sources;
pub mod workload;
