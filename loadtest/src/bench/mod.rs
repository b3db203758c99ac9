//! The benchmark: what one operation costs the server, in microseconds of processor time.
//!
//! Owns the order of measurements and the medians. It starts no server; each run is bounded in time and count.

mod call;
pub mod echo;
mod handshake;
mod link;
pub mod meter;
pub mod tls;

use std::time::Duration;

use clap::{Args, ValueEnum};
use holdfast::wire::envelope::Encoding;
use serde::Serialize;

use crate::latency::Percentiles;
use crate::median::median;
use crate::place::Place;
use crate::{cpu, fd_table, table};
use meter::Run;

/// Options of `bench`.
#[derive(Args, Clone, Debug)]
pub struct Options {
    #[command(flatten)]
    place: Place,
    /// Operations to measure; all when none is named.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Operation>,
    /// Runs of each operation; the median counts. One more comes first and does not count.
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Longest time of a run, in seconds.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Most operations of a run.
    #[arg(long, default_value_t = 200_000)]
    operations: u64,
    /// Operations in flight.
    #[arg(long, default_value_t = 64)]
    in_flight: usize,
    /// Connections to choose from, for echo and ping.
    #[arg(long, default_value_t = 15_000)]
    connections: u32,
    /// Agents to call.
    #[arg(long, default_value_t = 1000)]
    agents: u32,
    /// Path of a WebSocket that echoes.
    #[arg(long, default_value = "/dev/echo")]
    echo_path: String,
    /// Core that this process runs on.
    #[arg(long)]
    core: Option<usize>,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Operation {
    /// 32 bytes to a random connection and back.
    Echo,
    /// A ping to a random connection and its pong.
    Ping,
    /// Connect, upgrade with a checked token, welcome; then the client resets TCP.
    Handshake,
    /// The same, ended by the closing handshake of RFC 6455.
    HandshakeClose,
    /// An HTTP call to an agent and back.
    Call,
    /// A call over one control link, binary.
    LinkCall,
    /// The same in JSON.
    LinkCallJson,
}

/// Bounds of one run.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Longest time.
    pub time: Duration,
    /// Most operations.
    pub operations: u64,
    /// Operations in flight.
    pub in_flight: usize,
    /// The server, where what it uses may be read.
    pub server_pid: Option<u32>,
}

/// One row of the table: medians over the runs.
#[derive(Debug, Serialize)]
pub struct Row {
    operation: Operation,
    /// Processor time of the server for one operation.
    server_cpu_us: f64,
    /// Lowest and highest of the runs.
    server_cpu_us_range: (f64, f64),
    operations_per_second: f64,
    latency: Percentiles,
    runs: usize,
    /// Operations of all counted runs.
    operations: u64,
}

/// Measures and prints.
///
/// # Errors
/// The server cannot be reached or read, or an answer was wrong: a wrong answer has no speed.
pub fn run(options: &Options) -> Result<Vec<Row>, String> {
    if let Some(core) = options.core {
        cpu::pin(core)?;
    }
    let server = options.place.find_or_start(&[])?;
    let target = &server.target;
    let bounds = Bounds {
        time: Duration::try_from_secs_f64(options.seconds).map_err(|error| error.to_string())?,
        operations: options.operations,
        in_flight: options.in_flight,
        server_pid: Some(server.pid.ok_or("--server-pid is needed")?),
    };
    let wanted = |operation| options.only.is_empty() || options.only.contains(&operation);
    let mut rows = Vec::new();
    if wanted(Operation::Echo) || wanted(Operation::Ping) {
        let mut echo = echo::Echo::open(target, &options.echo_path, fits(options.connections, 1)?)?;
        for (operation, probe) in [(Operation::Echo, echo::Probe::Message), (Operation::Ping, echo::Probe::Ping)] {
            if wanted(operation) {
                rows.push(repeat(operation, options, &mut || echo.run(probe, bounds))?);
            }
        }
    }
    for (operation, ending) in
        [(Operation::Handshake, handshake::Ending::Tcp), (Operation::HandshakeClose, handshake::Ending::CloseFrame)]
    {
        if wanted(operation) {
            let mut handshakes = handshake::Handshakes::new(target.clone(), ending)?;
            rows.push(repeat(operation, options, &mut || handshakes.run(bounds))?);
        }
    }
    if wanted(Operation::Call) {
        let mut calls = call::Calls::start(target, options.agents, bounds)?;
        rows.push(repeat(Operation::Call, options, &mut || calls.run())?);
        calls.stop()?;
    }
    for (operation, encoding) in [(Operation::LinkCall, Encoding::Binary), (Operation::LinkCallJson, Encoding::Json)] {
        if wanted(operation) && (target.link.is_some() || !options.only.is_empty()) {
            let mut calls = link::LinkCalls::start(target, encoding, options.agents, bounds)?;
            rows.push(repeat(operation, options, &mut || calls.run())?);
            calls.stop()?;
        }
    }
    table::print(&HEAD, &rows.iter().map(Row::cells).collect::<Vec<_>>());
    Ok(rows)
}

/// How many connections are held on each of so many sides: fewer than asked for where the descriptors do not suffice, which is said.
fn fits(connections: u32, sides: u32) -> Result<u32, String> {
    let room = fd_table::connections_max().map_err(|error| error.to_string())?;
    let room = u32::try_from(room).unwrap_or(u32::MAX) / sides;
    if room < connections {
        eprintln!(
            "only {room} connections instead of {connections}: the hard limit of descriptors is low (ulimit -Hn)"
        );
    }
    Ok(room.min(connections))
}

/// One run that does not count, then the counted ones.
fn repeat(
    operation: Operation,
    options: &Options,
    once: &mut dyn FnMut() -> Result<Run, String>,
) -> Result<Row, String> {
    let named = |error| format!("{operation:?}: {error}");
    once().map_err(named)?;
    let runs = (0..options.runs.max(1)).map(|_| once().map_err(named)).collect::<Result<Vec<_>, _>>()?;
    let cpu = |run: &Run| run.cpu_us();
    Ok(Row {
        operation,
        server_cpu_us: median(runs.iter().map(cpu)),
        server_cpu_us_range: (
            runs.iter().map(cpu).fold(f64::INFINITY, f64::min),
            runs.iter().map(cpu).fold(0.0, f64::max),
        ),
        operations_per_second: median(runs.iter().map(Run::per_second)),
        latency: Percentiles {
            p50_us: median(runs.iter().map(|run| run.latency.p50_us)),
            p99_us: median(runs.iter().map(|run| run.latency.p99_us)),
            max_us: median(runs.iter().map(|run| run.latency.max_us)),
        },
        runs: runs.len(),
        operations: runs.iter().map(|run| run.operations).sum(),
    })
}

const HEAD: [&str; 8] = ["operation", "CPU µs/op", "lowest", "highest", "op/s", "p50 µs", "p99 µs", "max µs"];

impl Row {
    fn cells(&self) -> Vec<String> {
        let name = self.operation.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned());
        let figures = [
            (self.server_cpu_us, 2),
            (self.server_cpu_us_range.0, 2),
            (self.server_cpu_us_range.1, 2),
            (self.operations_per_second, 0),
            (self.latency.p50_us, 0),
            (self.latency.p99_us, 0),
            (self.latency.max_us, 0),
        ];
        std::iter::once(name).chain(figures.map(|(figure, digits)| format!("{figure:.digits$}"))).collect()
    }
}
