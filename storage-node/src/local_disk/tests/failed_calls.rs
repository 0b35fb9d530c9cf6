//! Goal: whatever system call fails, nothing is acknowledged that is not durable, nothing torn is ever seen, and all
//! that was acknowledged is there, before and after the disk is opened again.
//!
//! Method: a disk on system calls of which one fails; each fault once. Its files are opened anew, with the index and
//! without.

use rustix::io::Errno;

use super::faulty_calls::{CallFault, FaultyCalls};
use super::*;
use crate::DiskHealth;
use crate::index::IndexError;

/// Sizes of the acknowledged shards 0, 1, 2: of both classes.
const KEPT: [usize; 3] = [1000, 100_000, 3000];

struct Fixture {
    dir: TestDisk,
    disk: Arc<LocalDisk>,
    calls: Arc<FaultyCalls>,
}

/// A disk with the shards [`KEPT`], acknowledged.
async fn fixture() -> Fixture {
    let dir = TestDisk::in_memory();
    let calls = Arc::new(FaultyCalls::default());
    let disk = LocalDisk::open_with(dir.options(), Arc::clone(&calls) as Arc<dyn FileCalls>);
    let disk = Arc::new(disk.unwrap());
    for (number, len) in (0..).zip(KEPT) {
        put(&disk, number, len).await;
    }
    Fixture { dir, disk, calls }
}

async fn assert_kept(disk: &LocalDisk) {
    for (number, len) in (0..).zip(KEPT) {
        let found = read_whole(disk, number).await.unwrap();
        assert_eq!(found, payload(number, 0, len), "shard {number}");
    }
}

/// Opens the files anew, with the index and without. The shards `KEPT` must be there, those of `unacknowledged`
/// whole or absent, and the disk must work.
async fn assert_recovers(dir: &TestDisk, unacknowledged: &[(u32, usize)]) {
    for has_index in [true, false] {
        if !has_index {
            dir.drop_index();
        }
        let disk = dir.open();
        assert_kept(&disk).await;
        for (number, len) in unacknowledged {
            match read_whole(&disk, *number).await {
                Ok(found) => assert_eq!(found, payload(*number, 0, *len), "shard {number}"),
                Err(err) => assert!(matches!(err, ShardError::NotFound { .. }), "{err}"),
            }
        }
        let number = if has_index { 100 } else { 101 };
        put(&disk, number, 2000).await;
        assert_eq!(
            read_whole(&disk, number).await.unwrap(),
            payload(number, 0, 2000)
        );
        disk.close().await.unwrap();
    }
}

/// All puts of a group, started together.
async fn put_together(
    disk: &Arc<LocalDisk>,
    shards: &[(u32, usize)],
) -> Vec<Result<WriteTicket, ShardError>> {
    let puts = shards.iter().map(|&(number, len)| {
        let disk = Arc::clone(disk);
        tokio::spawn(async move { disk.put(shard(number, 0, len), Durability::Synced).await })
    });
    let mut results = Vec::new();
    for put in puts.collect::<Vec<_>>() {
        results.push(put.await.unwrap());
    }
    results
}

#[tokio::test]
async fn a_failed_sync_acknowledges_nothing_and_is_never_retried() {
    const WAITING: [(u32, usize); 3] = [(10, 500), (11, 4000), (12, 20_000)];
    for fault in [CallFault::SyncKeepsPages, CallFault::SyncLosesPages] {
        let Fixture { dir, disk, calls } = fixture().await;
        calls.set(fault);
        for result in put_together(&disk, &WAITING).await {
            let refused = result.unwrap_err();
            let ShardError::DiskFailed { detail, .. } = &refused else {
                panic!("{fault:?}: {refused}")
            };
            assert!(detail.contains("syncing segment"), "{detail}");
        }
        // It says so, takes nothing more, and goes on reading.
        assert_eq!(disk.status().await.unwrap().health, DiskHealth::Failed);
        let later = disk.put(shard(13, 0, 10), Durability::Buffered).await;
        assert!(matches!(later, Err(ShardError::DiskFailed { .. })));
        let deleted = disk.delete(&[id(0)]).await;
        assert!(matches!(deleted, Err(ShardError::DiskFailed { .. })));
        assert_kept(&disk).await;
        assert!(disk.close().await.is_err());
        assert_eq!(calls.calls_after_failed_sync(), Some(0), "{fault:?}");
        drop(disk);
        assert_recovers(&dir, &WAITING).await;
    }
}

