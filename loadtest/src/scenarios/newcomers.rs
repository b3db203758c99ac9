//! Newcomers at a high rate, full handshakes all of them, while agents that are there are called: none of these must feel it.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;

use super::backends::Backends;
use super::run::{Common, Outcomes, Run, steadfast};
use super::visiting::{OUT_MAX, Visiting, Visits};
use crate::campaign::{Campaign, Plan, Tally};
use crate::cpu;
use crate::latency::Latency;
use crate::ledger::{Ledger, Served};
use crate::progress::Stage;
use crate::result::RunResult;

/// Numbers that newcomers have, behind those of the agents. One comes again only after all others have come.
const NEWCOMERS: u32 = 65_536;

/// Deadline of each call.
const TIMEOUT: Duration = Duration::from_secs(5);

/// What p99 of a call may be in the storm, of what it is in quiet times.
const P99_MOST: f64 = 2.0;

/// The share of the rate that must have been reached for a run to say anything.
const RATE_LEAST: f64 = 0.95;

/// From so many agents and such a time on, p99 and rate fail a run that misses them: of less a single late call decides.
const WEIGHED_FROM: (u32, Duration) = (1000, Duration::from_secs(10));

/// Options of `newcomers`.
#[derive(Args, Clone, Debug)]
pub struct Options {
    #[command(flatten)]
    common: Common,
    /// How many agents are there and stay.
    #[arg(long, default_value_t = 2000)]
    agents: u32,
    /// Newcomers each second: connect, handshake, upgrade, welcome, gone.
    #[arg(long, default_value_t = 2000)]
    rate: u32,
    /// How long each of the three parts is: quiet, storm, quiet.
    #[arg(long = "for", default_value = "20s", value_parser = humantime::parse_duration)]
    time: Duration,
    /// Calls each second, to all agents in turn.
    #[arg(long, default_value_t = 1000)]
    calls_per_second: u32,
    /// Calls in flight at most.
    #[arg(long, default_value_t = 128)]
    in_flight: usize,
}

/// What one part of the run has found.
struct Part {
    tally: Tally,
    served: Served,
    wall: Duration,
    server_cpu: Duration,
    harness_cpu: Duration,
}

/// Runs it.
///
/// # Errors
/// Agents that do not come, a server that cannot be read.
pub fn run(options: &Options) -> Result<RunResult, String> {
    // The gateway counts a newcomer that has gone until it notices.
    let room = (u64::from(options.agents) * 9 / 8 + 2 * OUT_MAX as u64 + 1000).to_string();
    let mut run = Run::begin("newcomers", &options.common, options.agents, &[("limits.connections", &room)])?;
    run.pid()?;
    run.draft
        .parameter("newcomers per second", options.rate)
        .parameter("secs", options.time.as_secs_f64())
        .parameter("calls per second", options.calls_per_second);
    let crew = run.enlist(&steadfast(0..run.agents))?;

    let mut next = 1;
    let before = part(options, &mut run, "quiet, before", &mut next)?;
    let newcomers = run.agents..run.agents.saturating_add(NEWCOMERS);
    let visiting = Visiting::start(&run.server.target, newcomers, options.rate)?;
    let storm = part(options, &mut run, "storm", &mut next)?;
    let visits = visiting.stop()?;
    let after = part(options, &mut run, "quiet, after", &mut next)?;

    let mut quiet = before.tally.times.clone();
    quiet.add(&after.tally.times);
    compare(options, &mut run, &quiet, &storm);
    tell_visits(options, &mut run, &visits, &storm, [&before, &after]);
    let fallen = crew.board().fallen.load(std::sync::atomic::Ordering::Acquire);
    if fallen > 0 {
        run.draft.fail(format!("{fallen} agents did not stay"));
    }
    run.dismiss(crew, None)?;
    weigh(options, &mut run);
    Ok(run.finish())
}

/// Calls all agents in turn for a while; each call must be answered.
fn part(options: &Options, run: &mut Run, name: &str, next: &mut u64) -> Result<Part, String> {
    let plan = Plan { in_flight: options.in_flight, timeout: TIMEOUT, pad_bytes: 0, limit: run.left() };
    let began = Instant::now();
    let ledger = Arc::new(Ledger::new(run.agents, began));
    let campaign = Campaign::new(&run.server.target, plan, None)?.noting(Arc::clone(&ledger)).from_number(*next);
    let (pid, own) = (run.pid()?, std::process::id());
    let used = [cpu::used(pid)?, cpu::used(own)?];
    let all: Range<u32> = 0..run.agents;
    let backends = Backends::in_turn(campaign, all, options.calls_per_second)?;
    let stage = Stage::of(name, options.time.as_secs());
    while began.elapsed() < options.time && !run.left().is_zero() {
        run.pass(Duration::from_millis(200).min(options.time.saturating_sub(began.elapsed())));
        stage.at(began.elapsed().as_secs());
    }
    let [server_cpu, harness_cpu] = [cpu::used(pid)? - used[0], cpu::used(own)? - used[1]];
    let wall = began.elapsed();
    let tally = backends.stop()?;
    let served = ledger.served(Instant::now());
    stage.done(&format!("{} calls answered", tally.right));
    *next = tally.unused_number;
    run.draft.latency(&format!("call, {name}"), &tally.times);
    run.count(&tally, Outcomes::OnlyAnswers);
    let part = Part { tally, served, wall, server_cpu, harness_cpu };
    part.tell(run, name);
    Ok(part)
}

