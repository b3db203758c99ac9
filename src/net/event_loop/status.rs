//! What is told about a loop while it runs: read by other threads without asking it.
//!
//! Owns the counts; the loop is the only one that writes them. They say how it was a moment ago.

use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use crate::kit::overload::Level;
use crate::kit::tick::Took;

/// A turn that takes as long, or longer, is counted; in milliseconds.
pub const LONG_TURNS_MS: [u32; 4] = [1, 5, 20, 100];

/// What is told about a loop while it runs.
#[derive(Debug, Default)]
pub struct LoopStatus {
    /// Open connections, without those at the door of links.
    pub connections: AtomicU32,
    /// Open connections at the door of links.
    pub links: AtomicU32,
    /// How long its turns take.
    pub turns: Turns,
    /// How far it is behind.
    pub lag: Lag,
    /// What holds its memory, as of the last sweep.
    pub memory: LoopMemory,
}

/// How far a loop is behind, by its last second.
#[derive(Debug, Default)]
pub struct Lag {
    level: AtomicU8,
    ms: AtomicU32,
}

impl Lag {
    /// Only the loop itself calls it.
    pub fn tell(&self, level: Level, ms: u32) {
        self.level.store(level as u8, Ordering::Relaxed);
        self.ms.store(ms, Ordering::Relaxed);
    }

    /// How overloaded it is.
    pub fn level(&self) -> Level {
        Level::of(self.level.load(Ordering::Relaxed))
    }

    /// What becomes ready waits for so long.
    pub fn span(&self) -> Duration {
        Duration::from_millis(self.ms.load(Ordering::Relaxed).into())
    }
}

/// Bytes that a loop holds, by what holds them.
#[derive(Debug, Default)]
pub struct LoopMemory {
    /// Its table of connections.
    pub slots: AtomicUsize,
    /// Buffers that connections have on loan, and idle ones.
    pub leases: AtomicUsize,
    /// Queues to peers with what is in them, and idle ones.
    pub outboxes: AtomicUsize,
    /// What TLS connections have beside their slots.
    pub tls: AtomicUsize,
    /// Places in the table that were asked for and never used: no memory yet.
    pub promised: AtomicUsize,
    /// The scratch and the lists of a turn.
    pub turn: AtomicUsize,
}

/// How long turns take, without the wait before them.
#[derive(Debug, Default)]
pub struct Turns {
    longest_micros: AtomicU32,
    longest_cpu_micros: AtomicU32,
    long: [AtomicU64; LONG_TURNS_MS.len()],
}

impl Turns {
    /// A turn has ended. Only the loop itself calls it: nothing here is ever lost to another writer.
    pub fn note(&self, took: Took) {
        raise(&self.longest_micros, took.wall);
        raise(&self.longest_cpu_micros, took.cpu);
        for (count, bound) in self.long.iter().zip(LONG_TURNS_MS) {
            if took.wall < Duration::from_millis(bound.into()) {
                break;
            }
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The longest turn since the start, as the wall's clock has it: with the time in which the thread was not let run.
    pub fn longest(&self) -> Duration {
        Duration::from_micros(self.longest_micros.load(Ordering::Relaxed).into())
    }

    /// The most that a turn since the start kept a core: what it worked, at most.
    pub fn longest_cpu(&self) -> Duration {
        Duration::from_micros(self.longest_cpu_micros.load(Ordering::Relaxed).into())
    }

    /// Turns that took as long as each of [`LONG_TURNS_MS`].
    pub fn long(&self) -> [u64; LONG_TURNS_MS.len()] {
        std::array::from_fn(|place| self.long[place].load(Ordering::Relaxed))
    }
}

fn raise(longest: &AtomicU32, span: Duration) {
    let micros = u32::try_from(span.as_micros()).unwrap_or(u32::MAX);
    if micros > longest.load(Ordering::Relaxed) {
        longest.store(micros, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_stays_and_long_ones_are_counted() {
        let turns = Turns::default();
        for (wall, cpu) in [(300, 300), (7_000, 2_000), (1_000, 900), (4_999, 4_000)] {
            turns.note(Took { wall: Duration::from_micros(wall), cpu: Duration::from_micros(cpu) });
        }
        assert_eq!(turns.longest(), Duration::from_micros(7_000));
        assert_eq!(turns.longest_cpu(), Duration::from_micros(4_000));
        assert_eq!(turns.long(), [3, 1, 0, 0]);
    }
}
