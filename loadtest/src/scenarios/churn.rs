//! A share of the agents leaves and comes back each second, while calls go on whose outcomes must be true.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use clap::Args;

use super::backends::Backends;
use super::run::{Common, Outcomes, RESTLESS, Run, witnessed};
use crate::campaign::{Campaign, Plan};
use crate::progress::Stage;
use crate::result::RunResult;

/// Options of `churn`.
#[derive(Args, Clone, Debug)]
pub struct Options {
    #[command(flatten)]
    common: Common,
    /// How many agents there are.
    #[arg(long, default_value_t = 5000)]
    agents: u32,
    /// How many of them, in percent, leave each second.
    #[arg(long, default_value_t = 5.0)]
    percent: f64,
    /// For how long.
    #[arg(long = "for", default_value = "20s", value_parser = humantime::parse_duration)]
    time: Duration,
    /// Calls each second to random agents, meanwhile.
    #[arg(long, default_value_t = 2000)]
    calls_per_second: u32,
}

/// Runs it.
///
/// # Errors
/// Agents that do not come, a control port that cannot be reached.
pub fn run(options: &Options) -> Result<RunResult, String> {
    let mut run = Run::begin("churn", &options.common, options.agents, &[])?;
    run.draft
        .parameter("percent per second", options.percent)
        .parameter("secs", options.time.as_secs_f64())
        .parameter("calls per second", options.calls_per_second);
    let (witness, duty) = witnessed(run.agents, RESTLESS);
    let crew = run.enlist(&duty)?;
    let plan = Plan { in_flight: 64, timeout: Duration::from_secs(5), pad_bytes: 0, limit: run.left() };
    let campaign = Campaign::new(&run.server.target, plan, None)?.before(Arc::clone(&witness));
    let backends = Backends::start(campaign, 0..run.agents, options.calls_per_second)?;
    crew.churn((f64::from(run.agents) * options.percent / 100.0).ceil() as u32);
    let stage = Stage::of("churn", options.time.as_secs());
    let began = Instant::now();
    while began.elapsed() < options.time && !run.left().is_zero() {
        run.pass(Duration::from_millis(100).min(options.time.saturating_sub(began.elapsed())));
        stage.at(began.elapsed().as_secs());
    }
    let fallen = crew.board().fallen.load(Ordering::Acquire);
    run.draft.figure("connections that came again in a second", "/s", fallen as f64 / began.elapsed().as_secs_f64());
    crew.churn(0);
    stage.done(&format!("{fallen} left"));
    let tally = backends.stop()?;
    run.draft.latency("call", &tally.times);
    run.count(&tally, Outcomes::AnyTrue);
    if fallen == 0 {
        run.draft.fail("nobody left");
    }
    if let Err(error) = crew.wait_ready(Duration::from_secs(30).min(run.left())) {
        run.draft.fail(format!("not all came back: {error}"));
    }
    run.dismiss(crew, Some(&witness))?;
    Ok(run.finish())
}
