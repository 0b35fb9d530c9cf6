//! What compaction costs, and what it does besides copying.

use std::thread::JoinHandle;
use std::time::Instant;

use super::faulty_calls::FaultyCalls;
use super::*;
use crate::index::IndexError;
use crate::segment::SegmentNumber;

/// A disk whose compactor runs only when it is told to.
struct Fixture {
    disk: Arc<DiskState>,
    requests: SyncSender<Queued>,
    writer: JoinHandle<Result<(), ShardError>>,
    compactor: Compactor,
    /// Dropping it would stop the compactor.
    _control: SyncSender<oneshot::Sender<()>>,
}

impl Fixture {
    fn new(options: LocalDiskOptions) -> Self {
        Self::with_calls(options, Arc::new(SystemCalls))
    }

    fn with_calls(options: LocalDiskOptions, calls: Arc<dyn FileCalls>) -> Self {
        let opened = recovery::open(options, calls).unwrap();
        let disk = Arc::clone(&opened.disk);
        let (requests, queue) = sync_channel(1);
        let (control, controlled) = sync_channel(1);
        let writer = Writer::new(opened.disk, opened.active, opened.next_lsn);
        Self {
            compactor: Compactor::new(Arc::clone(&disk), requests.clone(), controlled),
            writer: std::thread::spawn(move || writer.run(&queue)),
            disk,
            requests,
            _control: control,
        }
    }

    fn serve(&self, task: Task) {
        let (request, answer) = writing::ask(task);
        self.requests.send(request.into()).unwrap();
        answer.blocking_recv().unwrap().unwrap();
    }

    fn close(self) {
        drop((self.compactor, self.requests));
        self.writer.join().unwrap().unwrap();
    }
}

#[test]
fn what_is_deleted_while_a_segment_is_compacted_is_punched_out_meanwhile() {
    let dir = TestDisk::in_memory();
    let mut fixture = Fixture::new(dir.options());
    for number in 0..10 {
        fixture.serve(writing::put_task(number, 4096));
    }
    fixture.serve(writing::put_task(10, 1 << 20));
    let small = SegmentNumber(1);
    fixture.serve(Task::Seal(small));
    fixture.serve(Task::Delete((0..5).chain([10]).map(id).collect()));
    fixture.serve(Task::Sync);
    // Of the small ones only segments are given back, not payloads.
    assert!(!fixture.disk.bookkeeping().dead_payloads.is_empty());
    fixture.compactor.compact(small).unwrap();
    let counters = fixture.disk.counters.snapshot();
    assert!(counters["compacted_bytes"] >= 5 * 4096);
    assert!(fixture.disk.bookkeeping().dead_payloads.is_empty());
    fixture.close();
}

#[tokio::test]
async fn compaction_of_a_busy_disk_waits_per_batch_and_not_per_record() {
    let dir = TestDisk::in_memory();
    let disk = dir.open();
    for number in 0..2000 {
        let shard = shard(number, 0, 4096);
        disk.put(shard, Durability::Buffered).await.unwrap();
    }
    let deleted: Vec<ShardId> = (0..2000).step_by(2).map(id).collect();
    disk.delete(&deleted).await.unwrap();
    // As if a request were under way all the time.
    let request = Arc::clone(&disk.disk.queue_slots).try_acquire_owned();
    assert!(disk.disk.is_busy());
    // Per record it would be 20 ms for each of the 1,000 that are copied.
    let compacted = tokio::time::timeout(Duration::from_secs(10), disk.compact()).await;
    compacted.unwrap().unwrap();
    assert!(counter(&disk, "compacted_bytes").await >= 1000 * 4096);
    drop(request);
}

#[test]
fn compaction_of_mere_garbage_keeps_to_the_rate() {
    let dir = TestDisk::in_memory();
    let mut fixture = Fixture::new(LocalDiskOptions {
        segment_size_bytes: 16 << 20,
        compaction_bytes_per_second_max: 40 << 20,
        ..dir.options()
    });
    for number in 0..64 {
        fixture.serve(writing::put_task(number, 64 << 10));
    }
    fixture.serve(Task::Seal(SegmentNumber(1)));
    fixture.serve(Task::Delete((0..64).map(id).collect()));
    let start = Instant::now();
    fixture.compactor.compact(SegmentNumber(1)).unwrap();
    // Four MiB are read, of which the last ones may go free.
    assert!(start.elapsed() >= Duration::from_millis(50));
    assert_eq!(fixture.disk.counters.snapshot()["compacted_bytes"], 0);
    fixture.close();
}

