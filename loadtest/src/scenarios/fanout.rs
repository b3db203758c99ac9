//! One call to every agent, as fast as the window lets: how long until all have answered, and each exactly once.

use std::time::{Duration, Instant};

use clap::Args;

use super::run::{Common, Outcomes, Run, steadfast};
use crate::campaign::{Campaign, Plan};
use crate::cpu;
use crate::progress::Stage;
use crate::result::RunResult;

/// Options of `fanout`.
#[derive(Args, Clone, Debug)]
pub struct Options {
    #[command(flatten)]
    common: Common,
    /// How many agents are there.
    #[arg(long, default_value_t = 15_000)]
    agents: u32,
    /// Calls in flight.
    #[arg(long, default_value_t = 256)]
    in_flight: usize,
    /// Bytes of padding of each call and each answer.
    #[arg(long, default_value_t = 0)]
    bytes: usize,
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
    run.draft
        .parameter("in flight", options.in_flight)
        .parameter("bytes", options.bytes)
        .parameter("rounds", options.rounds);
    let crew = run.enlist(&steadfast(0..run.agents))?;
    let plan = Plan {
        in_flight: options.in_flight,
        timeout: Duration::from_secs(20),
        pad_bytes: options.bytes,
        limit: run.left(),
    };
    let mut campaign = Campaign::new(&run.server.target, plan, None)?;
    let before = run.server.pid.map(cpu::used).transpose()?;
    let mut fastest = f64::INFINITY;
    let mut right = 0;
    for round in 1..=options.rounds {
        let stage = Stage::of(&format!("round {round}"), u64::from(run.agents));
        let mut all = 0..run.agents;
        let began = Instant::now();
        let tally = campaign.run(&mut || {
            stage.at(u64::from(all.start));
            all.next()
        })?;
        let secs = began.elapsed().as_secs_f64();
        stage.done("");
        fastest = fastest.min(secs);
        right += tally.right;
        run.draft.figure(&format!("time until all have answered, round {round}"), "s", secs).lower();
        run.draft.latency(&format!("call, round {round}"), &tally.times);
        run.count(&tally, Outcomes::OnlyAnswers);
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
