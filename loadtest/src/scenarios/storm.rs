//! All agents are dropped at once and come back with back-off, while calls go on whose outcomes must be true.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use clap::Args;

use super::backends::Backends;
use super::run::{Common, Outcomes, Run, WEIGHED_FROM, witnessed};
use super::warm;
use crate::campaign::{Campaign, Plan};
use crate::comeback::BackOff;
use crate::crew::Crew;
use crate::progress::Stage;
use crate::result::RunResult;
use crate::sample::{SERVER_CPU, SERVER_MEMORY};
use crate::settle;
use crate::witness::Witness;

/// Calls to each of the first agents before anything is measured.
const WARM_ROUNDS: u32 = 100;

/// How long calls go on before the storm and after it.
const CALM: Duration = Duration::from_secs(1);

/// Options of `storm`.
#[derive(Args, Clone, Debug)]
pub struct Options {
    #[command(flatten)]
    common: Common,
    /// How many agents are there.
    #[arg(long, default_value_t = 15_000)]
    agents: u32,
    /// Longest pause of an agent before its first attempt; it doubles with each that fails, and the pause is any part of it.
    #[arg(long, default_value = "1s", value_parser = humantime::parse_duration)]
    back_off: Duration,
    /// Longest pause of all.
    #[arg(long, default_value = "30s", value_parser = humantime::parse_duration)]
    back_off_max: Duration,
    /// Calls each second to random agents, meanwhile.
    #[arg(long, default_value_t = 1000)]
    calls_per_second: u32,
    /// Longest wait for memory to settle.
    #[arg(long, default_value = settle::LONGEST, value_parser = humantime::parse_duration)]
    settle: Duration,
}

/// Runs it.
///
/// # Errors
/// Agents that do not come, a server that cannot be read.
pub fn run(options: &Options) -> Result<RunResult, String> {
    let mut run = Run::begin("storm", &options.common, options.agents, &[])?;
    run.draft
        .parameter("back-off secs", options.back_off.as_secs_f64())
        .parameter("back-off at most, secs", options.back_off_max.as_secs_f64())
        .parameter("calls per second", options.calls_per_second);
    run.pid()?;
    warm::warm(&mut run, WARM_ROUNDS, 0)?;
    let back_off = BackOff { base: options.back_off, cap: options.back_off_max };
    let (witness, duty) = witnessed(run.agents, back_off);
    let empty = run.settled(options.settle)?;
    let crew = run.enlist(&duty)?;
    let calm = run.settled(options.settle)?;
    let resting = run.split("before the storm", &empty, &calm);

    let backends = backends(options, &run, &witness)?;
    run.pass(CALM);
    let whole = weather(&mut run, &crew)?;
    run.pass(CALM);
    let tally = backends.stop()?;
    run.draft.latency("call meanwhile", &tally.times);
    run.count(&tally, Outcomes::AnyTrue);
    if whole {
        all_answer(&mut run, &witness, tally.unused_number)?;
    }
    let after = run.settled(options.settle)?;
    let rested = run.split("after the storm", &empty, &after);
    run.draft.figure("process bytes for each agent after a storm", "B", rested).lower();
    run.bound("process bytes for each agent after a storm", resting + run.left_most(), WEIGHED_FROM..);
    let (_, samples) = run.dismiss(crew, Some(&witness))?;
    if let Some(peak) = samples.highest(SERVER_CPU.0, SERVER_CPU.1) {
        run.draft.figure("highest server CPU in a sample", "% of a core", peak).lower();
    }
    if let Some(peak) = samples.highest(SERVER_MEMORY.0, SERVER_MEMORY.1) {
        let each = (peak - empty.process.rss as f64) / f64::from(run.agents);
        run.draft.figure("highest process bytes for each agent", "B", each).lower();
    }
    Ok(run.finish())
}

fn backends(options: &Options, run: &Run, witness: &Arc<Witness>) -> Result<Backends, String> {
    let plan = Plan { in_flight: 64, timeout: Duration::from_secs(5), pad_bytes: 0, limit: run.left() };
    let campaign = Campaign::new(&run.server.target, plan, None)?.before(Arc::clone(witness));
    Backends::start(campaign, 0..run.agents, options.calls_per_second)
}

/// Drops all and waits until all are back; tells when which share was. Says whether all came.
fn weather(run: &mut Run, crew: &Crew) -> Result<bool, String> {
    let agents = u64::from(run.agents);
    let board = crew.board();
    let (fallen, welcomed) = (board.fallen.load(Ordering::Acquire), board.welcomes.load(Ordering::Acquire));
    let failed = board.failed.load(Ordering::Acquire);
    let stage = Stage::of("storm", agents);
    let began = Instant::now();
    crew.drop_all();
    let mut shares =
        [(0.5, "half"), (0.9, "90 % of the agents"), (0.99, "99 % of the agents"), (1.0, "all")].into_iter().peekable();
    while let Some((share, name)) = shares.peek() {
        let back = board.welcomes.load(Ordering::Acquire) - welcomed;
        stage.at(back.min(agents));
        let all_fell = board.fallen.load(Ordering::Acquire) - fallen >= agents;
        // At the end it counts who is there, since an agent may have fallen twice.
        let there = *share < 1.0 || (all_fell && crew.up() == run.agents);
        if there && back as f64 >= share * agents as f64 {
            run.draft.figure(&format!("time until {name} came back"), "s", began.elapsed().as_secs_f64()).lower();
            shares.next();
            continue;
        }
        if run.left().is_zero() {
            run.draft.fail(format!("only {} of {agents} agents came back", crew.up()));
            return Ok(false);
        }
        run.pass(Duration::from_millis(5));
    }
    let failed = board.failed.load(Ordering::Acquire) - failed;
    stage.done(&format!("{failed} attempts failed"));
    run.draft.figure("attempts that failed", "", failed as f64).lower();
    Ok(true)
}

/// Every agent is called once, and must answer.
fn all_answer(run: &mut Run, witness: &Arc<Witness>, number: u64) -> Result<(), String> {
    let plan = Plan { in_flight: 64, timeout: Duration::from_secs(20), pad_bytes: 0, limit: run.left() };
    let mut campaign = Campaign::new(&run.server.target, plan, None)?.before(Arc::clone(witness)).from_number(number);
    let tally = warm::call_each(run, &mut campaign, "call all")?;
    run.draft.latency("call after the storm", &tally.times);
    Ok(())
}
