//! What is found of a datum against a model: sets of shards that were written and lost.

use std::collections::{BTreeMap, BTreeSet};

use cairn_meta::Coding;
use cairn_storage_node::{
    DataId, DiskId, Durability, MemoryShardStore, ShardId, ShardPut, ShardStore,
};
use proptest::prelude::*;
use proptest::sample::Index;

use super::datum::Assembly;
use super::*;
use crate::engine::coding::shard_size_bytes;
use crate::engine::descriptor::LastChunk;
use crate::engine::ids;

const DATUM: DataId = DataId([0xda; 16]);
const DISK_COUNT: u8 = 8;

/// A shard as it was written.
#[derive(Debug, Clone)]
struct Written {
    disk: DiskId,
    id: ShardId,
    size_bytes: u32,
    descriptor: Descriptor,
}

/// One writing of one chunk: its coding, and the disk of its first shard (the others follow).
type Writing = (Coding, u8);

fn disk(number: usize) -> DiskId {
    DiskId([u8::try_from(number % usize::from(DISK_COUNT)).unwrap(); 16])
}

fn coding() -> impl Strategy<Value = Coding> {
    prop_oneof![
        (1u8..=4, 0u8..=2).prop_map(|(data, parity)| Coding::Erasure { data, parity }),
        (1u8..=3).prop_map(|count| Coding::Copies { count }),
    ]
}

/// Chunks by their size, each written once, or twice as when disks fail meanwhile.
fn chunks() -> impl Strategy<Value = Vec<(u32, Vec<Writing>)>> {
    let writings = prop::collection::vec((coding(), 0..DISK_COUNT), 1..=2);
    prop::collection::vec((0u32..100, writings), 1..=4)
}

fn write(chunks: &[(u32, Vec<Writing>)]) -> Vec<Written> {
    let size_bytes = chunks.iter().map(|(size, _)| u64::from(*size)).sum();
    let mut shards = Vec::new();
    for (chunk_index, (chunk_size_bytes, writings)) in (0u32..).zip(chunks) {
        for (coding, first) in writings {
            let on = |index: usize| disk(usize::from(*first) + index);
            let is_last = chunk_index as usize + 1 == chunks.len();
            let descriptor = Descriptor {
                bucket: [1; 8],
                key: "key".to_owned(),
                part: None,
                data_id: DATUM.0,
                chunk_index,
                chunk_size_bytes: *chunk_size_bytes,
                coding: *coding,
                placement: (0..coding.shard_count())
                    .map(|index| Some(on(index).0))
                    .collect(),
                created_at_ms: 5,
                last: is_last.then(|| LastChunk {
                    size_bytes,
                    manifest: b"kept".to_vec(),
                }),
            };
            shards.extend((0..coding.shard_count()).map(|index| Written {
                disk: on(index),
                id: ids::shard(DATUM, chunk_index, index),
                size_bytes: shard_size_bytes(*chunk_size_bytes, *coding),
                descriptor: descriptor.clone(),
            }));
        }
    }
    shards
}

fn assemble<'a>(
    shards: impl IntoIterator<Item = &'a Written>,
    awaited: &BTreeSet<DiskId>,
) -> Option<Finding> {
    let mut assembly = Assembly::new(DATUM);
    for shard in shards {
        assembly.add(
            shard.disk,
            shard.id,
            shard.size_bytes,
            shard.descriptor.clone(),
        );
    }
    assembly.finish(awaited)
}

/// Which chunks can be read: those with enough different shards of one coding.
fn readable(shards: &[&Written]) -> BTreeSet<u32> {
    let mut found: BTreeMap<(u32, Vec<u8>), BTreeSet<u8>> = BTreeMap::new();
    let mut needed: BTreeMap<(u32, Vec<u8>), usize> = BTreeMap::new();
    for shard in shards {
        let coding = shard.descriptor.coding;
        let group = (shard.id.chunk_index, format!("{coding:?}").into_bytes());
        found
            .entry(group.clone())
            .or_default()
            .insert(shard.id.shard_index);
        needed.insert(group, coding.shards_needed());
    }
    found
        .iter()
        .filter(|(group, shards)| shards.len() >= needed[group])
        .map(|((chunk, _), _)| *chunk)
        .collect()
}

