//! What Cairn's processes log of each kind of fault, as errors.
//!
//! A test that brings a fault about expects its errors, and any other fails it. What is handled is warned of, and which
//! warnings a fault brings depends on who meets it first and how far he was: with a fault, all are expected. Without any,
//! neither errors nor warnings are.

/// The messages of one kind of fault.
pub type Messages = &'static [&'static str];

/// A disk fails, or vanishes, under the process that has it.
pub const DISK_FAILS: Messages = &["disk failed"];

/// A disk does not answer any more. It may also be replaced by one that does not, which looks like a failed one first.
pub const DISK_HANGS: Messages = &["disk failed"];

/// A disk is not there, or cannot be read, when a process starts.
pub const DISK_IS_MISSING: Messages = &[];

/// An empty directory is in the place of a disk when a process starts.
pub const DISK_IS_REPLACED: Messages = &[];

/// Disks are full.
pub const DISKS_ARE_FULL: Messages = &["write refused"];

/// Some shards of a chunk cannot be read or written where they belong; the others do.
pub const SHARDS_ARE_AWAY: Messages = &[];

/// So many shards are away that the others do not.
pub const TOO_MANY_SHARDS_ARE_AWAY: Messages = &["object unavailable", "write refused"];

/// Bytes of segments are not those that were written.
pub const BYTES_ARE_FLIPPED: Messages = &[];

/// More of a chunk's shards are damaged or gone than it may lack.
pub const CHUNK_IS_LOST: Messages = &[
    "a chunk is lost",
    "a chunk is lost: too many of its shards are bad",
];

/// A process that has disks is killed: what it was writing is cut off when it starts again.
pub const DISK_OWNER_IS_KILLED: Messages = &[];

/// A gateway is killed: its calls to other processes break off.
pub const GATEWAY_IS_KILLED: Messages = &[];

/// The metadata service does not answer the gateways.
pub const METADATA_ARE_AWAY: Messages = &[];

/// A directory of the metadata is lost under the process that has it: another takes its place, in which time requests
/// fail.
pub const METADATA_DIRECTORY_FAILS: Messages = &[];

/// A directory of the metadata is missing or empty when a process starts.
pub const METADATA_DIRECTORY_IS_MISSING: Messages = &[];

/// A gateway cannot serve yet: not all that it has to know of the others is to be had.
pub const GATEWAY_HAS_TO_WAIT: Messages = &[];

/// Somebody without the cluster's secret makes a call.
pub const STRANGER_CALLS: Messages = &[];

/// Several metadata directories are in one temporary directory.
pub const ONE_FILE_SYSTEM: Messages = &[];
