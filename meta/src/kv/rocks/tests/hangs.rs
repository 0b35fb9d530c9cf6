//! Disks whose calls do not return.
//!
//! Two ways to make one. [`Hang`] holds up the calls into RocksDB that may need the disk. And whoever opens a FIFO that
//! nobody has at the other end waits in the kernel, as on a disk that hangs.

use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use rustix::fs::{CWD, Mode, mkfifoat};
use tokio::task::JoinHandle;

use super::super::failover::copy_closed_files;
use super::super::journal_file::file_name;
use super::super::place::Place;
use super::super::watched::{Unfinished, watched};
use super::super::{OpenError, RocksKv, RocksKvOptions, Start};
use super::harness::{Disks, overwrite, put, until, value};
use crate::kv::{Batch, Direction, KvError, KvStore, Scan, ScanPage};

/// Makes calls wait until they are released.
#[derive(Debug, Clone, Default)]
pub(in super::super) struct Hang(Arc<State>);

#[derive(Debug, Default)]
struct State {
    hangs: Mutex<bool>,
    released: Condvar,
    waiting_count: AtomicUsize,
}

impl Hang {
    /// Returns at once, or when the disk answers again.
    pub(in super::super) fn wait(&self) {
        self.0.waiting_count.fetch_add(1, Ordering::SeqCst);
        let hangs = self.0.hangs.lock().unwrap();
        drop(self.0.released.wait_while(hangs, |hangs| *hangs).unwrap());
        self.0.waiting_count.fetch_sub(1, Ordering::SeqCst);
    }

    fn waiting_count(&self) -> usize {
        self.0.waiting_count.load(Ordering::SeqCst)
    }

    fn begin(&self) -> Hanging {
        *self.0.hangs.lock().unwrap() = true;
        Hanging(self.clone())
    }
}

/// A disk hangs until this is dropped.
struct Hanging(Hang);

impl Drop for Hanging {
    fn drop(&mut self) {
        *self.0.0.hangs.lock().unwrap() = false;
        self.0.0.released.notify_all();
    }
}

/// Some disks, given up quickly.
fn impatient(disk_count: usize, copy_count: usize) -> Disks {
    let mut disks = Disks::new(disk_count, copy_count);
    disks.options.copy_timeout = Duration::from_secs(5);
    disks
}

/// A store that has nothing in memory of what was put: key `before` and value `1`.
async fn cold(disks: &Disks) -> RocksKv {
    let patient = RocksKvOptions {
        copy_timeout: Duration::from_mins(1),
        ..disks.options.clone()
    };
    let (store, _) = RocksKv::open(&patient).unwrap();
    put(&store, "before", "1").await;
    drop(store);
    let uncached = RocksKvOptions {
        block_cache_bytes: 0,
        ..disks.options.clone()
    };
    let (store, report) = RocksKv::open(&uncached).unwrap();
    assert_eq!(report.start, Start::Clean);
    store
}

fn hang(store: &RocksKv) -> (Hang, Hanging) {
    let hang = store.shared.live().database.hang.clone();
    let hanging = hang.begin();
    (hang, hanging)
}

async fn assert_moved(store: &RocksKv, disks: &Disks) {
    let status = store.status();
    assert_eq!(
        (status.primary, status.counters.failovers),
        (disks.place(1), 1)
    );
    // Readers are served before the rest of the state tells.
    until(|| !store.status().places[0].is_holder).await;
    let failure = store.status().places[0].failure.clone();
    assert!(failure.is_some_and(|failure| failure.contains("in time")));
}