proptest! {
    #[test]
    fn a_datum_is_whole_exactly_if_all_its_chunks_can_be_read(
        chunks in chunks(),
        lost in prop::collection::vec(any::<Index>(), 0..12),
        start in any::<Index>(),
    ) {
        let written = write(&chunks);
        let lost: BTreeSet<usize> = lost.iter().map(|index| index.index(written.len())).collect();
        let mut left: Vec<&Written> =
            (0..).zip(&written).filter(|(index, _)| !lost.contains(index)).map(|(_, shard)| shard).collect();
        let readable = readable(&left);
        let finding = assemble(left.iter().copied(), &BTreeSet::new());

        match &finding {
            None => prop_assert!(left.is_empty()),
            Some(Finding::Whole(datum)) => {
                prop_assert_eq!(readable.len(), chunks.len());
                prop_assert_eq!(&datum.kept, b"kept");
                for (chunk_index, chunk) in (0u32..).zip(&datum.record.chunks) {
                    prop_assert_eq!(chunk.size_bytes, chunks[chunk_index as usize].0);
                    let placed = chunk.shards.iter().flatten().count();
                    prop_assert!(placed >= chunk.coding.shards_needed());
                    for (index, place) in chunk.shards.iter().enumerate() {
                        // Only where it was found, and missing only where it was not.
                        let is_here = |shard: &&&Written| {
                            shard.id == ids::shard(DATUM, chunk_index, index) && shard.descriptor.coding == chunk.coding
                        };
                        let disks: Vec<_> = left.iter().filter(is_here).map(|shard| ids::meta_disk(shard.disk)).collect();
                        prop_assert_eq!(place.is_none(), disks.is_empty());
                        prop_assert!(place.is_none_or(|place| disks.contains(&place)));
                    }
                }
            }
            Some(Finding::Incomplete(datum)) => {
                let has_end = left.iter().any(|shard| shard.descriptor.last.is_some());
                match datum.reason {
                    IncompleteReason::EndMissing => prop_assert!(!has_end),
                    IncompleteReason::ChunkMissing { chunk_index, .. } => {
                        prop_assert!(has_end && !readable.contains(&chunk_index));
                        prop_assert!((0..chunk_index).all(|earlier| readable.contains(&earlier)));
                    }
                    IncompleteReason::SizesDisagree { .. } => prop_assert!(false, "sizes agree"),
                }
            }
        }
        // The order in which they are found does not matter for what is decided.
        if !left.is_empty() {
            let by = start.index(left.len());
            left.rotate_left(by);
        }
        let again = assemble(left, &BTreeSet::new());
        prop_assert_eq!(
            matches!(again, Some(Finding::Whole(_))),
            matches!(finding, Some(Finding::Whole(_)))
        );
    }

    #[test]
    fn as_many_disks_as_there_are_parity_shards_may_be_missing(
        sizes in prop::collection::vec(0u32..100, 1..4),
        first in 0..DISK_COUNT,
        lost in (0usize..8, 0usize..8),
    ) {
        let coding = Coding::Erasure { data: 4, parity: 2 };
        let chunks: Vec<_> = sizes.iter().map(|size| (*size, vec![(coding, first)])).collect();
        let written = write(&chunks);
        let away = BTreeSet::from([disk(lost.0), disk(lost.1)]);
        let left: Vec<_> = written.iter().filter(|shard| !away.contains(&shard.disk)).collect();
        let Some(Finding::Whole(datum)) = assemble(left.iter().copied(), &away) else {
            return Err(TestCaseError::fail("not whole"));
        };
        // What is on disks that will be back is expected there, and needs no repair.
        let meant: Vec<_> = written[0].descriptor.placement.iter().map(|disk| disk.map(cairn_meta::DiskId)).collect();
        prop_assert!(datum.record.chunks.iter().all(|chunk| chunk.shards == meant));
        let Some(Finding::Whole(datum)) = assemble(left, &BTreeSet::new()) else {
            return Err(TestCaseError::fail("not whole"));
        };
        let is_lost = |disk: &Option<cairn_meta::DiskId>| disk.is_some_and(|disk| away.contains(&ids::disk(disk)));
        let expected: Vec<_> = meant.iter().map(|disk| disk.filter(|_| !is_lost(disk))).collect();
        prop_assert!(datum.record.chunks.iter().all(|chunk| chunk.shards == expected));
    }
}