#[tokio::test]
async fn a_buffered_put_is_not_durable_when_writing_it_ahead_of_its_sync_failed() {
    for errno in [Errno::IO, Errno::NOSPC] {
        let Fixture { dir, disk, calls } = fixture().await;
        calls.set(CallFault::Writeback(errno));
        let ticket = disk.put(shard(10, 0, 100_000), Durability::Buffered).await;
        let refused = disk.sync(ticket.unwrap()).await.unwrap_err();
        let ShardError::DiskFailed { detail, .. } = &refused else {
            panic!("{errno}: {refused}")
        };
        assert!(detail.contains("ahead of its sync"), "{detail}");
        assert!(calls.has_struck());
        drop(disk);
        assert_recovers(&dir, &[(10, 100_000)]).await;
    }
}

#[tokio::test]
async fn where_nothing_can_be_written_ahead_the_sync_does_it() {
    let Fixture {
        dir: _dir,
        disk,
        calls,
    } = fixture().await;
    calls.set(CallFault::Writeback(Errno::NOSYS));
    let ticket = disk.put(shard(10, 0, 100_000), Durability::Buffered).await;
    disk.sync(ticket.unwrap()).await.unwrap();
    assert!(calls.has_struck());
    assert_kept(&disk).await;
}

#[tokio::test]
async fn a_buffered_put_is_not_durable_when_its_sync_failed() {
    let Fixture { dir, disk, calls } = fixture().await;
    let ticket = disk.put(shard(10, 0, 500), Durability::Buffered).await;
    calls.set(CallFault::SyncLosesPages);
    assert!(matches!(
        disk.sync(ticket.unwrap()).await,
        Err(ShardError::DiskFailed { .. })
    ));
    drop(disk);
    assert_recovers(&dir, &[(10, 500)]).await;
}

#[tokio::test]
async fn a_write_that_breaks_off_with_an_error_leaves_no_torn_record() {
    // In the first header, between header and payload, in the payload, in the last record.
    for torn_at in [0, 1, 70, 300, 700, 4000] {
        const WAITING: [(u32, usize); 2] = [(10, 500), (11, 4000)];
        let Fixture { dir, disk, calls } = fixture().await;
        calls.set(CallFault::WriteStopsAfter(torn_at, Errno::IO));
        let results = put_together(&disk, &WAITING).await;
        assert!(calls.has_struck(), "{torn_at}");
        // Which puts shared the write is up to the scheduler; one of them suffered it.
        assert!(results.iter().any(Result::is_err), "{torn_at}");
        for ((number, len), result) in WAITING.into_iter().zip(results) {
            let found = read_whole(&disk, number).await;
            match result {
                Ok(_) => assert_eq!(found.unwrap(), payload(number, 0, len)),
                Err(ShardError::DiskFailed { .. }) => assert!(
                    matches!(found, Err(ShardError::NotFound { .. })),
                    "{torn_at}: {found:?}"
                ),
                Err(other) => panic!("{torn_at}: {other}"),
            }
        }
        assert_eq!(disk.status().await.unwrap().health, DiskHealth::Failed);
        assert_kept(&disk).await;
        drop(disk);
        assert_recovers(&dir, &WAITING).await;
    }
}

