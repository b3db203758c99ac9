//! What a resting agent costs the server in memory and processor time, before and after a burst of calls to all of them.

use std::time::{Duration, Instant};

use clap::Args;

use super::heartbeat::Heartbeat;
use super::run::{Common, Run, WEIGHED_FROM, steadfast};
use super::warm;
use crate::cpu;
use crate::crew::Crew;
use crate::progress::Stage;
use crate::result::RunResult;
use crate::settle;

/// Most calls to each of the agents that come first; more would touch nothing new.
const WARM_ROUNDS_MAX: u32 = 1000;

/// With heartbeats so far apart next to none are due while all rest, with less they count as included: what is left is the watch over the agents.
const APART: Duration = Duration::from_secs(24 * 60 * 60);

/// Processor time of a gateway whose agents are due nothing, in percent of a core, and for how many agents at most the bound holds: each is asked
/// once a second.
const CPU_MOST: f64 = 0.02;
const CPU_AGENTS_MAX: u32 = 15_000;

/// Options of `idle`.
#[derive(Args, Clone, Debug)]
pub struct Options {
    #[command(flatten)]
    common: Common,
    /// How many agents rest.
    #[arg(long, default_value_t = 15_000)]
    agents: u32,
    /// How long they rest while processor time is measured.
    #[arg(long, default_value = "10s", value_parser = humantime::parse_duration)]
    hold: Duration,
    #[command(flatten)]
    heartbeat: Heartbeat,
    /// Bytes of padding of each call of the burst.
    #[arg(long, default_value_t = 4096)]
    burst_bytes: usize,
    /// How often each agent is called in the burst.
    #[arg(long, default_value_t = 2)]
    burst_rounds: u32,
    /// Longest wait for memory to settle, in seconds.
    #[arg(long, default_value_t = settle::LONGEST_SECS)]
    settle_secs: u64,
}

/// Runs it.
///
/// # Errors
/// Agents that do not come, a server that cannot be read.
pub fn run(options: &Options) -> Result<RunResult, String> {
    let settle = Duration::from_secs(options.settle_secs);
    let heartbeat = options.heartbeat.setting();
    let settings: Vec<_> = heartbeat.iter().map(|(key, value)| (*key, value.as_str())).collect();
    let mut run = Run::begin("idle", &options.common, options.agents, &settings)?;
    run.draft
        .parameter("burst bytes", options.burst_bytes)
        .parameter("burst rounds", options.burst_rounds)
        .parameter("heartbeat", options.heartbeat.told(&options.common))
        .parameter("hold secs", options.hold.as_secs_f64());
    run.pid()?;
    let fresh = run.settled(settle)?;
    run.draft.figure("server's process, fresh", "B", fresh.process.rss as f64);
    warm(options, &mut run)?;
    let empty = run.settled(settle)?;
    run.draft.figure("server's process, empty after a few agents", "B", empty.process.rss as f64);

    let agents = warm::AGENTS..warm::AGENTS.saturating_add(run.agents);
    let crew = run.enlist(&steadfast(agents.clone()))?;
    let before = run.settled(settle)?;
    let resting = run.split("at rest", &empty, &before);
    run.draft.figure("process bytes for each agent at rest", "B", resting).lower();
    run.bound("process bytes for each agent at rest", run.resting_most(), WEIGHED_FROM..);
    hold(options, &mut run, &crew)?;
    if options.burst_rounds > 0 {
        warm::call_all(&mut run, agents, options.burst_rounds, options.burst_bytes)?;
        let after = run.settled(settle)?;
        let rested = run.split("after a burst", &empty, &after);
        run.draft.figure("process bytes for each agent after a burst", "B", rested).lower();
        run.bound("process bytes for each agent after a burst", resting + run.left_most(), WEIGHED_FROM..);
    }
    if let Some(fullest) = before.fullest_table() {
        run.draft.figure("descriptors in the server's fullest table", "", fullest as f64);
    }
    let fallen = crew.board().fallen.load(std::sync::atomic::Ordering::Acquire);
    if fallen > 0 {
        run.draft.fail(format!("{fallen} agents did not stay"));
    }
    run.dismiss(crew, None)?;
    Ok(run.finish())
}

/// A few agents come, are called as often as all agents will be, and go.
fn warm(options: &Options, run: &mut Run) -> Result<(), String> {
    let rounds = run.agents.div_ceil(warm::AGENTS).saturating_mul(options.burst_rounds);
    warm::warm(run, rounds.min(WARM_ROUNDS_MAX), options.burst_bytes)
}

/// All rest. A gateway that runs already has an interval that is not known here.
fn hold(options: &Options, run: &mut Run, crew: &Crew) -> Result<(), String> {
    let between_heartbeats = options.heartbeat.given().is_some_and(|interval| interval >= APART);
    let time = options.hold;
    if time.is_zero() {
        return Ok(());
    }
    let stage = Stage::of("rest", time.as_secs());
    let pid = run.pid()?;
    let (before, began) = (cpu::used(pid)?, Instant::now());
    while began.elapsed() < time && !run.left().is_zero() {
        run.pass(Duration::from_millis(200).min(time.saturating_sub(began.elapsed())));
        stage.at(began.elapsed().as_secs());
    }
    let used = cpu::used(pid)?.saturating_sub(before).as_secs_f64() / began.elapsed().as_secs_f64();
    stage.done(&format!("{} agents", crew.up()));
    let name = if between_heartbeats {
        "server CPU at rest, between heartbeats"
    } else {
        "server CPU at rest, heartbeats included"
    };
    run.draft.figure(name, "% of a core", used * 100.0).lower();
    if between_heartbeats {
        run.bound(name, CPU_MOST, ..=CPU_AGENTS_MAX);
    }
    Ok(())
}
