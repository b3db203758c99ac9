//! A few agents never read: they must stay bounded and be let go, and the others must not feel them.

use std::ops::Range;
use std::time::{Duration, Instant};

use clap::Args;

use super::backends::Backends;
use super::run::{Common, Outcomes, Run, steadfast};
use crate::campaign::{Campaign, Next, Plan, Tally};
use crate::crew::{Crew, Duty};
use crate::latency::Latency;
use crate::memory;
use crate::progress::Stage;
use crate::result::RunResult;

/// Settings of a gateway that is started for this: a slow agent is closed soon enough to be seen.
const SETTINGS: [(&str, &str); 1] = [("limits.write_deadline", "2s")];

/// Bytes of a call to an agent that does not read: large, so that the kernel's buffers are full soon.
const FLOOD_BYTES: usize = 64 * 1024;

/// Deadline of such a call: short, so that the next one follows soon.
const FLOOD_TIMEOUT: Duration = Duration::from_millis(250);

/// Longest wait until the gateway has let go of those that never read.
const LET_GO: Duration = Duration::from_secs(5);

/// Options of `slow`.
#[derive(Args, Clone, Debug)]
pub struct Options {
    #[command(flatten)]
    common: Common,
    /// How many agents there are.
    #[arg(long, default_value_t = 2000)]
    agents: u32,
    /// How many of them, in percent, never read once they are welcomed.
    #[arg(long, default_value_t = 1.0)]
    percent: f64,
    /// How long the others are called, once without and once with calls to those that never read.
    #[arg(long = "for", default_value = "8s", value_parser = humantime::parse_duration)]
    time: Duration,
    /// Calls each second to agents that read.
    #[arg(long, default_value_t = 2000)]
    calls_per_second: u32,
}

/// Runs it.
///
/// # Errors
/// Agents that do not come, a control port that cannot be reached.
pub fn run(options: &Options) -> Result<RunResult, String> {
    let mut run = Run::begin("slow", &options.common, options.agents, &SETTINGS)?;
    let deaf = ((f64::from(run.agents) * options.percent / 100.0).ceil() as u32).clamp(1, run.agents);
    if deaf == run.agents {
        return Err("nobody is left who reads".to_owned());
    }
    run.draft
        .parameter("agents that never read", deaf)
        .parameter("secs", options.time.as_secs_f64())
        .parameter("calls per second", options.calls_per_second);
    let pid = run.pid()?;
    let crew = run.enlist(&Duty { deaf, ..steadfast(0..run.agents) })?;
    let readers = deaf..run.agents;

    let alone = spell(options, &mut run, &readers, "readers alone")?;
    let before = memory::resident(pid)?.rss;
    let flood = flood(&run, 0..deaf)?;
    let together = spell(options, &mut run, &readers, "with others that never read")?;
    let flood = flood.stop()?;
    run.count(&flood, Outcomes::AnyTrue);
    if flood.right > 0 {
        run.draft.fail(format!("{} calls were answered by agents that never read", flood.right));
    }
    run.draft
        .figure("p99 of a call with others that never read, against without", "×", ratio(&together, &alone))
        .lower();
    let gone = let_go(&mut run, 0..deaf)?;
    run.draft.figure("agents that never read and were let go", "", gone as f64).higher();
    if crew.ended() > 0 {
        run.draft.fail("agents that read were sent away");
    }
    finish(run, crew, before, deaf)
}

/// Calls those who read for a while; all must answer.
fn spell(options: &Options, run: &mut Run, readers: &Range<u32>, name: &str) -> Result<Latency, String> {
    let plan = Plan { in_flight: 32, timeout: Duration::from_secs(5), pad_bytes: 0, limit: run.left() };
    let mut campaign = Campaign::new(&run.server.target, plan, None)?;
    let stage = Stage::of(name, options.time.as_secs());
    let mut pace = super::backends::Pace::new(options.calls_per_second);
    let began = Instant::now();
    let tally = campaign.run_paced(&mut || {
        stage.at(began.elapsed().as_secs());
        if began.elapsed() > options.time {
            Next::End
        } else if pace.is_due() {
            Next::Call(fastrand::u32(readers.clone()))
        } else {
            Next::Wait
        }
    })?;
    stage.done("");
    run.draft.latency(&format!("call, {name}"), &tally.times);
    run.count(&tally, Outcomes::OnlyAnswers);
    Ok(tally.times)
}

/// Large calls to those who never read, as fast as their deadlines let.
fn flood(run: &Run, deaf: Range<u32>) -> Result<Backends, String> {
    let plan = Plan { in_flight: 64, timeout: FLOOD_TIMEOUT, pad_bytes: FLOOD_BYTES, limit: run.left() };
    Backends::start(Campaign::new(&run.server.target, plan, None)?, deaf, 2000)
}

/// Calls each that never reads until all are offline, which means that they were let go, or it has taken too long. Returns how many are.
fn let_go(run: &mut Run, deaf: Range<u32>) -> Result<u64, String> {
    let plan = Plan { in_flight: 16, timeout: FLOOD_TIMEOUT, pad_bytes: 0, limit: run.left() };
    let mut campaign = Campaign::new(&run.server.target, plan, None)?;
    let end = Instant::now() + LET_GO;
    loop {
        let mut all = deaf.clone();
        let tally: Tally = campaign.run(&mut || all.next())?;
        run.count(&tally, Outcomes::AnyTrue);
        let gone = tally.outcomes.get("offline").copied().unwrap_or_default();
        if gone == deaf.len() as u64 || Instant::now() > end || run.left().is_zero() {
            return Ok(gone);
        }
        run.pass(Duration::from_millis(250));
    }
}

fn ratio(with: &Latency, without: &Latency) -> f64 {
    with.percentiles().p99_us / without.percentiles().p99_us
}

fn finish(mut run: Run, crew: Crew, before: u64, deaf: u32) -> Result<RunResult, String> {
    let (_, samples) = run.dismiss(crew, None)?;
    if let Some(peak) = samples.highest("Memory", "server's process (RSS)") {
        let each = (peak - before as f64) / f64::from(deaf);
        run.draft.figure("highest process bytes for each agent that never reads", "B", each).lower();
    }
    Ok(run.finish())
}
