//! Object versions: put, delete, read, list.
//!
//! Invariants, for each key:
//! - The current object is in `o`, and nothing else is: a key whose newest version is a delete marker has no `o`
//!   record, so that a listing of current objects is one dense scan.
//! - All other versions are in `v`, newest first. Where `o` has no record, the newest in `v`, if any, is a delete
//!   marker.
//! - In a bucket that ever had versioning, every change of a key's versions checks the key's `o` and `h` records by
//!   value, and those `v` records that it relies on: changes of one key exclude each other.
//! - A datum that is no longer referred to is in the deletion queue, by the same commit.

mod change;
mod delete;
mod list;
mod new_object;
mod put;
mod read;

pub use delete::DeleteOutcome;
pub use list::{ListEntry, ListPage, ListRequest};
pub use new_object::NewObject;

pub(crate) use change::KeyChange;
pub(crate) use list::common_prefix;
