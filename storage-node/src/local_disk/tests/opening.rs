//! Opening a disk: what it costs on one with many segments, and what it may rely on.

use std::fs::File;
use std::io::{self, IoSlice};
use std::sync::atomic::AtomicUsize;

use rustix::fs::FallocateFlags;

use super::faulty_calls::{CallFault, FaultyCalls};
use super::*;
use crate::index::Index;

/// A closed disk on which each shard has a segment of its own.
async fn disk_of_segments(count: u32) -> (TestDisk, LocalDiskOptions) {
    let dir = TestDisk::in_memory();
    let options = LocalDiskOptions {
        segment_size_bytes: 1,
        ..dir.options()
    };
    let disk = LocalDisk::open(options.clone()).unwrap();
    for number in 0..count {
        put(&disk, number, 1000).await;
    }
    disk.close().await.unwrap();
    drop(disk);
    assert_eq!(dir.segments().len(), count as usize);
    (dir, options)
}

/// The real calls; notes how many segments this process has open whenever one is made, and how much scans read.
#[derive(Debug, Default)]
struct CountingCalls {
    directory: PathBuf,
    open_count_max: AtomicUsize,
    bytes_read: AtomicUsize,
}

impl CountingCalls {
    fn look(&self) {
        let open = std::fs::read_dir("/proc/self/fd").unwrap();
        let open_count = open
            .filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok())
            .filter(|path| path.starts_with(&self.directory))
            .count();
        self.open_count_max.fetch_max(open_count, Ordering::Relaxed);
    }
}

impl FileCalls for CountingCalls {
    fn read(&self, file: &File, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let len = SystemCalls.read(file, buf, offset)?;
        self.bytes_read.fetch_add(len, Ordering::Relaxed);
        Ok(len)
    }

    fn write(&self, file: &File, parts: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        self.look();
        SystemCalls.write(file, parts, offset)
    }

    fn sync_data(&self, file: &File) -> io::Result<()> {
        self.look();
        SystemCalls.sync_data(file)
    }

    fn truncate(&self, file: &File, len: u64) -> io::Result<()> {
        self.look();
        SystemCalls.truncate(file, len)
    }

    fn allocate(&self, file: &File, flags: FallocateFlags, range: Range<u64>) -> io::Result<()> {
        self.look();
        SystemCalls.allocate(file, flags, range)
    }
}

#[tokio::test]
async fn a_disk_of_many_segments_is_opened_with_few_descriptors() {
    let (dir, options) = disk_of_segments(200).await;
    for has_index in [true, false] {
        if !has_index {
            dir.drop_index();
        }
        let calls = Arc::new(CountingCalls {
            directory: dir.path().join("segments"),
            ..CountingCalls::default()
        });
        let opened = LocalDisk::open_with(options.clone(), Arc::clone(&calls) as _).unwrap();
        opened.close().await.unwrap();
        let open_count_max = calls.open_count_max.load(Ordering::Relaxed);
        assert!((1..140).contains(&open_count_max), "{open_count_max}");
    }
}

#[tokio::test]
async fn the_index_is_written_once_per_segment_at_a_rebuild_and_never_after_a_clean_end() {
    let (dir, options) = disk_of_segments(100).await;
    dir.drop_index();
    let disk = LocalDisk::open(options.clone()).unwrap();
    assert_eq!(counter(&disk, "recovered_count").await, 100);
    // An entry and the statistics of each segment, and headers.
    let rebuilt = disk.disk.index.written_count();
    assert!((200..=210).contains(&rebuilt), "{rebuilt}");
    disk.close().await.unwrap();
    let closed = disk.disk.index.written_count();
    drop(disk);
    let disk = LocalDisk::open(options).unwrap();
    assert_eq!(disk.disk.index.written_count(), closed);
}