/// The test runs on one thread: if the read held it, nothing would go on.
#[tokio::test]
async fn a_read_from_a_disk_that_hangs_is_repeated_on_another() {
    let disks = impatient(2, 1);
    let store = Arc::new(cold(&disks).await);
    put(&store, "recent", "2").await;
    let (hang, _hanging) = hang(&store);
    let read = {
        let store = Arc::clone(&store);
        tokio::spawn(async move { value(&store, "before").await })
    };
    until(|| hang.waiting_count() == 1).await;
    // What is in memory is served meanwhile.
    assert_eq!(value(&store, "recent").await.as_deref(), Some("2"));
    assert_eq!(store.status().counters.failovers, 0);
    assert_eq!(read.await.unwrap().as_deref(), Some("1"));
    assert_moved(&store, &disks).await;
    assert_eq!(value(&store, "recent").await.as_deref(), Some("2"));
}

#[tokio::test]
async fn a_scan_of_a_disk_that_hangs_is_repeated_on_another() {
    for limit in [1, 1000] {
        let disks = impatient(2, 1);
        let store = cold(&disks).await;
        let (_, _hanging) = hang(&store);
        let scan = Scan {
            limit,
            ..scan_all()
        };
        assert_eq!(store.scan(scan).await.unwrap().entries.len(), 1);
        assert_moved(&store, &disks).await;
    }
}

fn scan_all() -> Scan {
    Scan {
        start: "a".into(),
        end: None,
        direction: Direction::Ascending,
        limit: 1000,
        group: None,
    }
}

/// A scan in a store that has scans wait, when it is late.
async fn late_scan(store: &Arc<RocksKv>) -> (Hanging, JoinHandle<Result<ScanPage, KvError>>) {
    let slow = store.shared.live().database.slow_scans.clone();
    let hanging = slow.begin();
    let begun = Instant::now();
    let scan = {
        let store = Arc::clone(store);
        tokio::spawn(async move { store.scan(scan_all()).await })
    };
    until(|| slow.waiting_count() == 1 && begun.elapsed() > store.shared.copy_timeout * 3 / 2)
        .await;
    (hanging, scan)
}

#[tokio::test]
async fn a_scan_of_a_disk_that_is_only_slow_is_waited_for() {
    let disks = impatient(2, 1);
    let store = Arc::new(cold(&disks).await);
    let (hanging, scan) = late_scan(&store).await;
    assert!(!scan.is_finished());
    drop(hanging);
    assert_eq!(scan.await.unwrap().unwrap().entries.len(), 1);
    let status = store.status();
    assert_eq!((status.counters.failovers, status.holder_count()), (0, 2));
}

#[tokio::test]
async fn a_disk_that_is_silent_while_a_scan_is_late_is_left() {
    let disks = impatient(2, 1);
    let store = Arc::new(cold(&disks).await);
    mkfifo(&disks.place(0).join("probe.tmp"));
    let (_hanging, scan) = late_scan(&store).await;
    assert_eq!(scan.await.unwrap().unwrap().entries.len(), 1);
    assert_moved(&store, &disks).await;
}

#[tokio::test]
async fn reads_that_hang_hold_a_bounded_number_of_threads() {
    let disks = impatient(2, 1);
    let store = Arc::new(cold(&disks).await);
    let (hang, _hanging) = hang(&store);
    let mut reads = tokio::task::JoinSet::new();
    for _ in 0..super::super::shared::DISK_READS_MAX * 2 {
        let store = Arc::clone(&store);
        reads.spawn(async move { value(&store, "before").await });
    }
    for found in reads.join_all().await {
        assert_eq!(found.as_deref(), Some("1"));
    }
    assert_moved(&store, &disks).await;
    // And the writer's, which may look at the same time.
    let lost_count = hang.waiting_count();
    assert!(
        lost_count <= super::super::shared::DISK_READS_MAX + 1,
        "{lost_count}"
    );
}

