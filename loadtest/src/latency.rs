//! Times of many operations, and what share of them took how long.

use std::time::Duration;

use serde::Serialize;

/// Times as they were measured, in nanoseconds.
#[derive(Clone, Debug, Default)]
pub struct Latency {
    nanos: Vec<u64>,
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

impl Latency {
    /// Notes one operation.
    pub fn note(&mut self, took: Duration) {
        self.nanos.push(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
    }

    /// The figures; zeros when nothing was measured.
    pub fn percentiles(&self) -> Percentiles {
        let mut sorted = self.nanos.clone();
        sorted.sort_unstable();
        // Nearest rank: the smallest time that so many of a hundred do not exceed.
        let at = |share: usize| match (sorted.len() * share).div_ceil(100) {
            0 => 0.0,
            rank => sorted[rank - 1] as f64 / 1000.0,
        };
        Percentiles { p50_us: at(50), p99_us: at(99), max_us: at(100) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_the_nearest() {
        let mut latency = Latency::default();
        assert_eq!(latency.percentiles(), Percentiles::default());
        for micros in (1..=200).rev() {
            latency.note(Duration::from_micros(micros));
        }
        let Percentiles { p50_us, p99_us, max_us } = latency.percentiles();
        assert_eq!((p50_us, p99_us, max_us), (100.0, 198.0, 200.0));
    }
}
