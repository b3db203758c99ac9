//! When to come back: exponential back-off with full jitter, as a pure value.
//!
//! Owns the count of failed attempts. It reads no clock and draws no random number: both are arguments.

use std::time::Duration;

use crate::kit::tick::{Now, millis};

/// Pauses between attempts. The ceiling doubles from `first` to `max`; a pause is anything from zero to the ceiling
/// ("full jitter"), so that a fleet which lost its gateway at one moment does not come back at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    first: Duration,
    max: Duration,
    failures: u32,
    opened: Option<Now>,
}

impl Backoff {
    /// The first pause is at most `first`, later ones at most `max`.
    #[must_use]
    pub fn new(first: Duration, max: Duration) -> Self {
        Self { first, max, failures: 0, opened: None }
    }

    /// The gateway welcomed the agent at `now`.
    pub fn opened(&mut self, now: Now) {
        self.opened = Some(now);
    }

    /// The attempt failed, or the connection ended, at `now`: the moment of the next attempt. `jitter` is uniform over
    /// all of `u32`.
    ///
    /// A connection that lived longer than the present ceiling counts as good, and the count starts anew. A gateway that
    /// welcomes and hangs up at once therefore does not get its agents back every second.
    pub fn failed(&mut self, now: Now, jitter: u32) -> Now {
        if let Some(opened) = self.opened.take()
            && now.since(opened) > self.ceiling()
        {
            self.failures = 0;
        }
        let pause = (u128::from(millis(self.ceiling())) * u128::from(jitter)) >> 32;
        self.failures = self.failures.saturating_add(1);
        // Below the ceiling, so it fits.
        now.after(Duration::from_millis(pause as u64))
    }

    /// The longest pause that may come next.
    #[must_use]
    pub fn ceiling(&self) -> Duration {
        let doubled = 1_u32.checked_shl(self.failures).unwrap_or(u32::MAX);
        self.first.saturating_mul(doubled).min(self.max)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn minute() -> Backoff {
        Backoff::new(Duration::from_secs(1), Duration::from_secs(60))
    }

    #[test]
    fn the_ceiling_doubles_up_to_the_longest_pause() {
        let mut backoff = minute();
        for ceiling in [1, 2, 4, 8, 16, 32, 60, 60] {
            assert_eq!(backoff.ceiling(), Duration::from_secs(ceiling));
            let half = backoff.failed(Now(0), 1 << 31);
            assert_eq!(half, Now(ceiling * 500));
        }
    }

    #[test]
    fn only_a_connection_that_lived_starts_anew() {
        // Failures before, how long the connection lived (none: it never opened), the ceiling that its end draws from.
        for (failures, lived, ceiling) in [
            (0, None, 1),
            (3, None, 8),
            (3, Some(8_000), 8),
            (3, Some(8_001), 1),
            (3, Some(0), 8),
            (40, Some(59_999), 60),
            (40, Some(60_001), 1),
        ] {
            let mut backoff = minute();
            for _ in 0..failures {
                backoff.failed(Now(0), 0);
            }
            let start = 1_000_000;
            let end = lived.map_or(start, |lived| {
                backoff.opened(Now(start));
                start + lived
            });
            let next = backoff.failed(Now(end), u32::MAX);
            assert_eq!(next, Now(end + ceiling * 1000 - 1), "{failures} failures, lived {lived:?}");
        }
    }

    proptest! {
        #[test]
        fn a_pause_stays_below_its_ceiling(failures in 0..100_u32, now in 0..u64::MAX / 2, jitter: u32) {
            let mut backoff = minute();
            for _ in 0..failures {
                backoff.failed(Now(0), jitter);
            }
            let ceiling = backoff.ceiling();
            let next = backoff.failed(Now(now), jitter);
            prop_assert!(next >= Now(now));
            prop_assert!(next.since(Now(now)) < ceiling);
        }
    }
}
