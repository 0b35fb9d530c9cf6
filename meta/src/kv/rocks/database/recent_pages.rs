//! Pages of groups that were read lately, in front of RocksDB.
//!
//! Each group of a page (each common prefix, S3 says) costs a seek in RocksDB, of 3 to 7 µs where there are many records, and
//! the next seek cannot begin before this one has found its group. Those who look at directories look at the upper ones
//! again and again, and what is written there is nearly always written into directories that are there already: that
//! changes nothing of such a page.
//!
//! Invariants:
//! - a page that is remembered is what RocksDB would answer. It is forgotten before anything is written that might change it,
//!   and what was read is only remembered if no write was under way when the reading began, and none that might change
//!   it has begun since;
//! - there are at most [`COUNT_MAX`] pages, none of more than [`ENTRY_COUNT_MAX`] entries and [`PAGE_BYTES_MAX`] bytes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::super::record::WriteRef;
use crate::kv::scan::group_of;
use crate::kv::{Scan, ScanEntry, ScanPage};

/// How many directories are looked at in turn. The page that was not used for longest is forgotten for another. As many
/// are read at a time.
const COUNT_MAX: usize = 16;
/// Shorter pages are soon read.
const ENTRY_COUNT_MIN: usize = 32;
/// A page of S3 has so many.
const ENTRY_COUNT_MAX: usize = 1000;
/// Of keys and values. With what lists and allocations take beside them, all pages are at most 4 MiB.
const PAGE_BYTES_MAX: usize = 128 << 10;
/// So many records may be written while a page is read. At 10,000 a second it takes ten times as long as reading does.
const WRITTEN_COUNT_MAX: usize = 512;
/// Longer keys are not kept for that.
const WRITTEN_KEY_LEN_MAX: usize = 512;

/// What was read lately.
#[derive(Debug, Default)]
pub(super) struct RecentPages {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// One for each scan; what was used last is the last.
    slots: Vec<Slot>,
    next_id: u64,
    writes_under_way: usize,
}

#[derive(Debug)]
struct Slot {
    id: u64,
    scan: Scan,
    state: SlotState,
}

#[derive(Debug)]
enum SlotState {
    /// Being read, and with these keys records of its range were written meanwhile, which the reading may have seen or not.
    Reading {
        written: Vec<Box<[u8]>>,
    },
    Known(Arc<ScanPage>),
}

/// A scan that is under way; what it finds is remembered if its slot is still there at the end.
#[derive(Debug)]
pub(super) struct Reading<'pages> {
    pages: &'pages RecentPages,
    id: u64,
}

/// A write that is under way until this is dropped.
#[derive(Debug)]
pub(super) struct Writing<'pages>(&'pages RecentPages);

impl RecentPages {
    fn state(&self) -> MutexGuard<'_, State> {
        // Each change of it is one step: it is whole even where a thread panicked.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What `scan` finds, if that is known.
    pub(super) fn look_up(&self, scan: &Scan) -> Option<ScanPage> {
        scan.group.as_ref()?;
        let mut state = self.state();
        let at = state.slots.iter().position(|slot| slot.scan == *scan)?;
        let SlotState::Known(page) = &state.slots.get(at)?.state else {
            return None;
        };
        let page = Arc::clone(page);
        let used = state.slots.remove(at);
        state.slots.push(used);
        drop(state);
        Some(page.as_ref().clone())
    }

    /// Called before RocksDB is asked, with a scan of which nothing is known. `None` if its page is not to be remembered.
    pub(super) fn begin_read(&self, scan: &Scan) -> Option<Reading<'_>> {
        scan.group.as_ref()?;
        let mut state = self.state();
        // Who reads the same at the same time does not remember it once more.
        let is_there = state.slots.iter().any(|slot| slot.scan == *scan);
        let is_reading = |slot: &&Slot| !slot.is_known();
        let reading_count = state.slots.iter().filter(is_reading).count();
        if state.writes_under_way > 0 || is_there || reading_count >= COUNT_MAX {
            return None;
        }
        let id = state.next_id;
        state.next_id += 1;
        state.slots.push(Slot {
            id,
            scan: scan.clone(),
            state: SlotState::Reading {
                written: Vec::new(),
            },
        });
        Some(Reading { pages: self, id })
    }

    /// Called before `writes` are written; the answer is dropped when they are.
    pub(super) fn begin_write<'payload>(
        &self,
        writes: impl Iterator<Item = WriteRef<'payload>>,
    ) -> Writing<'_> {
        let mut state = self.state();
        state.writes_under_way += 1;
        if !state.slots.is_empty() {
            for write in writes {
                state.slots.retain_mut(|slot| slot.survives(&write));
            }
        }
        Writing(self)
    }
}

