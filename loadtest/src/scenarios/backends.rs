//! Calls that go on while something else happens: a campaign on a thread of its own, at a steady pace.
//!
//! Owns the thread and its pace. Which outcomes are right is judged by the campaign and its witness.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use crate::campaign::{Campaign, Next, Tally};

/// A campaign that goes on.
pub struct Backends {
    over: Arc<AtomicBool>,
    thread: JoinHandle<Result<Tally, String>>,
}

impl Backends {
    /// Calls random ones of `agents`, at most so many a second.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub fn start(campaign: Campaign, agents: Range<u32>, per_second: u32) -> Result<Self, String> {
        Self::choosing(campaign, per_second, move || fastrand::u32(agents.clone()))
    }

    /// Calls all of `agents` one after the other, again and again, at most so many a second.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub fn in_turn(campaign: Campaign, agents: Range<u32>, per_second: u32) -> Result<Self, String> {
        let mut turn = agents.clone();
        Self::choosing(campaign, per_second, move || {
            turn.next().unwrap_or_else(|| {
                turn = agents.clone();
                turn.next().unwrap_or(agents.start)
            })
        })
    }

    fn choosing(
        mut campaign: Campaign,
        per_second: u32,
        mut choose: impl FnMut() -> u32 + Send + 'static,
    ) -> Result<Self, String> {
        let over = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&over);
        let work = move || {
            let mut pace = Pace::new(per_second);
            campaign.run_paced(&mut || {
                if asked.load(Ordering::Acquire) {
                    Next::End
                } else if pace.is_due() {
                    Next::Call(choose())
                } else {
                    Next::Wait
                }
            })
        };
        let thread =
            thread::Builder::new().name("backends".to_owned()).spawn(work).map_err(|error| error.to_string())?;
        Ok(Self { over, thread })
    }

    /// No more calls; waits for the answers that are out.
    ///
    /// # Errors
    /// The campaign failed.
    pub fn stop(self) -> Result<Tally, String> {
        self.over.store(true, Ordering::Release);
        self.thread.join().map_err(|_| "the thread of the backends panicked".to_owned())?
    }
}

/// So many a second, and none made up for that could not be made.
pub struct Pace {
    per_second: f64,
    since: Instant,
    spent: f64,
}

impl Pace {
    /// Begins now.
    pub fn new(per_second: u32) -> Self {
        Self { per_second: f64::from(per_second), since: Instant::now(), spent: 0.0 }
    }

    /// Whether one more may be made now; it is counted.
    pub fn is_due(&mut self) -> bool {
        self.is_due_at(self.since.elapsed().as_secs_f64())
    }

    fn is_due_at(&mut self, secs: f64) -> bool {
        let due = secs * self.per_second;
        // Who was held up for longer than a tenth of a second, or than one takes, does not hurry after it.
        self.spent = self.spent.max(due - (self.per_second / 10.0).max(1.0));
        let is_due = self.spent + 1.0 <= due;
        if is_due {
            self.spent += 1.0;
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pace_is_kept_and_not_made_up_for() {
        let mut pace = Pace::new(100);
        let mut at = |secs: f64| (0..1000).filter(|_| pace.is_due_at(secs)).count();
        assert_eq!((at(0.0), at(0.05), at(0.05), at(0.1)), (0, 5, 0, 5));
        assert_eq!(at(10.0), 10, "a tenth of a second's worth, not ten seconds' worth");
        let mut slow = Pace::new(2);
        let mut at = |secs: f64| (0..1000).filter(|_| slow.is_due_at(secs)).count();
        assert_eq!((at(0.4), at(0.5), at(0.9), at(1.0), at(9.0)), (0, 1, 0, 1, 1));
    }
}
