//! A mix for hours: small and large calls, agents that leave and come back, and faults where they are asked for; every answer is checked, and
//! memory must stay flat.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use clap::Args;

use super::backends::Backends;
use super::faults::Faults;
use super::run::{Common, DESCRIPTORS, Outcomes, RESTLESS, Run, witnessed};
use super::trend::slope;
use crate::campaign::{Campaign, Plan};
use crate::progress::Stage;
use crate::result::RunResult;
use crate::sample::{SERVER_MEMORY, Samples};
use crate::witness::Witness;

/// Bytes of padding of a large call.
const LARGE_BYTES: usize = 16 * 1024;

/// One call in so many is large.
const LARGE_ONE_IN: u32 = 20;

/// The first part of the run does not count for slopes: what is touched once is touched then.
const WARM_SHARE: f64 = 0.25;

/// Runs of at least this length must be flat; in shorter ones a slope says little and is told only.
const LONG: Duration = Duration::from_secs(600);

/// Growth of the server's memory over the counted part of a long run, as a share of where it began, that fails it.
const GROWTH_MAX: f64 = 0.1;

/// Options of `soak`.
#[derive(Args, Clone, Debug)]
pub struct Options {
    #[command(flatten)]
    common: Common,
    /// How many agents there are.
    #[arg(long, default_value_t = 5000)]
    agents: u32,
    /// For how long; --limit is longer by itself.
    #[arg(long = "for", default_value = "60s", value_parser = humantime::parse_duration)]
    time: Duration,
    /// Calls each second to random agents.
    #[arg(long, default_value_t = 1000)]
    calls_per_second: u32,
    /// Agents that leave and come back each second.
    #[arg(long, default_value_t = 20)]
    leave_per_second: u32,
    /// Faults are injected, one kind after the other.
    #[arg(long)]
    faults: bool,
    /// How often.
    #[arg(long, requires = "faults", default_value = "1m", value_parser = humantime::parse_duration)]
    fault_every: Duration,
    /// Decides the order of the faults, and their bytes.
    #[arg(long, requires = "faults", default_value_t = 1)]
    fault_seed: u64,
}

/// Runs it.
///
/// # Errors
/// Agents that do not come, a control port that cannot be reached.
pub fn run(options: &Options) -> Result<RunResult, String> {
    let common = Common { limit: options.common.limit + options.time, ..options.common.clone() };
    let mut run = Run::begin("soak", &common, options.agents, &[])?;
    run.draft
        .parameter("secs", options.time.as_secs_f64())
        .parameter("calls per second", options.calls_per_second)
        .parameter("leave per second", options.leave_per_second);
    let (witness, duty) = witnessed(run.agents, RESTLESS);
    let crew = run.enlist(&duty)?;
    let begin = run.draft.began().elapsed().as_secs_f64();
    let large = options.calls_per_second / LARGE_ONE_IN;
    let small = backends(&run, &witness, Kind::Small, options.calls_per_second - large)?;
    let large = backends(&run, &witness, Kind::Large, large.max(1))?;
    crew.churn(options.leave_per_second);
    let mut faults = options.faults.then(|| Faults::new(options.fault_seed, options.fault_every));
    if options.faults {
        run.draft
            .parameter("a fault every, secs", options.fault_every.as_secs_f64())
            .parameter("seed of the faults", options.fault_seed);
    }

    let stage = Stage::of("soak", options.time.as_secs());
    let began = Instant::now();
    while began.elapsed() < options.time && !run.left().is_zero() {
        run.pass(Duration::from_millis(200).min(options.time.saturating_sub(began.elapsed())));
        if let Some(faults) = &mut faults {
            faults.tend(&mut run, &crew, options.leave_per_second)?;
        }
        stage.at(began.elapsed().as_secs());
        stage.say(&format!("{} calls taken", crew.taken()));
    }
    crew.churn(0);
    if let Some(faults) = faults {
        faults.finish(&mut run)?;
    }
    let end = run.draft.began().elapsed().as_secs_f64();
    stage.done(&format!(
        "{} calls taken, {} left and came back",
        crew.taken(),
        crew.board().fallen.load(Ordering::Acquire)
    ));
    for (name, backends) in [("small call", small), ("large call", large)] {
        let tally = backends.stop()?;
        run.draft.latency(name, &tally.times);
        run.count(&tally, Outcomes::AnyTrue);
    }
    if let Err(error) = crew.wait_ready(Duration::from_secs(30).min(run.left())) {
        run.draft.fail(format!("not all came back: {error}"));
    }
    let (_, samples) = run.dismiss(crew, Some(&witness))?;
    let counted = (begin + (end - begin) * WARM_SHARE, end);
    flatness(&mut run, &samples, counted, options.time >= LONG);
    Ok(run.finish())
}

/// What a call of a backend is like.
#[derive(Clone, Copy)]
enum Kind {
    Small,
    Large,
}

fn backends(run: &Run, witness: &Arc<Witness>, kind: Kind, per_second: u32) -> Result<Backends, String> {
    let (pad_bytes, in_flight, turn) = match kind {
        Kind::Small => (0, 64, 0),
        Kind::Large => (LARGE_BYTES, 8, 1),
    };
    let plan = Plan { in_flight, timeout: Duration::from_secs(5), pad_bytes, limit: run.left() };
    let campaign = Campaign::new(&run.server.target, plan, None)?.before(Arc::clone(witness)).taking_turns(turn, 2);
    Backends::start(campaign, 0..run.agents, per_second)
}

/// How the server's memory and descriptors went over the counted part, `from` to `to` in seconds of the run.
fn flatness(run: &mut Run, samples: &Samples, (from, to): (f64, f64), must_be_flat: bool) {
    for (plot, name, figure, unit) in [
        (SERVER_MEMORY.0, SERVER_MEMORY.1, "slope of the server's memory", "B/h"),
        (DESCRIPTORS.0, DESCRIPTORS.1, "slope of the server's descriptors", "/h"),
    ] {
        let Some(series) = samples.series.iter().find(|series| series.plot == plot && series.name == name) else {
            continue;
        };
        let points: Vec<(f64, f64)> = series.points.iter().copied().filter(|(x, _)| (from..=to).contains(x)).collect();
        let (Some(slope), Some(first)) = (slope(&points), points.first()) else {
            continue;
        };
        run.draft.figure(figure, unit, slope * 3600.0).lower();
        let growth = slope * (to - from) / first.1;
        if must_be_flat && growth > GROWTH_MAX {
            run.draft.fail(format!("{name} grew by {:.0} % in {:.0} s", growth * 100.0, to - from));
        }
    }
}