#[tokio::test]
async fn a_segment_whose_copies_do_not_fit_is_left_until_they_do() {
    let dir = TestDisk::in_memory();
    let setup = dir.options();
    std::thread::spawn(move || {
        let fixture = Fixture::new(setup);
        for number in 0..200 {
            fixture.serve(writing::put_task(number, 4096));
        }
        fixture.serve(Task::Seal(SegmentNumber(1)));
        fixture.serve(Task::Delete((0..100).map(id).collect()));
        fixture.close();
    })
    .join()
    .unwrap();
    let used: u64 = dir.segments().iter().map(|path| len_of(path)).sum();
    for (spare, is_compacted) in [(300_000, false), (600_000, true)] {
        let options = LocalDiskOptions {
            capacity_bytes_max: Some(used + spare),
            reserve_bytes: 0,
            ..dir.options()
        };
        let disk = LocalDisk::open(options).unwrap();
        disk.compact().await.unwrap();
        let compacted_bytes = counter(&disk, "compacted_bytes").await;
        assert_eq!(compacted_bytes > 0, is_compacted, "{spare}");
        disk.close().await.unwrap();
    }
}

#[test]
fn a_segment_with_a_bad_sector_is_removed_when_what_it_held_was_made_again() {
    // A record is 10,240 bytes long: one sector in the payload of shard 7, and one with its end and the header of 8.
    for (sector, lost) in [(73_728..77_824, vec![7]), (81_920..86_016, vec![7, 8])] {
        let dir = TestDisk::in_memory();
        let calls = Arc::new(FaultyCalls::default());
        let mut fixture = Fixture::with_calls(dir.options(), Arc::clone(&calls) as _);
        for number in 0..10 {
            fixture.serve(writing::put_task(number, 10_000));
        }
        let bad = SegmentNumber(1);
        fixture.serve(Task::Seal(bad));
        fixture.serve(Task::Delete((0..5).map(id).collect()));
        calls.set_unreadable(&dir.segments()[0], sector);

        // The others are copied, and nothing is given up.
        fixture.compactor.compact(bad).unwrap();
        let index = &fixture.disk.index;
        let place = |number| index.live(id(number)).unwrap().unwrap().place;
        let left = (5..10).filter(|number| place(*number).segment == bad);
        assert_eq!(left.collect::<Vec<_>>(), lost);
        assert!(dir.segments()[0].ends_with(bad.file_name()));

        // Repair makes them again.
        for number in lost {
            fixture.serve(writing::put_task(number, 10_000));
        }
        fixture.compactor.compact(bad).unwrap();
        assert!(!dir.segments()[0].ends_with(bad.file_name()));
        let counters = fixture.disk.counters.snapshot();
        assert_eq!(counters["compaction_corrupt_count"], 0);
        fixture.close();
    }
}

#[test]
fn a_segment_that_cannot_be_removed_costs_writes_and_no_reads() {
    let dir = TestDisk::in_memory();
    let mut fixture = Fixture::new(dir.options());
    fixture.serve(writing::put_task(0, 1000));
    fixture.serve(Task::Seal(SegmentNumber(1)));
    fixture.serve(writing::put_task(0, 1000));
    // Not a file, which unlinking refuses.
    let path = dir.segments().remove(0);
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    fixture.compactor.compact(SegmentNumber(1)).unwrap_err();
    assert!(fixture.disk.has_failed());
    fixture.disk.check_readable().unwrap();
    drop((fixture.compactor, fixture.requests));
    fixture.writer.join().unwrap().unwrap_err();
}

/// As if another file system had been mounted over the directory.
#[test]
fn nothing_is_removed_from_a_directory_that_took_the_place_of_the_disk() {
    let dir = TestDisk::in_memory();
    let fixture = Fixture::new(dir.options());
    fixture.serve(writing::put_task(0, 1000));
    fixture.serve(Task::Seal(SegmentNumber(1)));
    fixture.serve(Task::Delete(vec![id(0)]));
    let (ours, other) = (dir.path().with_extension("ours"), dir.segments().remove(0));
    std::fs::rename(dir.path(), &ours).unwrap();
    damage::copy_all(&ours, dir.path());
    let (request, answer) = writing::ask(Task::Retire(SegmentNumber(1)));
    fixture.requests.send(request.into()).unwrap();
    answer.blocking_recv().unwrap().unwrap_err();
    assert!(fixture.disk.has_failed() && other.exists());
    drop((fixture.compactor, fixture.requests));
    fixture.writer.join().unwrap().unwrap_err();
    std::fs::remove_dir_all(ours).unwrap();
}

#[test]
fn no_rebuild_is_asked_for_in_a_directory_that_took_the_place_of_the_disk() {
    for is_found_by_compaction in [false, true] {
        let dir = TestDisk::in_memory();
        let mut fixture = Fixture::new(dir.options());
        fixture.serve(writing::put_task(0, 1000));
        fixture.serve(Task::Seal(SegmentNumber(1)));
        // When it is answered, the writer has saved all that came before.
        fixture.serve(Task::Sync);
        fixture.disk.index.set_pending([(id(0), None)]);
        let ours = dir.path().with_extension("ours");
        std::fs::rename(dir.path(), &ours).unwrap();
        damage::copy_all(&ours, dir.path());
        if is_found_by_compaction {
            fixture.compactor.compact(SegmentNumber(1)).unwrap();
        } else {
            fixture.disk.fail_index(&IndexError::Value("a test"));
        }
        assert!(fixture.disk.has_failed());
        assert!(!dir.path().join("index-rebuild").exists());
        drop((fixture.compactor, fixture.requests));
        fixture.writer.join().unwrap().unwrap_err();
        std::fs::remove_dir_all(ours).unwrap();
    }
}

