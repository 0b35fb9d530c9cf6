//! What the writer makes of requests that it finds waiting together: without its thread, so that which requests form a
//! group is not up to the scheduler.

use std::fs::File;
use std::io::Write as _;
use std::time::Instant;

use rustix::io::Errno;
use tokio::sync::oneshot::Receiver;

use super::faulty_calls::{CallFault, FaultyCalls};
use super::*;
use crate::DiskHealth;
use crate::segment::SegmentNumber;

pub(super) type Answer = Receiver<Result<WriteTicket, ShardError>>;

/// A writer on system calls that can fail.
struct Fixture {
    dir: TestDisk,
    calls: Arc<FaultyCalls>,
    disk: Arc<DiskState>,
    writer: Writer,
}

impl Fixture {
    fn new() -> Self {
        let dir = TestDisk::in_memory();
        let calls = Arc::new(FaultyCalls::default());
        let opened = recovery::open(dir.options(), Arc::clone(&calls) as _).unwrap();
        let disk = Arc::clone(&opened.disk);
        let writer = Writer::new(opened.disk, opened.active, opened.next_lsn);
        Self {
            dir,
            calls,
            disk,
            writer,
        }
    }

    /// Serves tasks as one group; whether each was done.
    fn serve(&mut self, tasks: impl IntoIterator<Item = Task>) -> Vec<Result<(), ShardError>> {
        let (requests, answers): (Vec<Request>, Vec<Answer>) = tasks.into_iter().map(ask).unzip();
        self.writer.serve(requests);
        let answer = |mut answer: Answer| answer.try_recv().unwrap().map(drop);
        answers.into_iter().map(answer).collect()
    }
}

pub(super) fn ask(task: Task) -> (Request, Answer) {
    let (reply, answer) = oneshot::channel();
    let permits = None;
    (
        Request {
            task,
            reply,
            permits,
        },
        answer,
    )
}

pub(super) fn put_task(number: u32, len: usize) -> Task {
    let ShardPut {
        id,
        descriptor,
        payload,
    } = shard(number, 0, len);
    Task::Put(
        PreparedRecord::put(id, &descriptor, payload),
        Durability::Synced,
    )
}

fn is_full(result: &Result<(), ShardError>) -> bool {
    matches!(result, Err(ShardError::DiskFull { .. }))
}

#[tokio::test]
async fn a_group_of_which_one_class_cannot_be_written_leaves_nothing_of_the_other() {
    let mut fixture = Fixture::new();
    let kept = fixture.serve([put_task(0, 1000), put_task(1, 100_000)]);
    assert!(kept.iter().all(Result::is_ok), "{kept:?}");

    fixture
        .calls
        .set(CallFault::LongWrite(70_000, Errno::NOSPC));
    let tasks = [
        put_task(2, 500),
        Task::Delete(vec![id(0), id(1)]),
        put_task(3, 80_000),
    ];
    let refused = fixture.serve(tasks);
    assert!(fixture.calls.has_struck());
    assert!(refused.iter().all(is_full), "{refused:?}");
    // Shorter than what was refused, in the same place; and a delete of what is not there.
    let done = fixture.serve([put_task(4, 1), Task::Delete(vec![id(5)])]);
    assert!(done.iter().all(Result::is_ok), "{done:?}");
    let counters = fixture.disk.counters.snapshot();
    assert_eq!((counters["put_count"], counters["delete_count"]), (3, 0));

    let disk = fixture.dir.open_copy_without_index();
    for (number, len) in [(0, 1000), (1, 100_000), (4, 1)] {
        let found = read_whole(&disk, number).await.unwrap();
        assert_eq!(found, payload(number, 0, len));
    }
    for number in [2, 3] {
        assert!(disk.stat(id(number)).await.unwrap().is_none(), "{number}");
    }
}

#[tokio::test]
async fn a_refused_group_that_filled_a_segment_leaves_nothing_in_it() {
    let mut fixture = Fixture::new();
    fixture
        .calls
        .set(CallFault::LongWrite(1_500_000, Errno::NOSPC));
    // Small ones for more than a segment of 1 MiB, then a large one.
    let len = |number| if number == 30 { 2_000_000 } else { 60_000 };
    let results = fixture.serve((0..31).map(|number| put_task(number, len(number))));
    assert!(fixture.calls.has_struck());
    assert!(results.iter().any(is_full), "{results:?}");
    let disk = fixture.dir.open_copy_without_index();
    for (number, result) in (0..).zip(results) {
        let found = read_whole(&disk, number).await;
        match result {
            Ok(()) => assert_eq!(found.unwrap(), payload(number, 0, len(number))),
            Err(_) => assert!(found.is_err(), "shard {number} was refused, and is there"),
        }
    }
}

#[tokio::test]
async fn a_new_segment_takes_the_place_of_a_torn_one_and_of_no_other() {
    let mut other = Fixture::new();
    assert!(other.serve([put_task(0, 1000)]).iter().all(Result::is_ok));
    let of_other = std::fs::read(&other.dir.segments()[0]).unwrap();
    for (left, is_replaced) in [(&of_other[..10], true), (&of_other[..], false)] {
        let mut fixture = Fixture::new();
        let path = fixture.disk.segments.path(SegmentNumber(1));
        File::create(&path).unwrap().write_all(left).unwrap();
        let served = fixture.serve([put_task(0, 1000)]);
        assert_eq!(served[0].is_ok(), is_replaced, "{served:?}");
        assert_eq!(std::fs::read(&path).unwrap() == left, !is_replaced);
    }
}

