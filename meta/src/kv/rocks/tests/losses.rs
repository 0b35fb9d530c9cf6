//! Disks that vanish or fail while the store runs.

use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use super::super::holder::{OpenJournal, directory_journal};
use super::super::journal_copy::JournalCopy;
use super::super::journal_file::FileHead;
use super::super::shared::Suspicion;
use super::super::writer::{Control, Request};
use super::super::{RocksKv, RocksKvOptions, Start};
use super::harness::{Disks, entries, flip_bit, overwrite, put, until, value};
use crate::kv::{Batch, KvError, KvStore};

#[tokio::test]
async fn a_lost_copy_is_made_anew_elsewhere() {
    let disks = Disks::new(4, 1);
    let (store, report) = disks.open();
    assert_eq!(report.copies, [disks.place(1)]);
    put(&store, "before", "1").await;
    disks.lose(1);
    put(&store, "after", "2").await;
    until(|| store.status().counters.copies_established == 1).await;
    let holders: Vec<PathBuf> = store
        .status()
        .places
        .into_iter()
        .filter(|place| place.is_holder)
        .map(|place| place.path)
        .collect();
    assert_eq!(holders, [disks.place(0), disks.place(2)]);
    put(&store, "later", "3").await;
    drop(store);

    disks.lose(0);
    let (store, report) = disks.open();
    assert_eq!(
        report.start,
        Start::Restored {
            from: disks.place(2),
            reason: format!("{} is missing", disks.place(0).display())
        }
    );
    for (key, expected) in [("before", "1"), ("after", "2"), ("later", "3")] {
        assert_eq!(value(&store, key).await.as_deref(), Some(expected));
    }
}

#[tokio::test]
async fn the_metadata_directory_may_vanish_while_running() {
    let disks = Disks::new(4, 2);
    let (store, _) = disks.open();
    for index in 0..100 {
        put(&store, &format!("key {index}"), &"x".repeat(1000)).await;
    }
    disks.lose(0);
    put(&store, "after", "2").await;
    assert_eq!(store.status().primary, disks.place(1));
    assert_eq!(store.status().counters.failovers, 1);
    assert!(value(&store, "key 99").await.is_some());
    until(|| !store.status().is_reduced()).await;
    put(&store, "later", "3").await;
    drop(store);

    // The directory is empty now, and the newest RocksDB elsewhere: it returns.
    let (store, report) = disks.open();
    let from = disks.place(1);
    assert_eq!(
        (report.start, report.primary),
        (Start::Returned { from }, disks.place(0))
    );
    assert_eq!(value(&store, "after").await.as_deref(), Some("2"));
    assert_eq!(value(&store, "later").await.as_deref(), Some("3"));
}

#[tokio::test]
async fn a_vanished_metadata_directory_is_noticed_without_a_commit() {
    let disks = Disks::new(2, 1);
    let (store, _) = disks.open();
    put(&store, "before", "1").await;
    disks.lose(0);
    until(|| store.status().counters.failovers == 1).await;
    assert_eq!(value(&store, "before").await.as_deref(), Some("1"));
    assert!(store.status().is_reduced());
}

#[tokio::test]
async fn two_of_three_holders_may_vanish_at_once() {
    let disks = Disks::new(3, 2);
    let (store, _) = disks.open();
    put(&store, "before", "1").await;
    disks.lose(0);
    disks.lose(2);
    put(&store, "after", "2").await;
    assert_eq!(value(&store, "before").await.as_deref(), Some("1"));
    assert_eq!(store.status().holder_count(), 1);
    assert!(store.status().counters.reduced_groups >= 1);
}

#[tokio::test]
async fn a_copy_of_a_store_that_was_replaced_is_stale_when_it_turns_up() {
    let disks = Disks::new(3, 1);
    // Started more often than the store that will take its place.
    for start in 0..3 {
        let (store, _) = disks.open();
        put(&store, "old", &start.to_string()).await;
    }
    disks.take_away(1);
    disks.lose(0);
    let replacement = RocksKvOptions {
        epoch_before_first: 1_700_000_000_000,
        ..RocksKvOptions::new(disks.place(0), disks.options.cluster_id)
    };
    let (store, report) = RocksKv::open(&replacement).unwrap();
    assert_eq!(report.start, Start::Fresh);
    put(&store, "new", "1").await;
    drop(store);

    disks.bring_back(1);
    let (store, report) = disks.open();
    assert_eq!(report.start, Start::Clean);
    assert_eq!(value(&store, "new").await.as_deref(), Some("1"));
    assert_eq!(value(&store, "old").await, None);
    // It may be better than what replaced it, and is kept.
    assert!(disks.entry(1, "superseded-").join("journal").is_dir());
}