#[tokio::test]
async fn a_disk_that_fills_up_in_the_middle_of_a_write_goes_on_without_what_it_refused() {
    for torn_at in [0, 1, 70, 300, 700, 4000] {
        const WAITING: [(u32, usize); 2] = [(10, 500), (11, 4000)];
        let Fixture { dir, disk, calls } = fixture().await;
        calls.set(CallFault::WriteStopsAfter(torn_at, Errno::NOSPC));
        let results = put_together(&disk, &WAITING).await;
        assert!(calls.has_struck(), "{torn_at}");
        let refused: Vec<u32> = WAITING
            .iter()
            .zip(&results)
            .filter(|(_, result)| result.is_err())
            .map(|((number, _), _)| *number)
            .collect();
        // Which puts shared the write is up to the scheduler; one of them suffered it.
        assert!(!refused.is_empty(), "{torn_at}");
        for result in &results {
            assert!(
                matches!(result, Ok(_) | Err(ShardError::DiskFull { .. })),
                "{torn_at}: {result:?}"
            );
        }
        // A shorter record takes the place: what stood behind it must not come back.
        put(&disk, 12, 10).await;
        assert_kept(&disk).await;
        // As a crash leaves it: closing cuts the file.
        let disk = dir.open_copy_without_index();
        assert_kept(&disk).await;
        assert_eq!(read_whole(&disk, 12).await.unwrap(), payload(12, 0, 10));
        for number in refused {
            let found = read_whole(&disk, number).await;
            assert!(
                matches!(found, Err(ShardError::NotFound { .. })),
                "{torn_at}: shard {number}: {found:?}"
            );
        }
        assert!(disk.put(shard(13, 0, 10), Durability::Synced).await.is_ok());
    }
}

#[tokio::test]
async fn whole_records_of_a_refused_write_do_not_come_back() {
    let Fixture { dir, disk, calls } = fixture().await;
    let numbers = 10..18;
    for number in numbers.clone() {
        put(&disk, number, 200).await;
    }
    // One call, one write: six of its eight tombstones reach the file.
    let tombstone_len = usize::try_from(PreparedRecord::tombstone(id(0)).shape().record_len());
    let torn_at = tombstone_len.unwrap() * 6 + 10;
    calls.set(CallFault::WriteStopsAfter(torn_at, Errno::NOSPC));
    let refused = disk
        .delete(&numbers.clone().map(id).collect::<Vec<_>>())
        .await;
    assert!(
        matches!(refused, Err(ShardError::DiskFull { .. })),
        "{refused:?}"
    );
    assert!(calls.has_struck());
    // Takes the place of the first ones only.
    put(&disk, 20, 1).await;
    // As a crash leaves it: closing cuts the file.
    let disk = dir.open_copy_without_index();
    for number in numbers {
        assert_eq!(
            read_whole(&disk, number).await.unwrap(),
            payload(number, 0, 200)
        );
    }
    assert_kept(&disk).await;
}

#[tokio::test]
async fn a_disk_that_cannot_allocate_ahead_allocates_what_it_needs() {
    let Fixture { dir, disk, calls } = fixture().await;
    // It needs a new segment. The generous allocation fails, the exact one is tried and succeeds.
    calls.set(CallFault::Allocation(Errno::NOSPC));
    put(&disk, 10, 950_000).await;
    assert!(calls.has_struck());
    assert_kept(&disk).await;
    drop(disk);
    assert_recovers(&dir, &[(10, 950_000)]).await;
}

#[tokio::test]
async fn a_process_that_is_short_of_something_has_writes_refused_and_no_disk_failed() {
    let Fixture { dir, disk, calls } = fixture().await;
    for fault in [
        CallFault::WriteStopsAfter(70, Errno::NOMEM),
        CallFault::LongWrite(0, Errno::NFILE),
    ] {
        calls.set(fault);
        let refused = disk.put(shard(10, 0, 500), Durability::Synced).await;
        assert!(
            matches!(refused, Err(ShardError::Busy { .. })),
            "{fault:?}: {refused:?}"
        );
        assert!(disk.stat(id(10)).await.unwrap().is_none());
    }
    assert_eq!(disk.status().await.unwrap().health, DiskHealth::Healthy);
    put(&disk, 10, 400).await;
    drop(disk);
    assert_recovers(&dir, &[(10, 400)]).await;
}

