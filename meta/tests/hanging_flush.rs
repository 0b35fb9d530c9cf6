//! RocksDB cannot write out its memory, because its disk hangs: the database moves to another disk, and writes there.
//!
//! Whoever opens a FIFO that nobody has at the other end waits in the kernel, as on a disk that hangs. FIFOs stand where
//! RocksDB will make its files. A process of its own, since all databases of a process share the thread that is lost.
#![expect(
    clippy::disallowed_methods,
    reason = "what a test makes and damages need not be durable"
)]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cairn_meta::kv::rocks::{RocksKv, RocksKvOptions};
use cairn_meta::kv::{Batch, KvStore};
use rustix::fs::{CWD, Mode, OFlags, mkfifoat, open};

/// More than RocksDB keeps in memory, and so many commits of a MiB.
const COMMIT_COUNT_MAX: usize = 100;

#[cfg(test)]
async fn put(store: &RocksKv, key: &str, value: &str) {
    let mut batch = Batch::default();
    batch.put(key.to_owned(), value.to_owned());
    store.commit(batch).await.unwrap();
}

#[cfg(test)]
fn database_in(place: &Path) -> PathBuf {
    let mut entries = std::fs::read_dir(place)
        .unwrap()
        .map(|entry| entry.unwrap());
    let database = entries.find(|entry| entry.file_name().to_str().unwrap().starts_with("db-"));
    database.unwrap().path()
}

#[tokio::test]
async fn commits_that_wait_for_a_flush_that_hangs_are_applied_on_another_disk() {
    let root = tempfile::tempdir().unwrap();
    let places = ["0", "1"].map(|disk| {
        std::fs::create_dir(root.path().join(disk)).unwrap();
        root.path().join(disk).join("meta")
    });
    let [home, copy] = &places;
    let options = RocksKvOptions {
        copies: vec![copy.clone()],
        copy_count: 1,
        copy_timeout: Duration::from_secs(5),
        // A checkpoint would wait for the flush, and find out first.
        checkpoint_after_bytes: u64::MAX,
        ..RocksKvOptions::new(home.clone(), [7; 16])
    };
    let (store, _) = RocksKv::open(&options).unwrap();
    put(&store, "before", "1").await;
    let database = database_in(home);
    let fifos: Vec<PathBuf> = (1..100)
        .map(|number| database.join(format!("{number:06}.sst")))
        .collect();
    for fifo in &fifos {
        mkfifoat(CWD, fifo, Mode::RUSR | Mode::WUSR).unwrap();
    }

    let large = "x".repeat(1 << 20);
    let mut count = 0;
    while store.status().counters.failovers == 0 {
        assert!(count < COMMIT_COUNT_MAX, "nothing was held up");
        put(&store, &format!("large {count}"), &large).await;
        count += 1;
    }
    assert_eq!(store.status().primary, *copy);
    for index in 0..count {
        let key = format!("large {index}");
        assert!(store.get(key.as_bytes()).await.unwrap().is_some());
    }
    // More than fits into memory without a flush.
    for index in 0..COMMIT_COUNT_MAX {
        put(&store, &format!("more {index}"), &large).await;
    }
    assert_eq!(store.status().counters.failovers, 1);
    let last = format!("more {}", COMMIT_COUNT_MAX - 1);
    assert!(store.get(last.as_bytes()).await.unwrap().is_some());
    store.close();
    for fifo in &fifos {
        answer(fifo);
    }
    // The process may not end while RocksDB is being closed.
    let deadline = Instant::now() + Duration::from_secs(30);
    while has_threads_of_the_store() {
        assert!(Instant::now() < deadline, "the old database is not closed");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[cfg(test)]
fn has_threads_of_the_store() -> bool {
    let mut threads = std::fs::read_dir("/proc/self/task").unwrap();
    threads.any(|thread| {
        // One that has ended meanwhile has no name.
        std::fs::read_to_string(thread.unwrap().path().join("comm"))
            .is_ok_and(|name| name.starts_with("meta-"))
    })
}

/// Ends the wait of whoever opens this FIFO: RocksDB waits for its threads when the process ends.
#[cfg(test)]
fn answer(fifo: &Path) {
    let reader = open(fifo, OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty()).unwrap();
    std::fs::remove_file(fifo).unwrap();
    drop(reader);
}