#[tokio::test]
async fn a_rebuild_reads_little_of_large_shards() {
    let dir = TestDisk::in_memory();
    let options = LocalDiskOptions {
        segment_size_bytes: 4 << 20,
        ..dir.options()
    };
    let disk = LocalDisk::open(options.clone()).unwrap();
    for number in 0..8 {
        put(&disk, number, 1 << 20).await;
    }
    disk.close().await.unwrap();
    drop(disk);
    dir.drop_index();
    let calls = Arc::new(CountingCalls::default());
    let disk = LocalDisk::open_with(options, Arc::clone(&calls) as _).unwrap();
    assert_eq!(counter(&disk, "recovered_count").await, 8);
    // The two of the last segment are verified; before each of them one window is read.
    let verified = 2 * ((1 << 20) + (64 << 10) + 1000);
    let stepped_over = calls.bytes_read.load(Ordering::Relaxed) - verified;
    // One window for each of the two other segments, and a few KiB for each record behind the first.
    assert!(
        stepped_over < 2 * (64 << 10) + 6 * (8 << 10),
        "{stepped_over}"
    );
}

#[tokio::test]
async fn the_index_learns_nothing_that_recovery_could_not_make_durable() {
    let dir = TestDisk::in_memory();
    let disk = dir.open();
    let disk_id = disk.disk_id();
    put(&disk, 0, 1000).await;
    let left_by_a_crash = dir.copy_without_index();
    let calls = Arc::new(FaultyCalls::default());
    calls.set(CallFault::SyncKeepsPages);
    let refused = LocalDisk::open_with(left_by_a_crash.clone(), Arc::clone(&calls) as _);
    assert!(matches!(refused, Err(OpenError::Io { .. })), "{refused:?}");
    let (index, log) = Index::open(&left_by_a_crash.path, disk_id, 1 << 20).unwrap();
    assert_eq!((log.stats.len(), index.live(id(0)).unwrap()), (0, None));
    drop(index);
    let disk = LocalDisk::open(left_by_a_crash).unwrap();
    assert_eq!(read_whole(&disk, 0).await.unwrap(), payload(0, 0, 1000));
}

#[tokio::test]
async fn nothing_is_appended_below_a_segment_whose_header_is_damaged() {
    // Half a segment; then one of its own for the rest.
    const SIZES: [usize; 4] = [30_000, 40_000, 5_000, 6_000];
    let dir = TestDisk::in_memory();
    let options = LocalDiskOptions {
        segment_size_bytes: 64 << 10,
        ..dir.options()
    };
    let disk = LocalDisk::open(options.clone()).unwrap();
    for (number, len) in (0..).zip(SIZES) {
        put(&disk, number, len).await;
    }
    disk.close().await.unwrap();
    drop(disk);
    assert_eq!(dir.segments().len(), 2);
    damage::flip(&dir.segments()[1], 20);

    let disk = LocalDisk::open(options.clone()).unwrap();
    // Nor to that one.
    assert!(disk.disk.bookkeeping().active.is_empty());
    // Now most of the damaged one is garbage, and what is left is copied.
    disk.delete(&[id(1)]).await.unwrap();
    disk.compact().await.unwrap();
    assert!(counter(&disk, "compacted_bytes").await > 0);
    let copy = LocalDisk::open(LocalDiskOptions {
        segment_size_bytes: options.segment_size_bytes,
        ..dir.copy_without_index()
    });
    for disk in [disk, copy.unwrap()] {
        for number in [0, 2, 3] {
            let expected = payload(number, 0, SIZES[number as usize]);
            assert_eq!(read_whole(&disk, number).await.unwrap(), expected);
        }
        assert!(disk.stat(id(1)).await.unwrap().is_none());
    }
}

#[tokio::test]
async fn a_bad_sector_costs_the_shards_whose_headers_it_holds() {
    let dir = TestDisk::in_memory();
    let options = LocalDiskOptions {
        segment_size_bytes: 64 << 10,
        ..dir.options()
    };
    let disk = LocalDisk::open(options.clone()).unwrap();
    for number in 0..10 {
        put(&disk, number, 10_000).await;
    }
    disk.close().await.unwrap();
    drop(disk);
    dir.drop_index();
    let calls = Arc::new(FaultyCalls::default());
    // The end of the first payload, and the second header.
    calls.set_unreadable(&dir.segments()[0], 8192..12_288);
    let disk = LocalDisk::open_with(options, calls).unwrap();
    let listed = disk.list(None, 100).await.unwrap().shards;
    let listed: Vec<u32> = listed.iter().map(|stat| stat.id.chunk_index).collect();
    assert_eq!(listed, [0, 2, 3, 4, 5, 6, 7, 8, 9]);
}