#[tokio::test]
async fn a_full_disk_keeps_its_index_and_is_read() {
    let full = || IndexError::Io {
        path: PathBuf::from("index"),
        source: Arc::new(Errno::NOSPC.into()),
    };
    let Fixture { dir, disk, .. } = fixture().await;
    // Compaction tries again.
    let refused = disk.disk.flush_error(&full());
    assert!(matches!(refused, ShardError::DiskFull { .. }), "{refused}");
    put(&disk, 10, 400).await;
    // What could not be saved is lost with the process, and replayed.
    let refused = disk.disk.fail_index(&full());
    assert!(
        matches!(refused, ShardError::DiskFailed { .. }),
        "{refused}"
    );
    assert_eq!(disk.status().await.unwrap().health, DiskHealth::Failed);
    assert_kept(&disk).await;
    assert!(!dir.path().join("index-rebuild").exists());
    drop(disk);
    assert_recovers(&dir, &[(10, 400)]).await;
}

/// RocksDB writes nothing more after any of these.
#[tokio::test]
async fn an_index_that_cannot_be_written_can_be_read_until_its_disk_is_opened_again() {
    for (errno, is_rebuilt) in [
        (Errno::MFILE, false),
        (Errno::ROFS, false),
        (Errno::IO, true),
    ] {
        let Fixture { dir, disk, .. } = fixture().await;
        let refused = disk.disk.fail_index(&IndexError::Io {
            path: PathBuf::from("index"),
            source: Arc::new(errno.into()),
        });
        assert!(
            matches!(refused, ShardError::DiskFailed { .. }),
            "{refused}"
        );
        assert_kept(&disk).await;
        let is_marked = dir.path().join("index-rebuild").exists();
        assert_eq!(is_marked, is_rebuilt, "{errno}");
        drop(disk);
        assert_recovers(&dir, &[]).await;
    }
}

#[tokio::test]
async fn a_damaged_index_is_not_asked_until_its_disk_is_opened_again() {
    let Fixture { dir, disk, .. } = fixture().await;
    disk.disk.fail_index(&IndexError::Value("a test"));
    disk.disk.check_readable().unwrap_err();
    assert!(dir.path().join("index-rebuild").exists());
}

#[test]
fn a_disk_is_not_opened_again_before_there_is_room_on_it() {
    let dir = TestDisk::in_memory();
    let path = dir.path().join(PROBE_FILE);
    let calls = Arc::new(FaultyCalls::default());
    for (fault, errno) in [
        (CallFault::LongWrite(1 << 20, Errno::NOSPC), Errno::NOSPC),
        (CallFault::WriteStopsAfter(4096, Errno::NOSPC), Errno::NOSPC),
        (CallFault::SyncKeepsPages, Errno::IO),
    ] {
        calls.set(fault);
        let refused = durable_file::probe(&path, Arc::clone(&calls) as _).unwrap_err();
        assert_eq!(Errno::from_io_error(&refused), Some(errno), "{fault:?}");
        assert!(calls.has_struck() && !path.exists(), "{fault:?}");
    }
    durable_file::probe(&path, calls).unwrap();
}

#[tokio::test]
async fn compaction_that_is_short_of_something_tries_again() {
    let dir = TestDisk::in_memory();
    let calls = Arc::new(FaultyCalls::default());
    let options = LocalDiskOptions {
        segment_size_bytes: 1,
        ..dir.options()
    };
    let disk = LocalDisk::open_with(options, Arc::clone(&calls) as _).unwrap();
    put(&disk, 0, 1000).await;
    put(&disk, 1, 1000).await;
    let first = dir.segments().remove(0);
    calls.set(CallFault::Read(Errno::MFILE));
    disk.delete(&[id(0)]).await.unwrap();
    disk.compact().await.unwrap();
    assert!(calls.has_struck() && !first.exists());
}

#[tokio::test]
async fn a_read_that_is_short_of_something_says_nothing_of_the_shard() {
    let Fixture { disk, .. } = fixture().await;
    for (errno, is_corrupt) in [
        (Errno::MFILE, false),
        (Errno::NOMEM, false),
        (Errno::IO, true),
    ] {
        let error = reader::read_error(&disk.disk, id(0), errno.into());
        assert_eq!(matches!(error, ShardError::Corrupt { .. }), is_corrupt);
        assert_eq!(matches!(error, ShardError::Busy { .. }), !is_corrupt);
    }
    assert_eq!(counter(&disk, "corrupt_count").await, 1);
}
