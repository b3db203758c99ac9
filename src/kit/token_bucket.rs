//! Token buckets: so much in a second, and some of it at once.
//!
//! Owns the arithmetic, in whole numbers. It never waits, keeps no clock, and decides nothing but whether there is room. A bucket is
//! one number, the moment at which it will be full again, so one that is full is worth nothing and need not be kept (the
//! virtual scheduling form of the generic cell rate algorithm, ITU-T I.371 annex A).

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::tick::Now;

const NANOS_A_MILLI: u64 = 1_000_000;

/// How much in how long, and how much of it may come at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Units in [`Rate::span_nanos`].
    units: u64,
    span_nanos: u64,
    /// Units in a full bucket.
    depth: u64,
    /// The time that a full bucket takes to fill, one unit after the other.
    depth_nanos: u64,
}

impl Rate {
    /// `units` in each `span`. What was left unused in the last `depth` may come at once, one unit at least.
    /// `None` for no units: there is no limit then.
    #[must_use]
    pub fn new(units: u64, span: Duration, depth: Duration) -> Option<Self> {
        if units == 0 {
            return None;
        }
        let rate = Self { units, span_nanos: nanos(span).max(1), depth: 0, depth_nanos: 0 };
        let depth_nanos = nanos(depth).max(rate.cost(1));
        // Each unit is rounded up, and as many as are promised must fit one by one.
        let depth = rate.worth(depth_nanos);
        let depth_nanos = depth_nanos.max(depth.saturating_mul(rate.cost(1)));
        Some(Self { depth, depth_nanos, ..rate })
    }

    /// How long it takes to fill up by so many units, rounded up.
    fn cost(&self, units: u64) -> u64 {
        let nanos = (u128::from(units) * u128::from(self.span_nanos)).div_ceil(u128::from(self.units));
        u64::try_from(nanos).unwrap_or(u64::MAX)
    }

    /// How many units fill up in that time, rounded down.
    fn worth(&self, nanos: u64) -> u64 {
        let units = u128::from(nanos) * u128::from(self.units) / u128::from(self.span_nanos);
        u64::try_from(units).unwrap_or(u64::MAX)
    }

    /// What a second brings.
    #[must_use]
    pub fn a_second(&self) -> u64 {
        self.worth(1_000_000_000)
    }

    /// What fits into a full bucket.
    #[must_use]
    pub fn depth(&self) -> u64 {
        self.depth
    }
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

/// A bucket: 8 bytes. A new one is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct TokenBucket {
    /// When it is full again, in nanoseconds of the process' clock.
    full_at: u64,
}

const _: () = assert!(size_of::<TokenBucket>() == 8);

impl TokenBucket {
    /// Takes so many units out.
    ///
    /// # Errors
    /// They are not there: how long until they are. Nothing was taken. More than [`Rate::depth`] are never there.
    pub fn take(&mut self, now: Now, rate: &Rate, units: u64) -> Result<(), Duration> {
        let after = self.after(now, rate, units);
        match excess(after, now, rate) {
            None => {
                self.full_at = after;
                Ok(())
            }
            Some(wait) => Err(wait),
        }
    }

    /// Takes so many units out, whether they are there or not: what was used already.
    pub fn spend(&mut self, now: Now, rate: &Rate, units: u64) {
        self.full_at = self.after(now, rate, units);
    }

    /// How long until so many units are there; `None` when they are.
    #[must_use]
    pub fn wait(&self, now: Now, rate: &Rate, units: u64) -> Option<Duration> {
        excess(self.after(now, rate, units), now, rate)
    }

    /// How many units are there.
    #[must_use]
    pub fn available(&self, now: Now, rate: &Rate) -> u64 {
        let full = at(now).saturating_add(rate.depth_nanos);
        rate.worth(full.saturating_sub(self.full_at.max(at(now)))).min(rate.depth)
    }

    /// Whether it is full: then it is as good as a new one.
    #[must_use]
    pub fn is_full(&self, now: Now) -> bool {
        self.full_at <= at(now)
    }

    fn after(&self, now: Now, rate: &Rate, units: u64) -> u64 {
        self.full_at.max(at(now)).saturating_add(rate.cost(units))
    }
}

fn at(now: Now) -> u64 {
    now.0.saturating_mul(NANOS_A_MILLI)
}

/// How long until a bucket that would be full at `after` is not overdrawn; `None` when it is not.
fn excess(after: u64, now: Now, rate: &Rate) -> Option<Duration> {
    let limit = at(now).saturating_add(rate.depth_nanos);
    (after > limit).then(|| Duration::from_nanos(after - limit))
}

/// A bucket that several threads take from.
#[derive(Debug, Default)]
pub struct SharedBucket(AtomicU64);

impl SharedBucket {
    /// As [`TokenBucket::take`].
    ///
    /// # Errors
    /// As there.
    pub fn take(&self, now: Now, rate: &Rate, units: u64) -> Result<(), Duration> {
        let mut refused = Duration::ZERO;
        let step = |full_at| {
            let mut bucket = TokenBucket { full_at };
            bucket.take(now, rate, units).map_err(|wait| refused = wait).ok().map(|()| bucket.full_at)
        };
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, step).map(drop).map_err(|_| refused)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn ms(span: u64) -> Duration {
        Duration::from_millis(span)
    }