/// Shards that fill several segments of 64 KiB of both classes: every third is large.
const MIXED: Range<u32> = 0..15;

fn mixed_len(number: u32) -> usize {
    if number % 3 == 2 { 70_000 } else { 10_000 }
}

/// A closed disk with the shards [`MIXED`] and no index.
async fn mixed_disk() -> (TestDisk, LocalDiskOptions) {
    let dir = TestDisk::in_memory();
    let options = LocalDiskOptions {
        segment_size_bytes: 64 << 10,
        ..dir.options()
    };
    let disk = LocalDisk::open(options.clone()).unwrap();
    for number in MIXED {
        put(&disk, number, mixed_len(number)).await;
    }
    disk.close().await.unwrap();
    drop(disk);
    dir.drop_index();
    (dir, options)
}

async fn assert_mixed(disk: &LocalDisk) {
    for number in MIXED {
        let found = read_whole(disk, number).await.unwrap();
        assert_eq!(found, payload(number, 0, mixed_len(number)), "{number}");
    }
}

#[tokio::test]
async fn shards_that_could_not_be_read_while_the_index_was_rebuilt_are_never_removed() {
    let (dir, options) = mixed_disk().await;
    let first = dir.segments()[0].clone();
    for unreadable in [64..u64::MAX, 8192..12_288] {
        let calls = Arc::new(FaultyCalls::default());
        calls.set_unreadable(&first, unreadable);
        let disk = LocalDisk::open_with(options.clone(), calls).unwrap();
        disk.compact().await.unwrap();
        disk.close().await.unwrap();
        drop(disk);
        assert!(first.exists());

        // Now they can be read.
        let disk = LocalDisk::open(options.clone()).unwrap();
        disk.compact().await.unwrap();
        assert_mixed(&disk).await;
        disk.close().await.unwrap();
        drop(disk);
        dir.drop_index();
    }
}

#[tokio::test]
async fn what_could_not_be_read_does_not_win_over_what_was_written_since() {
    let (dir, options) = mixed_disk().await;
    let calls = Arc::new(FaultyCalls::default());
    // Of these segments the highest sequence numbers are unknown.
    calls.set_unreadable(&dir.segments()[0], 64..u64::MAX);
    let disk = LocalDisk::open_with(options.clone(), calls).unwrap();
    assert!(disk.stat(id(0)).await.unwrap().is_none());
    let next_lsn = disk.disk.bookkeeping().log.next_lsn;
    assert!(next_lsn > u64::from(u32::MAX), "{next_lsn}");
    disk.put(shard(0, 1, 10), Durability::Synced).await.unwrap();
    disk.close().await.unwrap();
    drop(disk);
    let disk = LocalDisk::open(options).unwrap();
    assert_eq!(read_whole(&disk, 0).await.unwrap(), payload(0, 1, 10));
}

#[tokio::test]
async fn a_shard_stays_deleted_whose_records_could_not_be_read_for_a_while() {
    let dir = TestDisk::in_memory();
    let disk = dir.open();
    for number in 0..5 {
        put(&disk, number, 10_000).await;
    }
    disk.close().await.unwrap();
    drop(disk);
    // From now on each record has a segment of its own, the tombstone as well.
    let options = LocalDiskOptions {
        segment_size_bytes: 1,
        ..dir.options()
    };
    let disk = LocalDisk::open(options.clone()).unwrap();
    disk.delete(&[id(0)]).await.unwrap();
    put(&disk, 5, 10_000).await;
    disk.close().await.unwrap();
    drop(disk);
    dir.drop_index();
    let calls = Arc::new(FaultyCalls::default());
    calls.set_unreadable(&dir.segments()[0], 64..u64::MAX);
    let disk = LocalDisk::open_with(options.clone(), calls).unwrap();
    disk.compact().await.unwrap();
    disk.close().await.unwrap();
    drop(disk);

    let disk = LocalDisk::open(options).unwrap();
    assert!(disk.stat(id(0)).await.unwrap().is_none());
    for number in 1..6 {
        let found = read_whole(&disk, number).await.unwrap();
        assert_eq!(found, payload(number, 0, 10_000));
    }
}

