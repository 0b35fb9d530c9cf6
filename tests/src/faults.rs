//! What Cairn's processes log of each kind of fault, as errors and warnings.
//!
//! A test that brings a fault about expects its messages, and any other fails it; a test without faults expects none.
//! Which of a fault's messages come depends on who meets it first. One that ends with `…` stands for all that begin so.

/// The messages of one kind of fault.
pub type Messages = &'static [&'static str];

/// A disk fails, or vanishes, under the process that has it.
pub const DISK_FAILS: Messages = &[
    "disk failed",
    "a disk failed; it is not used until it is back",
    "compaction was interrupted",
];

/// A disk does not answer any more. It may also be replaced by one that does not, which looks like a failed one first.
pub const DISK_HANGS: Messages = &[
    "disk failed",
    "a disk failed; it is not used until it is back",
    "a disk does not answer; it is not used until it does",
    "a disk does not answer; ending without closing it",
];

/// A disk is not there, or cannot be read, when a process starts.
pub const DISK_IS_MISSING: Messages = &["a disk is missing; going on without it"];

/// An empty directory is in the place of a disk when a process starts.
pub const DISK_IS_REPLACED: Messages =
    &["a disk was replaced by an empty one; it will be refilled"];

/// Disks are full.
pub const DISKS_ARE_FULL: Messages = &[
    "a shard could not be written to its disk",
    "shards could not be made again now",
    "write refused",
];

/// Some shards of a chunk cannot be read or written where they belong; the others do.
pub const SHARDS_ARE_AWAY: Messages = &[
    "a shard could not be read",
    "a shard could not be written to its disk",
    "a disk could not be synced; its shards are written elsewhere",
    "a chunk with unsynced shards could not be read again",
    "shards of an unsynced disk could not be made again",
    "shards could not be made again now",
    "staged bytes get their shards later",
    "a storage node does not answer; serving without it",
];

/// So many shards are away that the others do not.
pub const TOO_MANY_SHARDS_ARE_AWAY: Messages = &["object unavailable", "write refused"];

/// Bytes of segments are not those that were written.
pub const BYTES_ARE_FLIPPED: Messages = &[
    "corrupt shard",
    "corrupt shard found by compaction",
    // In what a start reads again, which is the end of each segment.
    "unreadable bytes in segment: cut or stepped over",
];

/// More of a chunk's shards are damaged or gone than it may lack.
pub const CHUNK_IS_LOST: Messages = &[
    "a chunk is lost",
    "a chunk is lost: too many of its shards are bad",
    "shards could not be made again now",
];

/// A process that has disks is killed: what it was writing is cut off when it starts again.
pub const DISK_OWNER_IS_KILLED: Messages = &["unreadable bytes in segment: cut or stepped over"];

/// A gateway is killed: its calls to other processes break off.
pub const GATEWAY_IS_KILLED: Messages = &["request refused"];

/// The metadata service does not answer the gateways.
pub const METADATA_ARE_AWAY: Messages = &[
    "metadata unavailable",
    "a commit of unknown outcome could not be looked for",
    "a damaged chunk could not be enqueued for repair",
    "background work stopped for now",
    "queue depths unavailable",
    "staged bytes get their shards later",
    "the maintenance lease could not be polled",
    "waiting before serving",
];

/// A directory of the metadata is lost under the process that has it: another takes its place, in which time requests
/// fail.
pub const METADATA_DIRECTORY_FAILS: Messages = &[
    "a metadata copy was lost; redundancy is reduced",
    "the metadata database moved to another disk",
    "a metadata read failed",
    "a new metadata copy has to wait",
    "a restored metadata database that is of no use was not removed",
    "no metadata checkpoint could be made",
    "no metadata copy could be made here",
    "old metadata checkpoints were not removed",
    "the metadata database cannot be read to copy it",
    "the metadata database was not flushed; the journal holds the rest",
    "the metadata database was not merged",
    "work on the metadata journal has to wait",
    "metadata unavailable",
    "a commit of unknown outcome could not be looked for",
    "background work stopped for now",
    "cannot write the list of disks",
    "queue depths unavailable",
    "the maintenance lease could not be polled",
];

/// A directory of the metadata is missing or empty when a process starts. (The message is the report of the start, which
/// is no warning as long as nothing is missing.)
pub const METADATA_DIRECTORY_IS_MISSING: Messages = &[
    "opened the metadata store in …",
    "restored the metadata store into …",
    "moved the metadata store back into …",
];

/// A gateway cannot serve yet: not all that it has to know of the others is to be had.
pub const GATEWAY_HAS_TO_WAIT: Messages = &["waiting before serving"];

/// Somebody without the cluster's secret makes a call.
pub const STRANGER_CALLS: Messages = &["request refused"];

/// Several metadata directories are in one temporary directory.
pub const ONE_FILE_SYSTEM: Messages = &[
    "two metadata directories are on one file system: losing it loses both, unless a disk is not mounted",
];
