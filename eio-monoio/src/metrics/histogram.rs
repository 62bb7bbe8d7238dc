//! [`Histogram`]: how many durations were at most how long.

use std::time::Duration;

/// The upper bounds of the buckets. One more bucket has no bound.
pub(crate) const BOUNDS: [Duration; 11] = [
    Duration::from_micros(100),
    Duration::from_micros(500),
    Duration::from_millis(1),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(10),
];

/// The number of counters of a histogram: one for each bucket, and the sum in nanoseconds.
pub(crate) const LEN: usize = BOUNDS.len() + 2;

/// The index of the sum among the counters.
pub(crate) const SUM: usize = LEN - 1;

/// The index of the bucket of a duration.
pub(crate) fn bucket(duration: Duration) -> usize {
    BOUNDS.iter().position(|bound| duration <= *bound).unwrap_or(BOUNDS.len())
}

/// A histogram of durations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram([u64; LEN]);

impl Histogram {
    pub(super) fn new(counters: [u64; LEN]) -> Self {
        Self(counters)
    }

    /// The number of durations.
    pub fn count(&self) -> u64 {
        self.0[..SUM].iter().sum()
    }

    /// Their sum.
    pub fn sum(&self) -> Duration {
        Duration::from_nanos(self.0[SUM])
    }

    /// The number of durations of at most each bound, in ascending order; without a bound (`None`) all of them.
    pub fn buckets(&self) -> impl Iterator<Item = (Option<Duration>, u64)> + '_ {
        let bounds = BOUNDS.iter().copied().map(Some).chain([None]);
        bounds.zip(&self.0).scan(0, |sum, (bound, count)| {
            *sum += count;
            Some((bound, *sum))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_cumulative_and_bounds_inclusive() {
        let mut counters = [0; LEN];
        for (millis, times) in [(0, 3), (1, 2), (2, 1), (10_000, 1), (10_001, 4)] {
            let duration = Duration::from_millis(millis);
            counters[bucket(duration)] += times;
            counters[SUM] += duration.as_nanos() as u64 * times;
        }
        let histogram = Histogram::new(counters);
        let at_most = |millis| {
            let bound = Some(Duration::from_millis(millis));
            histogram.buckets().find(|(is, _)| *is == bound).expect("a bound").1
        };
        assert_eq!([1, 5, 5_000, 10_000].map(at_most), [5, 6, 6, 7]);
        assert_eq!(histogram.buckets().last(), Some((None, 11)));
        assert_eq!(histogram.count(), 11);
        assert_eq!(histogram.sum(), Duration::from_millis(2 + 2 + 10_000 + 40_004));
    }
}
