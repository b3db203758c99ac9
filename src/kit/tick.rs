//! Time as a value.
//!
//! Owns the two time types of the process and the one place that reads the system's clocks. Below the top
//! floor time is always an argument named `now`; a file that needs "now" and is not handed one is wrong.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Milliseconds since the process' [`Clock`] was made. Monotonic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Now(pub u64);

impl Now {
    /// The moment `span` after this one; saturates at the end of time.
    #[must_use]
    pub fn after(self, span: Duration) -> Self {
        Self(self.0.saturating_add(millis(span)))
    }

    /// How long ago `earlier` was; zero when it lies in the future.
    #[must_use]
    pub fn since(self, earlier: Now) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// The 32-bit form that fits a connection's slot.
    #[must_use]
    pub fn tick(self) -> Tick {
        // Truncation is the point: a tick is the low 32 bits, compared by wrapping distance only.
        Tick(self.0 as u32)
    }
}

/// The low 32 bits of a [`Now`], in milliseconds: wraps after 49 days, so only distances below 24 days mean anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tick(pub u32);

impl Tick {
    /// Milliseconds from `earlier` to this tick; zero when `earlier` is in the future (less than 24 days ahead).
    #[must_use]
    pub fn since(self, earlier: Tick) -> u32 {
        let distance = self.0.wrapping_sub(earlier.0);
        if distance > u32::MAX / 2 { 0 } else { distance }
    }
}

/// A duration as whole milliseconds, saturating.
#[must_use]
pub fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// What the wall clock said at one moment: leads from one kind of time to the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wall {
    now: Now,
    unix_ms: u64,
}

impl Wall {
    /// Seconds since the UNIX epoch.
    #[must_use]
    pub fn unix_secs(self) -> u64 {
        self.unix_ms / 1000
    }

    /// The moment at which the wall clock will say `unix_secs`; [`Now`] zero when that is before the process' start.
    #[must_use]
    pub fn at_unix_secs(self, unix_secs: u64) -> Now {
        let moment = (i128::from(unix_secs) * 1000 - i128::from(self.unix_ms)) + i128::from(self.now.0);
        Now(u64::try_from(moment.max(0)).unwrap_or(u64::MAX))
    }
}

/// The process' clock: a monotonic origin and the wall time at that origin.
///
/// Copies of one clock agree with each other. Only the top floor makes one.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
    origin_unix_ms: u64,
    /// Whether the wall time is said by a test.
    #[cfg(test)]
    is_told: bool,
}

impl Clock {
    /// Starts a clock: [`Now`] counts from here.
    #[must_use]
    pub fn start() -> Self {
        Self {
            origin: Instant::now(),
            origin_unix_ms: system_unix_ms(),
            #[cfg(test)]
            is_told: false,
        }
    }

    /// A clock whose wall time is known, for tests that say themselves what time it is.
    #[cfg(test)]
    pub(crate) fn at_unix_ms(origin_unix_ms: u64) -> Self {
        Self { origin: Instant::now(), origin_unix_ms, is_told: true }
    }

    /// Reads the monotonic clock.
    #[must_use]
    pub fn now(&self) -> Now {
        Now(millis(self.origin.elapsed()))
    }

    /// Wall time of a moment, in milliseconds since the UNIX epoch. Steps of the system's clock after the start do not show.
    #[must_use]
    pub fn unix_ms(&self, now: Now) -> u64 {
        self.origin_unix_ms.saturating_add(now.0)
    }

    /// Reads the wall clock, at `now`. Unlike [`Clock::unix_ms`] it follows the system's steps: a machine that started
    /// with a wrong clock, or slept, must not believe expired tokens until the process is started again.
    #[must_use]
    pub fn wall(&self, now: Now) -> Wall {
        #[cfg(test)]
        if self.is_told {
            return Wall { now, unix_ms: self.unix_ms(now) };
        }
        Wall { now, unix_ms: system_unix_ms() }
    }
}

fn system_unix_ms() -> u64 {
    millis(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_measure_across_the_wrap() {
        let before = Now(u64::from(u32::MAX) - 10).tick();
        let after = Now(u64::from(u32::MAX) + 11).tick();
        assert_eq!(after.since(before), 21);
        assert_eq!(before.since(after), 0, "the future is no time ago");
    }

    #[test]
    fn the_wall_follows_the_system_and_leads_to_moments() {
        // A clock that was an hour behind when the process started.
        let late = Clock { origin_unix_ms: system_unix_ms() - 3_600_000, ..Clock::start() };
        let wall = late.wall(Now(5_000));
        assert!(wall.unix_secs() >= late.unix_ms(Now(5_000)) / 1000 + 3_500);

        let wall = Wall { now: Now(5_000), unix_ms: 100_000 };
        for (unix_secs, moment) in [(100, 5_000), (101, 6_000), (96, 1_000), (95, 0), (0, 0), (u64::MAX, u64::MAX)] {
            assert_eq!(wall.at_unix_secs(unix_secs), Now(moment), "{unix_secs}");
        }
    }

    #[test]
    fn moments_saturate() {
        assert_eq!(Now(5).after(Duration::MAX), Now(u64::MAX));
        assert_eq!(Now(5).since(Now(9)), Duration::ZERO);
    }
}