impl Part {
    /// How much of a core was used, in percent.
    fn share(&self, used: Duration) -> f64 {
        100.0 * used.as_secs_f64() / self.wall.as_secs_f64()
    }

    fn tell(&self, run: &mut Run, name: &str) {
        let per_second = self.tally.sent as f64 / self.wall.as_secs_f64();
        run.draft.figure(&format!("calls in a second, {name}"), "/s", per_second).higher();
        run.draft.figure(&format!("server CPU, {name}"), "% of a core", self.share(self.server_cpu)).lower();
        run.draft.figure(&format!("harness CPU, {name}"), "% of a core", self.share(self.harness_cpu));
        run.draft.figure(&format!("fewest answers of an agent, {name}"), "", f64::from(self.served.fewest)).higher();
        run.draft.figure(&format!("most answers of an agent, {name}"), "", f64::from(self.served.most));
        let longest = self.served.longest.as_secs_f64();
        run.draft.figure(&format!("longest time of an agent without an answer, {name}"), "s", longest).lower();
        // They are called in turn, so whoever has had less than half of what is due was passed over.
        let due = self.tally.sent / u64::from(run.agents.max(1));
        if u64::from(self.served.fewest) < due / 2 || (due > 0 && self.served.unserved > 0) {
            run.draft.fail(format!(
                "{name}: an agent had {} answers of {due}, {} agents had none",
                self.served.fewest, self.served.unserved
            ));
        }
    }
}

/// Holds the storm's calls against those of quiet times.
fn compare(options: &Options, run: &mut Run, quiet: &Latency, storm: &Part) {
    run.draft.latency("call, quiet, both", quiet);
    let (with, without) = (storm.tally.times.percentiles(), quiet.percentiles());
    run.draft.figure("p50 of a call in the storm, against quiet", "×", with.p50_us / without.p50_us).lower();
    run.draft.figure(P99, "×", with.p99_us / without.p99_us).lower();
    if is_weighed(options, run) {
        run.draft.bound(P99, P99_MOST);
    }
}

/// Names of the two figures that decide.
const P99: &str = "p99 of a call in the storm, against quiet";
const RATE: &str = "newcomers welcomed in a second";

fn tell_visits(options: &Options, run: &mut Run, visits: &Visits, storm: &Part, quiet: [&Part; 2]) {
    run.draft.latency("newcomer, from dial to welcome", &visits.times);
    run.draft.figure(RATE, "/s", visits.per_second()).higher();
    if is_weighed(options, run) {
        run.draft.bound(RATE, RATE_LEAST * f64::from(options.rate));
    }
    run.draft.figure("newcomers that were not welcomed", "", visits.turned_away() as f64).lower();
    run.draft.figure("newcomers that resumed", "", visits.resumed as f64);
    let share = 100.0 * visits.cpu.as_secs_f64() / visits.wall.as_secs_f64();
    run.draft.figure("harness CPU, newcomers alone", "% of a core", share);
    // What calls take of the server is in the quiet parts too.
    let calls = quiet.iter().map(|part| part.share(part.server_cpu)).sum::<f64>() / 2.0;
    let secs = (storm.share(storm.server_cpu) - calls) / 100.0 * storm.wall.as_secs_f64();
    let welcomed = visits.per_second() * storm.wall.as_secs_f64();
    run.draft.figure("server CPU for a newcomer", "µs", secs * 1e6 / welcomed).lower();
    if visits.turned_away() > 0 {
        run.draft.fail(format!("{} newcomers were not welcomed: {:?}", visits.turned_away(), visits.refused));
    }
}

fn is_weighed(options: &Options, run: &Run) -> bool {
    run.agents >= WEIGHED_FROM.0 && options.time >= WEIGHED_FROM.1
}

/// Fails a run that is large enough to be weighed and has missed a bound.
fn weigh(options: &Options, run: &mut Run) {
    if !is_weighed(options, run) {
        return;
    }
    let (p99, rate) = (run.noted(P99), run.noted(RATE));
    if rate < RATE_LEAST * f64::from(options.rate) {
        run.draft.fail(format!("only {rate:.0} newcomers a second were welcomed, {} were to come", options.rate));
    }
    if p99 > P99_MOST {
        run.draft.fail(format!("p99 of a call was {p99:.2} times as long in the storm"));
    }
}
