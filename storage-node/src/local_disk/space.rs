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
    /// What copies made by compaction may take.
    pub(super) compaction_bytes: u64,
}

impl Space {
    /// What follows for a disk whose segments occupy `used_bytes`.
    ///
    /// Compaction may use the reserve, also where the limit was lowered so far that it is gone by the figures: what the
    /// copies take beyond the limit comes back with more when all are made, and nothing else would bring the disk below it
    /// again. It leaves a quarter of the reserve alone, so that tombstones can be written and the index saved meanwhile.
    pub(super) fn decide(
        options: &LocalDiskOptions,
        found: FileSystemSpace,
        used_bytes: u64,
    ) -> Self {
        let limit = options.capacity_bytes_max.unwrap_or(u64::MAX);
        let reserve = options.reserve_bytes;
        let available = found.available.min(limit.saturating_sub(used_bytes));
        let with_reserve = available.max(found.available.min(reserve));
        Self {
            capacity_bytes: found.total.min(limit),
            free_bytes: available.saturating_sub(reserve),
            compaction_bytes: with_reserve.saturating_sub(reserve / 4),
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
            compaction_bytes: 975,
        };
        assert_eq!(Space::decide(&options, found, 5_000), expected);
        options.capacity_bytes_max = Some(5_500);
        let expected = Space {
            capacity_bytes: 5_500,
            free_bytes: 400,
            compaction_bytes: 475,
        };
        assert_eq!(Space::decide(&options, found, 5_000), expected);
    }

    #[test]
    fn compaction_has_the_reserve_wherever_the_file_system_has_it() {
        let options = LocalDiskOptions {
            reserve_bytes: 100,
            capacity_bytes_max: Some(5_500),
            ..LocalDiskOptions::new("/nowhere", ClusterId([0; 16]))
        };
        for (available, used, expected) in [
            (1_000, 5_450, 75),
            (1_000, 9_000, 75),
            (60, 9_000, 35),
            (20, 5_000, 0),
        ] {
            let found = FileSystemSpace {
                total: 10_000,
                available,
            };
            let space = Space::decide(&options, found, used);
            assert_eq!((space.free_bytes, space.compaction_bytes), (0, expected));
        }
    }
}
