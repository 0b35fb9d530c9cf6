//! Object bodies that are the same at every run and different for every object.

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

/// `size_bytes` bytes that follow from `seed`.
pub fn payload(size_bytes: usize, seed: u64) -> Vec<u8> {
    let mut body = vec![0; size_bytes];
    SmallRng::seed_from_u64(seed).fill(body.as_mut_slice());
    body
}