/// Acknowledged with five of six shards, and two of the disks are not there.
#[test]
fn what_can_be_read_when_awaited_disks_are_back_is_whole() {
    let coding = Coding::Erasure { data: 4, parity: 2 };
    let written = write(&[(100, vec![(coding, 0)])]);
    let left = &written[..3];
    let Some(Finding::Incomplete(_)) = assemble(left, &BTreeSet::from([disk(7)])) else {
        panic!("whole without a disk that has a fourth shard");
    };
    let Some(Finding::Whole(datum)) = assemble(left, &BTreeSet::from([disk(3), disk(4)])) else {
        panic!("given up");
    };
    let placed = [Some(0), Some(1), Some(2), Some(3), Some(4), None];
    let placed = placed.map(|number| number.map(|number| ids::meta_disk(disk(number))));
    assert_eq!(datum.record.chunks[0].shards, placed);
}

#[test]
fn sizes_that_do_not_add_up_are_incomplete() {
    let mut written = write(&[(10, vec![(Coding::Copies { count: 1 }, 0)])]);
    written[0].descriptor.last.as_mut().unwrap().size_bytes = 11;
    let Some(Finding::Incomplete(datum)) = assemble(&written, &BTreeSet::new()) else {
        panic!("not incomplete");
    };
    let expected = IncompleteReason::SizesDisagree {
        found_bytes: 10,
        size_bytes: 11,
    };
    assert_eq!(datum.reason, expected);
}

#[test]
fn shards_that_contradict_their_names_are_left_out() {
    let mut written = write(&[(10, vec![(Coding::Copies { count: 2 }, 0)])]);
    written[0].descriptor.chunk_index = 1;
    written[1].size_bytes = 9;
    assert_eq!(assemble(&written, &BTreeSet::new()), None);
}

#[tokio::test]
async fn data_are_found_one_after_the_other_over_pages_and_disks() {
    const COUNT: usize = 700;
    let stores: Vec<_> = (0..3)
        .map(|number| Arc::new(MemoryShardStore::new(disk(number))))
        .collect();
    for number in 0..COUNT {
        let mut id = [0; 16];
        id[0..8].copy_from_slice(&(number as u64).to_be_bytes());
        let size_bytes = u32::from(number % 7 != 0);
        let written = write(&[(size_bytes, vec![(Coding::Copies { count: 2 }, 0)])]);
        // Each datum on two of the three disks.
        for (index, shard) in written.iter().enumerate() {
            let descriptor = Descriptor {
                data_id: id,
                ..shard.descriptor.clone()
            };
            let put = ShardPut {
                id: ids::shard(DataId(id), 0, index),
                descriptor: descriptor.encode(),
                payload: vec![0; size_bytes as usize].into(),
            };
            let store = &stores[(number + index) % 3];
            store.put(put, Durability::Synced).await.unwrap();
        }
    }
    let disks: Vec<Arc<dyn ShardStore>> = stores.into_iter().map(|store| store as _).collect();
    for (selection, expected) in [(Selection::All, COUNT), (Selection::Empty, COUNT / 7)] {
        let mut found = FoundData::new(&disks, BTreeSet::new(), selection);
        let mut ids = Vec::new();
        while let Some(finding) = found.next().await.unwrap() {
            let Finding::Whole(datum) = finding else {
                panic!("incomplete");
            };
            assert_eq!(datum.record.chunks[0].shards.iter().flatten().count(), 2);
            ids.push(datum.data_id);
        }
        assert_eq!(ids.len(), expected);
        assert!(ids.is_sorted_by(|one, next| one < next));
        assert_eq!(
            (found.seen_count(), found.unreadable_count()),
            (2 * COUNT as u64, 0)
        );
    }
}
