//! The memory that this process may take: over it, no more connections are let in.
//!
//! Owns the limit, the count of connections over all loops, which side of the limit the process is on, and how overloaded the
//! node is by its memory. It never frees anything and never asks the system: what the process takes is an argument, two loads for the caller.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use super::lock::lock;
use super::overload::{Change, Ladder, Level, Overload};
use super::tick::Now;

/// Below the limit by this part of it, connections are let in again: else one that leaves would let one in and warn anew.
const ROOM: u64 = 20;

/// The limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BudgetLimit {
    /// Bytes; `u64::MAX` for no limit.
    pub bytes_max: u64,
    /// What the kernel keeps for each connection, where the limit is that of a control group or a machine, which count it
    /// too; zero where the limit is for the process alone.
    pub kernel_bytes_per_connection: u64,
}

impl BudgetLimit {
    /// No limit.
    pub const NONE: Self = Self { bytes_max: u64::MAX, kernel_bytes_per_connection: 0 };
}

/// Which side of the limit the process is on, and whether this look at it was the first to see that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Below.
    Within,
    /// Below again.
    BackWithin,
    /// Above: nobody else is let in.
    Over,
    /// Above since now.
    NowOver,
}

impl Verdict {
    /// Whether a connection is turned away.
    #[must_use]
    pub fn is_over(self) -> bool {
        matches!(self, Self::Over | Self::NowOver)
    }
}

/// The budget of one process, shared by its loops.
#[derive(Debug)]
pub struct Budget {
    bytes_max: AtomicU64,
    kernel_bytes_per_connection: AtomicU64,
    connections: AtomicU64,
    over: AtomicBool,
    /// The level that `watch` is at, for whoever has no time for its lock.
    level: AtomicU8,
    watch: Mutex<Watch>,
}

/// How overloaded the node is, and by which marks, in thousandths of the limit.
#[derive(Debug)]
struct Watch {
    overload: Overload,
    ladder: Ladder,
    looked: Now,
}

impl Budget {
    /// With this limit, and these marks in thousandths of it.
    #[must_use]
    pub fn new(limit: BudgetLimit, ladder: Ladder) -> Arc<Self> {
        Arc::new(Self {
            bytes_max: AtomicU64::new(limit.bytes_max),
            kernel_bytes_per_connection: AtomicU64::new(limit.kernel_bytes_per_connection),
            connections: AtomicU64::new(0),
            over: AtomicBool::new(false),
            level: AtomicU8::new(Level::Calm as u8),
            watch: Mutex::new(Watch { overload: Overload::default(), ladder, looked: Now::default() }),
        })
    }

    /// Changes the limit and the marks.
    pub fn set(&self, limit: BudgetLimit, ladder: Ladder) {
        lock(&self.watch).ladder = ladder;
        self.bytes_max.store(limit.bytes_max, Ordering::Relaxed);
        self.kernel_bytes_per_connection.store(limit.kernel_bytes_per_connection, Ordering::Relaxed);
    }

    /// A loop had `before` connections and has `now`.
    pub fn moved(&self, before: u64, now: u64) {
        if now >= before {
            self.connections.fetch_add(now - before, Ordering::Relaxed);
        } else {
            self.connections.fetch_sub(before - now, Ordering::Relaxed);
        }
    }

    /// The level by the last [`Budget::look`].
    #[must_use]
    pub fn level(&self) -> Level {
        Level::of(self.level.load(Ordering::Relaxed))
    }

    /// Looks at the level, when the process itself takes `process_bytes`. Never waits: while another thread looks, that one is told of the
    /// change.
    #[must_use]
    pub fn look(&self, process_bytes: usize, now: Now) -> Option<Change> {
        let mut watch = self.watch.try_lock().ok()?;
        let Watch { overload, ladder, looked } = &mut *watch;
        let change = overload.note(self.thousandths(process_bytes), *looked, now, ladder);
        *looked = (*looked).max(now);
        self.level.store(overload.level() as u8, Ordering::Relaxed);
        change
    }

    /// Whether what the process takes is still above what a level is left at.
    #[must_use]
    pub fn keeps(&self, level: Level, process_bytes: usize) -> bool {
        let mark = (level as usize).checked_sub(1).map(|place| lock(&self.watch).ladder.marks[place]);
        mark.is_some_and(|mark| self.thousandths(process_bytes) >= mark.leave)
    }

    fn thousandths(&self, process_bytes: usize) -> u64 {
        let max = self.bytes_max.load(Ordering::Relaxed);
        if max == u64::MAX { 0 } else { self.used(process_bytes).saturating_mul(1000) / max.max(1) }
    }

