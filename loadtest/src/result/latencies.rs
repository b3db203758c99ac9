//! Times of many operations as a result carries them.

use serde::{Deserialize, Serialize};

/// How many operations took at most so long, and longer than the bucket before.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bucket {
    /// Upper end, in microseconds; itself inside.
    pub up_to_us: f64,
    /// Operations in it.
    pub count: u64,
}

/// Percentiles and the buckets that they can be drawn from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Latencies {
    /// The kind of operation, such as `call`.
    pub name: String,
    /// Operations.
    pub count: u64,
    /// Half were faster.
    pub p50_us: f64,
    /// 9 of 10 were faster.
    pub p90_us: f64,
    /// 99 of 100 were faster.
    pub p99_us: f64,
    /// 999 of 1000 were faster.
    pub p999_us: f64,
    /// The slowest.
    pub max_us: f64,
    /// Buckets that are not empty, from fast to slow; each about 6 % wide.
    #[serde(default)]
    pub buckets: Vec<Bucket>,
}

impl Latencies {
    /// The curve of percentiles: for each bucket the share of operations that were at most so slow, and its upper end in microseconds.
    pub fn curve(&self) -> Vec<(f64, f64)> {
        let total: u64 = self.buckets.iter().map(|bucket| bucket.count).sum();
        let mut below = 0;
        let share = |bucket: &Bucket| {
            below += bucket.count;
            (below as f64 / total as f64, bucket.up_to_us)
        };
        self.buckets.iter().map(share).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_curve_ends_at_all() {
        assert_eq!(Latencies::default().curve(), []);
        let bucket = |up_to_us, count| Bucket { up_to_us, count };
        let latencies =
            Latencies { buckets: vec![bucket(1.0, 1), bucket(2.0, 2), bucket(9.0, 1)], ..Latencies::default() };
        assert_eq!(latencies.curve(), [(0.25, 1.0), (0.75, 2.0), (1.0, 9.0)]);
    }
}
