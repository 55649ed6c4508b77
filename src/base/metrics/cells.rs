//! What figures are made of: counters, levels, and histograms over powers of two.
//!
//! `Counter`, `Gauge` and `LocalHistogram` are cells of one thread; `Log2Histogram` is the plain value that is copied
//! out of the last. Invariant: the two kinds of histogram put a value into the same bucket, that of `bucket_of`.

use std::cell::Cell;

/// Buckets of a `Log2Histogram`: bucket `i` counts values in `(2^(i-1), 2^i]`, the first one 0 and 1, the
/// last one everything above `2^(HISTOGRAM_BUCKETS - 2)`. In microseconds that bound is 67 seconds.
pub const HISTOGRAM_BUCKETS: usize = 28;

/// Distribution over powers of two: 240 bytes, copied and merged freely.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Log2Histogram {
    pub buckets: [u64; HISTOGRAM_BUCKETS],
    /// Sum of all recorded values.
    pub sum: u64,
}

impl Log2Histogram {
    pub const fn new() -> Self {
        Log2Histogram { buckets: [0; HISTOGRAM_BUCKETS], sum: 0 }
    }

    pub fn record(&mut self, value: u64) {
        self.buckets[bucket_of(value)] += 1;
        self.sum = self.sum.wrapping_add(value);
    }

    pub fn merge(&mut self, other: &Log2Histogram) {
        for (mine, theirs) in self.buckets.iter_mut().zip(&other.buckets) {
            *mine += theirs;
        }
        self.sum = self.sum.wrapping_add(other.sum);
    }

    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    pub fn is_empty(&self) -> bool {
        self.buckets.iter().all(|n| *n == 0)
    }

    pub fn mean(&self) -> f64 {
        match self.count() {
            0 => 0.0,
            n => self.sum as f64 / n as f64,
        }
    }

    /// The largest value that belongs to `bucket`; none for the last one, which has no bound.
    pub fn upper_bound(bucket: usize) -> Option<u64> {
        (bucket + 1 < HISTOGRAM_BUCKETS).then(|| 1u64 << bucket)
    }

    /// An upper bound of the value below which a share `q` (0 to 1) of all values lies; at most twice the
    /// true one. 0 when nothing was recorded, `u64::MAX` when it lies in the unbounded bucket.
    pub fn quantile(&self, q: f64) -> u64 {
        let count = self.count();
        if count == 0 {
            return 0;
        }
        let rank = ((q.clamp(0.0, 1.0) * count as f64).ceil() as u64).max(1);
        let mut seen = 0;
        for (bucket, n) in self.buckets.iter().enumerate() {
            seen += n;
            if seen >= rank {
                return Self::upper_bound(bucket).unwrap_or(u64::MAX);
            }
        }
        u64::MAX
    }
}

/// A histogram that one thread records into through a shared reference.
#[derive(Debug)]
pub struct LocalHistogram {
    buckets: [Cell<u64>; HISTOGRAM_BUCKETS],
    sum: Cell<u64>,
}

impl Default for LocalHistogram {
    fn default() -> Self {
        LocalHistogram { buckets: std::array::from_fn(|_| Cell::new(0)), sum: Cell::new(0) }
    }
}

impl LocalHistogram {
    #[inline]
    pub fn record(&self, value: u64) {
        let bucket = &self.buckets[bucket_of(value)];
        bucket.set(bucket.get() + 1);
        self.sum.set(self.sum.get().wrapping_add(value));
    }

    pub fn snapshot(&self) -> Log2Histogram {
        Log2Histogram { buckets: std::array::from_fn(|i| self.buckets[i].get()), sum: self.sum.get() }
    }
}

#[inline]
fn bucket_of(value: u64) -> usize {
    // 0 and 1 share the first bucket; 2^i is the largest value of bucket i, as Prometheus' `le` wants it.
    let bits = (u64::BITS - value.saturating_sub(1).leading_zeros()) as usize;
    bits.min(HISTOGRAM_BUCKETS - 1)
}

// ---- Cells ----

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(Cell<u64>);

impl Counter {
    #[inline]
    pub fn increment(&self) {
        self.add(1);
    }

    #[inline]
    pub fn add(&self, n: u64) {
        self.0.set(self.0.get().wrapping_add(n));
    }

    #[inline]
    pub fn get(&self) -> u64 {
        self.0.get()
    }
}

/// A level that goes up and down: a queue's depth, requests in flight.
#[derive(Debug, Default)]
pub struct Gauge(Cell<u64>);

impl Gauge {
    #[inline]
    pub fn set(&self, value: u64) {
        self.0.set(value);
    }

    #[inline]
    pub fn add(&self, n: u64) {
        self.0.set(self.0.get() + n);
    }

    #[inline]
    pub fn sub(&self, n: u64) {
        debug_assert!(self.0.get() >= n, "a level never falls below zero");
        self.0.set(self.0.get().saturating_sub(n));
    }

    #[inline]
    pub fn get(&self) -> u64 {
        self.0.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What a histogram means, without the bit trick: walk up the bounds.
    fn model_bucket(value: u64) -> usize {
        (0..HISTOGRAM_BUCKETS - 1).find(|i| value <= 1u64 << i).unwrap_or(HISTOGRAM_BUCKETS - 1)
    }

    proptest! {
        #[test]
        fn histogram_equals_its_model(values in prop::collection::vec(any::<u64>(), 0..50), shift in 0u32..64) {
            let (local, mut plain) = (LocalHistogram::default(), Log2Histogram::new());
            let mut expected = Log2Histogram::new();
            for value in values.iter().map(|v| v >> shift) {
                local.record(value);
                plain.record(value);
                expected.buckets[model_bucket(value)] += 1;
                expected.sum = expected.sum.wrapping_add(value);
            }
            prop_assert_eq!(plain, expected);
            prop_assert_eq!(local.snapshot(), expected);
            prop_assert_eq!(plain.count(), values.len() as u64);
        }

        #[test]
        fn merging_equals_recording_all(a in prop::collection::vec(0u64..1 << 40, 0..50),
                                        b in prop::collection::vec(0u64..1 << 40, 0..50)) {
            let record = |values: &[u64]| {
                let mut h = Log2Histogram::new();
                values.iter().for_each(|v| h.record(*v));
                h
            };
            let mut merged = record(&a);
            merged.merge(&record(&b));
            prop_assert_eq!(merged, record(&[a, b].concat()));
        }

        #[test]
        fn quantile_bounds_the_true_one(mut values in prop::collection::vec(1u64..1 << 25, 1..200), q in 0.01f64..1.0) {
            let mut h = Log2Histogram::new();
            values.iter().for_each(|v| h.record(*v));
            values.sort_unstable();
            let rank = ((q * values.len() as f64).ceil() as usize).max(1);
            let truth = values[rank - 1];
            prop_assert!(h.quantile(q) >= truth && h.quantile(q) <= truth * 2);
        }
    }

    #[test]
    fn an_empty_histogram_has_quantile_and_mean_zero() {
        let h = Log2Histogram::new();
        assert_eq!((h.quantile(0.99), h.mean(), h.is_empty()), (0, 0.0, true));
    }
}