#[tokio::test]
async fn a_shard_that_the_index_does_not_know_is_not_taken_for_garbage() {
    let (dir, options) = mixed_disk().await;
    let disk = LocalDisk::open(options.clone()).unwrap();
    let lost = disk.disk.index.entry(id(0)).unwrap();
    let lost_in = dir.segments()[0].clone();
    crate::index::account(&mut disk.disk.bookkeeping().log.stats, lost.as_ref(), None);
    disk.disk.index.set_pending([(id(0), None)]);
    // The rest of its segment becomes garbage.
    disk.delete(&[id(1), id(3), id(4), id(6)]).await.unwrap();
    disk.compact().await.unwrap();
    assert!(lost_in.exists());
    disk.close().await.unwrap();
    drop(disk);

    let disk = LocalDisk::open(options).unwrap();
    disk.compact().await.unwrap();
    assert_eq!(read_whole(&disk, 0).await.unwrap(), payload(0, 0, 10_000));
    assert!(!lost_in.exists(), "now it was compacted");
}

#[tokio::test]
async fn a_bad_sector_in_the_header_of_a_closed_segment_keeps_no_disk_out_of_service() {
    let (dir, options) = mixed_disk().await;
    for segment in &dir.segments()[..2] {
        let calls = Arc::new(FaultyCalls::default());
        calls.set_unreadable(segment, 0..4096);
        let disk = LocalDisk::open_with(options.clone(), calls).unwrap();
        let listed = disk.list(None, 100).await.unwrap().shards;
        assert_eq!(listed.len(), MIXED.len() - 1);
        disk.close().await.unwrap();
        drop(disk);
        let disk = LocalDisk::open(options.clone()).unwrap();
        assert_mixed(&disk).await;
        disk.close().await.unwrap();
        drop(disk);
        dir.drop_index();
    }
}

#[tokio::test]
async fn a_bad_sector_in_a_header_keeps_no_disk_of_one_class_out_of_service() {
    let dir = TestDisk::in_memory();
    let options = LocalDiskOptions {
        segment_size_bytes: 64 << 10,
        ..dir.options()
    };
    let disk = LocalDisk::open(options.clone()).unwrap();
    for number in 0..10 {
        put(&disk, number, 10_000).await;
    }
    disk.close().await.unwrap();
    drop(disk);
    dir.drop_index();
    let calls = Arc::new(FaultyCalls::default());
    calls.set_unreadable(&dir.segments()[0], 0..4096);
    let disk = LocalDisk::open_with(options.clone(), calls).unwrap();
    assert_eq!(disk.list(None, 100).await.unwrap().shards.len(), 9);
    disk.close().await.unwrap();
    drop(disk);
    let disk = LocalDisk::open(options).unwrap();
    for number in 0..10 {
        let found = read_whole(&disk, number).await.unwrap();
        assert_eq!(found, payload(number, 0, 10_000));
    }
}

/// Or it would pass for whole later, when there are segments above it and it counts as closed.
#[tokio::test]
async fn a_torn_record_is_cut_off_below_a_damaged_header_as_well() {
    let (dir, options) = disk_of_segments(1).await;
    // Without its other thread, here and below: compaction would remove the first segment.
    let opened = recovery::open(options.clone(), Arc::new(SystemCalls)).unwrap();
    let (requests, queue) = sync_channel(1);
    let (request, _answer) = writing::ask(writing::put_task(0, 5000));
    requests.send(request.into()).unwrap();
    drop(requests);
    Writer::new(opened.disk, opened.active, opened.next_lsn)
        .run(&queue)
        .unwrap();
    let torn = dir.segments().remove(1);
    let len = || std::fs::metadata(&torn).unwrap().len();
    damage::flip(&torn, 20);
    damage::flip(&torn, len() - 100);
    dir.drop_index();
    let recovered = recovery::open(options.clone(), Arc::new(SystemCalls)).unwrap();
    assert_eq!(len(), 64);
    drop(recovered);
    let disk = LocalDisk::open(options).unwrap();
    assert_eq!(read_whole(&disk, 0).await.unwrap(), payload(0, 0, 1000));
}
