//! Times of many operations, and what share of them took how long.
//!
//! Owns a histogram of bounded size (some 260 kB at most), so that a run of hours takes no more than one of seconds.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::result::{Bucket, Latencies};

/// Figures of a time that are kept: three, so a percentile is right within 0.1 %.
const DIGITS: u8 = 3;

/// The longest time that is told apart from longer ones: two hours, in nanoseconds.
const LONGEST_NANOS: u64 = 2 * 3600 * 1_000_000_000;

/// Buckets of a result in each doubling of time: about 6 % wide.
const BUCKETS_PER_DOUBLING: u32 = 12;

/// Times as they were measured.
#[derive(Clone, Debug)]
pub struct Latency {
    /// In nanoseconds.
    times: Histogram<u64>,
    /// The slowest, exactly.
    slowest_nanos: u64,
}

/// The figures that are printed, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Percentiles {
    /// Half were faster.
    pub p50_us: f64,
    /// 99 of 100 were faster.
    pub p99_us: f64,
    /// The slowest.
    pub max_us: f64,
}

impl Default for Latency {
    fn default() -> Self {
        // It fails for other digits than 0 to 5 only.
        let times = Histogram::new(DIGITS).unwrap_or_else(|_| unreachable!("three digits are possible"));
        Self { times, slowest_nanos: 0 }
    }
}

impl Latency {
    /// Notes one operation.
    pub fn note(&mut self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX).min(LONGEST_NANOS);
        // The histogram grows by itself, and up to two hours it always can.
        let _ = self.times.record(nanos);
        self.slowest_nanos = self.slowest_nanos.max(nanos);
    }

    /// Adds what another thread has noted.
    pub fn add(&mut self, other: &Self) {
        // Both grow by themselves, so neither has a value that the other cannot take.
        let _ = self.times.add(&other.times);
        self.slowest_nanos = self.slowest_nanos.max(other.slowest_nanos);
    }

    /// Operations noted.
    pub fn count(&self) -> u64 {
        self.times.len()
    }

    /// Whether none was noted.
    pub fn is_empty(&self) -> bool {
        self.times.is_empty()
    }

    /// The figures; zeros when nothing was measured.
    pub fn percentiles(&self) -> Percentiles {
        Percentiles { p50_us: self.at(0.5), p99_us: self.at(0.99), max_us: self.at(1.0) }
    }

    /// As a result carries it.
    pub fn told(&self, name: &str) -> Latencies {
        Latencies {
            name: name.to_owned(),
            count: self.count(),
            p50_us: self.at(0.5),
            p90_us: self.at(0.9),
            p99_us: self.at(0.99),
            p999_us: self.at(0.999),
            max_us: self.at(1.0),
            buckets: self.buckets(),
        }
    }

    /// The time that this share of operations did not exceed, in microseconds.
    fn at(&self, share: f64) -> f64 {
        if self.is_empty() {
            return 0.0;
        }
        self.times.value_at_quantile(share).min(self.slowest_nanos) as f64 / 1000.0
    }

    fn buckets(&self) -> Vec<Bucket> {
        let mut buckets: Vec<(u64, Bucket)> = Vec::new();
        for step in self.times.iter_recorded() {
            let nanos = step.value_iterated_to().min(self.slowest_nanos);
            let place = place(nanos);
            let (up_to_us, count) = (nanos as f64 / 1000.0, step.count_since_last_iteration());
            match buckets.last_mut() {
                Some((last, bucket)) if *last == place => *bucket = Bucket { up_to_us, count: bucket.count + count },
                _ => buckets.push((place, Bucket { up_to_us, count })),
            }
        }
        buckets.into_iter().map(|(_, bucket)| bucket).collect()
    }
}

/// Which bucket a time falls into; higher for longer times.
fn place(nanos: u64) -> u64 {
    (f64::from(BUCKETS_PER_DOUBLING) * (nanos.max(1) as f64).log2()).floor() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(micros: impl Iterator<Item = u64>) -> Latency {
        let mut latency = Latency::default();
        micros.for_each(|micros| latency.note(Duration::from_micros(micros)));
        latency
    }

    fn near(is: f64, should: f64) -> bool {
        (is - should).abs() <= should * 0.001
    }

    #[test]
    fn percentiles_are_right_within_a_thousandth() {
        assert_eq!(Latency::default().percentiles(), Percentiles::default());
        let latency = filled((1..=2000).rev());
        let told = latency.told("call");
        assert_eq!((told.name.as_str(), told.count), ("call", 2000));
        for (is, should) in [
            (told.p50_us, 1000.0),
            (told.p90_us, 1800.0),
            (told.p99_us, 1980.0),
            (told.p999_us, 1998.0),
            (told.max_us, 2000.0),
            (latency.percentiles().p99_us, 1980.0),
        ] {
            assert!(near(is, should), "{is} is not {should}");
        }
    }

    #[test]
    fn threads_add_up() {
        let mut sum = filled(1..=1000);
        sum.add(&filled(1001..=2000));
        assert_eq!(sum.told(""), filled(1..=2000).told(""));
    }

    #[test]
    fn buckets_are_few_and_hold_all() {
        // From a microsecond to a minute.
        let latency = filled((0..26).flat_map(|doubling| (0..50).map(move |step| (1 << doubling) * (50 + step) / 50)));
        let buckets = latency.told("").buckets;
        assert!(buckets.len() < 26 * 13, "{}", buckets.len());
        assert_eq!(buckets.iter().map(|bucket| bucket.count).sum::<u64>(), 26 * 50);
        assert!(buckets.windows(2).all(|pair| pair[0].up_to_us < pair[1].up_to_us));
    }

    #[test]
    fn it_stays_small_and_takes_any_time() {
        let mut latency = filled(0..100_000);
        latency.note(Duration::ZERO);
        latency.note(Duration::MAX);
        assert_eq!(latency.count(), 100_002);
        assert!(latency.times.distinct_values() * size_of::<u64>() < 400_000);
    }
}
