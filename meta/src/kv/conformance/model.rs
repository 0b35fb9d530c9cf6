//! Random operations against a model that shares no code with the backends.
//!
//! The seeds are fixed: a failure prints which one, and running the suite again replays it.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::kv::{
    Batch, Check, Direction, Grouping, KvError, KvStore, Scan, ScanEntry, ScanPage, Write,
};

const SEED_COUNT: u64 = 4;
const STEPS_PER_SEED: usize = 150;
/// Few and awkward bytes, so that keys collide, share prefixes and sit next to the ends of groups.
const ALPHABET: [u8; 5] = [0x00, b'/', b'0', b'a', 0xff];

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

pub(super) async fn random_operations_agree_with_the_model(store: Arc<dyn KvStore>) {
    let mut model = Model::new();
    for seed in 0..SEED_COUNT {
        let mut random = StdRng::seed_from_u64(seed);
        for step in 0..STEPS_PER_SEED {
            step_once(
                &*store,
                &mut model,
                &mut random,
                &format!("seed {seed}, step {step}"),
            )
            .await;
        }
    }
}

async fn step_once(store: &dyn KvStore, model: &mut Model, random: &mut StdRng, at: &str) {
    match random.random_range(0..4) {
        0 => {
            let key = random_key(random);
            let got = store.get(&key).await.unwrap();
            assert_eq!(
                got.as_deref(),
                model.get(&key).map(Vec::as_slice),
                "get at {at}"
            );
        }
        1 => {
            let batch = random_batch(model, random);
            let expected = model_commit(model, &batch);
            match store.commit(batch).await {
                Ok(()) => assert!(expected, "committed in spite of a check, at {at}"),
                Err(KvError::Conflict) => assert!(!expected, "refused without a reason, at {at}"),
                Err(other) => unreachable!("commit failed at {at}: {other}"),
            }
        }
        _ => {
            let scan = random_scan(random);
            let expected = model_scan(model, &scan);
            assert_eq!(
                store.scan(scan.clone()).await.unwrap(),
                expected,
                "{scan:?} at {at}"
            );
        }
    }
}

fn random_key(random: &mut StdRng) -> Vec<u8> {
    let len = random.random_range(0..5);
    (0..len)
        .map(|_| ALPHABET[random.random_range(0..ALPHABET.len())])
        .collect()
}

fn random_batch(model: &Model, random: &mut StdRng) -> Batch {
    let mut batch = Batch::default();
    for _ in 0..random.random_range(0..3) {
        let key = random_key(random);
        let current = model.get(&key).cloned().map(Bytes::from);
        let expected = if random.random_bool(0.9) {
            current
        } else {
            Some(Bytes::from_static(b"?"))
        };
        batch.check(key, expected);
    }
    for _ in 0..random.random_range(0..6) {
        let key = random_key(random);
        if random.random_bool(0.8) {
            batch.put(key, vec![random.random(); random.random_range(0..20)]);
        } else {
            batch.delete(key);
        }
    }
    batch
}

fn random_scan(random: &mut StdRng) -> Scan {
    let direction = if random.random_bool(0.6) {
        Direction::Ascending
    } else {
        Direction::Descending
    };
    let groups = direction == Direction::Ascending && random.random_bool(0.6);
    Scan {
        start: random_key(random).into(),
        end: random.random_bool(0.6).then(|| random_key(random).into()),
        direction,
        limit: random.random_range(0..12),
        group: groups.then(|| Grouping {
            prefix_len: random.random_range(0..3),
            delimiter: [&b"/"[..], b"0", b"a/", b"\xff"][random.random_range(0..4)].into(),
        }),
    }
}

fn model_commit(model: &mut Model, batch: &Batch) -> bool {
    let holds = |Check { key, expected }: &Check| {
        model.get(key.as_ref()).map(Vec::as_slice) == expected.as_deref()
    };
    if !batch.checks.iter().all(holds) {
        return false;
    }
    for write in &batch.writes {
        match write {
            Write::Put { key, value } => model.insert(key.to_vec(), value.to_vec()),
            Write::Delete { key } => model.remove(key.as_ref()),
        };
    }
    true
}

/// Names every record in range first, then merges equal groups, then cuts: slow and obvious.
fn model_scan(model: &Model, scan: &Scan) -> ScanPage {
    let in_range = |key: &[u8]| {
        key >= scan.start.as_ref() && scan.end.as_ref().is_none_or(|end| key < end.as_ref())
    };
    let mut entries: Vec<ScanEntry> = model
        .iter()
        .filter(|(key, _)| in_range(key))
        .map(|(key, value)| entry(key, value, scan.group.as_ref()))
        .collect();
    entries.dedup_by(|a, b| matches!(a, ScanEntry::Group { .. }) && a == b);
    if scan.direction == Direction::Descending {
        entries.reverse();
    }
    let is_truncated = entries.len() > scan.limit;
    entries.truncate(scan.limit);
    ScanPage {
        entries,
        is_truncated,
    }
}

fn entry(key: &[u8], value: &[u8], group: Option<&Grouping>) -> ScanEntry {
    let prefix = group.and_then(
        |Grouping {
             prefix_len,
             delimiter,
         }| {
            (*prefix_len + delimiter.len()..=key.len()).find(|end| key[..*end].ends_with(delimiter))
        },
    );
    match prefix {
        Some(end) => ScanEntry::Group {
            prefix: Bytes::copy_from_slice(&key[..end]),
        },
        None => ScanEntry::Record {
            key: Bytes::copy_from_slice(key),
            value: Bytes::copy_from_slice(value),
        },
    }
}