    /// What counts against the limit, when the process itself takes `process_bytes`.
    #[must_use]
    pub fn used(&self, process_bytes: usize) -> u64 {
        let kernel = self.kernel_bytes_per_connection.load(Ordering::Relaxed);
        let kernel = kernel.saturating_mul(self.connections.load(Ordering::Relaxed));
        kernel.saturating_add(process_bytes as u64)
    }

    /// The limit; `None` where there is none.
    #[must_use]
    pub fn bytes_max(&self) -> Option<u64> {
        let max = self.bytes_max.load(Ordering::Relaxed);
        (max != u64::MAX).then_some(max)
    }

    /// Whether a connection that came now would be turned away. Changes nothing.
    #[must_use]
    pub fn is_over(&self, process_bytes: usize) -> bool {
        let max = self.bytes_max.load(Ordering::Relaxed);
        let bound = if self.over.load(Ordering::Relaxed) { max - max / ROOM } else { max };
        self.used(process_bytes) > bound
    }

    /// Which side the process is on, when it takes `process_bytes`. Of all threads that look, one is told of a change.
    #[must_use]
    pub fn judge(&self, process_bytes: usize) -> Verdict {
        let was_over = self.over.load(Ordering::Relaxed);
        let is_over = self.is_over(process_bytes);
        let changed = is_over != was_over && self.over.swap(is_over, Ordering::Relaxed) != is_over;
        match (is_over, changed) {
            (true, true) => Verdict::NowOver,
            (true, false) => Verdict::Over,
            (false, true) => Verdict::BackWithin,
            (false, false) => Verdict::Within,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::kit::overload::Mark;

    const LADDER: Ladder = Ladder {
        marks: [Mark { enter: 1000, leave: 950 }, Mark { enter: 1050, leave: 1000 }, Mark { enter: 1100, leave: 1050 }],
        rise: Duration::ZERO,
        fall: Duration::from_millis(100),
    };

    #[test]
    fn levels_are_by_thousandths_of_the_limit() {
        let budget = Budget::new(BudgetLimit { bytes_max: 2000, kernel_bytes_per_connection: 0 }, LADDER);
        let look = |bytes, at| (budget.look(bytes, Now(at)).is_some(), budget.level());
        assert_eq!(look(1999, 0), (false, Level::Calm));
        assert_eq!(look(2100, 10), (true, Level::Shed));
        assert_eq!(look(2200, 20), (true, Level::Close));
        assert!(
            budget.keeps(Level::Shed, 2000) && !budget.keeps(Level::Shed, 1999) && !budget.keeps(Level::Calm, 9999)
        );
        assert_eq!(look(100, 60), (false, Level::Close));
        assert_eq!(look(100, 120), (true, Level::Shed));
        // Threads read the clock each for itself: one that is behind changes nothing.
        assert_eq!(look(100, 110), (false, Level::Shed));
        assert_eq!(look(100, 320), (true, Level::Calm));
        budget.set(BudgetLimit::NONE, LADDER);
        assert_eq!(look(usize::MAX, 400), (false, Level::Calm));
    }

    #[test]
    fn over_it_until_there_is_room_again() {
        let budget = Budget::new(BudgetLimit { bytes_max: 1000, kernel_bytes_per_connection: 0 }, LADDER);
        for (bytes, verdict) in [
            (0, Verdict::Within),
            (1000, Verdict::Within),
            (1001, Verdict::NowOver),
            (1001, Verdict::Over),
            (951, Verdict::Over),
            (950, Verdict::BackWithin),
            (1000, Verdict::Within),
            (5000, Verdict::NowOver),
        ] {
            assert_eq!(budget.is_over(bytes), verdict.is_over(), "{bytes}");
            assert_eq!(budget.judge(bytes), verdict, "{bytes}");
        }
        budget.set(BudgetLimit::NONE, LADDER);
        assert_eq!((budget.judge(usize::MAX / 2), budget.bytes_max()), (Verdict::BackWithin, None));
    }

    #[test]
    fn the_kernels_share_counts_where_the_limit_counts_it() {
        let budget = Budget::new(BudgetLimit { bytes_max: 10_000, kernel_bytes_per_connection: 4096 }, LADDER);
        budget.moved(0, 3);
        assert_eq!(budget.used(100), 3 * 4096 + 100);
        assert!(budget.judge(100).is_over());
        budget.moved(3, 2);
        assert_eq!(budget.judge(100), Verdict::BackWithin);
        assert_eq!(budget.bytes_max(), Some(10_000));
    }
}