impl Reading<'_> {
    /// Takes note of what RocksDB found.
    pub(super) fn remember(self, page: &ScanPage) {
        if !is_worth_it(page) {
            return;
        }
        let mut state = self.pages.state();
        let slots = &mut state.slots;
        let Some(at) = slots.iter().position(|slot| slot.id == self.id) else {
            return;
        };
        let mut slot = slots.remove(at);
        let SlotState::Reading { written } = &slot.state else {
            return;
        };
        if !written
            .iter()
            .all(|key| is_same_with(&slot.scan, page, key))
        {
            return;
        }
        slot.state = SlotState::Known(Arc::new(page.clone()));
        if slots.iter().filter(|slot| slot.is_known()).count() >= COUNT_MAX
            && let Some(oldest) = slots.iter().position(Slot::is_known)
        {
            slots.remove(oldest);
        }
        slots.push(slot);
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        let mut state = self.pages.state();
        state
            .slots
            .retain(|slot| slot.id != self.id || slot.is_known());
    }
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        self.0.state().writes_under_way -= 1;
    }
}

impl Slot {
    fn is_known(&self) -> bool {
        matches!(self.state, SlotState::Known(_))
    }

    /// Whether it stays, though this is written.
    fn survives(&mut self, write: &WriteRef<'_>) -> bool {
        let (WriteRef::Put { key, .. } | WriteRef::Delete { key }) = *write;
        let Scan { start, end, .. } = &self.scan;
        if key < start.as_ref() || end.as_ref().is_some_and(|end| key >= end.as_ref()) {
            return true;
        }
        match (write, &mut self.state) {
            // It may have been the last of its group, or the one behind a page that makes it a truncated one.
            (WriteRef::Delete { .. }, _) => false,
            (WriteRef::Put { .. }, SlotState::Known(page)) => is_same_with(&self.scan, page, key),
            (WriteRef::Put { .. }, SlotState::Reading { written }) => {
                written.push((*key).into());
                written.len() <= WRITTEN_COUNT_MAX && key.len() <= WRITTEN_KEY_LEN_MAX
            }
        }
    }
}

/// Whether `page`, which `scan` has found, is what it finds once there is a record of `key`, which is in its range.
fn is_same_with(scan: &Scan, page: &ScanPage, key: &[u8]) -> bool {
    let group = group_of(key, scan.group.as_ref());
    group.is_some_and(|group| has_group(page, group))
        || (page.is_truncated && page.entries.last().is_some_and(|last| bytes_of(last) < key))
}

/// Whether all keys of this group are one entry of the page.
fn has_group(page: &ScanPage, group: &[u8]) -> bool {
    let at = page
        .entries
        .binary_search_by(|entry| bytes_of(entry).cmp(group));
    at.is_ok_and(|at| matches!(page.entries.get(at), Some(ScanEntry::Group { .. })))
}

/// What an entry is in order by.
fn bytes_of(entry: &ScanEntry) -> &[u8] {
    match entry {
        ScanEntry::Record { key, .. } => key,
        ScanEntry::Group { prefix } => prefix,
    }
}

