//! The headline: a million agents at one gateway, memory for each, calls as fast as with a thousand, every one answering.
//!
//! Owns the order of what is measured in one life of the gateway, and the bounds that the figures are held to.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use clap::Args;

use super::run::{Common, Outcomes, Run, steadfast};
use super::warm;
use crate::callers::Over;
use crate::campaign::{Campaign, Next, Plan};
use crate::cpu;
use crate::crew::Crew;
use crate::node::Node;
use crate::progress::Stage;
use crate::result::RunResult;
use crate::sample::Mark;

/// Connections that the gateway is to allow beyond the agents: those that come back before their old one is found dead.
const SPARE: u32 = 5000;

/// Rounds of calls; the median counts. One more comes first and does not count.
const ROUNDS: usize = 5;

/// Calls to each of the first agents before anything is measured.
const WARM_ROUNDS: u32 = 500;

/// Options of `million`.
#[derive(Args, Clone, Debug)]
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
    /// The gateway's heartbeat, instead of its default: how much of the difference in calls is that of the heartbeats of all.
    #[arg(long, value_parser = humantime::parse_duration)]
    heartbeat: Option<Duration>,
    /// How long all rest while processor time is measured.
    #[arg(long, default_value = "30s", value_parser = humantime::parse_duration)]
    hold: Duration,
    /// Longest wait for memory to settle.
    #[arg(long, default_value = "30s", value_parser = humantime::parse_duration)]
    settle: Duration,
}

/// Runs it.
///
/// # Errors
/// Agents that do not come, a server that cannot be read.
pub fn run(options: &Options) -> Result<RunResult, String> {
    let room = options.agents.saturating_add(SPARE).to_string();
    let heartbeat = options.heartbeat.map(|interval| format!("{}ms", interval.as_millis()));
    let mut settings = vec![("limits.connections", room.as_str())];
    settings.extend(heartbeat.as_deref().map(|interval| ("heartbeat.interval", interval)));
    let mut run = Run::begin("million", &options.common, options.agents, &settings)?;
    run.draft
        .parameter("over", options.over.name())
        .parameter("in flight", options.in_flight)
        .parameter("calls per second", options.rate)
        .parameter("calls of a round", options.calls);
    let fresh = Mark::take(run.pid()?)?;
    run.draft.figure("server's process, fresh", "B", fresh.process.rss as f64).lower();
    warm::warm(&mut run, WARM_ROUNDS, 0)?;
    let empty = run.settled(options.settle)?;
    run.draft.figure("server's process, empty after a few agents", "B", empty.process.rss as f64).lower();

    let few = options.few.clamp(1, run.agents);
    let first = Crew::start(&run.server.target, &steadfast(0..few))?;
    first.wait_ready(run.left())?;
    let p99_few = calls(options, &mut run, few, &format!("call with {few} agents"))?;
    let rest = grow(&mut run, few)?;
    let resting = rest_and_weigh(options, &mut run, &empty)?;
    let agents = run.agents;
    let p99_all = calls(options, &mut run, agents, &format!("call with {agents} agents"))?;
    run.draft.figure("p99 of a call, all agents against few", "", p99_all / p99_few).lower().must(1.3);
    all_answer(options, &mut run)?;
    let after = run.settled(options.settle)?;
    let rested = run.split("after a call to all", &empty, &after);
    run.draft.figure("process bytes for each agent after a call to all", "B", rested).lower().must(resting + 16.0);

    let fallen = first.board().fallen.load(Ordering::Acquire) + rest.board().fallen.load(Ordering::Acquire);
    if fallen > 0 {
        run.draft.fail(format!("{fallen} agents did not stay"));
    }
    run.dismiss(rest, None)?;
    first.stop()?;
    Ok(run.finish())
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

/// What each costs at rest: bytes, which are returned, and processor time with its heartbeats.
fn rest_and_weigh(options: &Options, run: &mut Run, empty: &Mark) -> Result<f64, String> {
    let full = run.settled(options.settle)?;
    let resting = run.split("at rest", empty, &full);
    run.draft.figure("process bytes for each agent at rest", "B", resting).lower().must(128.0);
    if let Some(fullest) = full.fullest_table() {
        run.draft.figure("descriptors in the server's fullest table", "", fullest as f64);
    }
    let before = cpu::used(run.pid()?)?;
    run.pass(options.hold);
    let used = cpu::used(run.pid()?)?.saturating_sub(before).as_secs_f64();
    let share = used / options.hold.as_secs_f64().max(f64::MIN_POSITIVE) * 100.0;
    run.draft.figure("server CPU at rest, heartbeats included", "% of a core", share).lower();
    Ok(resting)
}

/// Rounds of calls to random ones of the first `agents`. Returns the median of their p99s, in microseconds.
fn calls(options: &Options, run: &mut Run, agents: u32, name: &str) -> Result<f64, String> {
    let plan = Plan { in_flight: options.in_flight, timeout: Duration::from_secs(20), pad_bytes: 0, limit: run.left() };
    let mut campaign = Campaign::over(options.over.connect(&run.server.target, plan.in_flight)?, plan);
    let (mut p99s, mut costs) = (Vec::new(), Vec::new());
    let stage = Stage::of(name, u64::from(options.calls) * (ROUNDS as u64 + 1));
    for round in 0..=ROUNDS {
        let before = cpu::used(run.pid()?)?;
        let (mut begun, began) = (0, Instant::now());
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
        run.count(&tally, Outcomes::OnlyAnswers);
        let used = cpu::used(run.pid()?)?.saturating_sub(before);
        if round > 0 {
            p99s.push(tally.latency.p99_us);
            costs.push(used.as_secs_f64() * 1e6 / tally.right as f64);
            if round == ROUNDS {
                run.draft.latency(name, &tally.times);
            }
        }
    }
    stage.done("");
    let p99 = median(&mut p99s);
    run.draft.figure(&format!("p99, {name}"), "µs", p99).lower();
    run.draft.figure(&format!("server CPU, {name}"), "µs", median(&mut costs)).lower();
    Ok(p99)
}

/// Every agent is called once, and must answer.
fn all_answer(options: &Options, run: &mut Run) -> Result<(), String> {
    let plan = Plan { in_flight: 256, timeout: Duration::from_secs(20), pad_bytes: 0, limit: run.left() };
    let mut campaign = Campaign::new(&run.server.target, plan, None)?;
    let stage = Stage::of("call all", u64::from(run.agents));
    let began = Instant::now();
    let mut all = 0..run.agents;
    let tally = campaign.run(&mut || {
        stage.at(u64::from(all.start));
        all.next()
    })?;
    stage.done("");
    run.draft.figure("time until all have answered", "s", began.elapsed().as_secs_f64()).lower();
    run.draft.figure("agents that answered", "", tally.right as f64).higher();
    run.draft.latency("call to all", &tally.times);
    run.count(&tally, Outcomes::OnlyAnswers);
    if tally.sent < u64::from(run.agents) {
        run.draft.fail(format!("only {} of {} agents were called in time", tally.sent, options.agents));
    }
    Ok(())
}

/// The middle one, or NaN of none; sorts.
fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
