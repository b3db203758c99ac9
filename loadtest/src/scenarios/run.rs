//! One run of a scenario: its server, its agents, its samples, its result.
//!
//! Owns the order of begin and end. What happens between is the scenario's.

use std::collections::BTreeMap;
use std::ops::RangeBounds;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;

use super::crews::Crews;
use crate::campaign::Tally;
use crate::comeback::BackOff;
use crate::cpu;
use crate::crew::{Afterwards, Crew, Duty, Log};
use crate::memory::resident;
use crate::node::Node;
use crate::place::Place;
use crate::preflight::{self, Ends, Host};
use crate::progress::Stage;
use crate::result::{Draft, RunResult, Verdict};
use crate::sample::{self, Mark, Sampler, Samples, Split};
use crate::server::Server;
use crate::settle::settle;
use crate::source;
use crate::stop;
use crate::witness::Witness;

/// Plot and name of the line of the server's descriptors.
pub const DESCRIPTORS: (&str, &str) = ("Descriptors", "server, all tables");

/// From so many agents on, memory for each of them and ratios to few agents are held to their bounds: of fewer, single pages are seen.
pub const WEIGHED_FROM: u32 = 10_000;

/// Connections that a gateway of our own takes beside the agents and those that it has not yet missed.
const ROOM_BESIDE: u64 = 1000;

/// Where a limit bites, one in so many of the connections that it allows are left out.
const UNEVEN: u64 = 50;

/// Agents that were refused while all come for the first time try again after this long, doubling.
pub const RETRY: BackOff = BackOff { base: Duration::from_millis(100), cap: Duration::from_secs(2) };

/// The pause of an agent that comes and goes all day: it does not wait long.
pub const RESTLESS: BackOff = BackOff { base: Duration::from_millis(200), cap: Duration::from_secs(5) };

/// Options of every scenario.
#[derive(Args, Clone, Debug)]
pub struct Common {
    #[command(flatten)]
    pub place: Place,
    /// Longest time of the whole run; later it fails.
    #[arg(long, default_value = "10m", value_parser = humantime::parse_duration)]
    pub limit: Duration,
}

/// A run that goes on.
pub struct Run {
    /// What is measured.
    pub server: Server,
    /// What was found.
    pub draft: Draft,
    /// How many agents take part: fewer than were asked for where the machine cannot hold them.
    pub agents: u32,
    end: Instant,
    sampler: Option<Sampler>,
    crews: Crews,
}

impl Run {
    /// Finds or starts the server, with `settings` where it is started, and holds `connections` against the limits of this machine:
    /// where they do not suffice, fewer take part, and that is said.
    ///
    /// # Errors
    /// No server, or no room for anybody.
    pub fn begin(name: &str, common: &Common, connections: u32, settings: &[(&str, &str)]) -> Result<Self, String> {
        // The gateway chooses its loops by it. Agents that fell are counted until it notices, so some may be there twice.
        let room = (u64::from(connections) + u64::from(connections) / 8 + ROOM_BESIDE).to_string();
        let settings: Vec<(&str, &str)> =
            [("limits.connections", room.as_str())].into_iter().chain(settings.iter().copied()).collect();
        let server = common.place.find_or_start(&settings)?;
        Self::on(name, server, common.limit, connections)
    }

    /// The same on a server that is known.
    ///
    /// # Errors
    /// No room for anybody.
    pub fn on(name: &str, server: Server, limit: Duration, connections: u32) -> Result<Self, String> {
        let pairs = match server.target.listen.ip() {
            ip if ip.is_loopback() => u64::from(source::SOURCES),
            ip if ip.is_unspecified() => u64::from(source::PAIRS),
            _ => 1,
        };
        let host = Host::read(pairs)?;
        let (host, ends) = match server.pid {
            Some(pid) => (host.with_server(pid)?, Ends::Both),
            None => (host, Ends::Client),
        };
        let preflight = preflight::check(u64::from(connections), ends, &host);
        if !preflight.bites.is_empty() {
            eprint!("{}", preflight.text());
        }
        let allowed = if preflight.allowed < preflight.wanted {
            // A server's tables do not fill evenly, and a loop that is full refuses for good.
            preflight.allowed - preflight.allowed / UNEVEN
        } else {
            preflight.allowed
        };
        let agents = u32::try_from(allowed).unwrap_or(u32::MAX).min(connections);
        if agents < connections {
            eprintln!("{agents} agents take part instead of {connections}");
        }
        if agents == 0 {
            return Err("this machine has no room for a single connection".to_owned());
        }
        let mut draft = Draft::begin(name);
        draft.parameter("agents", agents);
        draft.parameter("tls", if server.target.tls.is_some() { "1.3" } else { "off" });
        if agents < connections {
            draft.parameter("agents asked for", connections);
        }
        if let Some(pid) = server.pid {
            draft.server(sample::server(pid)?);
        }
        let end = Instant::now() + limit;
        Ok(Self { server, draft, agents, end, sampler: None, crews: Crews::default() })
    }

