//! The headline: a million agents at one gateway, memory for each, calls as fast as with a thousand, every one answering.
//!
//! Owns the order of what is measured in one life of the gateway, and the bounds that the figures are held to.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use clap::Args;

use super::heartbeat::Heartbeat;
use super::run::{Common, Outcomes, Run, WEIGHED_FROM, steadfast};
use super::warm;
use crate::callers::Over;
use crate::campaign::{Campaign, Next, Plan};
use crate::cpu;
use crate::crew::Crew;
use crate::median::median;
use crate::node::Node;
use crate::progress::Stage;
use crate::result::RunResult;
use crate::sample::Mark;
use crate::settle;

/// Connections that the gateway is to allow beyond the agents: those that come back before their old one is found dead.
const SPARE: u32 = 5000;

/// Rounds of calls; the median counts. One more comes first and does not count.
const ROUNDS: usize = 5;

/// Calls to each of the first agents before anything is measured.
const WARM_ROUNDS: u32 = 500;

/// So many agents are about a million: the bound on the time to connect holds for them, and says nothing of fewer.
const ABOUT_A_MILLION: u32 = 900_000;

/// Longest time until a million are connected, in seconds, with both ends on two cores.
const CONNECT_SECS_MOST: f64 = 90.0;

/// Options of `million`.
#[derive(Args, Clone, Debug)]
#[command(mut_arg("limit", |limit| limit.default_value("30m")))]
pub struct Options {
    #[command(flatten)]
    common: Common,
    /// How many agents come.
    #[arg(long, default_value_t = 1_000_000)]
    agents: u32,
    /// How many of them are there when calls are measured for the first time.
    #[arg(long, default_value_t = 1000)]
    few: u32,
    /// Calls of a round.
    #[arg(long, default_value_t = 6000)]
    calls: u32,
    /// What carries the calls of a round.
    #[arg(long, value_enum, default_value = "http")]
    over: Over,
    /// Calls that are begun in a second of a round: a rate that leaves the machine time for the heartbeats of all.
    #[arg(long, default_value_t = 2000)]
    rate: u32,
    /// Calls in flight at most.
    #[arg(long, default_value_t = 16)]
    in_flight: usize,
    #[command(flatten)]
    heartbeat: Heartbeat,
    /// How long all rest while processor time is measured: as long as the gateway's heartbeat interval unless --heartbeat says
    /// otherwise, so that each is pinged once.
    #[arg(long, default_value = "45s", value_parser = humantime::parse_duration)]
    hold: Duration,
    /// Longest wait for memory to settle.
    #[arg(long, default_value = settle::LONGEST, value_parser = humantime::parse_duration)]
    settle: Duration,
}

/// Runs it.
///
/// # Errors
/// Agents that do not come, a server that cannot be read.
pub fn run(options: &Options) -> Result<RunResult, String> {
    let room = options.agents.saturating_add(SPARE).to_string();
    let heartbeat = options.heartbeat.setting();
    let mut settings = vec![("limits.connections", room.as_str())];
    settings.extend(heartbeat.iter().map(|(key, value)| (*key, value.as_str())));
    let mut run = Run::begin("million", &options.common, options.agents, &settings)?;
    run.draft
        .parameter("over", options.over.name())
        .parameter("in flight", options.in_flight)
        .parameter("calls per second", options.rate)
        .parameter("heartbeat", options.heartbeat.told(&options.common))
        .parameter("hold secs", options.hold.as_secs_f64())
        .parameter("calls of a round", options.calls);
    let fresh = Mark::take(run.pid()?)?;
    run.draft.figure("server's process, fresh", "B", fresh.process.rss as f64).lower();
    warm::warm(&mut run, WARM_ROUNDS, 0)?;
    let empty = run.settled(options.settle)?;
    run.draft.figure("server's process, empty after a few agents", "B", empty.process.rss as f64).lower();

    let few = options.few.min(run.agents / 2).max(1);
    let first = run.muster(&steadfast(0..few))?;
    // Of so few the heartbeats are nothing.
    let p99_few = calls(options, &mut run, few, Idling(0.0))?;
    let rest = grow(&mut run, few)?;
    let (resting, idling) = rest_and_weigh(options, &mut run, &empty)?;
    let agents = run.agents;
    let p99_all = calls(options, &mut run, agents, idling)?;
    run.draft.figure("p99 of a call, all agents against few", "", p99_all / p99_few).lower();
    run.bound("p99 of a call, all agents against few", 1.3, WEIGHED_FROM..);
    all_answer(options, &mut run)?;
    let after = run.settled(options.settle)?;
    let rested = run.split("after a call to all", &empty, &after);
    run.draft.figure("process bytes for each agent after a call to all", "B", rested).lower();
    run.bound("process bytes for each agent after a call to all", resting + run.left_most(), WEIGHED_FROM..);

    let fallen = first.board().fallen.load(Ordering::Acquire) + rest.board().fallen.load(Ordering::Acquire);
    if fallen > 0 {
        run.draft.fail(format!("{fallen} agents did not stay"));
    }
    run.dismiss(rest, None)?;
    run.dismiss(first, None)?;
    Ok(run.finish())
}

