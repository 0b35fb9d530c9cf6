//! What the engine counts. The protocol layer exports it; names and meanings are decided here.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident),* $(,)?) => {
        /// Counts since the start of the process.
        #[derive(Debug, Default)]
        pub(crate) struct Counters {
            $(pub(crate) $name: Counter,)*
        }

        impl Counters {
            /// Name (without prefix and `_total`), meaning and value of each counter.
            pub(crate) fn samples(&self) -> Vec<CounterSample> {
                vec![$(CounterSample {
                    name: stringify!($name),
                    meaning: concat!($($doc),+).trim_ascii(),
                    value: self.$name.value(),
                }),*]
            }
        }
    };
}

counters! {
    /// Bytes of objects and parts that were stored.
    bytes_stored,
    /// Bytes of objects and parts that were read.
    bytes_read,
    /// Chunks written with all their shards.
    chunks_written_whole,
    /// Chunks written with enough shards to acknowledge, but not all.
    chunks_written_reduced,
    /// Small writes that were handed to their commit together with their bytes, whether it succeeded or not.
    writes_staged,
    /// Staged writes that have their shards.
    writes_unstaged,
    /// Shards that were written to another disk than first chosen, because that one failed or was slow.
    shards_replaced,
    /// Writes refused because buffer memory was used up.
    memory_refusals,
    /// Chunks that were decoded from other shards to be read.
    chunks_read_degraded,
    /// Windows: ranges read in small pieces because buffer memory was used up.
    reads_in_windows,
    /// Reads that asked another disk because one was slow.
    reads_hedged,
    /// Shards found corrupt or missing by reads.
    shards_found_bad,
    /// Reads that failed because too few shards were left.
    reads_failed,
    /// Shards made again by repair.
    shards_repaired,
    /// Chunks that repair could not bring back to full redundancy now.
    repairs_postponed,
    /// Data whose shards were deleted from all disks.
    data_deleted,
    /// Deletions put off because a disk was away or a read was in progress.
    deletions_postponed,
    /// Orphaned shards that were deleted.
    orphans_collected,
    /// Chunks whose shards were all verified by the scrub.
    chunks_scrubbed,
    /// Damaged records and shards that background work passed over and left as they are, each time it met one.
    damage_passed_over,
    /// Uncommitted writes whose shards were all deleted without the orphan collector.
    writes_cleaned_up,
    /// Uncommitted writes of which shards were left to the orphan collector.
    writes_left_to_collection,
}

/// One counter.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn increment(&self) {
        self.add(1);
    }

    pub(crate) fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A counter's value with its name and meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CounterSample {
    /// Without the prefix `cairn_engine_` and the ending `_total`.
    pub name: &'static str,
    /// One sentence.
    pub meaning: &'static str,
    /// Since the start of the process.
    pub value: u64,
}

/// The engine's state for monitoring.
#[derive(Debug, Clone)]
pub struct EngineMetrics {
    /// Counts since the start of the process.
    pub counters: Vec<CounterSample>,
    /// Buffer memory in use by writes.
    pub write_memory_used_bytes: u64,
    /// Buffer memory in use by reads.
    pub read_memory_used_bytes: u64,
    /// Bytes in the metadata that wait for their shards, of writes by this process.
    pub staged_bytes: u64,
    /// All disks.
    pub disks: Vec<super::DiskView>,
}
