//! Crashes at arbitrary points of the log, against a model.
//!
//! Goal: whatever acknowledged commits said is there after any crash and the loss of any `m` disks; the one commit in
//! flight is there whole or not at all.
//! Method: from a seed, commit random batches to a store and to a map. Take an image of all disks; commit one more batch
//! and take another. The crash is made from both: on each disk alone, the bytes that the last batch added to the journal
//! end at an arbitrary one. On up to `m` disks RocksDB is lost or replaced by an older state of itself, or the disk is
//! emptied or comes back as it was a crash ago. Then open, compare, and go on from there.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use bytes::Bytes;

use super::super::RocksKv;
use super::harness::{Disks, copy_tree, entries, overwrite, until};
use crate::kv::{Batch, Direction, KvStore, Scan, ScanEntry, Write};

type Model = BTreeMap<Bytes, Bytes>;

/// Marsaglia's xorshift: a seed is all that a failure needs to be replayed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound as u64).unwrap()
    }

    fn batch(&mut self) -> Batch {
        let mut batch = Batch::default();
        for _ in 0..=self.below(4) {
            let key = format!("key {}", self.below(40));
            if self.below(4) == 0 {
                batch.delete(key);
            } else {
                let (fill, len) = (self.below(256), self.below(4000));
                batch.put(key, vec![u8::try_from(fill).unwrap(); len]);
            }
        }
        batch
    }
}

fn apply(model: &mut Model, batch: &Batch) {
    for write in &batch.writes {
        match write.clone() {
            Write::Put { key, value } => model.insert(key, value),
            Write::Delete { key } => model.remove(&key),
        };
    }
}

async fn contents(store: &RocksKv) -> Model {
    let scan = Scan {
        start: Bytes::new(),
        end: None,
        direction: Direction::Ascending,
        limit: 10_000,
        group: None,
    };
    let page = store.scan(scan).await.unwrap();
    assert!(!page.is_truncated);
    page.entries
        .into_iter()
        .map(|entry| match entry {
            ScanEntry::Record { key, value } => (key, value),
            ScanEntry::Group { .. } => unreachable!("no grouping was asked for"),
        })
        .collect()
}

/// Lets each journal of `after` end at an arbitrary byte of what it has more than `before`.
fn tear(before: &Disks, after: &Disks, disk: usize, random: &mut Random) {
    for path in entries(&after.place(disk).join("journal"), "0") {
        let new = fs::read(&path).unwrap();
        let relative = path.strip_prefix(after.place(disk)).unwrap();
        // A file that was begun in between has its header for sure: it is synced before the file has its name.
        let mut old = fs::read(before.place(disk).join(relative)).unwrap_or_default();
        let is_new = old.get(..4096) != new.get(..4096);
        if is_new {
            old = new.get(..4096).unwrap().to_vec();
        }
        old.resize(new.len(), 0);
        let Some(first) = (0..new.len()).find(|&offset| old[offset] != new[offset]) else {
            continue;
        };
        let last = (0..new.len())
            .rfind(|&offset| old[offset] != new[offset])
            .unwrap();
        let torn_at = first + random.below(last - first + 2);
        let mut torn = new[..torn_at].to_vec();
        torn.extend_from_slice(&old[torn_at..]);
        overwrite(&path, &torn);
    }
}

/// RocksDB directories of a disk, as they were in `older`, replace those here.
fn make_stale(older: &Path, place: &Path) {
    for database in entries(older, "db-") {
        let target = place.join(database.file_name().unwrap());
        if target.exists() {
            fs::remove_dir_all(&target).unwrap();
            copy_tree(&database, &target).unwrap();
        }
    }
}

/// What may happen to one disk. Never more than `m` of them in one crash.
fn harm(crashed: &Disks, disk: usize, older: Option<&Disks>, random: &mut Random) {
    let place = crashed.place(disk);
    match (random.below(4), older) {
        (0, Some(older)) => make_stale(&older.place(disk), &place),
        (1, Some(older)) => {
            if place.exists() {
                crashed.lose(disk);
            }
            copy_tree(&older.place(disk), &place).unwrap();
        }
        (2, _) => {
            for database in entries(&place, "db-") {
                fs::remove_dir_all(database).unwrap();
            }
        }
        _ => {
            if place.exists() {
                crashed.lose(disk);
            }
        }
    }
}

async fn run(seed: u64) {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let copy_count = random.below(3);
    // From the fewest that can be, where somebody has to say each time that disks are lost, to those where nobody has to.
    let disk_count = copy_count + 1 + random.below(copy_count + 1);
    let mut disks = Disks::new(disk_count, copy_count);
    let mut model = Model::new();
    let mut older: Option<Disks> = None;
    for round in 0..4 {
        disks.options.checkpoint_after_bytes = u64::MAX;
        if random.below(2) == 0 {
            // A run with checkpoints, closed in order.
            disks.options.checkpoint_after_bytes = 20_000;
            let (store, _) = disks.open();
            while store.status().counters.checkpoints < 2 {
                let batch = random.batch();
                store.commit(batch.clone()).await.unwrap();
                apply(&mut model, &batch);
            }
            drop(store);
            disks.options.checkpoint_after_bytes = u64::MAX;
        }
        let (store, report) = disks.open();
        assert_eq!(
            contents(&store).await,
            model,
            "seed {seed}, round {round}: {report}"
        );
        // An image is copied file by file: a copy being made, or files being compacted meanwhile, would make it one that no
        // crash leaves.
        until(|| !store.status().is_reduced() && store.shared.live().database.is_at_rest()).await;
        for _ in 0..random.below(20) {
            let batch = random.batch();
            store.commit(batch.clone()).await.unwrap();
            apply(&mut model, &batch);
        }
        let before = disks.image();
        let in_flight = random.batch();
        store.commit(in_flight.clone()).await.unwrap();
        let crashed = disks.image();
        drop(store);

        for disk in 0..disk_count {
            tear(&before, &crashed, disk, &mut random);
        }
        for _ in 0..random.below(copy_count + 1) {
            harm(
                &crashed,
                random.below(disk_count),
                older.as_ref(),
                &mut random,
            );
        }
        crashed_holds(
            &crashed,
            &mut model,
            &in_flight,
            &format!("seed {seed}, round {round}"),
        )
        .await;
        older = Some(before);
        disks = crashed;
    }
}

/// Opens after the crash; adds the batch in flight to the model if it is there.
async fn crashed_holds(crashed: &Disks, model: &mut Model, in_flight: &Batch, replay: &str) {
    let (store, report) = crashed
        .try_open()
        .unwrap_or_else(|error| panic!("{replay}: {error}"));
    let found = contents(&store).await;
    if found != *model {
        apply(model, in_flight);
        assert!(
            found == *model,
            "{replay}: acknowledged commits are missing or one is torn ({report})"
        );
    }
}

#[tokio::test]
async fn acknowledged_commits_survive_crashes_and_lost_disks() {
    for seed in 1..=8 {
        run(seed).await;
    }
}
