//! Which disks get the shards of a chunk: a pure function of the disks, what is taken, and a seed.
//!
//! Invariants, held for every input by the property tests below:
//! - a disk is chosen at most once per chunk;
//! - no zone and no host gets more shards of a chunk than may be lost (`spare_count`), where that is avoidable;
//! - beyond that, shards spread over as many zones, then hosts, as there are;
//! - among equals, the chance of a disk is proportional to its free space.

use cairn_storage_node::DiskId;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// A disk that can take a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// Which disk.
    pub disk_id: DiskId,
    /// Its host, as a number that is the same for all disks of that host.
    pub host: u32,
    /// Its zone, likewise.
    pub zone: u32,
    /// The weight.
    pub free_bytes: u64,
}

/// Orders disks for `count` shards, best spread first; shorter if there are fewer candidates.
///
/// `taken` are the disks that hold (or may hold) shards of the chunk already: they are not chosen again and count
/// for their host and zone. `spare_count` is how many shards the chunk can lose.
pub fn choose(
    candidates: &[Candidate],
    taken: &[Candidate],
    count: usize,
    spare_count: usize,
    seed: u64,
) -> Vec<Candidate> {
    let mut rest = shuffled_by_weight(candidates, seed);
    rest.retain(|candidate| taken.iter().all(|other| other.disk_id != candidate.disk_id));
    let mut used = taken.to_vec();
    let mut chosen = Vec::with_capacity(count);
    while chosen.len() < count {
        let best = rest
            .iter()
            .enumerate()
            .min_by_key(|(_, candidate)| crowding(candidate, &used, spare_count));
        let Some((index, _)) = best else { break };
        let candidate = rest.remove(index);
        used.push(candidate);
        chosen.push(candidate);
    }
    chosen
}

/// How bad it is to add `candidate`; less is better, and ties are won by the earlier in random order.
///
/// Full zones and hosts come first: choosing greedily, a zone or host is only overfilled when no disk outside the
/// full ones is left, which is exactly when it cannot be avoided. (The tuple's order would otherwise let an even
/// spread over zones overfill a host.)
fn crowding(
    candidate: &Candidate,
    used: &[Candidate],
    spare_count: usize,
) -> (bool, bool, usize, usize) {
    let in_zone = used
        .iter()
        .filter(|other| other.zone == candidate.zone)
        .count();
    let on_host = used
        .iter()
        .filter(|other| other.host == candidate.host)
        .count();
    (
        in_zone >= spare_count,
        on_host >= spare_count,
        in_zone,
        on_host,
    )
}

/// Weighted random order without replacement: each candidate draws `-ln(u) / weight`, smallest first
/// (Efraimidis & Spirakis 2006).
fn shuffled_by_weight(candidates: &[Candidate], seed: u64) -> Vec<Candidate> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut drawn: Vec<(f64, Candidate)> = candidates
        .iter()
        .map(|candidate| {
            let uniform: f64 = rng.random();
            #[expect(
                clippy::cast_precision_loss,
                reason = "a weight needs no more than 53 bits"
            )]
            let weight = candidate.free_bytes.max(1) as f64;
            // 1 - u is in (0, 1], so that the logarithm is finite.
            (-(1.0 - uniform).ln() / weight, *candidate)
        })
        .collect();
    drawn.sort_by(|a, b| a.0.total_cmp(&b.0));
    drawn.into_iter().map(|(_, candidate)| candidate).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use proptest::prelude::*;

    fn disk(number: u8, host: u32, zone: u32, free_bytes: u64) -> Candidate {
        Candidate {
            disk_id: DiskId([number; 16]),
            host,
            zone,
            free_bytes,
        }
    }

    /// Zones contain hosts contain disks, as they do in a building.
    fn clusters() -> impl Strategy<Value = Vec<Candidate>> {
        proptest::collection::vec((0u32..4, 0u32..3, 0u64..1000), 1..24).prop_map(|disks| {
            (0u8..)
                .zip(disks)
                .map(|(number, (zone, host_in_zone, free))| {
                    disk(number, zone * 10 + host_in_zone, zone, free)
                })
                .collect()
        })
    }

    fn counts(chosen: &[Candidate], domain: impl Fn(&Candidate) -> u32) -> BTreeMap<u32, usize> {
        let mut counts = BTreeMap::new();
        for candidate in chosen {
            *counts.entry(domain(candidate)).or_default() += 1;
        }
        counts
    }

    /// How many shards fit if each domain takes at most `limit`.
    fn capacity(
        candidates: &[Candidate],
        domain: impl Fn(&Candidate) -> u32,
        limit: usize,
    ) -> usize {
        counts(candidates, domain)
            .values()
            .map(|disks| (*disks).min(limit))
            .sum()
    }

    proptest! {
        #[test]
        fn disks_are_distinct_and_as_many_as_asked_for(candidates in clusters(), count in 1usize..9, seed: u64) {
            let chosen = choose(&candidates, &[], count, 2, seed);
            prop_assert_eq!(chosen.len(), count.min(candidates.len()));
            let distinct: BTreeSet<_> = chosen.iter().map(|candidate| candidate.disk_id).collect();
            prop_assert_eq!(distinct.len(), chosen.len());
        }

        #[test]
        fn no_domain_holds_more_than_may_be_lost_where_avoidable(
            candidates in clusters(), count in 1usize..9, spare_count in 1usize..4, seed: u64,
        ) {
            let chosen = choose(&candidates, &[], count, spare_count, seed);
            if capacity(&candidates, |c| c.zone, spare_count) >= count {
                prop_assert!(counts(&chosen, |c| c.zone).values().all(|shards| *shards <= spare_count));
            }
            if capacity(&candidates, |c| c.host, spare_count) >= count {
                prop_assert!(counts(&chosen, |c| c.host).values().all(|shards| *shards <= spare_count));
            }
        }

        #[test]
        fn shards_reach_as_many_zones_as_there_are(candidates in clusters(), count in 1usize..9, seed: u64) {
            let chosen = choose(&candidates, &[], count, 2, seed);
            let zones = counts(&candidates, |c| c.zone).len();
            prop_assert_eq!(counts(&chosen, |c| c.zone).len(), zones.min(count));
        }

        #[test]
        fn a_replacement_is_never_a_taken_disk(candidates in clusters(), taken in 0usize..6, seed: u64) {
            let taken = candidates.iter().take(taken).copied().collect::<Vec<_>>();
            let replacement = choose(&candidates, &taken, 1, 2, seed);
            prop_assert!(replacement.iter().all(|candidate| !taken.contains(candidate)));
            prop_assert_eq!(replacement.is_empty(), taken.len() == candidates.len());
        }
    }

    #[test]
    fn an_emptier_disk_is_chosen_more_often() {
        let candidates = [disk(0, 0, 0, 100), disk(1, 1, 0, 300)];
        let first_is_emptier = (0..4000)
            .filter(|seed| choose(&candidates, &[], 1, 0, *seed)[0].disk_id == DiskId([1; 16]))
            .count();
        assert!(
            (2850..3150).contains(&first_is_emptier),
            "3000 expected, got {first_is_emptier}"
        );
    }

    #[test]
    fn a_replacement_avoids_the_zones_in_use() {
        let taken = [disk(0, 0, 0, 9), disk(1, 1, 1, 9)];
        let candidates = [disk(2, 0, 0, 1000), disk(3, 1, 1, 1000), disk(4, 4, 2, 1)];
        for seed in 0..50 {
            assert_eq!(
                choose(&candidates, &taken, 1, 2, seed)[0].disk_id,
                DiskId([4; 16])
            );
        }
    }
}
