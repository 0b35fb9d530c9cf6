//! Randomness that nobody has seeded, drawn in this one place: identities, keys, nonces and jitter.
#![expect(
    clippy::disallowed_methods,
    reason = "what a test may want to replay takes a seeded generator instead"
)]

use rand::distr::uniform::{SampleRange, SampleUniform};

/// `N` bytes from the operating system's seeded generator; unpredictable, never repeated in practice from
/// eight bytes on (and every eight-byte use is also checked or compared together with a sequence number). Good for keys,
/// too.
///
/// # Panics
/// If the operating system has nothing to seed it with.
#[must_use]
pub fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    rand::fill(&mut bytes[..]);
    bytes
}

/// A number of `range`, each as likely as the others.
///
/// # Panics
/// If the range is empty.
#[must_use]
pub fn random_in<T: SampleUniform>(range: impl SampleRange<T>) -> T {
    rand::random_range(range)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_differ_from_call_to_call_and_numbers_stay_in_their_range() {
        assert_ne!(random_bytes::<16>(), random_bytes());
        assert_eq!(random_in(7..8), 7);
        assert!((3..=5).contains(&random_in(3..=5)));
    }
}
