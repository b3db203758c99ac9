//! One call to every agent, as fast as the window lets: how long until all have answered, and each exactly once.

use std::time::Instant;

use clap::Args;

use super::calling::Calling;
use super::run::{Common, Run, steadfast};
use super::warm;
use crate::cpu;
use crate::result::RunResult;

/// Options of `fanout`.
#[derive(Args, Clone, Debug)]
#[command(mut_arg("in_flight", |in_flight| in_flight.default_value("256")), mut_arg("over", |over| over.default_value("link")))]
pub struct Options {
    #[command(flatten)]
    common: Common,
    /// How many agents are there.
    #[arg(long, default_value_t = 15_000)]
    agents: u32,
    #[command(flatten)]
    calling: Calling,
    /// How often all agents are called.
    #[arg(long, default_value_t = 3)]
    rounds: u16,
}

/// Runs it.
///
/// # Errors
/// Agents that do not come, a control port that cannot be reached.
pub fn run(options: &Options) -> Result<RunResult, String> {
    let mut run = Run::begin("fanout", &options.common, options.agents, &[])?;
    options.calling.note(&mut run);
    run.draft.parameter("rounds", options.rounds);
    let crew = run.enlist(&steadfast(0..run.agents))?;
    let mut campaign = options.calling.connect(&run)?;
    let before = run.server.pid.map(cpu::used).transpose()?;
    let mut fastest = f64::INFINITY;
    let mut right = 0;
    for round in 1..=options.rounds {
        let began = Instant::now();
        let tally = warm::call_each(&mut run, &mut campaign, &format!("round {round}"))?;
        let secs = began.elapsed().as_secs_f64();
        fastest = fastest.min(secs);
        right += tally.right;
        run.draft.figure(&format!("time until all have answered, round {round}"), "s", secs).lower();
        run.draft.latency(&format!("call, round {round}"), &tally.times);
    }
    run.draft.figure("answers in a second, fastest round", "/s", f64::from(run.agents) / fastest).higher();
    if let Some(before) = before {
        run.cpu_each("server CPU for a call", before, right)?;
    }
    let (log, _) = run.dismiss(crew, None)?;
    let other = log.taken.other_than(options.rounds);
    if other > 0 {
        run.draft.fail(format!("{other} agents were not called exactly {} times", options.rounds));
    }
    Ok(run.finish())
}
