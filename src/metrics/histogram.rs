//! Histograms without a lock: those of `prometheus-client` take one for each observation.

use std::time::Duration;

use super::Counter;

/// Upper bounds of the buckets, in microseconds: from a request that needs no statement to a login that waits for the hash
/// queue. The last bucket has no bound.
const BOUNDS: [u64; 14] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000,
    10_000_000,
];
const BUCKETS: usize = BOUNDS.len() + 1;

/// Durations, counted by size.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    buckets: [Counter; BUCKETS],
    microseconds: Counter,
}

impl Histogram {
    /// Counts a duration.
    pub(crate) fn observe(&self, duration: Duration) {
        let microseconds = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.buckets[BOUNDS.partition_point(|bound| *bound < microseconds)].add();
        self.microseconds.add_many(microseconds);
    }

    /// Adds what others counted.
    pub(crate) fn sum<'a>(histograms: impl IntoIterator<Item = &'a Self>) -> Sum {
        let mut sum = Sum { buckets: [0; BUCKETS], microseconds: 0 };
        for histogram in histograms {
            for (sum, bucket) in sum.buckets.iter_mut().zip(&histogram.buckets) {
                *sum += bucket.get();
            }
            sum.microseconds += histogram.microseconds.get();
        }
        sum
    }
}

/// What histograms have counted together.
#[derive(Debug)]
pub(crate) struct Sum {
    buckets: [u64; BUCKETS],
    microseconds: u64,
}

impl Sum {
    /// Returns the sum of all durations in seconds.
    pub(crate) fn seconds(&self) -> f64 {
        Duration::from_micros(self.microseconds).as_secs_f64()
    }

    /// Returns the number of durations.
    pub(crate) fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Returns the upper bound of each bucket in seconds, and the number of durations in it. Infinity: no bound.
    pub(crate) fn buckets(&self) -> [(f64, u64); BUCKETS] {
        let bound =
            |index: usize| BOUNDS.get(index).map_or(f64::INFINITY, |bound| Duration::from_micros(*bound).as_secs_f64());
        std::array::from_fn(|index| (bound(index), self.buckets[index]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_in_the_first_bucket_that_holds_it() {
        let (one, other) = (Histogram::default(), Histogram::default());
        for microseconds in [0, 500, 501, 10_000_000] {
            one.observe(Duration::from_micros(microseconds));
        }
        other.observe(Duration::from_micros(10_000_001));
        other.observe(Duration::MAX / 2);
        let sum = Histogram::sum([&one, &other]);
        let buckets = sum.buckets();
        assert_eq!(buckets[0], (0.0005, 2));
        assert_eq!(buckets[1], (0.001, 1));
        assert_eq!(buckets[13], (10.0, 1));
        assert_eq!(buckets[14], (f64::INFINITY, 2));
        assert_eq!(sum.count(), 6);
    }
}
