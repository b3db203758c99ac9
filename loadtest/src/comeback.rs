//! Agents that are away and when each comes back: exponential back-off with full jitter.
//!
//! Owns the queue of who is away. Nothing is kept of agents that are there; chance is an argument, and so is time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

/// How long agents wait before they come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackOff {
    /// The longest first pause.
    pub base: Duration,
    /// The longest pause of all.
    pub cap: Duration,
}

impl BackOff {
    /// The pause before the next attempt after `failed` failed ones; `chance` is uniform over all values.
    pub fn pause(&self, failed: u8, chance: u32) -> Duration {
        let ceiling = self.base.saturating_mul(1u32 << failed.min(20)).min(self.cap);
        ceiling.mul_f64(f64::from(chance) / f64::from(u32::MAX))
    }
}

/// Who is away.
#[derive(Default)]
pub struct Comebacks {
    queue: BinaryHeap<Reverse<(u64, u32, u8)>>,
}

impl Comebacks {
    /// An agent comes back at `due_ms`, after so many failed attempts.
    pub fn push(&mut self, due_ms: u64, agent: u32, failed: u8) {
        self.queue.push(Reverse((due_ms, agent, failed)));
    }

    /// Somebody who is due, with the number of failed attempts.
    pub fn pop(&mut self, now_ms: u64) -> Option<(u32, u8)> {
        if self.next_ms()? > now_ms {
            return None;
        }
        let Reverse((_, agent, failed)) = self.queue.pop()?;
        if self.queue.is_empty() {
            // A storm leaves a large queue, which agents at rest must not pay for.
            self.queue = BinaryHeap::new();
        }
        Some((agent, failed))
    }

    /// When the next one is due.
    pub fn next_ms(&self) -> Option<u64> {
        self.queue.peek().map(|Reverse((due_ms, _, _))| *due_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_cap_and_are_spread_from_zero() {
        let back_off = BackOff { base: Duration::from_secs(1), cap: Duration::from_secs(6) };
        for (failed, ceiling) in [(0, 1), (1, 2), (2, 4), (3, 6), (200, 6)] {
            assert_eq!(back_off.pause(failed, u32::MAX), Duration::from_secs(ceiling));
            assert_eq!(back_off.pause(failed, 0), Duration::ZERO);
            let half = back_off.pause(failed, u32::MAX / 2).as_secs_f64();
            assert!((half - ceiling as f64 / 2.0).abs() < 0.001);
        }
    }

    #[test]
    fn they_come_in_the_order_of_their_times_and_never_early() {
        let mut away = Comebacks::default();
        for (due, agent) in [(30, 3), (10, 1), (20, 2)] {
            away.push(due, agent, 5);
        }
        assert_eq!((away.pop(9), away.next_ms()), (None, Some(10)));
        assert_eq!(away.pop(10), Some((1, 5)));
        assert_eq!((away.pop(25), away.pop(25)), (Some((2, 5)), None));
        assert_eq!((away.pop(u64::MAX), away.pop(u64::MAX)), (Some((3, 5)), None));
    }
}