#[tokio::test]
async fn without_a_copy_the_loss_is_told_and_nothing_is_acknowledged() {
    let disks = Disks::new(1, 0);
    let (store, _) = disks.open();
    put(&store, "before", "1").await;
    disks.lose(0);
    let mut batch = Batch::default();
    batch.put("after", "2");
    // Unavailable, if the loss was noticed before the commit began.
    let outcome = store.commit(batch.clone()).await;
    assert!(
        matches!(
            outcome,
            Err(KvError::UnknownOutcome { .. } | KvError::Unavailable { .. })
        ),
        "{outcome:?}"
    );
    assert!(matches!(
        store.commit(batch).await,
        Err(KvError::Unavailable { .. })
    ));
    assert!(store.status().broken.is_some());
}

/// What a failing append leaves in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leaves {
    Nothing,
    HalfTheRecord,
    TheRecord,
}

/// Makes the journals at some paths fail or wait.
#[derive(Debug, Default)]
struct Faults {
    fails: AtomicBool,
    leaves: Mutex<Option<Leaves>>,
    appends_after_failure: AtomicU64,
    waits: Mutex<bool>,
    resumed: Condvar,
    /// Rotations so far.
    rotations: AtomicU64,
    /// This one waits with the appends, until they are resumed.
    waiting_rotation: AtomicU64,
    /// This one fails.
    failing_rotation: AtomicU64,
}

impl Faults {
    fn wait(&self) {
        drop(
            self.resumed
                .wait_while(self.waits.lock().unwrap(), |waits| *waits)
                .unwrap(),
        );
    }

    fn resume(&self) {
        *self.waits.lock().unwrap() = false;
        self.resumed.notify_all();
    }
}

struct FaultyJournal {
    has_failed: bool,
    inner: Box<dyn JournalCopy>,
    faults: Arc<Faults>,
}

impl JournalCopy for FaultyJournal {
    fn rotate(&mut self, head: &FileHead) -> io::Result<()> {
        let rotation = self.faults.rotations.fetch_add(1, Ordering::SeqCst) + 1;
        if rotation == self.faults.waiting_rotation.load(Ordering::SeqCst) {
            self.faults.wait();
        }
        if rotation == self.faults.failing_rotation.load(Ordering::SeqCst) {
            return Err(io::Error::other("injected"));
        }
        self.inner.rotate(head)
    }

    fn append(&mut self, frame: &[u8]) -> io::Result<()> {
        self.faults.wait();
        if self.has_failed {
            self.faults
                .appends_after_failure
                .fetch_add(1, Ordering::SeqCst);
        }
        if self.faults.fails.load(Ordering::SeqCst) {
            self.has_failed = true;
            match *self.faults.leaves.lock().unwrap() {
                Some(Leaves::HalfTheRecord) => self.inner.append(&frame[..frame.len() / 2])?,
                Some(Leaves::TheRecord) => self.inner.append(frame)?,
                Some(Leaves::Nothing) | None => {}
            }
            return Err(io::Error::other("injected"));
        }
        self.inner.append(frame)
    }

    fn cut(&mut self, sequence: u64) -> io::Result<()> {
        self.inner.cut(sequence)
    }

    fn check(&mut self) -> io::Result<()> {
        self.inner.check()
    }
}

fn faulty(path: PathBuf, faults: &Arc<Faults>) -> OpenJournal {
    let (real, faults) = (directory_journal(), Arc::clone(faults));
    Arc::new(move |dir, file_size_bytes| {
        let inner = real(dir, file_size_bytes)?;
        if dir.starts_with(&path) {
            return Ok(Box::new(FaultyJournal {
                has_failed: false,
                inner,
                faults: Arc::clone(&faults),
            }));
        }
        Ok(inner)
    })
}