    /// Most bytes of the server's process for an agent at rest.
    pub fn resting_most(&self) -> f64 {
        if self.server.target.tls.is_some() { 256.0 } else { 128.0 }
    }

    /// How many of them may be more after a burst.
    pub fn left_most(&self) -> f64 {
        if self.server.target.tls.is_some() { 32.0 } else { 16.0 }
    }

    /// The server's process.
    ///
    /// # Errors
    /// It is not known.
    pub fn pid(&self) -> Result<u32, String> {
        self.server.pid.ok_or_else(|| "--server-pid is needed to read what the server uses".to_owned())
    }

    /// What is left of the run's time; nothing once the user has asked to stop.
    pub fn left(&self) -> Duration {
        if stop::asked() { Duration::ZERO } else { self.end.saturating_duration_since(Instant::now()) }
    }

    /// Waits so long, or until the run's time is over.
    pub fn pass(&self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end && !self.left().is_zero() {
            thread::sleep(Duration::from_millis(20).min(end.saturating_duration_since(Instant::now())));
        }
    }

    /// Starts the agents, and the sampling with the first of them, and waits until all are there. Notes how long that took.
    ///
    /// # Errors
    /// They do not all come in time.
    pub fn enlist(&mut self, duty: &Duty) -> Result<Crew, String> {
        let empty = resident(std::process::id())?.anonymous as f64;
        let began = Instant::now();
        let crew = self.muster(duty)?;
        self.draft.figure("time to connect all", "s", began.elapsed().as_secs_f64()).lower();
        let own = resident(std::process::id())?.anonymous as f64;
        self.draft.figure("harness bytes for each agent", "B", (own - empty) / duty.agents.len() as f64).lower();
        Ok(crew)
    }

    /// The same without a note: agents that come before those that count.
    ///
    /// # Errors
    /// As there.
    pub fn muster(&mut self, duty: &Duty) -> Result<Crew, String> {
        let crew = Crew::start(&self.server.target, duty)?;
        self.crews.add(crew.share());
        self.watch()?;
        let count = duty.agents.len();
        let stage = Stage::of("connect", count as u64);
        let ready = crew.wait(self.left(), &mut |up| stage.at(u64::from(up)));
        let failed = crew.board().failed.load(Ordering::Acquire);
        stage.done(&format!("{failed} attempts failed"));
        if let Err(error) = ready {
            let log = crew.stop()?;
            return Err(format!("{error}; connections ended as {:?}", log.endings));
        }
        Ok(crew)
    }

    /// Samples server, kernel and agents from now on, where that has not begun.
    fn watch(&mut self) -> Result<(), String> {
        if self.sampler.is_some() {
            return Ok(());
        }
        let (there, calls, welcomes) = (self.crews.clone(), self.crews.clone(), self.crews.clone());
        let mut watch = Sampler::watch(self.draft.began())
            .every(Duration::from_millis(250))
            .connections(move || there.sum(|board| u64::from(board.up.load(Ordering::Relaxed))))
            .rate("Calls", "taken by agents", move || calls.count(|board| &board.taken))
            .rate("Welcomes", "agents", move || welcomes.count(|board| &board.welcomes));
        if let Some(pid) = self.server.pid {
            watch = watch.server(pid).level(DESCRIPTORS.0, DESCRIPTORS.1, "", move || {
                let open = |table: sample::Table| table.open.map_or(f64::NAN, |open| open as f64);
                sample::descriptors(pid).map_or(f64::NAN, |tables| tables.into_iter().map(open).sum())
            });
        }
        self.sampler = Some(watch.start()?);
        Ok(())
    }

    /// Server and kernel once the server's memory has settled.
    ///
    /// # Errors
    /// The server cannot be read.
    pub fn settled(&self, longest: Duration) -> Result<Mark, String> {
        let pid = self.pid()?;
        settle(pid, longest.min(self.left()), &mut |time| {
            thread::sleep(time);
            Ok(())
        })?;
        // The server is asked after it was read: what the question itself touches is in no mark.
        Ok(Mark::take(pid)?.with_parts(self.parts()))
    }

