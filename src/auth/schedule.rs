//! When a source of keys is asked again: refreshed in time, soon for an unknown id, with back-off when it is down.
//!
//! Owns the arithmetic alone: the moment and the random number are arguments.

use std::time::Duration;

use crate::kit::tick::{Now, millis};

/// The pace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchPace {
    /// From one good fetch to the next.
    pub refresh: Duration,
    /// For so long after a fetch no unknown key id leads to another; and the first pause after one that failed.
    pub unknown_pause: Duration,
}

/// Where one source stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    due_at: Now,
    /// Until then nobody's wish is heard.
    rests_until: Now,
    failures: u32,
}

impl Schedule {
    /// Of a source that was never asked: due at once.
    #[must_use]
    pub fn new(now: Now) -> Self {
        Self { due_at: now, rests_until: now, failures: 0 }
    }

    /// Whether it is to be asked now. `asked`: somebody wants newer keys.
    #[must_use]
    pub fn is_due(&self, now: Now, asked: bool) -> bool {
        now >= self.due_at || asked && self.failures == 0 && now >= self.rests_until
    }

    /// When to look at it again, at the latest.
    #[must_use]
    pub fn next(&self, now: Now) -> Now {
        if now < self.rests_until { self.rests_until.min(self.due_at) } else { self.due_at }
    }

    /// Whether the pause after the last fetch is over, so that an unknown id may ask.
    #[must_use]
    pub fn is_rested(&self, now: Now) -> bool {
        self.failures == 0 && now >= self.rests_until
    }

    /// It answered. Nodes that were started together should not ask together: a tenth of the time is drawn (`jitter`, all of `u32`).
    pub fn answered(&mut self, now: Now, pace: &FetchPace, jitter: u32) {
        let refresh_ms = millis(pace.refresh);
        self.failures = 0;
        self.rests_until = now.after(pace.unknown_pause);
        self.due_at = Now(now.0.saturating_add(refresh_ms - share(refresh_ms / 10, jitter)));
    }

    /// It did not: the pause doubles from failure to failure up to the time of a refresh, and half of it is drawn.
    pub fn failed(&mut self, now: Now, pace: &FetchPace, jitter: u32) {
        let doubled = 1_u32.checked_shl(self.failures).unwrap_or(u32::MAX);
        let pause_ms = millis(pace.unknown_pause.saturating_mul(doubled).min(pace.refresh)).max(2);
        self.failures = self.failures.saturating_add(1).min(31);
        self.due_at = Now(now.0.saturating_add(pause_ms - share(pause_ms / 2, jitter)));
        self.rests_until = self.due_at;
    }
}

/// A part of `whole` as large as `jitter` is of all `u32`.
fn share(whole: u64, jitter: u32) -> u64 {
    ((u128::from(whole) * u128::from(jitter)) >> 32) as u64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PACE: FetchPace = FetchPace { refresh: Duration::from_secs(600), unknown_pause: Duration::from_secs(10) };

    #[test]
    fn wishes_are_heard_after_a_rest_and_not_while_the_source_is_down() {
        let mut schedule = Schedule::new(Now(5));
        assert!(schedule.is_due(Now(5), false));
        schedule.answered(Now(1_000), &PACE, 0);
        for (at, asked, due) in [
            (1_001, false, false),
            (1_001, true, false),
            (10_999, true, false),
            (11_000, false, false),
            (11_000, true, true),
            (600_999, false, false),
            (601_000, false, true),
        ] {
            assert_eq!(schedule.is_due(Now(at), asked), due, "{at} {asked}");
        }
        assert_eq!((schedule.next(Now(1_001)), schedule.next(Now(11_000))), (Now(11_000), Now(601_000)));
        schedule.failed(Now(601_000), &PACE, 0);
        // However many strangers ask, a source that is down is asked at its own pace.
        assert!(!schedule.is_due(Now(610_999), true) && schedule.is_due(Now(611_000), false));
    }

    proptest! {
        #[test]
        fn pauses_grow_to_the_refresh_and_no_further(failures in 1..100_u32, jitter: u32, now in 0..u64::MAX / 2) {
            let mut schedule = Schedule::new(Now(0));
            for _ in 1..failures {
                schedule.failed(Now(now), &PACE, jitter);
            }
            schedule.failed(Now(now), &PACE, jitter);
            let longest = Duration::from_secs(10).saturating_mul(1 << (failures - 1).min(20)).min(PACE.refresh);
            let pause = schedule.next(Now(now)).since(Now(now));
            prop_assert!(pause <= longest && pause >= longest / 2);
            schedule.answered(Now(now), &PACE, jitter);
            let refresh = schedule.next(Now(now).after(PACE.unknown_pause)).since(Now(now));
            prop_assert!(refresh <= PACE.refresh && refresh >= PACE.refresh * 9 / 10);
        }
    }
}
