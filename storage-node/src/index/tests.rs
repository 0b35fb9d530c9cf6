//! An index over its life: opened, written to, dropped and opened again, also when its files are damaged.
#![expect(
    clippy::disallowed_methods,
    reason = "what a test makes and damages need not be durable"
)]

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::lookup::NotCached;
use super::{Index, IndexEntry, LiveShard};
use crate::segment::{Place, RecordShape, SegmentNumber};
use crate::{DataId, DiskId, ShardId};

const DISK: DiskId = DiskId([1; 16]);

fn id(chunk_index: u32) -> ShardId {
    ShardId {
        data_id: DataId([2; 16]),
        chunk_index,
        shard_index: 0,
    }
}

fn live(number: u32) -> LiveShard {
    LiveShard {
        place: Place {
            segment: SegmentNumber(1),
            offset: u64::from(number) * 4096,
        },
        lsn: u64::from(number),
        written_at_ms: 0,
        shape: RecordShape {
            descriptor_len: 0,
            payload_len: 100,
        },
        stale: Vec::new(),
    }
}

#[test]
fn an_index_with_a_file_lost_is_started_anew() {
    for lost in ["MANIFEST-", ".sst"] {
        let dir = tempfile::tempdir().unwrap();
        let (index, state) = Index::open(dir.path(), DISK, 1 << 20).unwrap();
        index.set_pending([(id(0), Some(IndexEntry::Live(live(0))))]);
        index.save_pending(DISK, &state, &[]).unwrap();
        index.flush().unwrap();
        drop(index);
        let files = std::fs::read_dir(Index::directory(dir.path())).unwrap();
        let mut files = files.map(|entry| entry.unwrap().path());
        let is_lost = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().contains(lost);
        std::fs::remove_file(files.find(is_lost).unwrap()).unwrap();
        let (index, _) = Index::open(dir.path(), DISK, 1 << 20).unwrap();
        assert_eq!(index.live(id(0)).unwrap(), None);
    }
}

#[test]
fn an_index_that_cannot_be_removed_says_why() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::File::create(Index::directory(dir.path())).unwrap();
    let refused = Index::open(dir.path(), DISK, 1 << 20).map(drop);
    let refused = refused.unwrap_err().to_string();
    let directory = Index::directory(dir.path());
    assert!(
        refused.starts_with(directory.to_str().unwrap()),
        "{refused}"
    );
    assert!(refused.contains("Not a directory"), "{refused}");
}

#[test]
fn an_index_that_cannot_be_read_is_left_alone() {
    // One of which nobody can tell whether it is there, and one that can be opened and not read.
    for unreadable in ["CURRENT", "/proc/self/mem"] {
        let dir = tempfile::tempdir().unwrap();
        let (index, state) = Index::open(dir.path(), DISK, 1 << 20).unwrap();
        index.set_pending([(id(0), Some(IndexEntry::Live(live(0))))]);
        index.save_pending(DISK, &state, &[]).unwrap();
        index.flush().unwrap();
        drop(index);
        let current = Index::directory(dir.path()).join("CURRENT");
        let aside = current.with_extension("aside");
        std::fs::rename(&current, &aside).unwrap();
        std::os::unix::fs::symlink(unreadable, &current).unwrap();
        let refused = Index::open(dir.path(), DISK, 1 << 20).map(drop);
        let refused = refused.unwrap_err();
        assert!(!refused.is_damage(), "{refused}");
        std::fs::remove_file(&current).unwrap();
        std::fs::rename(&aside, &current).unwrap();
        let (index, _) = Index::open(dir.path(), DISK, 1 << 20).unwrap();
        assert_eq!(index.live(id(0)).unwrap(), Some(live(0)));
    }
}

#[test]
fn an_index_that_somebody_has_open_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (index, state) = Index::open(dir.path(), DISK, 1 << 20).unwrap();
    let refused = Index::open(dir.path(), DISK, 1 << 20)
        .map(drop)
        .unwrap_err();
    assert!(!refused.is_damage(), "{refused}");
    index.set_pending([(id(0), Some(IndexEntry::Live(live(0))))]);
    index.save_pending(DISK, &state, &[]).unwrap();
    index.flush().unwrap();
    drop(index);
    let (index, _) = Index::open(dir.path(), DISK, 1 << 20).unwrap();
    assert_eq!(index.live(id(0)).unwrap(), Some(live(0)));
}

#[test]
fn nothing_is_written_when_an_index_is_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let (index, state) = Index::open(dir.path(), DISK, 1 << 20).unwrap();
    index.set_pending([(id(0), Some(IndexEntry::Live(live(0))))]);
    index.save_pending(DISK, &state, &[]).unwrap();
    let files = || {
        let entries = std::fs::read_dir(Index::directory(dir.path())).unwrap();
        let entries = entries.map(|entry| entry.unwrap());
        let files = entries.map(|file| (file.file_name(), file.metadata().unwrap().len()));
        files.collect::<BTreeMap<_, _>>()
    };
    let before = files();
    drop(index);
    assert_eq!(files(), before);
}

#[test]
fn what_is_not_in_memory_is_not_looked_for_on_the_disk_unless_one_may_wait() {
    let dir = tempfile::tempdir().unwrap();
    let (index, state) = Index::open(dir.path(), DISK, 1 << 20).unwrap();
    // Many blocks: opening reads the first one, for the statistics.
    let numbers = 0..1000;
    index.set_pending(numbers.map(|n| (id(n), Some(IndexEntry::Live(live(n))))));
    assert_eq!(index.live_cached(id(999)), Ok(Some(live(999))));
    index.save_pending(DISK, &state, &[]).unwrap();
    assert_eq!(index.live_cached(id(999)), Ok(Some(live(999))));
    index.flush().unwrap();
    drop(index);

    let (index, _) = Index::open(dir.path(), DISK, 1 << 20).unwrap();
    assert_eq!(index.live_cached(id(999)), Err(NotCached));
    assert_eq!(index.live(id(999)).unwrap(), Some(live(999)));
    assert_eq!(index.live_cached(id(999)), Ok(Some(live(999))));
}
