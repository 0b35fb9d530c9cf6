//! Goal: a disk that hangs holds up those who need it, and no thread of theirs.
//!
//! Method: all calls that may be under way hang. Who needs the disk is pending after one poll, and has an answer when the
//! calls return; had it gone to the disk by itself, that poll would have brought the answer.

use std::fs::File;
use std::io::{self, IoSlice};
use std::sync::{Condvar, mpsc};

use futures_util::FutureExt as _;
use rustix::fs::FallocateFlags;

use super::*;
use crate::DiskHealth;

/// Shards whose entries fill many blocks of the index. Opening the disk reads the first one.
const COUNT: u32 = 1000;
const LAST: u32 = COUNT - 1;

/// A disk with shards of 10 bytes, of whose index memory has next to nothing.
async fn reopened(dir: &TestDisk) -> LocalDisk {
    let disk = dir.open();
    for number in 0..COUNT {
        let shard = shard(number, 0, 10);
        disk.put(shard, Durability::Buffered).await.unwrap();
    }
    disk.close().await.unwrap();
    drop(disk);
    dir.open()
}

/// Answered from the index alone, wherever the bytes are.
async fn ask_beyond_the_end(disk: &LocalDisk, number: u32) -> ShardError {
    disk.get(id(number), 0..11).await.unwrap_err()
}

/// With one thread for blocking calls: what is handed to it is done when what is handed to it later is.
fn with_one_blocking_thread(test: impl Future<Output = ()>) {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.max_blocking_threads(1).enable_time().build();
    runtime.unwrap().block_on(test);
}

#[test]
fn a_lookup_that_needs_the_disk_waits_its_turn() {
    with_one_blocking_thread(look_up_while_all_calls_hang());
}

async fn look_up_while_all_calls_hang() {
    let dir = TestDisk::in_memory();
    let disk = reopened(&dir).await;
    let hung = disk.reader.hang().await;
    let mut lookup = Box::pin(ask_beyond_the_end(&disk, LAST));
    let mut stat = disk.stat(id(LAST));
    let mut page = disk.list(None, 10);
    for _ in 0..2 {
        assert!((&mut lookup).now_or_never().is_none());
        assert!((&mut stat).now_or_never().is_none());
        assert!((&mut page).now_or_never().is_none());
        // None of them has taken a thread.
        tokio::task::spawn_blocking(|| ()).await.unwrap();
    }
    // Others are served.
    put(&disk, COUNT, 10).await;

    drop(hung);
    let outside = lookup.await;
    assert!(
        matches!(outside, ShardError::OutOfRange { .. }),
        "{outside}"
    );
    assert_eq!(stat.await.unwrap().unwrap().size_bytes, 10);
    assert_eq!(page.await.unwrap().shards.len(), 10);
}

#[tokio::test]
async fn a_lookup_in_memory_waits_for_nobody() {
    let dir = TestDisk::in_memory();
    let disk = reopened(&dir).await;
    // Reads its block.
    ask_beyond_the_end(&disk, LAST).await;
    put(&disk, COUNT, 10).await;
    let hung = disk.reader.hang().await;
    for number in [LAST, COUNT] {
        let outside = ask_beyond_the_end(&disk, number).now_or_never().unwrap();
        assert!(
            matches!(outside, ShardError::OutOfRange { .. }),
            "{outside}"
        );
    }
    let absent = disk.get(id(COUNT + 1), 0..1).now_or_never().unwrap();
    assert!(
        matches!(absent, Err(ShardError::NotFound { .. })),
        "{absent:?}"
    );
    drop(hung);
}

#[tokio::test]
async fn a_file_that_is_not_open_is_opened_where_one_may_wait() {
    let dir = TestDisk::new();
    let disk = dir.open();
    put(&disk, 1, 10).await;
    let place = disk.disk.index.live(id(1)).unwrap().unwrap().place;
    disk.disk.segments.forget(place.segment);
    let hung = disk.reader.hang().await;
    let mut read = disk.get(id(1), 0..10);
    assert!((&mut read).now_or_never().is_none());
    assert!(disk.disk.segments.opened(place.segment).is_none());
    drop(hung);
    assert_eq!(&read.await.unwrap()[..], &payload(1, 0, 10)[..]);
}

#[tokio::test]
async fn the_status_is_told_without_asking_the_disk() {
    let dir = TestDisk::new();
    let disk = dir.open();
    let before = disk.status().await.unwrap();
    assert!(before.capacity_bytes > 0);
    // Asking the file system about the directory would find it gone.
    std::fs::remove_dir_all(dir.path()).unwrap();
    let after = disk.status().await.unwrap();
    assert_eq!(after.capacity_bytes, before.capacity_bytes);
}

/// The real calls; syncs do not return while the device hangs.
#[derive(Debug, Default)]
struct HangingCalls {
    hangs: Mutex<bool>,
    changed: Condvar,
}

