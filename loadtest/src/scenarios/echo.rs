//! Small messages to random ones of many connections of any WebSocket server that echoes, and back.

use std::time::Duration;

use clap::Args;

use super::run::{Common, Run};
use crate::bench::Bounds;
use crate::bench::echo::{Echo, Probe};
use crate::fd_table;
use crate::progress::Stage;
use crate::result::{RunResult, Verdict};

/// Share of the time that comes first and does not count.
const WARM_SHARE: f64 = 0.2;

/// Options of `echo`.
#[derive(Args, Clone, Debug)]
pub struct Options {
    #[command(flatten)]
    common: Common,
    /// How many connections there are.
    #[arg(long, default_value_t = 15_000)]
    connections: u32,
    /// Messages in flight.
    #[arg(long, default_value_t = 64)]
    in_flight: usize,
    /// For how long.
    #[arg(long = "for", default_value = "5s", value_parser = humantime::parse_duration)]
    time: Duration,
    /// Path of a WebSocket that echoes.
    #[arg(long, default_value = "/dev/echo")]
    path: String,
}

/// Runs it.
///
/// # Errors
/// A connection that is refused or ends, a wrong or missing answer.
pub fn run(options: &Options) -> Result<RunResult, String> {
    let server = options.common.place.find_or_start_any()?;
    let room = u32::try_from(fd_table::connections_max().map_err(|error| error.to_string())?).unwrap_or(u32::MAX);
    let mut run = Run::on("echo", server, options.common.limit, options.connections.min(room))?;
    run.draft.parameter("in flight", options.in_flight).parameter("path", options.path.as_str());
    let stage = Stage::of("connect", u64::from(run.agents));
    let mut echo = Echo::open(&run.server.target, &options.path, run.agents)?;
    stage.at(u64::from(run.agents));
    stage.done("");
    let stage = Stage::endless("echo");
    let mut some = |share: f64| {
        let bounds = Bounds {
            time: options.time.mul_f64(share).min(run.left()),
            operations: u64::MAX,
            in_flight: options.in_flight,
            server_pid: run.server.pid,
        };
        echo.run(Probe::Message, bounds)
    };
    some(WARM_SHARE)?;
    let measured = some(1.0)?;
    stage.at(measured.operations);
    stage.done("");
    if run.server.pid.is_some() {
        run.draft.figure("server CPU for an echo", "µs", measured.cpu_us()).lower();
    }
    run.draft.figure("echoes in a second", "/s", measured.per_second()).higher();
    let (p50_us, p99_us, max_us) = (measured.latency.p50_us, measured.latency.p99_us, measured.latency.max_us);
    run.draft.figure("p50 of an echo", "µs", p50_us).lower();
    run.draft.figure("p99 of an echo", "µs", p99_us).lower();
    run.draft.figure("slowest echo", "µs", max_us).lower();
    run.draft.verdict(&Verdict { right: measured.operations, ..Verdict::default() });
    Ok(run.finish())
}
