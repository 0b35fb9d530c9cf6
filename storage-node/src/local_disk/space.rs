//! How much may still be written.

use std::io;
use std::path::Path;

use super::LocalDiskOptions;

/// Below this a disk counts as full: room for one large shard with its header.
pub(super) const FREE_BYTES_MIN: u64 = 5 << 20;

/// Space of a disk at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_field_names, reason = "the unit belongs to the name")]
pub(super) struct Space {
    pub(super) capacity_bytes: u64,
    /// Reserve already taken off.
    pub(super) free_bytes: u64,
    /// Without regard to the reserve: what deletes may use, and [for the most part](Self::for_compaction) compaction.
    pub(super) available_bytes: u64,
}

impl Space {
    /// What compaction may use. It leaves a quarter of the reserve alone, so that tombstones can be written and the index
    /// saved on a full disk while copies are made: the space that they free comes only when all are.
    pub(super) fn for_compaction(self, reserve_bytes: u64) -> u64 {
        self.available_bytes.saturating_sub(reserve_bytes / 4)
    }

    /// What follows for a disk whose segments occupy `used_bytes`.
    pub(super) fn decide(
        options: &LocalDiskOptions,
        found: FileSystemSpace,
        used_bytes: u64,
    ) -> Self {
        let limit = options.capacity_bytes_max.unwrap_or(u64::MAX);
        let available_bytes = found.available.min(limit.saturating_sub(used_bytes));
        Self {
            capacity_bytes: found.total.min(limit),
            free_bytes: available_bytes.saturating_sub(options.reserve_bytes),
            available_bytes,
        }
    }
}

/// What the file system said of itself at one moment, in bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct FileSystemSpace {
    total: u64,
    available: u64,
}

impl FileSystemSpace {
    /// Asks the file system that holds `path`. May wait for it.
    pub(super) fn measure(path: &Path) -> io::Result<Self> {
        let found = rustix::fs::statvfs(path)?;
        Ok(Self {
            total: found.f_blocks.saturating_mul(found.f_frsize),
            available: found.f_bavail.saturating_mul(found.f_frsize),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ClusterId;

    #[test]
    fn the_smaller_of_disk_and_limit_counts_and_the_reserve_is_taken_off() {
        let mut options = LocalDiskOptions::new("/nowhere", ClusterId([0; 16]));
        options.reserve_bytes = 100;
        let found = FileSystemSpace {
            total: 10_000,
            available: 1_000,
        };
        let expected = Space {
            capacity_bytes: 10_000,
            free_bytes: 900,
            available_bytes: 1_000,
        };
        assert_eq!(Space::decide(&options, found, 5_000), expected);
        options.capacity_bytes_max = Some(5_500);
        let expected = Space {
            capacity_bytes: 5_500,
            free_bytes: 400,
            available_bytes: 500,
        };
        assert_eq!(Space::decide(&options, found, 5_000), expected);
        let full = Space::decide(&options, found, 9_000);
        assert_eq!((full.free_bytes, full.for_compaction(100)), (0, 0));
        assert_eq!(expected.for_compaction(100), 475);
    }
}
