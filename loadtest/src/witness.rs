//! What agents saw of each call, and whether they were there: against it the outcome of a call is true or false.
//!
//! Shared by the threads of agents and the threads of callers. It takes what it is told; it must never guess.
//!
//! A call has a byte in a ring, so that hours of calls need no more memory than a minute. An agent has two times of four bytes.

use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::time::Instant;

use serde::Serialize;

/// Calls that are remembered; far more than are in flight at a time.
const RING: usize = 1 << 20;

/// The agent has read the call.
const SEEN: u8 = 1;
/// The agent has handed its reply to the kernel.
const ANSWERED: u8 = 2;
/// The call ended with an outcome that says it never reached the agent.
const NEVER: u8 = 4;

/// Milliseconds since the witness began; 0 means never.
pub type Millis = u32;

/// What is known of calls and agents.
pub struct Witness {
    began: Instant,
    calls: Box<[AtomicU8]>,
    up: Box<[AtomicU32]>,
    down: Box<[AtomicU32]>,
    doubled: AtomicU64,
    after_never: AtomicU64,
}

/// What agents noticed, which no caller can.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Noticed {
    /// Calls that reached their agent twice.
    pub doubled: u64,
    /// Calls that reached their agent after their outcome had said that they never would.
    pub after_never: u64,
}

/// What the outcome of a call claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// The agent answered.
    Answered,
    /// The call never reached the agent, because the agent was not there.
    NeverArrived,
    /// The call was refused before anybody looked for the agent.
    NeverSent,
    /// The call was written, and its connection ended.
    LostOnTheWay,
    /// The deadline passed.
    Overdue,
}

impl Claim {
    /// What an outcome says; `None` for one that is not in the contract.
    pub fn of(outcome: &str) -> Option<Self> {
        Some(match outcome {
            "ok" | "agent_error" => Self::Answered,
            "offline" | "not_delivered" => Self::NeverArrived,
            "busy" | "draining" => Self::NeverSent,
            "lost" => Self::LostOnTheWay,
            "no_receipt" | "no_reply" | "cancelled" => Self::Overdue,
            _ => return None,
        })
    }
}

/// What a claim is worth so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truth {
    /// Nothing speaks against it.
    Holds,
    /// It is false.
    False(&'static str),
    /// The agent's connection is not known to have ended: ask again in a while, because callers may hear of an end before the agents do.
    Doubtful,
}

impl Witness {
    /// For agents 0 up to `agents`.
    pub fn new(agents: u32) -> Self {
        let times = || (0..agents).map(|_| AtomicU32::new(0)).collect();
        Self {
            began: Instant::now(),
            calls: (0..RING).map(|_| AtomicU8::new(0)).collect(),
            up: times(),
            down: times(),
            doubled: AtomicU64::new(0),
            after_never: AtomicU64::new(0),
        }
    }

    /// The time, never 0.
    pub fn now(&self) -> Millis {
        u32::try_from(self.began.elapsed().as_millis()).unwrap_or(u32::MAX - 1) + 1
    }

    fn call(&self, number: u64) -> &AtomicU8 {
        &self.calls[number as usize % RING]
    }

    /// A call begins.
    pub fn begin(&self, number: u64) {
        self.call(number).store(0, Ordering::Release);
    }