/// What the server uses while nobody is called, as a share of a core: the heartbeats of all.
#[derive(Clone, Copy, Debug)]
struct Idling(f64);

impl Idling {
    /// What of `used` in `wall` the calls took, and not the heartbeats.
    fn without(self, used: Duration, wall: Duration) -> Duration {
        used.saturating_sub(wall.mul_f64(self.0.max(0.0)))
    }
}

/// All others come. The longest turn of a loop so far is the longest pause while its tables grew.
fn grow(run: &mut Run, few: u32) -> Result<Crew, String> {
    let pid = run.pid()?;
    let (server, own) = (cpu::used(pid)?, cpu::used(std::process::id())?);
    let crew = run.enlist(&steadfast(few..run.agents))?;
    let come = f64::from(run.agents - few);
    run.cpu_each("server CPU for a handshake", server, u64::from(run.agents - few))?;
    let own = cpu::used(std::process::id())?.saturating_sub(own);
    run.draft.figure("harness CPU for a handshake", "µs", own.as_secs_f64() * 1e6 / come).lower();
    let secs = run.noted("time to connect all");
    run.bound("time to connect all", CONNECT_SECS_MOST, ABOUT_A_MILLION..);
    run.draft.figure("connections in a second", "/s", come / secs).higher();
    let node = Node::ask(&run.server.target)?;
    let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
    run.draft.figure("longest turn of a loop, on the wall", "ms", milliseconds(node.longest_turn())).lower();
    run.draft
        .figure("longest turn of a loop, on a core", "ms", milliseconds(node.longest_turn_cpu()))
        .lower()
        .must(5.0);
    Ok(crew)
}

/// What each costs at rest: bytes, and what all cost in processor time with their heartbeats.
fn rest_and_weigh(options: &Options, run: &mut Run, empty: &Mark) -> Result<(f64, Idling), String> {
    let full = run.settled(options.settle)?;
    let resting = run.split("at rest", empty, &full);
    run.draft.figure("process bytes for each agent at rest", "B", resting).lower();
    run.bound("process bytes for each agent at rest", run.resting_most(), WEIGHED_FROM..);
    if let Some(fullest) = full.fullest_table() {
        run.draft.figure("descriptors in the server's fullest table", "", fullest as f64);
    }
    let (before, began) = (cpu::used(run.pid()?)?, Instant::now());
    run.pass(options.hold);
    let used = cpu::used(run.pid()?)?.saturating_sub(before).as_secs_f64();
    let share = used / began.elapsed().as_secs_f64().max(f64::MIN_POSITIVE);
    let name = at_rest(options.heartbeat.given(), options.hold);
    run.draft.figure(&name, "% of a core", share * 100.0).lower();
    Ok((resting, Idling(share)))
}

/// The name of what resting for `hold` costs. Where not each agent has had a heartbeat in that time, it says how rare they are.
fn at_rest(heartbeat: Option<Duration>, hold: Duration) -> String {
    match heartbeat.filter(|interval| *interval > hold) {
        Some(interval) => format!("server CPU at rest, a heartbeat every {}", humantime::format_duration(interval)),
        None => "server CPU at rest, heartbeats included".to_owned(),
    }
}