impl HangingCalls {
    fn set(&self, hangs: bool) {
        *self.hangs.lock().unwrap() = hangs;
        self.changed.notify_all();
    }
}

impl FileCalls for HangingCalls {
    fn write(&self, file: &File, parts: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        SystemCalls.write(file, parts, offset)
    }

    fn sync_data(&self, file: &File) -> io::Result<()> {
        let hangs = self.hangs.lock().unwrap();
        drop(self.changed.wait_while(hangs, |hangs| *hangs).unwrap());
        SystemCalls.sync_data(file)
    }

    fn truncate(&self, file: &File, len: u64) -> io::Result<()> {
        SystemCalls.truncate(file, len)
    }

    fn allocate(&self, file: &File, flags: FallocateFlags, range: Range<u64>) -> io::Result<()> {
        SystemCalls.allocate(file, flags, range)
    }
}

fn impatient(dir: &TestDisk) -> LocalDiskOptions {
    LocalDiskOptions {
        hung_after: Duration::from_millis(200),
        ..dir.options()
    }
}

/// Whether the disk says sooner or later that it is so.
async fn becomes(disk: &LocalDisk, health: DiskHealth) -> bool {
    let said = async {
        while disk.status().await.unwrap().health != health {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), said)
        .await
        .is_ok()
}

#[tokio::test]
async fn a_disk_whose_writes_do_not_return_is_hung_until_they_do() {
    let dir = TestDisk::in_memory();
    let calls = Arc::new(HangingCalls::default());
    let opened = LocalDisk::open_with(impatient(&dir), Arc::clone(&calls) as _);
    let disk = Arc::new(opened.unwrap());
    put(&disk, 0, 10).await;
    assert!(becomes(&disk, DiskHealth::Healthy).await);
    calls.set(true);
    let waiting = Arc::clone(&disk);
    let waiting = tokio::spawn(async move { put(&waiting, 1, 10).await });
    let is_hung = becomes(&disk, DiskHealth::Hung).await;
    // What needs no more than memory is answered.
    let read = read_whole(&disk, 0).await;
    let is_waiting = !waiting.is_finished();
    // Before anything is asserted: a disk that hangs cannot be dropped.
    calls.set(false);
    assert!(is_hung && is_waiting);
    assert_eq!(read.unwrap(), payload(0, 0, 10));
    waiting.await.unwrap();
    assert!(becomes(&disk, DiskHealth::Healthy).await);
    put(&disk, 2, 10).await;
}

#[tokio::test]
async fn what_is_given_up_while_the_disk_hangs_takes_no_memory_and_is_not_written() {
    let dir = TestDisk::in_memory();
    let calls = Arc::new(HangingCalls::default());
    let opened = LocalDisk::open_with(impatient(&dir), Arc::clone(&calls) as _);
    let disk = Arc::new(opened.unwrap());
    calls.set(true);
    let waiting = Arc::clone(&disk);
    let waiting = tokio::spawn(async move { put(&waiting, 0, 10).await });
    // The writer has come to that one, and to nothing else before the call returns.
    let is_hung = becomes(&disk, DiskHealth::Hung).await;
    let all_bytes = disk.disk.options.queue_bytes_max;
    let ShardPut {
        id: given_up,
        payload,
        ..
    } = shard(1, 0, 100_000);
    let shard = ShardPut {
        payload: payload.clone(),
        ..shard(1, 0, 0)
    };
    let mut giving_up = disk.put(shard, Durability::Synced);
    let is_queued = (&mut giving_up).now_or_never().is_none() && !payload.is_unique();
    drop(giving_up);
    let is_freed = payload.is_unique();
    let free_bytes = disk.disk.queue_bytes.available_permits();
    // Before anything is asserted: a disk that hangs cannot be dropped.
    calls.set(false);
    assert!(is_hung && is_queued && is_freed);
    assert!(free_bytes > all_bytes - 100_000, "{free_bytes}");
    waiting.await.unwrap();
    put(&disk, 2, 10).await;
    assert!(disk.stat(given_up).await.unwrap().is_none());
}

#[tokio::test]
async fn a_disk_whose_reads_do_not_return_is_hung_until_they_do() {
    let dir = TestDisk::in_memory();
    let disk = LocalDisk::open(impatient(&dir)).unwrap();
    let (answer, device) = mpsc::channel();
    let read = disk.reader.wait_for(move |_| Ok(device.recv().unwrap()));
    let hung = becomes(&disk, DiskHealth::Hung).map(|is_hung| (is_hung, answer.send(7)));
    let (read, hung) = tokio::join!(read, hung);
    assert_eq!((read.unwrap(), hung), (7, (true, Ok(()))));
    assert!(becomes(&disk, DiskHealth::Healthy).await);
}
