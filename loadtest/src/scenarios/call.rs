//! Backend to agent to backend: what a call costs the server and how long it takes, at a given number in flight.

use clap::Args;

use super::calling::Calling;
use super::run::{Common, Outcomes, Run, steadfast};
use crate::cpu;
use crate::progress::Stage;
use crate::result::RunResult;

/// Calls that come first and do not count.
const WARM_CALLS: u32 = 2000;

/// Options of `call`.
#[derive(Args, Clone, Debug)]
pub struct Options {
    #[command(flatten)]
    common: Common,
    /// How many agents are there; random ones are called.
    #[arg(long, default_value_t = 1000)]
    agents: u32,
    /// How many calls are made.
    #[arg(long, default_value_t = 100_000)]
    calls: u32,
    #[command(flatten)]
    calling: Calling,
}

/// Runs it.
///
/// # Errors
/// Agents that do not come, a control port that cannot be reached.
pub fn run(options: &Options) -> Result<RunResult, String> {
    let mut run = Run::begin("call", &options.common, options.agents, &[])?;
    options.calling.note(&mut run);
    let agents = 0..run.agents;
    let crew = run.enlist(&steadfast(agents.clone()))?;
    let mut campaign = options.calling.connect(&run)?;
    let mut some = |count: u32, stage: &Stage| {
        let mut left = count;
        campaign.run(&mut || {
            left = left.checked_sub(1)?;
            stage.at(u64::from(count - left));
            Some(fastrand::u32(agents.clone()))
        })
    };
    let warm = some(WARM_CALLS.min(options.calls), &Stage::of("warm up", u64::from(WARM_CALLS)))?;
    run.count(&warm, Outcomes::OnlyAnswers);

    let before = run.server.pid.map(cpu::used).transpose()?;
    let began = std::time::Instant::now();
    let stage = Stage::of("call", u64::from(options.calls));
    let tally = some(options.calls, &stage)?;
    let secs = began.elapsed().as_secs_f64();
    stage.done("");
    if let Some(before) = before {
        run.cpu_each("server CPU for a call", before, tally.right)?;
    }
    run.draft.figure("calls in a second", "/s", tally.right as f64 / secs).higher();
    run.draft.latency("call", &tally.times);
    run.count(&tally, Outcomes::OnlyAnswers);
    if tally.sent < u64::from(options.calls) {
        run.draft.fail(format!("only {} of {} calls were made in time", tally.sent, options.calls));
    }
    run.dismiss(crew, None)?;
    Ok(run.finish())
}