    /// An agent has read the call.
    pub fn see(&self, number: u64) {
        let before = self.call(number).fetch_or(SEEN, Ordering::AcqRel);
        if before & SEEN != 0 {
            self.doubled.fetch_add(1, Ordering::Relaxed);
        }
        if before & NEVER != 0 {
            self.after_never.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// An agent is about to answer the call.
    pub fn answer(&self, number: u64) {
        self.call(number).fetch_or(ANSWERED, Ordering::AcqRel);
    }

    /// An agent has been welcomed.
    pub fn up(&self, agent: u32) {
        self.note(&self.up, agent);
    }

    /// An agent's connection is about to end, or has ended.
    pub fn down(&self, agent: u32) {
        self.note(&self.down, agent);
    }

    fn note(&self, times: &[AtomicU32], agent: u32) {
        if let Some(time) = times.get(agent as usize) {
            time.store(self.now(), Ordering::Release);
        }
    }

    /// Judges the claim of an outcome for a call to `agent` that began at `began`.
    pub fn judge(&self, claim: Claim, number: u64, agent: u32, began: Millis) -> Truth {
        let call = self.call(number);
        match claim {
            Claim::Answered if call.load(Ordering::Acquire) & ANSWERED == 0 => {
                Truth::False("the agent had not answered")
            }
            Claim::Answered | Claim::Overdue => Truth::Holds,
            Claim::NeverSent => self.never(call),
            Claim::NeverArrived => match self.never(call) {
                Truth::Holds => self.ended_since(agent, began),
                other => other,
            },
            Claim::LostOnTheWay => self.ended_since(agent, began),
        }
    }

    fn never(&self, call: &AtomicU8) -> Truth {
        let before = call.fetch_or(NEVER, Ordering::AcqRel);
        if before & SEEN == 0 { Truth::Holds } else { Truth::False("the agent had seen the call") }
    }

    /// Whether the agent was away for any moment since `began`: it came after it, went after it, or has been away all along.
    fn ended_since(&self, agent: u32, began: Millis) -> Truth {
        let time = |times: &[AtomicU32]| times.get(agent as usize).map_or(0, |time| time.load(Ordering::Acquire));
        let (up, down) = (time(&self.up), time(&self.down));
        let stayed = up != 0 && up < began && down < up;
        if stayed { Truth::Doubtful } else { Truth::Holds }
    }

    /// What agents noticed so far.
    pub fn noticed(&self) -> Noticed {
        Noticed { doubled: self.doubled.load(Ordering::Relaxed), after_never: self.after_never.load(Ordering::Relaxed) }
    }
}

#[cfg(test)]
mod tests {
    use holdfast::backend::Failure;

    use super::*;

    #[test]
    fn outcomes_are_true_only_with_what_the_agents_saw() {
        let witness = Witness::new(2);
        let later = witness.now() + 1000;
        for (number, seen, claim, truth) in [
            (1, [false, false], Claim::Answered, Truth::False("the agent had not answered")),
            (2, [true, false], Claim::Answered, Truth::False("the agent had not answered")),
            (3, [true, true], Claim::Answered, Truth::Holds),
            (4, [true, false], Claim::NeverArrived, Truth::False("the agent had seen the call")),
            (5, [true, false], Claim::NeverSent, Truth::False("the agent had seen the call")),
            (6, [false, false], Claim::NeverSent, Truth::Holds),
            (7, [true, false], Claim::Overdue, Truth::Holds),
        ] {
            witness.begin(number);
            if seen[0] {
                witness.see(number);
            }
            if seen[1] {
                witness.answer(number);
            }
            assert_eq!(witness.judge(claim, number, 0, later), truth, "call {number}");
        }
        assert_eq!(witness.noticed(), Noticed::default());
    }

    #[test]
    fn an_agent_that_stayed_makes_its_absence_doubtful() {
        let witness = Witness::new(1);
        let away = |began| witness.judge(Claim::NeverArrived, 1, 0, began);
        let lost = |began| witness.judge(Claim::LostOnTheWay, 1, 0, began);
        witness.begin(1);
        assert_eq!(away(5), Truth::Holds, "it never came");
        witness.up[0].store(10, Ordering::Release);
        assert_eq!((away(5), lost(5)), (Truth::Holds, Truth::Holds), "it came after the call began");
        assert_eq!((away(11), lost(11)), (Truth::Doubtful, Truth::Doubtful), "it was there all the time");
        witness.down[0].store(20, Ordering::Release);
        assert_eq!((away(11), lost(11)), (Truth::Holds, Truth::Holds), "it went");
        witness.up[0].store(30, Ordering::Release);
        assert_eq!(away(31), Truth::Doubtful, "it is back, and this call began later");
    }

    #[test]
    fn calls_that_arrive_twice_or_too_late_are_noticed() {
        let witness = Witness::new(1);
        witness.begin(9);
        witness.see(9);
        witness.see(9);
        assert_eq!(witness.noticed(), Noticed { doubled: 1, after_never: 0 });
        witness.begin(10);
        assert_eq!(witness.judge(Claim::NeverArrived, 10, 0, 1), Truth::Holds);
        witness.see(10);
        assert_eq!(witness.noticed(), Noticed { doubled: 1, after_never: 1 });
        // The place of a call is used again after a round of the ring.
        witness.begin(10 + RING as u64);
        witness.see(10);
        assert_eq!(witness.noticed(), Noticed { doubled: 1, after_never: 1 });
    }

    #[test]
    fn every_outcome_of_the_contract_is_a_claim() {
        let answers = ["ok", "agent_error"].into_iter();
        for outcome in answers.chain(Failure::ALL.into_iter().map(|failure| failure.row().0)) {
            assert!(Claim::of(outcome).is_some(), "{outcome}");
        }
        assert_eq!(Claim::of("fine"), None);
    }
}