    #[test]
    fn a_burst_then_the_rate() {
        let rate = Rate::new(10, SECOND, ms(300)).unwrap();
        assert_eq!(rate.depth(), 3);
        let mut bucket = TokenBucket::default();
        for (now, taken) in [
            (1000, Ok(())),
            (1000, Ok(())),
            (1000, Ok(())),
            (1000, Err(ms(100))),
            (1099, Err(ms(1))),
            (1100, Ok(())),
            (1100, Err(ms(100))),
            (1350, Ok(())),
            (1350, Ok(())),
            (1350, Err(ms(50))),
            (9000, Ok(())),
        ] {
            assert_eq!(bucket.take(Now(now), &rate, 1), taken, "{now}");
        }
    }

    #[test]
    fn no_units_are_no_limit_and_one_always_fits() {
        assert_eq!(Rate::new(0, SECOND, SECOND), None);
        let slow = Rate::new(1, ms(60_000), Duration::ZERO).unwrap();
        let mut bucket = TokenBucket::default();
        assert_eq!((slow.depth(), bucket.take(Now(5), &slow, 1)), (1, Ok(())));
        assert_eq!(bucket.take(Now(5), &slow, 1), Err(ms(60_000)));
    }

    #[test]
    fn as_many_as_are_promised_fit_one_by_one() {
        for units in [1, 3, 7, 333, 999_983, 30_000_001] {
            let rate = Rate::new(units, SECOND, SECOND).unwrap();
            let mut bucket = TokenBucket::default();
            assert_eq!(rate.depth(), units);
            let tries = units.min(1000);
            assert!((0..tries).all(|_| bucket.take(Now(0), &rate, 1).is_ok()), "{units}");
            assert_eq!(bucket.take(Now(0), &rate, 1).is_ok(), units > 1000, "{units}");
        }
    }

    #[test]
    fn what_was_used_is_owed() {
        let rate = Rate::new(1000, SECOND, SECOND).unwrap();
        let mut bucket = TokenBucket::default();
        bucket.spend(Now(0), &rate, 5000);
        assert_eq!((bucket.wait(Now(0), &rate, 1), bucket.available(Now(0), &rate)), (Some(ms(4001)), 0));
        assert_eq!((bucket.wait(Now(4001), &rate, 1), bucket.available(Now(4500), &rate)), (None, 500));
        assert!(!bucket.is_full(Now(4999)) && bucket.is_full(Now(5000)));
    }

    #[test]
    fn large_numbers_saturate() {
        let fast = Rate::new(u64::MAX, ms(1), Duration::MAX).unwrap();
        let slow = Rate::new(1, Duration::MAX, Duration::MAX).unwrap();
        for rate in [fast, slow] {
            for now in [0, u64::MAX] {
                let mut bucket = TokenBucket::default();
                bucket.spend(Now(now), &rate, u64::MAX);
                let _ = (bucket.take(Now(now), &rate, u64::MAX), bucket.available(Now(now), &rate), rate.depth());
            }
        }
    }

    proptest! {
        /// In no window of time is there more than the rate allows in it and a full bucket; and what says how long to wait is right.
        #[test]
        fn never_more_than_the_rate(
            units in 1u64..2000, depth_ms in 0u64..3000,
            steps in vec((0u64..400, 1u64..50), 1..60),
        ) {
            let rate = Rate::new(units, SECOND, ms(depth_ms)).unwrap();
            let shared = SharedBucket::default();
            let mut bucket = TokenBucket::default();
            let (mut now, mut taken) = (0, Vec::new());
            for (pause, asked) in steps {
                now += pause;
                let available = bucket.available(Now(now), &rate);
                let wait = bucket.wait(Now(now), &rate, asked);
                let mut later = bucket;
                let got = bucket.take(Now(now), &rate, asked);
                prop_assert_eq!(shared.take(Now(now), &rate, asked), got);
                prop_assert_eq!(wait, got.err());
                prop_assert!(got.is_ok() || asked > available.saturating_sub(1));
                prop_assert!(got.is_err() || asked <= available + 1);
                match got {
                    Ok(()) => taken.push((now, asked)),
                    Err(wait) if asked <= rate.depth() => {
                        let then = now + u64::try_from(wait.as_nanos().div_ceil(1_000_000)).unwrap();
                        prop_assert!(later.take(Now(then), &rate, asked).is_ok());
                    }
                    Err(_) => {}
                }
            }
            for (from, &(begin, _)) in taken.iter().enumerate() {
                let mut sum = 0;
                for &(end, count) in &taken[from..] {
                    sum += count;
                    let allowed = rate.depth() + 1 + units * (end - begin) / 1000;
                    prop_assert!(sum <= allowed, "{} in {} ms, {} allowed", sum, end - begin, allowed);
                }
            }
        }
    }
}