/// Whether the group that has it sealed asks for it, or it is full.
#[tokio::test]
async fn nothing_is_acknowledged_in_a_segment_that_was_removed_before_it_was_sealed() {
    let buffered = |number, len| match put_task(number, len) {
        Task::Put(record, _) => Task::Put(record, Durability::Buffered),
        other => other,
    };
    let asked = vec![buffered(1, 1000), Task::Seal(SegmentNumber(1)), Task::Sync];
    // More than a segment of 1 MiB.
    let filled = (1..30).map(|number| buffered(number, 60_000));
    let filled = filled.chain([Task::Sync]).collect();
    for tasks in [asked, filled] {
        let mut fixture = Fixture::new();
        assert!(fixture.serve([put_task(0, 1000)]).iter().all(Result::is_ok));
        std::fs::remove_file(&fixture.dir.segments()[0]).unwrap();
        let served = fixture.serve(tasks);
        let synced = served.last().unwrap();
        assert!(
            matches!(synced, Err(ShardError::DiskFailed { .. })),
            "{synced:?}"
        );
        assert!(fixture.disk.check_readable().is_err());
    }
}

#[tokio::test]
async fn a_writer_that_panics_fails_the_disk() {
    let mut fixture = Fixture::new();
    assert!(fixture.serve([put_task(0, 1000)]).iter().all(Result::is_ok));
    let disk = Arc::clone(&fixture.disk);
    // Its segment is the first of its class, so space must be allocated.
    fixture.calls.set(CallFault::AllocationPanics);
    let (requests, queue) = sync_channel(1);
    let (request, _answer) = ask(put_task(1, 100_000));
    requests.send(request.into()).unwrap();
    let writer = std::thread::spawn(move || fixture.writer.run(&queue));
    assert!(writer.join().is_err());
    assert_eq!(disk.health(u64::MAX), DiskHealth::Failed);
    // It is still read.
    disk.check_readable().unwrap();
}

#[tokio::test]
async fn zeros_written_ahead_are_synced_when_nobody_waits() {
    let mut fixture = Fixture::new();
    assert!(fixture.serve([put_task(0, 1000)]).iter().all(Result::is_ok));
    assert!(fixture.calls.unsynced_count() > 0, "zeros after the put");
    fixture.writer.idle();
    assert_eq!(fixture.calls.unsynced_count(), 0);
}

/// As RocksDB finds it when its device is full: the tables that it is about to write take nothing.
fn fill_up_index(dir: &TestDisk) {
    for number in 0..1000 {
        let table = dir.path().join(format!("index/{number:06}.sst"));
        // Those that are there stay as they are.
        drop(std::os::unix::fs::symlink("/dev/full", table));
    }
}

#[tokio::test]
async fn a_disk_whose_index_has_no_room_takes_deletes_and_then_writes_again() {
    let mut fixture = Fixture::new();
    let kept = fixture.serve([put_task(0, 1000), put_task(1, 100_000)]);
    assert!(kept.iter().all(Result::is_ok), "{kept:?}");
    fill_up_index(&fixture.dir);
    fixture.disk.index.flush().unwrap_err();

    let deleted = fixture.serve([Task::Delete(vec![id(1)])]);
    assert!(deleted[0].is_ok(), "{deleted:?}");
    assert_eq!(fixture.disk.health(u64::MAX), DiskHealth::Full);
    assert!(is_full(&fixture.serve([put_task(2, 10)])[0]));
    // Which makes room.
    assert_eq!(fixture.disk.bookkeeping().dead_payloads.len(), 1);
    assert!(is_full(&fixture.serve([Task::Retire(SegmentNumber(2))])[0]));

    // RocksDB has removed them when it looks again, which it does every five seconds.
    let start = Instant::now();
    while fixture.disk.index.pending_count() > 0 {
        assert!(start.elapsed() < Duration::from_mins(1));
        fixture.writer.idle();
        std::thread::yield_now();
    }
    assert_eq!(fixture.disk.bookkeeping().touched.len(), 0);
    let served = fixture.serve([put_task(2, 10), Task::Delete(vec![id(0)])]);
    assert!(served.iter().all(Result::is_ok), "{served:?}");
    fixture.disk.index.flush().unwrap();
    let index = &fixture.disk.index;
    assert!(index.live(id(1)).unwrap().is_none() && index.live(id(2)).unwrap().is_some());
}

#[tokio::test]
async fn a_disk_whose_index_finds_no_room_for_too_long_is_only_read() {
    let mut fixture = Fixture::new();
    assert!(fixture.serve([put_task(0, 1000)]).iter().all(Result::is_ok));
    fill_up_index(&fixture.dir);
    fixture.disk.index.flush().unwrap_err();
    // As if all of these had been deleted since.
    let waiting = (1..=1 << 16).map(|number| (id(number), None));
    fixture.disk.index.set_pending(waiting);
    let deleted = fixture.serve([Task::Delete(vec![id(0)])]);
    assert!(deleted[0].is_ok(), "{deleted:?}");
    assert_eq!(fixture.disk.health(u64::MAX), DiskHealth::Failed);
    fixture.disk.check_readable().unwrap();
    assert!(!fixture.dir.path().join("index-rebuild").exists());
}