/// Whether it took seeks to find, and is small enough.
fn is_worth_it(page: &ScanPage) -> bool {
    let mut group_count = 0;
    let mut size_bytes = 0;
    for entry in &page.entries {
        match entry {
            ScanEntry::Group { prefix } => {
                group_count += 1;
                size_bytes += prefix.len();
            }
            ScanEntry::Record { key, value } => size_bytes += key.len() + value.len(),
        }
    }
    (ENTRY_COUNT_MIN..=ENTRY_COUNT_MAX).contains(&page.entries.len())
        && group_count * 2 >= page.entries.len()
        && size_bytes <= PAGE_BYTES_MAX
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kv::{Batch, Direction, Grouping, KvStore, MemoryKv, Write};
    use bytes::Bytes;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    const DIRECTORY_COUNT: u8 = 48;

    /// One step of what readers and the writer do at the same time.
    #[derive(Debug, Clone)]
    enum Step {
        /// Looks a scan up, and begins to read if nothing is known.
        Look(usize),
        /// The reading that began first reads what the database has now.
        Read,
        /// The one that read first ends.
        EndRead,
        BeginWrite(Vec<(u8, u8, bool)>),
        /// What began first is written,
        Write,
        /// and ends.
        EndWrite,
    }

    fn step() -> impl Strategy<Value = Step> {
        let write = (0..DIRECTORY_COUNT + 2, 0..3u8, prop::bool::weighted(0.7));
        prop_oneof![
            4 => (0..scans().len()).prop_map(Step::Look),
            4 => Just(Step::Read),
            4 => Just(Step::EndRead),
            2 => prop::collection::vec(write, 1..3).prop_map(Step::BeginWrite),
            3 => Just(Step::Write),
            3 => Just(Step::EndWrite),
        ]
    }

    fn scan(start: &'static str, limit: usize) -> Scan {
        Scan {
            start: Bytes::from_static(start.as_bytes()),
            end: Some(Bytes::from_static(b"b0")),
            direction: Direction::Ascending,
            limit,
            group: Some(Grouping {
                prefix_len: 2,
                delimiter: Bytes::from_static(b"/"),
            }),
        }
    }

    /// Whole, truncated, from the middle, and of nothing that is remembered.
    fn scans() -> [Scan; 4] {
        [
            scan("b/", 1000),
            scan("b/", 40),
            scan("b/06", 35),
            scan("b/40", 1000),
        ]
    }

    /// `b/07/1`, and `b/07`, which is in no group, for file 0.
    fn write((directory, file, is_put): (u8, u8, bool)) -> Write {
        let key = match file {
            0 => format!("b/{directory:02}"),
            _ => format!("b/{directory:02}/{file}"),
        };
        if is_put {
            let value = Bytes::from_static(b"x");
            Write::Put {
                key: key.into(),
                value,
            }
        } else {
            Write::Delete { key: key.into() }
        }
    }

    fn by_ref(write: &Write) -> WriteRef<'_> {
        match write {
            Write::Put { key, value } => WriteRef::Put { key, value },
            Write::Delete { key } => WriteRef::Delete { key },
        }
    }

    /// The database, whose calls never wait.
    struct Model {
        records: MemoryKv,
        runtime: tokio::runtime::Runtime,
    }

    impl Model {
        fn new() -> Self {
            let runtime = tokio::runtime::Builder::new_current_thread().build();
            Self {
                records: MemoryKv::new(),
                runtime: runtime.unwrap(),
            }
        }

        fn commit(&self, writes: Vec<Write>) {
            let checks = Vec::new();
            let batch = Batch { checks, writes };
            self.runtime.block_on(self.records.commit(batch)).unwrap();
        }

        fn scan(&self, scan: &Scan) -> ScanPage {
            self.runtime
                .block_on(self.records.scan(scan.clone()))
                .unwrap()
        }
    }

    proptest! {
        /// However readings and writes overlap, a page that is known is what the database answers.
        #[test]
        fn what_is_remembered_is_what_the_database_answers(steps in prop::collection::vec(step(), 1..200)) {
            let pages = RecentPages::default();
            let database = Model::new();
            database.commit((0..DIRECTORY_COUNT).map(|directory| write((directory, 1, true))).collect());
            let mut reading = VecDeque::new();
            let mut read = VecDeque::new();
            let mut begun = VecDeque::new();
            let mut written = VecDeque::new();
            for step in steps {
                match step {
                    Step::Look(which) => {
                        let scan = scans()[which].clone();
                        match pages.look_up(&scan) {
                            Some(page) => prop_assert_eq!(page, database.scan(&scan)),
                            None => reading.extend(pages.begin_read(&scan).map(|begun| (scan, begun))),
                        }
                    }
                    Step::Read => read.extend(reading.pop_front().map(|(scan, begun)| (database.scan(&scan), begun))),
                    Step::EndRead => {
                        if let Some((page, begun)) = read.pop_front() {
                            begun.remember(&page);
                        }
                    }
                    Step::BeginWrite(changes) => {
                        let writes: Vec<Write> = changes.into_iter().map(write).collect();
                        begun.push_back((pages.begin_write(writes.iter().map(by_ref)), writes));
                    }
                    Step::Write => {
                        if let Some((writing, writes)) = begun.pop_front() {
                            database.commit(writes);
                            written.push_back(writing);
                        }
                    }
                    Step::EndWrite => drop(written.pop_front()),
                }
                for slot in &pages.state().slots {
                    if let SlotState::Known(page) = &slot.state {
                        prop_assert_eq!(page.as_ref(), &database.scan(&slot.scan));
                    }
                }
            }
        }
    }

    fn page(group_count: usize, prefix_len: usize) -> ScanPage {
        let prefix = |number| Bytes::from(format!("{number:0prefix_len$}"));
        let groups = (0..group_count).map(|number| ScanEntry::Group {
            prefix: prefix(number),
        });
        ScanPage {
            entries: groups.collect(),
            is_truncated: false,
        }
    }

    fn read(pages: &RecentPages, scan: &Scan, page: &ScanPage) {
        if let Some(reading) = pages.begin_read(scan) {
            reading.remember(page);
        }
    }

    #[test]
    fn the_page_that_was_not_used_for_longest_is_forgotten() {
        let pages = RecentPages::default();
        let (first, second) = (scan("b/0", 1000), scan("b/1", 1000));
        let found = page(ENTRY_COUNT_MIN, 8);
        read(&pages, &first, &found);
        read(&pages, &second, &found);
        for limit in 0..COUNT_MAX - 1 {
            assert_eq!(pages.look_up(&first), Some(found.clone()));
            read(&pages, &scan("b/2", limit), &found);
        }
        assert_eq!(pages.look_up(&first), Some(found));
        assert_eq!(pages.look_up(&second), None);
        assert_eq!(pages.state().slots.len(), COUNT_MAX);
    }

    #[test]
    fn what_is_read_displaces_nothing_until_it_is_remembered() {
        let pages = RecentPages::default();
        let known = scan("b/0", 1000);
        let found = page(ENTRY_COUNT_MIN, 8);
        read(&pages, &known, &found);
        let scans: Vec<Scan> = (0..=COUNT_MAX).map(|limit| scan("b/2", limit)).collect();
        let readings: Vec<_> = scans.iter().map(|scan| pages.begin_read(scan)).collect();
        assert_eq!(readings.iter().flatten().count(), COUNT_MAX);
        drop(readings);
        assert_eq!(pages.look_up(&known), Some(found));
        assert_eq!(pages.state().slots.len(), 1);
    }

    #[test]
    fn neither_short_nor_large_pages_are_kept() {
        let pages = RecentPages::default();
        let scan = scan("b/", 10_000);
        for found in [
            page(ENTRY_COUNT_MIN - 1, 8),
            page(ENTRY_COUNT_MAX + 1, 8),
            page(PAGE_BYTES_MAX / 1024 + 1, 1024),
        ] {
            read(&pages, &scan, &found);
            assert_eq!(pages.look_up(&scan), None);
            assert!(pages.state().slots.is_empty());
        }
        let found = page(PAGE_BYTES_MAX / 1024, 1024);
        read(&pages, &scan, &found);
        assert_eq!(pages.look_up(&scan), Some(found));
    }

    #[test]
    fn writes_into_known_groups_and_behind_a_page_leave_it() {
        let pages = RecentPages::default();
        let truncated = ScanPage {
            is_truncated: true,
            ..page(40, 2)
        };
        let scan = scan("", 40);
        let survives = |write: Write| {
            read(&pages, &scan, &truncated);
            drop(pages.begin_write([by_ref(&write)].into_iter()));
            pages.look_up(&scan).is_some()
        };
        let put = |key: &'static str| Write::Put {
            key: Bytes::from_static(key.as_bytes()),
            value: Bytes::new(),
        };
        assert!(survives(put("zz")), "out of the range");
        assert!(survives(put("41/1")), "behind the page");
        assert!(!survives(put("07")), "a record in the middle");
        assert!(!survives(Write::Delete {
            key: Bytes::from_static(b"41/1")
        }));
    }
}
