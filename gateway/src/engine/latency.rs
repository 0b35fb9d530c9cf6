//! How long disks usually take: a histogram that forgets, cheap enough for every call.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Buckets grow by a quarter of an octave (19 %), from 8 µs to two minutes: finer than any decision made with it.
const BUCKET_COUNT: usize = 96;
const BUCKETS_PER_OCTAVE: u32 = 4;
/// 8 µs.
const FIRST_OCTAVE: u32 = 3;
/// When so many samples are in, all counts are halved: the recent past weighs most.
const SAMPLE_COUNT_MAX: u32 = 4096;
/// Fewer samples say nothing about a 95th percentile.
const SAMPLE_COUNT_MIN: u32 = 20;

/// Recent latencies of one kind of call over all disks.
///
/// Not per disk: a slow disk measured against itself would look normal.
#[derive(Debug)]
pub(crate) struct Latency {
    buckets: [AtomicU32; BUCKET_COUNT],
    sample_count: AtomicU32,
}

impl Default for Latency {
    fn default() -> Self {
        Self {
            buckets: [const { AtomicU32::new(0) }; BUCKET_COUNT],
            sample_count: AtomicU32::new(0),
        }
    }
}

impl Latency {
    /// Counts one call.
    pub(crate) fn record(&self, elapsed: Duration) {
        if let Some(bucket) = self.buckets.get(bucket_index(elapsed)) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        if self.sample_count.fetch_add(1, Ordering::Relaxed) >= SAMPLE_COUNT_MAX {
            self.forget_half();
        }
    }

    /// The 95th percentile, rounded up to a bucket's end; `None` before there are enough samples.
    pub(crate) fn p95(&self) -> Option<Duration> {
        let counts = self
            .buckets
            .each_ref()
            .map(|bucket| bucket.load(Ordering::Relaxed));
        let total: u32 = counts.iter().sum();
        if total < SAMPLE_COUNT_MIN {
            return None;
        }
        let slower_max = total / 20;
        let mut slower = 0;
        for (index, count) in counts.iter().enumerate().rev() {
            slower += count;
            if slower > slower_max {
                return Some(bucket_end(index));
            }
        }
        None
    }

    /// Racing calls may halve twice or lose a count: this is a statistic, not an account.
    fn forget_half(&self) {
        let mut left = 0;
        for bucket in &self.buckets {
            let half = bucket.load(Ordering::Relaxed) / 2;
            bucket.store(half, Ordering::Relaxed);
            left += half;
        }
        self.sample_count.store(left, Ordering::Relaxed);
    }
}

fn bucket_index(elapsed: Duration) -> usize {
    let micros = u64::try_from(elapsed.as_micros())
        .unwrap_or(u64::MAX)
        .max(1 << FIRST_OCTAVE);
    let octave = micros.ilog2();
    // The two bits behind the leading one.
    let quarter = (micros >> (octave - 2)) & 3;
    let index = u64::from((octave - FIRST_OCTAVE) * BUCKETS_PER_OCTAVE) + quarter;
    usize::try_from(index)
        .unwrap_or(BUCKET_COUNT)
        .min(BUCKET_COUNT - 1)
}

fn bucket_end(index: usize) -> Duration {
    let next = u32::try_from(index).unwrap_or(0) + 1;
    let octave = FIRST_OCTAVE + next / BUCKETS_PER_OCTAVE;
    let quarter = u64::from(next % BUCKETS_PER_OCTAVE);
    Duration::from_micros((1 << octave) + (quarter << (octave - 2)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_said_before_there_are_samples() {
        let latency = Latency::default();
        assert_eq!(latency.p95(), None);
        for _ in 0..SAMPLE_COUNT_MIN {
            latency.record(Duration::from_millis(1));
        }
        assert!(latency.p95().is_some());
    }

    #[test]
    fn p95_is_within_a_bucket_of_the_truth() {
        let latency = Latency::default();
        for micros in 1..=1000 {
            latency.record(Duration::from_micros(micros));
        }
        let p95 = latency.p95().unwrap();
        assert!((950..=1200).contains(&p95.as_micros()), "{p95:?}");
    }

    #[test]
    fn the_past_is_forgotten() {
        let latency = Latency::default();
        for _ in 0..SAMPLE_COUNT_MAX {
            latency.record(Duration::from_secs(5));
        }
        for _ in 0..10 * SAMPLE_COUNT_MAX {
            latency.record(Duration::from_micros(100));
        }
        assert!(latency.p95().unwrap() < Duration::from_millis(1));
    }

    #[test]
    fn buckets_join_without_gaps() {
        for index in 0..BUCKET_COUNT - 1 {
            assert_eq!(bucket_index(bucket_end(index)), index + 1);
            assert_eq!(
                bucket_index(bucket_end(index).saturating_sub(Duration::from_micros(1))),
                index
            );
        }
        assert_eq!(bucket_index(Duration::ZERO), 0);
        assert_eq!(bucket_index(Duration::MAX), BUCKET_COUNT - 1);
    }
}