/// Rounds of calls to random ones of the first `agents`. What the server uses without them is taken off their cost. Returns the median of their
/// p99s, in microseconds.
fn calls(options: &Options, run: &mut Run, agents: u32, idling: Idling) -> Result<f64, String> {
    let name = &format!("call with {agents} agents");
    let plan = Plan { in_flight: options.in_flight, timeout: Duration::from_secs(20), pad_bytes: 0, limit: run.left() };
    let mut campaign = Campaign::over(options.over.connect(&run.server.target, plan.in_flight)?, plan);
    let (mut p99s, mut costs) = (Vec::new(), Vec::new());
    let stage = Stage::of(name, u64::from(options.calls) * (ROUNDS as u64 + 1));
    for round in 0..=ROUNDS {
        let (before, began) = (cpu::used(run.pid()?)?, Instant::now());
        let mut begun = 0;
        let tally = campaign.run_paced(&mut || {
            if begun == options.calls {
                return Next::End;
            }
            if f64::from(begun) > began.elapsed().as_secs_f64() * f64::from(options.rate) {
                return Next::Wait;
            }
            begun += 1;
            stage.at(u64::from(begun) + u64::from(options.calls) * round as u64);
            Next::Call(fastrand::u32(0..agents))
        })?;
        let used = cpu::used(run.pid()?)?.saturating_sub(before);
        let used = idling.without(used, began.elapsed());
        run.count(&tally, Outcomes::OnlyAnswers);
        if round > 0 {
            p99s.push(tally.latency.p99_us);
            costs.push(used.as_secs_f64() * 1e6 / tally.right as f64);
            if round == ROUNDS {
                run.draft.latency(name, &tally.times);
            }
        }
    }
    stage.done("");
    let p99 = median(p99s);
    run.draft.figure(&format!("p99, {name}"), "µs", p99).lower();
    run.draft.figure(&format!("server CPU, {name}"), "µs", median(costs)).lower();
    Ok(p99)
}

/// Every agent is called once, and must answer.
fn all_answer(options: &Options, run: &mut Run) -> Result<(), String> {
    let plan = Plan { in_flight: 256, timeout: Duration::from_secs(20), pad_bytes: 0, limit: run.left() };
    let mut campaign = Campaign::new(&run.server.target, plan, None)?;
    let began = Instant::now();
    let tally = warm::call_each(run, &mut campaign, "call all")?;
    run.draft.figure("time until all have answered", "s", began.elapsed().as_secs_f64()).lower();
    run.draft.figure("agents that answered", "", tally.right as f64).higher();
    run.draft.latency("call to all", &tally.times);
    if tally.sent < u64::from(run.agents) {
        run.draft.fail(format!("only {} of {} agents were called in time", tally.sent, options.agents));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    #[test]
    fn heartbeats_are_taken_off_the_cost_of_calls() {
        let (second, millis) = (Duration::from_secs(1), Duration::from_millis);
        assert_eq!(Idling(0.25).without(millis(700), second), millis(450));
        assert_eq!(Idling(0.0).without(millis(700), second), millis(700));
        assert_eq!(Idling(0.9).without(millis(700), second), Duration::ZERO);
    }

    #[test]
    fn heartbeats_are_included_where_each_agent_has_one() {
        let secs = Duration::from_secs;
        for (heartbeat, hold, name) in [
            (None, 45, "server CPU at rest, heartbeats included"),
            (Some(45), 45, "server CPU at rest, heartbeats included"),
            (Some(46), 45, "server CPU at rest, a heartbeat every 46s"),
            (Some(1800), 45, "server CPU at rest, a heartbeat every 30m"),
            (Some(1800), 1800, "server CPU at rest, heartbeats included"),
        ] {
            assert_eq!(at_rest(heartbeat.map(secs), secs(hold)), name);
        }
    }

    #[test]
    fn a_million_may_take_half_an_hour_unless_told_otherwise() {
        for (line, minutes) in [(&["million"][..], 30), (&["million", "--limit", "5m"], 5)] {
            let line = Line::try_parse_from(line).expect("it parses");
            assert_eq!(line.options.common.limit, Duration::from_secs(minutes * 60));
        }
    }
}
