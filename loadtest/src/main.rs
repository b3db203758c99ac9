//! `holdfast-loadtest`: agents and backends in great numbers, which compare every answer and stop by themselves.
//!
//! Owns the command line. It starts no server: it is told where one is.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use serde::Serialize;

mod backend_link;
mod bench;
mod campaign;
mod cpu;
mod crew;
mod fd_table;
mod fleet;
mod frame;
mod hold;
mod http;
mod idle;
mod latency;
mod link;
mod memory;
mod question;
mod smoke;
mod source;
mod table;
mod target;

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
    /// Server memory for a resting agent, before and after a burst of calls.
    Idle(idle::Options),
    /// Agents that answer until standard input ends.
    Agents(hold::AgentsOptions),
    /// Calls to random agents; any true outcome will do.
    Calls(hold::CallsOptions),
}

fn main() -> ExitCode {
    let line = CommandLine::parse();
    let json = line.json.as_deref();
    let done = match &line.command {
        Command::Smoke(options) => smoke::run(options).and_then(|report| tell(json, &report)),
        Command::Bench(options) => bench::run(options).and_then(|rows| write_json(json, &rows)),
        Command::Idle(options) => idle::run(options).and_then(|report| tell(json, &report)),
        Command::Agents(options) => hold::agents(options),
        Command::Calls(options) => hold::calls(options).and_then(|tally| tell(json, &tally)),
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
