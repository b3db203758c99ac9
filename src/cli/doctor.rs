//! `holdfast doctor`: how many agents the running host carries, which limit bites first, and what lifts it.
//!
//! Owns the flags, the one question that takes a try (a private descriptor table), and the exit code. What is read is
//! `machine`, what is short is `diagnose`; both are pure. It changes nothing: `tuning/apply` does.

mod diagnose;
mod finding;
mod machine;
mod plan;
mod report;

use std::path::Path;
use std::process::ExitCode;
use std::thread;

use self::diagnose::diagnose;
use self::finding::{Finding, bites_first};
use self::machine::{Machine, Tables};
use self::plan::Plan;
use self::report::Report;
use super::failure::Failure;
use super::print;
use super::settings_file::SettingsFile;
use crate::config::{self, Settings, Sources};
use crate::net::fd_table;

/// Flags of `doctor`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Agents that this host shall hold; without it, as many as it can.
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = clap::value_parser!(u64).range(1..=CONNECTIONS_ASKED_MAX))]
    pub connections: Option<u64>,
    /// Which settings count.
    #[command(flatten)]
    pub settings: SettingsFile,
    /// One JSON object instead of a table.
    #[arg(long)]
    pub json: bool,
}

/// All that 256 loops can hold.
const CONNECTIONS_ASKED_MAX: u64 = 4_294_950_912;

/// Reads the host and prints what it allows. Exit code 0 when the agents fit, 1 when they don't, 2 for wrong usage.
#[must_use]
pub fn run(args: Args) -> ExitCode {
    let loaded = match config::load(&Sources::of_process(args.settings.path, Vec::new())) {
        Ok(loaded) => loaded,
        Err(problems) => return Failure::from(problems).tell(),
    };
    let machine = Machine::read(Path::new("/"), try_private_table());
    let report = examine(&machine, &loaded.settings, args.connections);
    let text = if args.json { report.json() } else { report.text() };
    match print(&text) {
        Ok(()) if report.fits => ExitCode::SUCCESS,
        Ok(()) => ExitCode::FAILURE,
        Err(failure) => failure.tell(),
    }
}

/// The findings for so many agents, or for as many as the first limit that bites lets in.
fn examine(machine: &Machine, settings: &Settings, asked: Option<u64>) -> Report {
    let plan = Plan::of(machine, settings);
    let connections = asked.unwrap_or_else(|| {
        let findings = diagnose(machine, settings, 1);
        bites_first(&findings).and_then(|finding| finding.agents).unwrap_or(0)
    });
    let findings: Vec<Finding> = diagnose(machine, settings, connections);
    Report::new(connections, plan, findings)
}

/// Whether a thread of this process gets a descriptor table of its own. The thread ends at once, and its copy with it.
fn try_private_table() -> Tables {
    let tried = thread::Builder::new().name("unshare".to_owned()).spawn(|| fd_table::isolate(&[]));
    match tried.map(thread::JoinHandle::join) {
        Ok(Ok(Ok(()))) => Tables::Private,
        Ok(Ok(Err(error))) | Err(error) => Tables::Shared(error.to_string()),
        Ok(Err(_panic)) => Tables::Shared("the thread that tried it broke".to_owned()),
    }
}

#[cfg(test)]
mod tests;