#[tokio::test]
async fn a_failed_sync_of_the_metadata_disk_moves_rocksdb() {
    let disks = Disks::new(3, 1);
    let faults = Arc::new(Faults::default());
    let (store, _) = RocksKv::open_with(&disks.options, faulty(disks.place(0), &faults)).unwrap();
    put(&store, "before", "1").await;
    faults.fails.store(true, Ordering::SeqCst);
    put(&store, "during", "2").await;
    assert_eq!(store.status().primary, disks.place(1));
    until(|| !store.status().is_reduced()).await;
    drop(store);
    // The old RocksDB and journal still stand in the metadata directory, and are stale.
    let (store, report) = disks.open();
    let from = disks.place(1);
    assert_eq!(report.start, Start::Returned { from });
    assert_eq!(value(&store, "before").await.as_deref(), Some("1"));
    assert_eq!(value(&store, "during").await.as_deref(), Some("2"));
}

#[tokio::test]
async fn a_copy_whose_sync_fails_is_given_up_for_good() {
    for leaves in [Leaves::Nothing, Leaves::HalfTheRecord, Leaves::TheRecord] {
        let disks = Disks::new(4, 1);
        let faults = Arc::new(Faults::default());
        *faults.leaves.lock().unwrap() = Some(leaves);
        let (store, _) =
            RocksKv::open_with(&disks.options, faulty(disks.place(1), &faults)).unwrap();
        put(&store, "before", "1").await;
        faults.fails.store(true, Ordering::SeqCst);
        // Acknowledged on the metadata disk alone, and counted so; then another disk takes the copy's place.
        put(&store, "during", "2").await;
        assert!(store.status().counters.reduced_groups >= 1, "{leaves:?}");
        assert_eq!(store.status().counters.copies_lost, 1);
        let given_up = store.status().places.swap_remove(1);
        assert!(!given_up.is_holder && given_up.failure.unwrap().contains("injected"));
        until(|| !store.status().is_reduced()).await;
        put(&store, "later", "3").await;
        assert_eq!(faults.appends_after_failure.load(Ordering::SeqCst), 0);
        drop(store);

        // The next start restores from the disk that took over, not from the one that was given up.
        disks.lose(0);
        let (store, report) = disks.open();
        assert!(
            matches!(&report.start, Start::Restored { from, .. } if *from == disks.place(2)),
            "{leaves:?}: {report}"
        );
        for (key, expected) in [("before", "1"), ("during", "2"), ("later", "3")] {
            assert_eq!(value(&store, key).await.as_deref(), Some(expected));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_is_not_complete_when_rocksdb_moves_while_it_is_made() {
    let disks = Disks::new(4, 2);
    let faults = Arc::new(Faults::default());
    // The start, the checkpoint for the new copy, what came meanwhile, and what comes when it is added.
    faults.waiting_rotation.store(3, Ordering::SeqCst);
    faults.failing_rotation.store(4, Ordering::SeqCst);
    let (store, _) = RocksKv::open_with(&disks.options, faulty(disks.place(0), &faults)).unwrap();
    let store = Arc::new(store);
    put(&store, "before", "1").await;
    *faults.waits.lock().unwrap() = true;
    disks.lose(1);
    until(|| faults.rotations.load(Ordering::SeqCst) == 3).await;
    // Journalled behind the third rotation, in a file that only the fourth closes: which fails where RocksDB is.
    let during = {
        let store = Arc::clone(&store);
        tokio::spawn(async move { put(&store, "during", "2").await })
    };
    until(|| store.status().queue_depth == 1).await;
    faults.resume();
    during.await.unwrap();
    until(|| store.status().places[3].failure.is_some()).await;
    put(&store, "after", "3").await;

    let status = store.status();
    assert_eq!(
        (status.primary, status.counters.failovers),
        (disks.place(2), 1)
    );
    assert!(!status.places[3].is_holder, "it lacks a journal file");
    // Whoever is called a holder has everything.
    let holders = status.places.iter().filter(|place| place.is_holder);
    let held: Vec<PathBuf> = holders.map(|place| place.path.clone()).collect();
    assert_eq!(held, [disks.place(2)]);
}

#[tokio::test]
async fn full_disks_refuse_commits_until_there_is_room_again() {
    let disks = Disks::new(2, 1);
    let (store, _) = disks.open();
    let journals = [0, 1].map(|disk| disks.place(disk).join("journal"));
    let spare = |journal: &PathBuf| journal.join("spare-prepared").exists();
    until(|| journals.iter().all(spare)).await;
    // Whoever writes another file of zeros is told that the disk is full.
    let names = ["spare-prepared.tmp", "spare-new.tmp"];
    let unfinished: Vec<PathBuf> = journals
        .iter()
        .flat_map(|journal| names.map(|name| journal.join(name)))
        .collect();
    for path in &unfinished {
        std::os::unix::fs::symlink("/dev/full", path).unwrap();
    }
    let mut outcome = Ok(());
    let mut key = 0;
    while outcome.is_ok() {
        key += 1;
        assert!(key < 100, "nothing was refused");
        let mut batch = Batch::default();
        batch.put(format!("key {key}"), "x".repeat(3000));
        outcome = store.commit(batch).await;
    }
    assert!(
        matches!(&outcome, Err(KvError::Unavailable { detail }) if detail.contains("no disk has room")),
        "{outcome:?}"
    );
    // An operator sees it, and sees it end: whoever looks whether this is ready does not commit.
    let status = store.status();
    assert!(status.refusal().unwrap().contains("no disk has room"));
    assert_eq!(status.counters.refused_no_room, 1);
    assert_eq!((status.holder_count(), status.broken), (2, None));
    until(|| store.status().free_bytes_min().is_some()).await;

    // The writer looks for room once a second, and is not looking when it has just refused: a disk that it finds full when
    // another one is not any more would be given up.
    let mut batch = Batch::default();
    batch.put("refused too", "x".repeat(3000));
    assert!(store.commit(batch).await.is_err());
    for path in &unfinished {
        std::fs::remove_file(path).unwrap();
    }
    until(|| store.status().refusal().is_none()).await;
    put(&store, "after", "1").await;
    drop(store);
    for lost in [0, 1] {
        let image = disks.image();
        image.lose(lost);
        let (store, _) = image.open();
        assert_eq!(value(&store, "after").await.as_deref(), Some("1"));
        let last = format!("key {}", key - 1);
        assert!(value(&store, &last).await.is_some());
        assert_eq!(value(&store, &format!("key {key}")).await, None);
    }
}

#[tokio::test]
async fn a_full_disk_is_given_up_while_another_has_room() {
    let disks = Disks::new(2, 1);
    let (store, _) = disks.open();
    let journal = disks.place(1).join("journal");
    until(|| journal.join("spare-prepared").exists()).await;
    for name in ["spare-prepared.tmp", "spare-new.tmp"] {
        std::os::unix::fs::symlink("/dev/full", journal.join(name)).unwrap();
    }
    for key in 0..40 {
        put(&store, &format!("key {key}"), &"x".repeat(3000)).await;
    }
    assert_eq!(store.status().holder_count(), 1);
    assert!(store.status().broken.is_none());
}

#[tokio::test]
async fn when_every_sync_fails_nothing_is_acknowledged_until_the_next_start() {
    for leaves in [Leaves::Nothing, Leaves::HalfTheRecord, Leaves::TheRecord] {
        let disks = Disks::new(2, 1);
        let faults = Arc::new(Faults::default());
        *faults.leaves.lock().unwrap() = Some(leaves);
        let all = disks.place(0).ancestors().nth(2).unwrap().to_owned();
        let (store, _) = RocksKv::open_with(&disks.options, faulty(all, &faults)).unwrap();
        put(&store, "before", "1").await;
        faults.fails.store(true, Ordering::SeqCst);
        let mut batch = Batch::default();
        batch.put("during", "2").put("during too", "2");
        let outcome = store.commit(batch.clone()).await;
        assert!(
            matches!(outcome, Err(KvError::UnknownOutcome { .. })),
            "{leaves:?}: {outcome:?}"
        );
        faults.fails.store(false, Ordering::SeqCst);
        assert!(matches!(
            store.commit(batch).await,
            Err(KvError::Unavailable { .. })
        ));
        assert!(store.status().broken.is_some());
        assert_eq!(value(&store, "before").await.as_deref(), Some("1"));
        assert_eq!(value(&store, "during").await, None);
        assert_eq!(faults.appends_after_failure.load(Ordering::SeqCst), 0);
        drop(store);

        let (store, _) = disks.open();
        assert_eq!(value(&store, "before").await.as_deref(), Some("1"));
        let found = value(&store, "during").await;
        assert_eq!(found, value(&store, "during too").await, "{leaves:?}");
        assert_eq!(found.is_some(), leaves == Leaves::TheRecord, "{leaves:?}");
        put(&store, "after", "3").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_is_busy() {
    let disks = Disks::new(1, 0);
    let faults = Arc::new(Faults::default());
    let (store, _) = RocksKv::open_with(&disks.options, faulty(disks.place(0), &faults)).unwrap();
    let store = Arc::new(store);
    *faults.waits.lock().unwrap() = true;
    let mut tasks = tokio::task::JoinSet::new();
    for index in 0..super::super::QUEUE_LEN * 2 {
        let store = Arc::clone(&store);
        tasks.spawn(async move {
            let mut batch = Batch::default();
            batch.put(format!("key {index}"), "value");
            store.commit(batch).await
        });
    }
    until(|| store.status().counters.busy > 0).await;
    faults.resume();
    let results = tasks.join_all().await;
    let busy = results
        .iter()
        .filter(|result| matches!(result, Err(KvError::Busy)))
        .count();
    let done = results.iter().filter(|result| result.is_ok()).count();
    assert_eq!(busy + done, results.len());
    assert!(done >= super::super::QUEUE_LEN);
    assert_eq!(store.status().queue_depth, 0);
}

#[tokio::test]
async fn a_copy_that_hangs_is_given_up() {
    let mut disks = Disks::new(2, 1);
    disks.options.copy_timeout = Duration::from_millis(300);
    let faults = Arc::new(Faults::default());
    let (store, _) = RocksKv::open_with(&disks.options, faulty(disks.place(1), &faults)).unwrap();
    *faults.waits.lock().unwrap() = true;
    put(&store, "during", "1").await;
    assert_eq!(store.status().holder_count(), 1);
    assert_eq!(value(&store, "during").await.as_deref(), Some("1"));
    faults.resume();
}

#[tokio::test(flavor = "multi_thread")]
async fn holders_that_all_hang_are_waited_for() {
    for disk_count in [1, 3] {
        let mut disks = Disks::new(disk_count, disk_count - 1);
        disks.options.copy_timeout = Duration::from_millis(300);
        let faults = Arc::new(Faults::default());
        let all = disks.place(0).ancestors().nth(2).unwrap().to_owned();
        let (store, _) = RocksKv::open_with(&disks.options, faulty(all, &faults)).unwrap();
        let store = Arc::new(store);
        *faults.waits.lock().unwrap() = true;
        let during = {
            let store = Arc::clone(&store);
            tokio::spawn(async move { put(&store, "during", "1").await })
        };
        let begun = Instant::now();
        until(|| begun.elapsed() > 3 * disks.options.copy_timeout).await;
        assert_eq!(store.status().holder_count(), disk_count);
        faults.resume();
        during.await.unwrap();
        put(&store, "after", "2").await;
        assert_eq!(store.status().holder_count(), disk_count);
        assert_eq!(store.status().counters.copies_lost, 0);
    }
}

#[tokio::test]
async fn the_only_rocksdb_that_refuses_a_record_takes_it_later() {
    let disks = Disks::new(1, 0);
    let (store, _) = disks.open();
    put(&store, "before", "1").await;
    let live = store.shared.live();
    live.database.refuses.store(true, Ordering::SeqCst);
    let mut batch = Batch::default();
    batch.put("during", "2");
    let outcome = store.commit(batch.clone()).await;
    assert!(
        matches!(outcome, Err(KvError::UnknownOutcome { .. })),
        "{outcome:?}"
    );
    let outcome = store.commit(batch).await;
    assert!(
        matches!(outcome, Err(KvError::Unavailable { .. })),
        "{outcome:?}"
    );
    let status = store.status();
    assert!(status.broken.is_some() && status.holder_count() == 1);
    live.database.refuses.store(false, Ordering::SeqCst);
    drop(live);
    until(|| store.status().broken.is_none()).await;
    put(&store, "after", "3").await;
    let crashed = disks.image();
    drop(store);
    for disks in [disks, crashed] {
        let (store, _) = disks.open();
        for (key, expected) in [("before", "1"), ("during", "2"), ("after", "3")] {
            assert_eq!(value(&store, key).await.as_deref(), Some(expected));
        }
    }
}

#[tokio::test]
async fn the_last_holder_without_room_for_a_roster_is_kept_until_there_is() {
    let disks = Disks::new(2, 1);
    let (store, _) = disks.open();
    put(&store, "before", "1").await;
    let unfinished = disks.place(0).join("cairn-meta.json.tmp");
    std::os::unix::fs::symlink("/dev/full", &unfinished).unwrap();
    disks.lose(1);
    until(|| store.status().broken.is_some()).await;
    assert_eq!(store.status().holder_count(), 1);
    std::fs::remove_file(&unfinished).unwrap();
    until(|| store.status().broken.is_none()).await;
    put(&store, "after", "2").await;
    drop(store);
    let (store, _) = disks.open();
    assert_eq!(value(&store, "before").await.as_deref(), Some("1"));
    assert_eq!(value(&store, "after").await.as_deref(), Some("2"));
}

#[tokio::test]
async fn the_only_disk_may_be_away_for_a_while() {
    let disks = Disks::new(1, 0);
    let (store, _) = disks.open();
    put(&store, "before", "1").await;
    disks.take_away(0);
    until(|| store.status().broken.is_some()).await;
    disks.bring_back(0);
    until(|| store.status().broken.is_none()).await;
    put(&store, "after", "2").await;
    drop(store);
    let (store, _) = disks.open();
    assert_eq!(value(&store, "after").await.as_deref(), Some("2"));
}

#[tokio::test]
async fn restores_that_come_to_nothing_leave_nothing_behind() {
    let mut disks = Disks::new(2, 1);
    disks.options.checkpoint_after_bytes = 1000;
    let (store, _) = disks.open();
    put(&store, "key", &"value".repeat(1000)).await;
    until(|| store.status().counters.checkpoints >= 1 && store.status().journal_bytes == 0).await;
    let mut files = entries(&disks.entry(1, "checkpoint-"), "");
    files.retain(|path| path.extension().is_some_and(|extension| extension == "sst"));
    flip_bit(&files[0], 100);
    disks.lose(0);
    let left = || entries(&disks.place(1), "db-");
    until(|| store.status().broken.is_some()).await;
    // It is tried again and again.
    until(|| left().is_empty()).await;
    drop(store);
    for _ in 0..3 {
        disks.try_open().unwrap_err();
        assert_eq!(left(), Vec::<PathBuf>::new());
        assert_eq!(entries(&disks.place(0), "db-"), Vec::<PathBuf>::new());
    }
}

#[tokio::test]
async fn a_copy_whose_checkpoint_rots_is_made_anew() {
    let mut disks = Disks::new(3, 1);
    disks.options.checkpoint_after_bytes = 1000;
    disks.options.verify_every = Duration::from_millis(100);
    let (store, _) = disks.open();
    put(&store, "key", &"value".repeat(1000)).await;
    until(|| store.status().counters.checkpoints >= 1).await;
    // All of it more than once.
    let checkpoint = disks.entry(1, "checkpoint-");
    let files = entries(&checkpoint, "");
    let size_bytes = |path: &PathBuf| std::fs::metadata(path).unwrap().len();
    let all_bytes: u64 = files.iter().map(size_bytes).sum();
    until(|| store.status().counters.verified_bytes > 2 * all_bytes).await;
    assert_eq!(store.status().counters.copies_lost, 0);

    let table = files
        .iter()
        .find(|path| path.extension().is_some_and(|extension| extension == "sst"));
    flip_bit(table.unwrap(), 100);
    until(|| store.status().counters.copies_established == 1).await;
    assert_eq!(store.status().counters.copies_lost, 1);
    let failure = store.status().places[1].failure.clone();
    assert!(failure.unwrap().contains("checksum"));
    drop(store);
    disks.lose(0);
    let (store, _) = disks.open();
    assert_eq!(value(&store, "key").await.unwrap().len(), 5000);
}

/// The roster cannot be written at first; when it can, it is because of another disk that it is.
#[tokio::test]
async fn what_was_journalled_when_the_store_broke_is_applied_whatever_mends_it() {
    let disks = Disks::new(3, 2);
    let faults = Arc::new(Faults::default());
    let (store, _) = RocksKv::open_with(&disks.options, faulty(disks.place(2), &faults)).unwrap();
    put(&store, "before", "1").await;
    let unfinished = [0, 1].map(|disk| disks.place(disk).join("cairn-meta.json.tmp"));
    for path in &unfinished {
        std::os::unix::fs::symlink("/dev/full", path).unwrap();
    }
    faults.fails.store(true, Ordering::SeqCst);
    let mut batch = Batch::default();
    batch.put("during", "2");
    let outcome = store.commit(batch).await;
    assert!(
        matches!(outcome, Err(KvError::UnknownOutcome { .. })),
        "{outcome:?}"
    );
    for path in &unfinished {
        std::fs::remove_file(path).unwrap();
    }
    disks.lose(1);
    until(|| store.status().broken.is_none() && store.status().holder_count() == 1).await;
    put(&store, "after", "3").await;
    for (key, expected) in [("before", "1"), ("during", "2"), ("after", "3")] {
        assert_eq!(value(&store, key).await.as_deref(), Some(expected));
    }
}

#[tokio::test]
async fn a_database_that_has_rotted_is_left_before_a_copy_is_made_of_it() {
    let disks = Disks::new(4, 2);
    let (store, _) = disks.open();
    for number in 10..40 {
        put(&store, &format!("key {number}"), &"value".repeat(1000)).await;
    }
    drop(store);
    let (store, _) = disks.open();
    let mut files = entries(&disks.entry(0, "db-"), "");
    files.retain(|path| path.extension().is_some_and(|extension| extension == "sst"));
    // In place: RocksDB has it open. In the middle: it has read the beginning, and would not read that again.
    let table = std::fs::File::options()
        .write(true)
        .open(&files[0])
        .unwrap();
    let middle = table.metadata().unwrap().len() / 2;
    table.write_all_at(b"rot", middle).unwrap();
    disks.lose(2);
    until(|| store.status().counters.failovers == 1).await;
    assert_eq!(store.status().primary, disks.place(1));
    assert_eq!(value(&store, "key 25").await.unwrap().len(), 5000);
}

fn tables(dir: &Path) -> Vec<PathBuf> {
    let mut files = entries(dir, "");
    files.retain(|path| path.extension().is_some_and(|extension| extension == "sst"));
    files
}

/// As with a bad sector at its beginning: the file can be opened, and not read.
fn make_unreadable(path: &Path) {
    std::fs::remove_file(path).unwrap();
    std::os::unix::fs::symlink("/proc/self/mem", path).unwrap();
}

#[tokio::test]
async fn a_database_that_cannot_be_copied_is_left_for_the_copy() {
    let mut disks = Disks::new(3, 1);
    disks.options.checkpoint_after_bytes = 1000;
    let (store, _) = disks.open();
    put(&store, "before", &"1".repeat(10_000)).await;
    until(|| store.status().counters.checkpoints >= 1 && store.status().journal_bytes == 0).await;
    // RocksDB has it open, and reads it as ever.
    make_unreadable(&tables(&disks.entry(0, "db-"))[0]);
    put(&store, "after", &"2".repeat(20_000)).await;
    until(|| store.status().counters.failovers == 1).await;
    let status = store.status();
    assert_eq!(status.primary, disks.place(1));
    assert!(status.places[1].is_holder && status.places[1].failure.is_none());
    for (key, len) in [("before", 10_000), ("after", 20_000)] {
        assert_eq!(value(&store, key).await.unwrap().len(), len);
    }
}

#[tokio::test]
async fn what_came_of_copying_from_one_disk_is_not_held_against_where_rocksdb_moved() {
    let disks = Disks::new(3, 2);
    let (store, _) = disks.open();
    put(&store, "before", "1").await;
    disks.lose(0);
    put(&store, "after", "2").await;
    let live = store.shared.live();
    assert_eq!((&live.place.path, live.generation), (&disks.place(1), 1));
    let late = Control::GiveUp {
        place: live.place.id,
        generation: 0,
        suspicion: Suspicion::failed("the source was gone"),
    };
    store.requests.send(Request::Control(late)).unwrap();
    // The writer is behind it when this is committed.
    put(&store, "later", "3").await;
    let status = store.status();
    assert_eq!(
        (status.primary, status.counters.failovers),
        (disks.place(1), 1)
    );
    assert!(status.places[1].is_holder);
}

#[tokio::test]
async fn a_checkpoint_that_cannot_be_made_is_not_tried_over_and_over() {
    let mut disks = Disks::new(1, 0);
    disks.options.checkpoint_after_bytes = 1000;
    let faults = Arc::new(Faults::default());
    let (store, _) = RocksKv::open_with(&disks.options, faulty(disks.place(0), &faults)).unwrap();
    // In the way of the directory that it is built in.
    overwrite(&disks.place(0).join("checkpoint-build.tmp"), b"");
    put(&store, "key", &"value".repeat(1000)).await;
    // The start, and the first try.
    until(|| faults.rotations.load(Ordering::SeqCst) == 2).await;
    let begun = Instant::now();
    until(|| begun.elapsed() > Duration::from_secs(3)).await;
    assert_eq!(faults.rotations.load(Ordering::SeqCst), 2);
    assert_eq!(store.status().counters.checkpoints, 0);
}

#[tokio::test]
async fn a_checkpoint_that_no_copy_took_does_not_count() {
    let mut disks = Disks::new(2, 1);
    disks.options.checkpoint_after_bytes = 1000;
    let (store, _) = disks.open();
    // In the way of the directory that the copy makes.
    overwrite(
        &disks.place(1).join(format!("checkpoint-{:020}.tmp", 1)),
        b"",
    );
    put(&store, "key", &"value".repeat(1000)).await;
    until(|| store.status().counters.copies_lost == 1).await;
    let status = store.status();
    assert_eq!(
        (status.counters.checkpoints, status.checkpoint_age),
        (0, None)
    );
    assert!(status.journal_bytes > 5000);
    // It is made up for.
    put(&store, "more", &"value".repeat(10_000)).await;
    until(|| store.status().counters.checkpoints > 0).await;
    assert_eq!(store.status().counters.checkpoints, 1);
}

/// A file of a copy that stood in a place, as it was when it was given up.
fn leave_in(place: &Path) -> PathBuf {
    let journal = place.join("journal");
    std::fs::create_dir_all(&journal).unwrap();
    let left = journal.join("00000000000000000001.journal");
    overwrite(&left, b"what another place lost");
    left
}

#[tokio::test]
async fn a_place_is_not_emptied_for_a_database_that_cannot_be_read() {
    let disks = Disks::new(3, 1);
    let (store, _) = disks.open();
    put(&store, "key", "value").await;
    let left = leave_in(&disks.place(2));
    let live = store.shared.live();
    live.database.unreadable_count.store(1, Ordering::SeqCst);
    disks.lose(1);
    until(|| live.database.unreadable_count.load(Ordering::SeqCst) > 1).await;
    // The store ends when that try has.
    drop((live, store));
    assert!(left.exists());
}

#[tokio::test]
async fn a_database_that_cannot_be_read_is_left_before_a_copy_is_made_of_it() {
    let disks = Disks::new(4, 2);
    let (store, _) = disks.open();
    put(&store, "key", "value").await;
    store
        .shared
        .live()
        .database
        .unreadable_count
        .store(1, Ordering::SeqCst);
    disks.lose(2);
    until(|| store.status().counters.failovers == 1).await;
    assert_eq!(store.status().primary, disks.place(1));
    // The place that was to have the copy is not blamed, and gets it from there.
    until(|| store.status().counters.copies_established == 1).await;
    assert!(store.status().places[3].is_holder);
    assert_eq!(value(&store, "key").await.as_deref(), Some("value"));
}

#[tokio::test]
async fn nothing_is_made_where_a_disk_was_unmounted_while_running() {
    let disks = Disks::new(3, 1);
    let (store, _) = disks.open();
    put(&store, "before", "1").await;
    // The mount point is left.
    disks.lose(2);
    std::fs::create_dir(disks.place(2)).unwrap();
    disks.lose(1);
    put(&store, "after", "2").await;
    until(|| store.status().places[2].failure.is_some()).await;
    drop(store);
    assert_eq!(entries(&disks.place(2), ""), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn a_copy_whose_journal_rots_is_made_anew() {
    let mut disks = Disks::new(3, 1);
    disks.options.verify_every = Duration::from_millis(100);
    let (store, _) = disks.open();
    for number in 10..60 {
        put(&store, &format!("key {number}"), &"value".repeat(500)).await;
    }
    let journals = entries(&disks.place(1).join("journal"), "0");
    assert!(journals.len() > 2);
    // There is no checkpoint: what is verified are the closed files, all more than once.
    until(|| store.status().counters.verified_bytes > 400_000).await;
    assert_eq!(store.status().counters.copies_lost, 0);
    flip_bit(&journals[1], 4096 + 100);
    until(|| store.status().counters.copies_established == 1).await;
    assert_eq!(store.status().counters.copies_lost, 1);
    let failure = store.status().places[1].failure.clone();
    assert!(failure.unwrap().contains("journal"));
    drop(store);
    disks.lose(0);
    let (store, _) = disks.open();
    assert!(value(&store, "key 10").await.is_some());
}
