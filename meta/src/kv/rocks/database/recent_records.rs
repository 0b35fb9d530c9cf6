//! Records that were read lately, in front of RocksDB.
//!
//! A PUT asks for its bucket and for the object that it replaces, and its commit asks for both again; a GET asks for its
//! bucket. RocksDB looks for each in its memory and in every file that was flushed lately, which takes 8 to 15 µs when
//! processor caches are cold, as they are for whoever writes one object after another: a tenth of such a PUT.
//!
//! Invariants:
//! - what is remembered is what RocksDB has. A record is forgotten before it is written, and what was read is only
//!   remembered if no write was under way when the reading began, and none has begun since;
//! - that a record is missing is remembered like its value;
//! - there are at most [`COUNT_MAX`] records, and none is longer than [`VALUE_LEN_MAX`].

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

/// All are forgotten when there are so many: those that matter are soon read again, and nothing has to be known about
/// the others.
const COUNT_MAX: usize = 512;
/// Records of buckets and of most objects are shorter. Together with keys of a KiB this bounds memory at 1 MiB.
const VALUE_LEN_MAX: usize = 1024;

/// What was read lately.
#[derive(Debug, Default)]
pub(super) struct RecentRecords {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    values: HashMap<Box<[u8]>, Option<Bytes>>,
    writes_begun: u64,
    writes_under_way: usize,
}

/// What is known of a record.
#[derive(Debug)]
pub(super) enum Known {
    /// It is this, or missing.
    Value(Option<Bytes>),
    /// Nothing: RocksDB has to be asked.
    Nothing(Reading),
}

/// Begun before RocksDB is asked, for [`RecentRecords::remember`]: the number of writes that had begun, if none was
/// under way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reading(Option<u64>);

/// A write that is under way until this is dropped.
#[derive(Debug)]
pub(super) struct Writing<'records>(&'records RecentRecords);

impl RecentRecords {
    fn state(&self) -> MutexGuard<'_, State> {
        // Each change of it is one step: it is whole even where a thread panicked.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of the record with this key.
    pub(super) fn look_up(&self, key: &[u8]) -> Known {
        let state = self.state();
        match state.values.get(key) {
            Some(value) => Known::Value(value.clone()),
            None => Known::Nothing(Reading(
                (state.writes_under_way == 0).then_some(state.writes_begun),
            )),
        }
    }

    /// Takes note of what RocksDB said.
    pub(super) fn remember(&self, reading: Reading, key: &[u8], value: Option<&Bytes>) {
        if value.is_some_and(|value| value.len() > VALUE_LEN_MAX) {
            return;
        }
        let mut state = self.state();
        if reading.0 != Some(state.writes_begun) {
            return;
        }
        if state.values.len() >= COUNT_MAX {
            state.values.clear();
        }
        state.values.insert(key.into(), value.cloned());
    }

    /// Called before records with these keys are written; the answer is dropped when they are.
    pub(super) fn begin_write<'key>(&self, keys: impl Iterator<Item = &'key [u8]>) -> Writing<'_> {
        let mut state = self.state();
        state.writes_begun += 1;
        state.writes_under_way += 1;
        for key in keys {
            state.values.remove(key);
        }
        Writing(self)
    }
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        self.0.state().writes_under_way -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    /// One step of what readers and the writer do at the same time.
    #[derive(Debug, Clone)]
    enum Step {
        /// Looks a key up, and asks the database at once if nothing is known.
        Read(u8),
        /// What was asked for longest is remembered.
        Remember,
        BeginWrite(Vec<u8>),
        /// The writes take place, in the order in which they began, and end.
        EndWrite {
            value: u8,
        },
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0..6u8).prop_map(Step::Read),
            4 => Just(Step::Remember),
            1 => prop::collection::vec(0..6u8, 1..3).prop_map(Step::BeginWrite),
            1 => any::<u8>().prop_map(|value| Step::EndWrite { value }),
        ]
    }

    proptest! {
        /// However readings and writes overlap, what is remembered is what the database has, and nothing is known of what
        /// is being written.
        #[test]
        fn what_is_remembered_is_what_the_database_has(steps in prop::collection::vec(step(), 1..200)) {
            let records = RecentRecords::default();
            let mut database: BTreeMap<u8, Bytes> = BTreeMap::new();
            let mut readings = std::collections::VecDeque::new();
            let mut writes = std::collections::VecDeque::new();
            for step in steps {
                match step {
                    Step::Read(key) => match records.look_up(&[key]) {
                        Known::Value(value) => prop_assert_eq!(value.as_ref(), database.get(&key)),
                        Known::Nothing(reading) => {
                            readings.push_back((reading, key, database.get(&key).cloned()));
                        }
                    },
                    Step::Remember => {
                        if let Some((reading, key, value)) = readings.pop_front() {
                            records.remember(reading, &[key], value.as_ref());
                        }
                    }
                    Step::BeginWrite(keys) => {
                        let writing = records.begin_write(keys.iter().map(std::slice::from_ref));
                        writes.push_back((writing, keys));
                    }
                    Step::EndWrite { value } => {
                        if let Some((writing, keys)) = writes.pop_front() {
                            for key in keys {
                                if value < 64 {
                                    database.remove(&key);
                                } else {
                                    database.insert(key, Bytes::copy_from_slice(&[value]));
                                }
                            }
                            drop(writing);
                        }
                    }
                }
                for (key, value) in &records.state().values {
                    let key = key[0];
                    prop_assert_eq!(value.as_ref(), database.get(&key));
                    prop_assert!(writes.iter().all(|(_, keys)| !keys.contains(&key)));
                }
            }
        }
    }

    #[test]
    fn neither_many_nor_long_records_are_kept() {
        let records = RecentRecords::default();
        let read = |key: &[u8], value: &Bytes| {
            if let Known::Nothing(reading) = records.look_up(key) {
                records.remember(reading, key, Some(value));
            }
        };
        read(b"long", &vec![0; VALUE_LEN_MAX + 1].into());
        assert!(matches!(records.look_up(b"long"), Known::Nothing(_)));
        for number in 0..3 * COUNT_MAX {
            read(&number.to_be_bytes(), &Bytes::new());
            assert!(records.state().values.len() <= COUNT_MAX);
        }
        let last = (3 * COUNT_MAX - 1).to_be_bytes();
        assert!(matches!(records.look_up(&last), Known::Value(Some(_))));
    }
}