#[tokio::test]
async fn a_commit_whose_check_hangs_is_validated_on_another_disk() {
    let disks = impatient(2, 1);
    let store = cold(&disks).await;
    let (_, _hanging) = hang(&store);
    let mut batch = Batch::default();
    batch
        .check("before", Some("1".into()))
        .put("during", "2")
        .put("before", "3");
    store.commit(batch.clone()).await.unwrap();
    assert_moved(&store, &disks).await;
    assert!(matches!(store.commit(batch).await, Err(KvError::Conflict)));
    assert_eq!(value(&store, "before").await.as_deref(), Some("3"));
    drop(store);
    // What hangs still has the directory.
    let image = disks.image();
    let (store, _) = image.open();
    assert_eq!(value(&store, "during").await.as_deref(), Some("2"));
}

#[tokio::test]
async fn a_disk_that_hangs_is_noticed_without_a_request() {
    let disks = impatient(2, 1);
    let store = cold(&disks).await;
    let (_, _hanging) = hang(&store);
    until(|| store.status().counters.failovers == 1).await;
    assert_moved(&store, &disks).await;
    assert_eq!(value(&store, "before").await.as_deref(), Some("1"));
}

#[tokio::test]
async fn a_disk_that_hangs_without_a_copy_is_served_from_again_when_it_answers() {
    let disks = impatient(1, 0);
    let store = cold(&disks).await;
    mkfifo(&disks.place(0).join("probe.tmp"));
    let (hang, hanging) = hang(&store);
    assert!(matches!(
        store.get(b"before").await,
        Err(KvError::Unavailable { .. })
    ));
    let mut batch = Batch::default();
    batch.check("before", Some("1".into())).put("before", "2");
    assert!(matches!(
        store.commit(batch.clone()).await,
        Err(KvError::Unavailable { .. })
    ));
    // Commits that ask nothing go on.
    put(&store, "during", "1").await;
    assert_eq!(store.status().broken, None);
    drop(hanging);
    until(|| hang.waiting_count() == 0).await;
    store.commit(batch).await.unwrap();
    assert_eq!(value(&store, "before").await.as_deref(), Some("2"));
}

#[tokio::test]
async fn closing_does_not_wait_for_a_disk_that_hangs() {
    let disks = impatient(1, 0);
    let store = cold(&disks).await;
    put(&store, "during", "2").await;
    let (_, hanging) = hang(&store);
    drop(store);
    let crashed = disks.image();
    let (store, _) = crashed.open();
    assert_eq!(value(&store, "during").await.as_deref(), Some("2"));
    drop(hanging);
}

/// Reading the journal hangs, and so does writing the file that asks the disk whether it does.
#[tokio::test]
async fn a_failover_does_not_wait_for_a_second_disk_that_hangs() {
    let disks = impatient(3, 2);
    let (store, _) = disks.open();
    put(&store, "before", "1").await;
    let fifos = [
        disks.place(1).join("journal/00000000000000000000.journal"),
        disks.place(1).join("probe.tmp"),
    ];
    for fifo in &fifos {
        mkfifo(fifo);
    }
    disks.lose(0);
    put(&store, "after", "2").await;
    let status = store.status();
    assert_eq!(status.primary, disks.place(2));
    assert!(status.places[1].failure.is_some());
    assert_eq!(value(&store, "before").await.as_deref(), Some("1"));
    assert_eq!(value(&store, "after").await.as_deref(), Some("2"));
}

/// What tells who a place is cannot be read, or its journal: then the probe hangs too.
#[tokio::test]
async fn a_start_does_not_wait_for_a_disk_that_hangs() {
    let place_file = ["cairn-meta.json"].as_slice();
    let journal = ["journal/00000000000000000000.journal", "probe.tmp"].as_slice();
    for (hung, fifos) in [(0, place_file), (0, journal), (1, journal)] {
        let disks = impatient(3, 1);
        let (store, _) = disks.open();
        put(&store, "key", "value").await;
        drop(store);
        for name in fifos {
            let fifo = disks.place(hung).join(name);
            crate::durable_file::remove_file(&fifo).unwrap();
            mkfifo(&fifo);
        }
        let (store, report) = disks.open();
        assert_ne!(report.primary, disks.place(hung), "{report}");
        let notes = report.notes.join("; ");
        assert!(notes.contains("in time"), "{notes}");
        assert_eq!(value(&store, "key").await.as_deref(), Some("value"));
        put(&store, "key", "new").await;
    }
}

