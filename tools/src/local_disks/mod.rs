//! The disks of this machine: recognized by identity, adopted, missed, and opened again when they are back.
//!
//! ```text
//! look (sighting) → read the roster → decide (plan) → adopt → write the roster → open → watch (watcher) → close
//! └──────────────────── survey ───────────────────┘                                       └─── watched ───┘
//! ```
//! The roster is the list of disks that this process has known, kept on each of them. With it a directory that is
//! empty because its disk was replaced can be told from one that was always empty, before anything is written.
//!
//! Invariants: nothing is written to a directory that is neither empty nor a disk of this cluster; a disk that is
//! away is never replaced unless its directory is there and empty, at a start of the process.

mod adopt;
mod error;
mod fstab;
mod mount_point;
mod plan;
mod roster;
mod sighting;
mod slot;
mod survey;
mod watched;
mod watcher;

pub use error::DisksError;
pub(crate) use error::list;

pub(crate) use adopt::{Adopted, AdoptedDisk, adopt};
pub(crate) use plan::{Action, Plan, Tolerance};
pub(crate) use slot::{Slot, SpaceLimits, open_all};
pub(crate) use survey::{Survey, survey};
pub(crate) use watched::WatchedDisks;