    /// The server's parts as it tells them; none of a server that does not know the question.
    fn parts(&self) -> BTreeMap<String, u64> {
        Node::ask(&self.server.target).map(|node| node.memory.parts).unwrap_or_default()
    }

    /// Tells what each agent costs between two marks. Returns the bytes of the server's process.
    pub fn split(&mut self, when: &str, before: &Mark, after: &Mark) -> f64 {
        let Some(split) = Split::between(before, after, u64::from(self.agents), Ends::Both) else {
            return f64::NAN;
        };
        split.tell(when, &mut self.draft);
        split.process
    }

    /// Gives a figure that was noted the limit that it must keep where so many agents take part.
    pub fn bound(&mut self, name: &str, limit: f64, agents: impl RangeBounds<u32>) {
        if agents.contains(&self.agents) {
            self.draft.bound(name, limit);
        }
    }

    /// Processor time of the server since `before`, for each of `operations`.
    ///
    /// # Errors
    /// The server cannot be read.
    pub fn cpu_each(&mut self, name: &str, before: Duration, operations: u64) -> Result<(), String> {
        let used = cpu::used(self.pid()?)?.saturating_sub(before);
        self.draft.figure(name, "µs", used.as_secs_f64() * 1e6 / operations as f64).lower();
        Ok(())
    }

    /// The value of a figure that was noted; NaN, which fails the run where it is noted again, when there is none.
    pub fn noted(&self, name: &str) -> f64 {
        self.draft.noted(name).unwrap_or(f64::NAN)
    }

    /// Notes what a campaign counted. Other outcomes than answers are faults where all agents should be there.
    pub fn count(&mut self, tally: &Tally, outcomes: Outcomes) {
        self.draft.verdict(&tally.verdict());
        let others: u64 = tally.outcomes.values().sum();
        if outcomes == Outcomes::OnlyAnswers && others > 0 {
            self.draft.fail(format!("{others} calls were not answered: {:?}", tally.outcomes));
        }
    }

    /// Lets these agents go, and ends the sampling. What they noticed is counted.
    ///
    /// # Errors
    /// A thread failed.
    pub fn dismiss(&mut self, crew: Crew, witness: Option<&Witness>) -> Result<(Log, Samples), String> {
        let samples = self.sampler.take().map(Sampler::stop).unwrap_or_default();
        let ended = crew.ended();
        let log = crew.stop()?;
        let noticed = witness.map(Witness::noticed).unwrap_or_default();
        let mut verdict = Verdict {
            wrong: log.nonsense + noticed.after_never,
            strays: log.strays,
            doubled: noticed.doubled,
            ..Verdict::default()
        };
        for (count, what) in [
            (log.nonsense, "messages to agents are no envelopes"),
            (log.strays, "calls reached another agent"),
            (noticed.after_never, "calls reached their agent after their outcome had said that they never would"),
        ] {
            if count > 0 {
                verdict.quote(&format!("{count} {what}"));
            }
        }
        self.draft.verdict(&verdict);
        if ended > 0 {
            self.draft.fail(format!("{ended} agents went for good: {:?}", log.endings));
        }
        samples.clone().tell(&mut self.draft);
        Ok((log, samples))
    }

    /// Ends the run.
    pub fn finish(mut self) -> RunResult {
        if stop::asked() {
            self.draft.fail("stopped by a signal");
        } else if self.left().is_zero() {
            self.draft.fail("the run's time was over (--limit)");
        }
        self.draft.finish()
    }
}

/// Which outcomes a campaign may meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcomes {
    /// Every agent is there and answers.
    OnlyAnswers,
    /// Whatever is true.
    AnyTrue,
}

/// Agents that come back whenever their connection has ended, and the witness of what they see and when they are there.
pub fn witnessed(agents: u32, back_off: BackOff) -> (Arc<Witness>, Duty) {
    let witness = Arc::new(Witness::new(agents));
    let afterwards = Afterwards::ComeBack(back_off);
    (Arc::clone(&witness), Duty { afterwards, witness: Some(witness), ..Duty::of(0..agents) })
}

/// Agents that come back at once when they are refused, so that a full loop's refusal only sends them to another one.
pub fn steadfast(agents: std::ops::Range<u32>) -> Duty {
    Duty { afterwards: Afterwards::ComeBack(RETRY), ..Duty::of(agents) }
}
