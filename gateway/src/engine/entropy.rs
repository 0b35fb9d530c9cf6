//! The engine's only source of randomness: seeded by the machine, or by a test that wants to be replayed.

use std::sync::{Mutex, PoisonError};

use cairn_rpc::random::random_bytes;
use cairn_storage_node::DataId;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// How much of a datum's name is random.
const RANDOM_BITS: u32 = 80;

/// When the write of a datum began, in milliseconds since 1970, by the clock of the gateway that named it.
pub(crate) fn named_at_ms(data_id: DataId) -> u64 {
    let time = u128::from_be_bytes(data_id.0) >> RANDOM_BITS;
    u64::try_from(time).unwrap_or(u64::MAX)
}

/// So many small chunks that are written one after another go to the same disks, so that those sync once for more of
/// them: at concurrency 64 half as often as with a choice for each.
const SMALL_CHUNKS_PER_CHOICE: u32 = 16;

#[derive(Debug)]
pub(crate) struct Entropy {
    rng: Mutex<StdRng>,
    small: Mutex<SmallChoice>,
}

/// The seed that small chunks share, and for how many more.
#[derive(Debug, Default)]
struct SmallChoice {
    seed: u64,
    left: u32,
}

impl Entropy {
    pub(crate) fn new(seed: Option<u64>) -> Self {
        Self {
            rng: Mutex::new(
                seed.map_or_else(|| StdRng::from_seed(random_bytes()), StdRng::seed_from_u64),
            ),
            small: Mutex::default(),
        }
    }

    /// A name that was never given before: when it was given (48 bits of milliseconds since 1970), then 80 random
    /// bits.
    ///
    /// The time keeps new records of the metadata together, and tells the orphan collector how old a datum is
    /// without having to believe a node's clock.
    pub(crate) fn data_id(&self, now_ms: u64) -> DataId {
        let random: u128 = self
            .rng
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .random();
        let time = u128::from(now_ms) << RANDOM_BITS;
        DataId((time | random & ((1 << RANDOM_BITS) - 1)).to_be_bytes())
    }

    /// The seed of one decision.
    pub(crate) fn seed(&self) -> u64 {
        self.rng
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .random()
    }

    /// The seed of the choice of disks for a small chunk.
    pub(crate) fn seed_of_small(&self) -> u64 {
        let mut small = self.small.lock().unwrap_or_else(PoisonError::into_inner);
        if small.left == 0 {
            *small = SmallChoice {
                seed: self.seed(),
                left: SMALL_CHUNKS_PER_CHOICE,
            };
        }
        small.left -= 1;
        small.seed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_their_time_and_differ() {
        let entropy = Entropy::new(Some(1));
        let (a, b) = (
            entropy.data_id(1_800_000_000_000),
            entropy.data_id(1_800_000_000_000),
        );
        assert_ne!(a, b);
        assert_eq!(named_at_ms(a), 1_800_000_000_000);
        assert!(a < entropy.data_id(1_800_000_000_001));
    }

    #[test]
    fn small_chunks_share_a_choice_for_a_while() {
        let entropy = Entropy::new(Some(1));
        let seeds: Vec<u64> = (0..2 * SMALL_CHUNKS_PER_CHOICE)
            .map(|_| entropy.seed_of_small())
            .collect();
        let (first, second) = seeds.split_at(SMALL_CHUNKS_PER_CHOICE as usize);
        assert!(first.iter().all(|seed| *seed == first[0]));
        assert!(second.iter().all(|seed| *seed == second[0]));
        assert_ne!(first[0], second[0]);
    }
}
