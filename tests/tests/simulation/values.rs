//! What is stored: each body is written under one number only, and known again by its ETag.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use md5::{Digest, Md5};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

/// Around the borders of small chunks (300 bytes) and of chunks (4,000), and beyond.
const SIZES: [usize; 12] = [
    1, 100, 299, 300, 301, 3999, 4000, 4001, 9_000, 16_000, 31_000, 60_000,
];

/// All bodies of a run.
#[derive(Debug, Default)]
pub(crate) struct Values {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    bodies: Vec<Bytes>,
    by_etag: BTreeMap<String, u64>,
}

/// A body to be written.
#[derive(Debug, Clone)]
pub(crate) struct Value {
    pub(crate) number: u64,
    pub(crate) body: Bytes,
}

impl Values {
    /// A body that was never written before.
    pub(crate) fn draw(&self, random: &mut SmallRng) -> Value {
        let mut state = self.state();
        let number = u64::try_from(state.bodies.len()).expect("few values");
        let size = SIZES[random.random_range(0..SIZES.len())];
        let mut body = vec![0; size];
        SmallRng::seed_from_u64(number).fill(&mut body[..]);
        // Short ones would not differ by themselves.
        body.extend_from_slice(&number.to_be_bytes());
        let body = Bytes::from(body);
        let digest = Md5::digest(&body);
        let of_one_part = Md5::digest(digest);
        let etags = [
            format!("\"{}\"", hex::encode(digest)),
            format!("\"{}-1\"", hex::encode(of_one_part)),
        ];
        state
            .by_etag
            .extend(etags.into_iter().map(|etag| (etag, number)));
        state.bodies.push(body.clone());
        Value { number, body }
    }

    /// The body that has this ETag.
    pub(crate) fn of_etag(&self, etag: &str) -> Option<Value> {
        let state = self.state();
        let number = *state.by_etag.get(etag)?;
        let body = state.bodies.get(usize::try_from(number).ok()?)?.clone();
        Some(Value { number, body })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