/// A disk on which no spare journal file can be made ends no work on others.
#[tokio::test]
async fn copies_are_made_although_another_disk_hangs() {
    let disks = impatient(4, 1);
    let (store, _) = disks.open();
    let journal = disks.place(1).join("journal");
    until(|| journal.join("spare-prepared").exists()).await;
    mkfifo(&journal.join("spare-prepared.tmp"));
    mkfifo(&disks.place(1).join("probe.tmp"));
    // When the spare file there is in use, another is wanted.
    while journal.join("spare-prepared").exists() {
        put(&store, "key", &"x".repeat(3000)).await;
    }
    until(|| store.status().counters.copies_established == 1).await;
    let holders = store.status().places;
    let holders: Vec<_> = holders.iter().map(|place| place.is_holder).collect();
    assert_eq!(holders, [true, false, true, false]);
    drop(store);
}

/// It is sent no roster any more: beside a copy that is stale too it proves nothing.
#[tokio::test]
async fn a_place_that_hung_is_no_witness_when_it_answers_again() {
    let disks = impatient(3, 1);
    drop(disks.open());
    let unfinished = disks.place(2).join("cairn-meta.json.tmp");
    crate::durable_file::remove_file(&unfinished).unwrap();
    mkfifo(&unfinished);
    let (store, report) = disks.open();
    until(|| store.status().epoch > report.epoch).await;
    disks.take_away(1);
    until(|| store.status().holder_count() == 1).await;
    put(&store, "alone", "1").await;
    crate::durable_file::remove_file(&unfinished).unwrap();
    disks.bring_back(1);
    // What hangs still has the directory.
    let image = disks.image();
    image.take_away(0);
    let error = image.try_open().unwrap_err();
    assert!(
        matches!(&error, OpenError::TooManyMissing { allowed: 0, .. }),
        "{error}"
    );
    image.bring_back(0);
    let (store, _) = image.open();
    assert_eq!(value(&store, "alone").await.as_deref(), Some("1"));
}

/// A source that answers again when nobody waits for it any more, and the target has become a holder by other ways.
#[test]
fn work_that_was_given_up_writes_nothing() {
    let root = tempfile::tempdir().unwrap();
    let [source, target] = ["source", "target"].map(|name| {
        let place = Place::claim(&root.path().join(name), [7; 16]).unwrap();
        place.wipe_copy().unwrap();
        Arc::new(place)
    });
    let first = source.journal_dir().join(file_name(1));
    for fifo in [&first, &source.path.join("probe.tmp")] {
        mkfifo(fifo);
    }
    overwrite(&source.journal_dir().join(file_name(5)), b"stale");
    overwrite(&source.journal_dir().join(file_name(9)), b"next");
    let (from, to) = (Arc::clone(&source), Arc::clone(&target));
    let outcome = watched(
        std::slice::from_ref(&source),
        Duration::from_millis(100),
        move |is_given_up| copy_closed_files(&from, &to, 0, 8, is_given_up),
    );
    assert!(matches!(outcome, Err(Unfinished::Silent(_))), "{outcome:?}");
    let held = target.journal_dir().join(file_name(5));
    overwrite(&held, b"acknowledged");

    // The disk answers.
    drop(File::options().write(true).open(&first).unwrap());
    // Until the thread has ended.
    while Arc::strong_count(&target) > 1 {
        std::thread::yield_now();
    }
    assert_eq!(std::fs::read(&held).unwrap(), b"acknowledged");
    assert_eq!(std::fs::read_dir(target.journal_dir()).unwrap().count(), 1);
}

fn mkfifo(path: &Path) {
    mkfifoat(CWD, path, Mode::RUSR | Mode::WUSR).unwrap();
}
