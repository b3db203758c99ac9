//! Time as a value.
//!
//! Owns the two time types of the process and the one place that reads the system's clocks. Below the top
//! floor time is always an argument named `now`; a file that needs "now" and is not handed one is wrong.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};

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

/// Differences between the wall and its last look that are no step of it, in milliseconds.
const TREMBLE_MS: u64 = 250;

/// The process' clock: a monotonic origin and the wall time at that origin.
///
/// Copies of one clock agree with each other. Only the top floor makes one.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
    /// Wall time of the origin, by the last look at the wall. One for all copies, for as long as the process lives.
    origin_unix_ms: &'static AtomicU64,
}

impl Clock {
    /// Starts a clock: [`Now`] counts from here.
    #[must_use]
    pub fn start() -> Self {
        let clock = Self { origin: Instant::now(), origin_unix_ms: Box::leak(Box::default()) };
        clock.follow_wall();
        clock
    }

    /// Looks at the wall clock again: it may have been set, and a machine that slept has not counted the time. Tokens are
    /// judged by it, so do it every few seconds.
    pub fn follow_wall(&self) {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let origin_unix_ms = millis(wall).saturating_sub(self.now().0);
        // Two clocks that are read one after the other always differ by a little: times that were shown must not tremble.
        if origin_unix_ms.abs_diff(self.origin_unix_ms.load(Ordering::Relaxed)) > TREMBLE_MS {
            self.origin_unix_ms.store(origin_unix_ms, Ordering::Relaxed);
        }
    }

    /// A clock whose wall time is known, for tests that say themselves what time it is.
    #[cfg(test)]
    pub(crate) fn at_unix_ms(origin_unix_ms: u64) -> Self {
        Self { origin: Instant::now(), origin_unix_ms: Box::leak(Box::new(AtomicU64::new(origin_unix_ms))) }
    }

    /// Reads the monotonic clock.
    #[must_use]
    pub fn now(&self) -> Now {
        self.at(Instant::now())
    }

    fn at(&self, moment: Instant) -> Now {
        Now(millis(moment.saturating_duration_since(self.origin)))
    }

    /// How long ago the clock was made, as finely as the system tells: for spans far below a millisecond.
    #[must_use]
    pub fn running(&self) -> Duration {
        self.origin.elapsed()
    }

    /// Wall time of a moment, in milliseconds since the UNIX epoch.
    #[must_use]
    pub fn unix_ms(&self, now: Now) -> u64 {
        self.origin_unix_ms.load(Ordering::Relaxed).saturating_add(now.0)
    }

    /// The moment of a wall time in seconds since the UNIX epoch; moments before the start are [`Now`] zero.
    #[must_use]
    pub fn at_unix_secs(&self, secs: u64) -> Now {
        Now(secs.saturating_mul(1000).saturating_sub(self.origin_unix_ms.load(Ordering::Relaxed)))
    }
}

/// How long a turn of a loop took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Took {
    /// By the clock on the wall.
    pub wall: Duration,
    /// Of which the thread ran on a core, at most.
    pub cpu: Duration,
}

/// From here on a turn is long: it is told how much of it the thread ran.
const LONG: Duration = Duration::from_millis(1);

/// The clock of a loop's turns.
///
/// A turn reads the clock twice: once after its wait, which is its `now`, and once at its end. The second read costs some
/// 25 ns of a turn that makes two system calls or more, and nothing else tells a pause of the loop from a long wait. What the
/// thread has run is a system call of 0.2 µs, so it is asked after a long turn, and before a turn at most once a millisecond.
/// Where it was not asked just before, up to a millisecond of earlier turns counts too: `cpu` may be told too high by that,
/// never too low.
#[derive(Debug)]
pub struct TurnClock {
    clock: Clock,
    woke: Instant,
    asked: Instant,
    ran: Duration,
}

impl TurnClock {
    /// For the loop that runs on `clock`.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self { clock, woke: clock.origin, asked: clock.origin, ran: Duration::ZERO }
    }

    /// Wall time of a moment, in milliseconds since the UNIX epoch, by a new look at the wall.
    #[must_use]
    pub fn unix_ms(&self, now: Now) -> u64 {
        self.clock.follow_wall();
        self.clock.unix_ms(now)
    }

    /// The wait is over: reads the clock.
    pub fn woke(&mut self) -> Now {
        self.woke = Instant::now();
        if self.woke.saturating_duration_since(self.asked) >= LONG {
            self.ask(self.woke);
        }
        self.clock.at(self.woke)
    }

    /// Time since the clock was made, finer than [`Now`].
    #[must_use]
    pub fn running(&self) -> Duration {
        self.clock.running()
    }

    /// The turn is over: how long it took since [`TurnClock::woke`].
    pub fn took(&mut self) -> Took {
        let end = Instant::now();
        let wall = end.saturating_duration_since(self.woke);
        if wall < LONG {
            return Took { wall, cpu: wall };
        }
        let before = self.ran;
        // The kernel knows of no reason to refuse. Should it, the wall's time stands for the core's.
        let cpu = if self.ask(end) { self.ran.saturating_sub(before).min(wall) } else { wall };
        Took { wall, cpu }
    }

    fn ask(&mut self, at: Instant) -> bool {
        self.asked = at;
        let ran = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID);
        self.ran = ran.map_or(self.ran, Duration::from);
        ran.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_is_measured_from_its_wake() {
        let mut turn = TurnClock::new(Clock::start());
        turn.woke();
        let mut took = turn.took();
        assert!(took.cpu <= took.wall);
        // A turn that works for long enough is long on the wall and on the core; on a busy machine it may take several.
        while took.cpu < LONG {
            turn.woke();
            let began = Instant::now();
            while began.elapsed() < 2 * LONG {}
            took = turn.took();
        }
        assert!(took.wall >= LONG && took.cpu <= took.wall);
    }

    #[test]
    fn ticks_measure_across_the_wrap() {
        let before = Now(u64::from(u32::MAX) - 10).tick();
        let after = Now(u64::from(u32::MAX) + 11).tick();
        assert_eq!(after.since(before), 21);
        assert_eq!(before.since(after), 0, "the future is no time ago");
    }

    #[test]
    fn the_wall_is_followed() {
        let clock = Clock::at_unix_ms(5_000);
        assert_eq!((clock.unix_ms(Now(7)), clock.at_unix_secs(6), clock.at_unix_secs(1)), (5_007, Now(1_000), Now(0)));
        let copy = clock;
        clock.follow_wall();
        assert!(copy.unix_ms(Now(0)) > 1_700_000_000_000, "it was set to 1970, and is not any more");
        copy.origin_unix_ms.fetch_add(TREMBLE_MS / 2, Ordering::Relaxed);
        let shown = copy.unix_ms(Now(0));
        clock.follow_wall();
        assert_eq!(copy.unix_ms(Now(0)), shown, "what was shown stays");
    }

    #[test]
    fn moments_saturate() {
        assert_eq!(Now(5).after(Duration::MAX), Now(u64::MAX));
        assert_eq!(Now(5).since(Now(9)), Duration::ZERO);
    }
}
