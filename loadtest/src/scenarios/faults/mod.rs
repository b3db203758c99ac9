//! Faults that a long run meets on purpose, one kind after the other, in an order that a seed decides.
//!
//! Owns the order, the moments, and what each fault leaves behind until its time is over. What a fault does is in files of its own. A fault
//! that the server does not answer as documented fails the run; it never ends it.

mod doors;
mod records;

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::{Duration, Instant};

use fastrand::Rng;

use super::backends::Backends;
use super::run::{Outcomes, Run};
use super::visiting::Visiting;
use crate::campaign::{Campaign, Plan};
use crate::crew::{Crew, Duty};
use crate::intruder::Intruder;

/// How long a server may take to end what it must: its `limits.handshake_deadline` and `limits.write_deadline` are 10 s by default.
const ENDS_WITHIN: Duration = Duration::from_secs(15);

/// Numbers of agents behind those of the run: those that never read, intruders, and newcomers.
const SLOW: Range<u32> = 0..4;
const INTRUDERS: Range<u32> = 100..400;
const NEWCOMERS: Range<u32> = 1000..5096;
const _: () = assert!(SLOW.end <= INTRUDERS.start && INTRUDERS.end <= NEWCOMERS.start);

/// One in so many agents is reset in a second.
const RESET_ONE_IN: u32 = 5;

/// A burst of newcomers.
const NEWCOMERS_PER_SECOND: u32 = 300;
const BURST: Duration = Duration::from_secs(2);

/// Large calls to agents that never read: how many a second, for how long, and of what size.
const FLOOD_PER_SECOND: u32 = 300;
const FLOOD: Duration = Duration::from_secs(3);
const FLOOD_BYTES: usize = 64 * 1024;
const FLOOD_TIMEOUT: Duration = Duration::from_millis(250);

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// A fifth of the agents resets its connection within a second.
    Resets,
    /// Agents send half a record, or half a frame, and then nothing.
    Cut,
    /// Bytes that are no TLS, records that do not open or are too long, frames against the rules.
    Garbage,
    /// Agents that never read are sent far more than fits.
    SlowReaders,
    /// Handshakes and upgrades of which half is missing.
    HalfOpen,
    /// Tokens that are forged, cut, or not signed.
    BadTokens,
    /// Newcomers, hundreds a second.
    Newcomers,
    /// The gateway gets another certificate, and SIGHUP.
    NewCertificate,
    /// Clients change their keys, and ask for new ones.
    KeyUpdates,
}

impl Fault {
    const ALL: [Self; 9] = [
        Self::Resets,
        Self::Cut,
        Self::Garbage,
        Self::SlowReaders,
        Self::HalfOpen,
        Self::BadTokens,
        Self::Newcomers,
        Self::NewCertificate,
        Self::KeyUpdates,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Resets => "resets",
            Self::Cut => "cut records and frames",
            Self::Garbage => "garbage",
            Self::SlowReaders => "slow readers",
            Self::HalfOpen => "half-open handshakes",
            Self::BadTokens => "bad tokens",
            Self::Newcomers => "newcomers",
            Self::NewCertificate => "new certificate",
            Self::KeyUpdates => "key updates",
        }
    }

    /// Whether it can be done at all to the server of this run.
    fn suits(self, run: &Run) -> bool {
        let target = &run.server.target;
        match self {
            Self::BadTokens => target.signer.is_some(),
            Self::NewCertificate => run.server.running.as_ref().is_some_and(|running| running.certificate.is_some()),
            Self::KeyUpdates => target.tls.is_some(),
            _ => true,
        }
    }
}

/// A connection that stays for a while after its fault.
struct Held {
    intruder: Intruder,
    /// What it did.
    what: &'static str,
    /// Until when it stays.
    until: Instant,
    /// Whether the server must have ended it by then.
    must_end: bool,
}

/// The faults of a run.
pub struct Faults {
    every: Duration,
    due: Instant,
    chance: Rng,
    /// Kinds that are left of this round.
    round: Vec<Fault>,
    held: Vec<Held>,
    /// Agents that never read, and until when they stay.
    slow: Option<(Crew, Instant)>,
    done: BTreeMap<&'static str, u32>,
    slow_readers_gone: u64,
}

impl Faults {
    /// One fault `every` so often; the same seed gives the same order.
    pub fn new(seed: u64, every: Duration) -> Self {
        Self {
            every,
            due: Instant::now() + every,
            chance: Rng::with_seed(seed),
            round: Vec::new(),
            held: Vec::new(),
            slow: None,
            done: BTreeMap::new(),
            slow_readers_gone: 0,
        }
    }

    /// Looks after what earlier faults have left, and does the next one when it is due. `churn` is how many agents leave each second
    /// anyway.
    ///
    /// # Errors
    /// The harness itself cannot go on.
    pub fn tend(&mut self, run: &mut Run, crew: &Crew, churn: u32) -> Result<(), String> {
        self.look_after(run, Instant::now())?;
        if Instant::now() < self.due {
            return Ok(());
        }
        let Some(fault) = self.next(run) else {
            return Ok(());
        };
        if let Err(why) = self.inject(fault, run, crew, churn) {
            run.draft.fail(format!("fault, {}: {why}", fault.name()));
        }
        *self.done.entry(fault.name()).or_default() += 1;
        self.due = Instant::now() + self.every;
        Ok(())
    }