#[test]
fn a_segment_that_is_gone_already_counts_as_removed() {
    let dir = TestDisk::in_memory();
    let mut fixture = Fixture::new(dir.options());
    let gone = SegmentNumber(1);
    fixture.serve(writing::put_task(0, 1000));
    fixture.serve(Task::Seal(gone));
    fixture.serve(writing::put_task(0, 1000));
    std::fs::remove_file(&dir.segments()[0]).unwrap();
    fixture.compactor.compact(gone).unwrap();
    assert!(!fixture.disk.bookkeeping().log.stats.contains_key(&gone));
    fixture.close();
}

/// Without the shards of it having been in the last flush of the index, and their tombstones being gone as well.
#[test]
fn a_segment_removed_before_a_crash_costs_no_rebuild() {
    let dir = TestDisk::in_memory();
    let mut fixture = Fixture::new(dir.options());
    let [kept, first, second] = [1, 2, 3].map(SegmentNumber);
    for number in 0..50 {
        fixture.serve(writing::put_task(number, 1000));
    }
    fixture.serve(Task::Seal(kept));
    fixture.serve(writing::put_task(50, 1000));
    fixture.serve(Task::Seal(first));
    fixture.disk.index.flush().unwrap();
    fixture.serve(Task::Delete(vec![id(50)]));
    fixture.serve(Task::Seal(second));
    fixture.compactor.compact(first).unwrap();
    fixture.compactor.compact(second).unwrap();
    assert_eq!(dir.segments().len(), 1);

    let crashed = TestDisk::unformatted();
    damage::copy_all(dir.path(), crashed.path());
    let opened = recovery::open(crashed.options(), Arc::new(SystemCalls)).unwrap();
    assert!(opened.disk.index.live(id(0)).unwrap().is_some());
    assert_eq!(opened.disk.counters.snapshot()["recovered_count"], 0);
    // Nor does the crash bring back what was forgotten: no segment names it any more.
    assert_eq!(opened.disk.index.entry(id(50)).unwrap(), None);
    fixture.close();
}

/// Its tombstone went with its segment, and the crash before the index was flushed again.
#[test]
fn a_deleted_shard_that_a_crash_brought_back_to_the_index_does_no_harm() {
    let dir = TestDisk::in_memory();
    let mut fixture = Fixture::new(dir.options());
    let [first, second] = [1, 2].map(SegmentNumber);
    fixture.serve(writing::put_task(0, 1000));
    fixture.serve(Task::Delete(vec![id(0)]));
    fixture.serve(Task::Seal(first));
    fixture.compactor.compact(first).unwrap();
    assert_eq!(fixture.disk.index.entry(id(0)).unwrap(), None);
    let crashed = TestDisk::unformatted();
    damage::copy_all(dir.path(), crashed.path());
    fixture.close();

    let mut fixture = Fixture::new(crashed.options());
    let disk = Arc::clone(&fixture.disk);
    let dead = disk.index.entry(id(0)).unwrap().unwrap();
    assert_eq!(dead.stale(), [first]);
    assert_eq!(dead.live(), None);
    assert_eq!(disk.bookkeeping().used_bytes(), 0);
    fixture.serve(writing::put_task(0, 1000));
    assert!(disk.index.live(id(0)).unwrap().unwrap().stale.is_empty());
    fixture.serve(Task::Delete(vec![id(0)]));
    fixture.serve(Task::Seal(second));
    fixture.compactor.compact(second).unwrap();
    assert_eq!(disk.index.entry(id(0)).unwrap(), None);
    drop(disk);
    fixture.close();
}

#[test]
fn a_shard_that_a_segment_held_twice_is_forgotten_once() {
    let dir = TestDisk::in_memory();
    let fixture = Fixture::new(dir.options());
    let [first, second, third] = [1, 2, 3].map(SegmentNumber);
    fixture.serve(writing::put_task(0, 1000));
    fixture.serve(Task::Seal(first));
    fixture.serve(writing::put_task(1, 1000));
    fixture.serve(Task::Seal(second));
    fixture.serve(Task::Delete(vec![id(0), id(1)]));
    let tombstone_bytes = || fixture.disk.bookkeeping().log.stats[&third].tombstone_bytes;
    let both = tombstone_bytes();
    fixture.serve(Task::Retire(first));
    fixture.serve(Task::Forget(vec![id(0), id(0)]));
    assert_eq!(tombstone_bytes(), both / 2);
    fixture.close();
}

fn len_of(path: &Path) -> u64 {
    std::fs::metadata(path).unwrap().len()
}
