//! What a resting agent costs the server in memory and processor time, before and after a burst of calls to all of them.

use std::ops::Range;
use std::time::{Duration, Instant};

use clap::Args;

use super::run::{Common, Outcomes, Run, steadfast};
use crate::campaign::{Campaign, Plan};
use crate::cpu;
use crate::crew::Crew;
use crate::progress::Stage;
use crate::result::RunResult;

/// Agents that come first and take calls like those of the burst, so that what any traffic touches once (code, queues, the heaps of
/// threads) is not counted as the resting agents'.
const WARM_AGENTS: u32 = 64;

/// Most calls to each of them; more would touch nothing new.
const WARM_ROUNDS_MAX: u32 = 1000;

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
    /// Bytes of padding of each call of the burst.
    #[arg(long, default_value_t = 4096)]
    burst_bytes: usize,
    /// How often each agent is called in the burst.
    #[arg(long, default_value_t = 2)]
    burst_rounds: u32,
    /// Longest wait for memory to settle, in seconds.
    #[arg(long, default_value_t = 20)]
    settle_secs: u64,
}

/// Runs it.
///
/// # Errors
/// Agents that do not come, a server that cannot be read.
pub fn run(options: &Options) -> Result<RunResult, String> {
    let settle = Duration::from_secs(options.settle_secs);
    let mut run = Run::begin("idle", &options.common, options.agents, &[])?;
    run.draft
        .parameter("burst bytes", options.burst_bytes)
        .parameter("burst rounds", options.burst_rounds)
        .parameter("hold secs", options.hold.as_secs_f64());
    run.pid()?;
    let fresh = run.settled(settle)?;
    run.draft.figure("server's process, fresh", "B", fresh.process.rss as f64);
    warm(options, &mut run)?;
    let empty = run.settled(settle)?;
    run.draft.figure("server's process, empty after a few agents", "B", empty.process.rss as f64);

    let agents = WARM_AGENTS..WARM_AGENTS.saturating_add(run.agents);
    let crew = run.enlist(&steadfast(agents.clone()))?;
    let before = run.settled(settle)?;
    let resting = run.split("at rest", &empty, &before);
    run.draft.figure("process bytes for each agent at rest", "B", resting).lower().must(128.0);
    hold(options, &mut run, &crew)?;
    if options.burst_rounds > 0 {
        burst(options, &mut run, agents, options.burst_rounds)?;
        let after = run.settled(settle)?;
        let rested = run.split("after a burst", &empty, &after);
        run.draft.figure("process bytes for each agent after a burst", "B", rested).lower().must(resting + 16.0);
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
    let crew = Crew::start(&run.server.target, &steadfast(0..WARM_AGENTS))?;
    crew.wait_ready(Duration::from_secs(20).min(run.left()))?;
    let rounds = run.agents.div_ceil(WARM_AGENTS).saturating_mul(options.burst_rounds);
    burst(options, run, 0..WARM_AGENTS, rounds.min(WARM_ROUNDS_MAX))?;
    crew.stop().map(|_| ())
}

/// All rest; heartbeats go on.
fn hold(options: &Options, run: &mut Run, crew: &Crew) -> Result<(), String> {
    if options.hold.is_zero() {
        return Ok(());
    }
    let stage = Stage::of("rest", options.hold.as_secs());
    let pid = run.pid()?;
    let (before, began) = (cpu::used(pid)?, Instant::now());
    while began.elapsed() < options.hold && !run.left().is_zero() {
        run.pass(Duration::from_millis(200).min(options.hold.saturating_sub(began.elapsed())));
        stage.at(began.elapsed().as_secs());
    }
    let used = cpu::used(pid)?.saturating_sub(before).as_secs_f64() / began.elapsed().as_secs_f64();
    stage.done(&format!("{} agents", crew.up()));
    run.draft.figure("server CPU at rest", "% of a core", used * 100.0).lower();
    Ok(())
}

/// Calls each agent `rounds` times with large parameters.
fn burst(options: &Options, run: &mut Run, agents: Range<u32>, rounds: u32) -> Result<(), String> {
    let plan =
        Plan { in_flight: 64, timeout: Duration::from_secs(20), pad_bytes: options.burst_bytes, limit: run.left() };
    let mut campaign = Campaign::new(&run.server.target, plan, None)?;
    for _ in 0..rounds {
        let mut all = agents.clone();
        let tally = campaign.run(&mut || all.next())?;
        run.count(&tally, Outcomes::OnlyAnswers);
    }
    Ok(())
}