    /// Waits until what is left has come to its end, and tells what was done.
    ///
    /// # Errors
    /// The harness itself cannot go on.
    pub fn finish(mut self, run: &mut Run) -> Result<(), String> {
        let ends = |held: &Held| if held.must_end { Some(held.until) } else { None };
        let last = self.held.iter().filter_map(ends).chain(self.slow.as_ref().map(|(_, until)| *until)).max();
        if let Some(last) = last {
            run.pass(last.saturating_duration_since(Instant::now()));
            self.look_after(run, last)?;
        }
        for (name, count) in &self.done {
            run.draft.figure(&format!("faults, {name}"), "", f64::from(*count));
        }
        let all = self.done.values().sum::<u32>();
        run.draft.figure("faults in all", "", f64::from(all));
        if self.done.contains_key(Fault::SlowReaders.name()) {
            run.draft.figure("slow readers that were let go", "", self.slow_readers_gone as f64);
        }
        if all == 0 {
            run.draft.fail("the run was too short for a single fault");
        }
        Ok(())
    }

    /// The next kind; each comes once before any comes again.
    fn next(&mut self, run: &Run) -> Option<Fault> {
        if self.round.is_empty() {
            self.round.extend(Fault::ALL.into_iter().filter(|fault| fault.suits(run)));
            self.chance.shuffle(&mut self.round);
        }
        self.round.pop()
    }

    fn inject(&mut self, fault: Fault, run: &mut Run, crew: &Crew, churn: u32) -> Result<(), String> {
        let base = run.agents;
        let intruders = base + INTRUDERS.start..base + INTRUDERS.end;
        let target = run.server.target.clone();
        match fault {
            Fault::Resets => {
                crew.churn(churn + run.agents / RESET_ONE_IN);
                run.pass(Duration::from_secs(1));
                crew.churn(churn);
            }
            Fault::Cut => {
                let until = Instant::now() + self.every.max(ENDS_WITHIN);
                self.held.extend(records::cut(&target, intruders, until)?);
            }
            Fault::Garbage => {
                let until = Instant::now() + ENDS_WITHIN;
                self.held.extend(records::garbage(&target, intruders, &mut self.chance, until)?);
            }
            Fault::HalfOpen => {
                let until = Instant::now() + ENDS_WITHIN;
                self.held.extend(doors::half_open(&target, intruders.start, until)?);
            }
            Fault::BadTokens => doors::bad_tokens(&target, intruders.start)?,
            Fault::KeyUpdates => records::key_updates(&target, intruders)?,
            Fault::NewCertificate => doors::new_certificate(&run.server)?,
            Fault::Newcomers => {
                let agents = base + NEWCOMERS.start..base + NEWCOMERS.end;
                let visiting = Visiting::start(&target, agents, NEWCOMERS_PER_SECOND)?;
                run.pass(BURST);
                let visits = visiting.stop()?;
                if visits.turned_away() > 0 {
                    return Err(format!("{} were turned away: {:?}", visits.turned_away(), visits.refused));
                }
            }
            Fault::SlowReaders => self.flood(run)?,
        }
        Ok(())
    }

    /// Sends large calls to agents that never read.
    fn flood(&mut self, run: &mut Run) -> Result<(), String> {
        self.part_with_slow(run)?;
        let agents = run.agents + SLOW.start..run.agents + SLOW.end;
        let deaf = agents.end - agents.start;
        let crew = Crew::start(&run.server.target, &Duty { deaf, ..Duty::of(agents.clone()) })?;
        crew.wait_ready(ENDS_WITHIN)?;
        let plan = Plan { in_flight: 64, timeout: FLOOD_TIMEOUT, pad_bytes: FLOOD_BYTES, limit: run.left() };
        let flood = Backends::start(Campaign::new(&run.server.target, plan, None)?, agents, FLOOD_PER_SECOND)?;
        run.pass(FLOOD);
        let tally = flood.stop()?;
        run.count(&tally, Outcomes::AnyTrue);
        self.slow = Some((crew, Instant::now() + ENDS_WITHIN));
        if tally.right > 0 { Err(format!("{} calls were answered", tally.right)) } else { Ok(()) }
    }

    /// Counts who of those that never read has been let go, and lets the others go.
    fn part_with_slow(&mut self, run: &mut Run) -> Result<(), String> {
        let Some((crew, _)) = self.slow.take() else {
            return Ok(());
        };
        let plan = Plan { in_flight: 4, timeout: FLOOD_TIMEOUT, pad_bytes: 0, limit: run.left() };
        let mut agents = run.agents + SLOW.start..run.agents + SLOW.end;
        let tally = Campaign::new(&run.server.target, plan, None)?.run(&mut || agents.next())?;
        run.count(&tally, Outcomes::AnyTrue);
        self.slow_readers_gone += tally.outcomes.get("offline").copied().unwrap_or_default();
        crew.stop().map(drop)
    }

    /// Parts with what has been there for long enough, and holds that it has ended where it must have.
    fn look_after(&mut self, run: &mut Run, now: Instant) -> Result<(), String> {
        let mut late: BTreeMap<&'static str, u32> = BTreeMap::new();
        self.held.retain_mut(|held| {
            if held.until > now {
                return true;
            }
            if held.must_end && !held.intruder.is_ended_by(now) {
                *late.entry(held.what).or_default() += 1;
            }
            false
        });
        for (what, count) in late {
            run.draft.fail(format!("fault: {count} connections with {what} were not ended"));
        }
        if self.slow.as_ref().is_some_and(|(_, until)| *until <= now) {
            self.part_with_slow(run)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_have_names_of_their_own() {
        let names: std::collections::BTreeSet<&str> = Fault::ALL.into_iter().map(Fault::name).collect();
        assert_eq!(names.len(), Fault::ALL.len());
    }
}
