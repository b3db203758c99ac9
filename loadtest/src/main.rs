//! `holdfast-loadtest`: agents and backends in great numbers, which compare every answer and stop by themselves.
//!
//! Owns the command line.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use serde::Serialize;

use holdfast_loadtest::result::RunResult;
use holdfast_loadtest::scenarios::{call, churn, connect, echo, fanout, idle, million, newcomers, slow, soak, storm};
use holdfast_loadtest::{alone, bench, compare, hold, peer, report, smoke, stop, told};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(version, about)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
    /// File that gets the result as one JSON value; "-" is standard output.
    #[arg(long, global = true)]
    json: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    /// Each of some agents is called once, and every answer is compared.
    Smoke(smoke::Options),
    /// Server processor time for an operation: echo, ping, handshake, call.
    Bench(bench::Options),
    /// What TLS costs: handshakes beside rustls alone, echo and calls beside the same in plaintext.
    BenchTls(bench::tls::Options),
    /// A server of rustls and nothing else, which `bench-tls` measures the gateway beside.
    RustlsAlone(alone::Options),
    /// What a resting agent costs: memory before and after a burst of calls, processor time at rest.
    Idle(idle::Options),
    /// The headline: a million agents, memory for each, calls as fast as with a thousand, every one answering.
    Million(million::Options),
    /// Agents come as fast as they can: rate, processor time, memory against connections.
    Connect(connect::Options),
    /// Calls to random agents at a given number in flight: processor time and latency.
    Call(call::Options),
    /// Messages to random connections of any WebSocket server that echoes, and back.
    Echo(echo::Options),
    /// One call to every agent, as fast as the window lets.
    Fanout(fanout::Options),
    /// All agents are dropped at once and come back, while calls go on.
    Storm(storm::Options),
    /// Newcomers at a high rate; those who are there must not feel them.
    Newcomers(newcomers::Options),
    /// A few agents never read; the others must not feel them.
    Slow(slow::Options),
    /// A share of the agents leaves and comes back each second, while calls go on.
    Churn(churn::Options),
    /// A mix for as long as you like, every answer checked, memory watched.
    Soak(soak::Options),
    /// Agents that answer until standard input ends, at a gateway that runs.
    Agents(hold::AgentsOptions),
    /// Calls to random agents of a gateway that runs; any true outcome will do.
    Calls(hold::CallsOptions),
    /// Memory and processor time of any server that speaks one of the dialects, for `scripts/compare`.
    Peer(peer::Options),
    /// Medians of `peer` results, and their ratios to the first server's.
    PeerTable(peer::TableOptions),
    /// Results as one HTML page with plots.
    Report(report::Options),
    /// Two results side by side, with ratios; says first what was not alike.
    Compare(compare::Options),
}

fn main() -> ExitCode {
    let line = CommandLine::parse();
    // Agents wait for the end of their input, which a signal need not interrupt: it may end them.
    let waits = matches!(line.command, Command::Agents(_));
    if let Err(error) = if waits { Ok(()) } else { stop::listen() } {
        eprintln!("holdfast-loadtest: signals: {error}");
        return ExitCode::FAILURE;
    }
    let json = line.json.as_deref();
    let done = match &line.command {
        Command::Smoke(options) => smoke::run(options).and_then(|report| tell(json, &report)),
        Command::Bench(options) => bench::run(options).and_then(|rows| write_json(json, &rows)),
        Command::BenchTls(options) => bench::tls::run(options).and_then(|result| judge(json, &result)),
        Command::RustlsAlone(options) => alone::run(options),
        Command::Idle(options) => idle::run(options).and_then(|result| judge(json, &result)),
        Command::Million(options) => million::run(options).and_then(|result| judge(json, &result)),
        Command::Connect(options) => connect::run(options).and_then(|result| judge(json, &result)),
        Command::Call(options) => call::run(options).and_then(|result| judge(json, &result)),
        Command::Echo(options) => echo::run(options).and_then(|result| judge(json, &result)),
        Command::Fanout(options) => fanout::run(options).and_then(|result| judge(json, &result)),
        Command::Storm(options) => storm::run(options).and_then(|result| judge(json, &result)),
        Command::Newcomers(options) => newcomers::run(options).and_then(|result| judge(json, &result)),
        Command::Slow(options) => slow::run(options).and_then(|result| judge(json, &result)),
        Command::Churn(options) => churn::run(options).and_then(|result| judge(json, &result)),
        Command::Soak(options) => soak::run(options).and_then(|result| judge(json, &result)),
        Command::Agents(options) => hold::agents(options),
        Command::Calls(options) => hold::calls(options).and_then(|tally| tell(json, &tally)),
        Command::Peer(options) => peer::run(options).and_then(|report| tell(json, &report)),
        Command::PeerTable(options) => peer::table(options).and_then(|table| write_json(json, &table)),
        Command::Report(options) => report::run(options),
        Command::Compare(options) => compare::run(options).and_then(|(comparison, judged)| {
            if json != Some(Path::new("-")) {
                comparison.print();
            }
            write_json(json, &comparison).and(judged)
        }),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("holdfast-loadtest: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The result for a reader, and for a program where one asked for it.
fn tell<T: Serialize>(json: Option<&Path>, result: &T) -> Result<(), String> {
    if json != Some(Path::new("-")) {
        let text = serde_json::to_string_pretty(result).map_err(|error| error.to_string())?;
        println!("{text}");
    }
    write_json(json, result)
}

/// The result for a reader and for a program; a run that failed is an error.
fn judge(json: Option<&Path>, result: &RunResult) -> Result<(), String> {
    if json != Some(Path::new("-")) {
        print!("{}", told::text(result));
    }
    write_json(json, result)?;
    if result.is_right() { Ok(()) } else { Err(format!("{} failed: {}", result.scenario, result.failures.join("; "))) }
}

fn write_json<T: Serialize>(json: Option<&Path>, result: &T) -> Result<(), String> {
    let Some(path) = json else {
        return Ok(());
    };
    let text = serde_json::to_string(result).map_err(|error| error.to_string())?;
    if path == Path::new("-") {
        println!("{text}");
        return Ok(());
    }
    std::fs::write(path, text + "\n").map_err(|error| format!("{}: {error}", path.display()))
}
