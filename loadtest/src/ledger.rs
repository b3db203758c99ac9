//! Which agent was answered how often, and how long each had to wait between two answers.
//!
//! Owns one entry for each agent. A campaign writes it, a scenario reads it; whether an answer is right is the campaign's to say.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// One agent's answers.
#[derive(Clone, Copy)]
struct Entry {
    answers: u32,
    last: Instant,
    longest: Duration,
}

/// The answers of all agents since some moment.
pub struct Ledger(Mutex<Vec<Entry>>);

/// What became of the agent that had the least.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Served {
    /// Fewest right answers of an agent.
    pub fewest: u32,
    /// Most right answers of an agent.
    pub most: u32,
    /// Agents without any.
    pub unserved: usize,
    /// Longest time of an agent without an answer; beginning and end of the time count as answers.
    pub longest: Duration,
}

impl Ledger {
    /// For agents 0 up to `agents`, from `now` on.
    pub fn new(agents: u32, now: Instant) -> Self {
        let entry = Entry { answers: 0, last: now, longest: Duration::ZERO };
        Self(Mutex::new(vec![entry; agents as usize]))
    }

    /// An agent has answered rightly.
    pub fn note(&self, agent: u32, now: Instant) {
        if let Some(entry) = self.entries().get_mut(agent as usize) {
            entry.answers = entry.answers.saturating_add(1);
            entry.longest = entry.longest.max(now.saturating_duration_since(entry.last));
            entry.last = now;
        }
    }

    /// What all agents have had until `now`.
    pub fn served(&self, now: Instant) -> Served {
        let entries = self.entries();
        let counts = || entries.iter().map(|entry| entry.answers);
        Served {
            fewest: counts().min().unwrap_or(0),
            most: counts().max().unwrap_or(0),
            unserved: counts().filter(|answers| *answers == 0).count(),
            longest: entries
                .iter()
                .map(|entry| entry.longest.max(now.saturating_duration_since(entry.last)))
                .max()
                .unwrap_or_default(),
        }
    }

    /// An entry is whole after each write, so one that a panic has left behind is too.
    fn entries(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_with_the_least_is_told() {
        let began = Instant::now();
        let at = |secs| began + Duration::from_secs(secs);
        let ledger = Ledger::new(3, began);
        assert_eq!(ledger.served(at(1)), Served { unserved: 3, longest: Duration::from_secs(1), ..Served::default() });
        for (agent, secs) in [(0, 1), (1, 1), (0, 2), (1, 6), (2, 6), (9, 6)] {
            ledger.note(agent, at(secs));
        }
        // Agent 0 has waited since 2, agent 1 from 1 to 6, agent 2 from 0 to 6.
        let served = |secs| ledger.served(at(secs));
        assert_eq!(served(7), Served { fewest: 1, most: 2, unserved: 0, longest: Duration::from_secs(6) });
        assert_eq!(served(12).longest, Duration::from_secs(10));
    }
}
