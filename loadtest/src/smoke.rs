//! The smallest run that proves the product: agents connect, each is called once, every answer is compared.

use std::time::Duration;

use clap::Args;
use serde::Serialize;

use crate::campaign::{Campaign, Plan, Tally};
use crate::crew::{Crew, Duty};
use crate::place::Place;

/// Options of `smoke`.
#[derive(Args, Clone, Debug)]
pub struct Options {
    #[command(flatten)]
    place: Place,
    /// How many agents connect.
    #[arg(long, default_value_t = 100)]
    agents: u32,
    /// Calls in flight.
    #[arg(long, default_value_t = 64)]
    in_flight: usize,
}

/// What `smoke` found.
#[derive(Debug, Serialize)]
pub struct Report {
    agents: u32,
    calls: Tally,
    /// Agents that were not called exactly once.
    miscounted: usize,
    /// Calls that reached another agent.
    misdelivered: u64,
    nonsense: u64,
    /// Agents whose connection ended.
    ended: u32,
}

/// Runs it.
///
/// # Errors
/// Anything lost, stray, doubled or wrong; the message says how many of each.
pub fn run(options: &Options) -> Result<Report, String> {
    let server = options.place.find_or_start(&[])?;
    let duty = Duty::of(0..options.agents);
    let crew = Crew::start(&server.target, &duty)?;
    let ready = crew.wait_ready(Duration::from_secs(60));
    if let Err(error) = ready {
        let log = crew.stop()?;
        return Err(format!("{error}: {:?}", log.endings));
    }
    let plan = Plan {
        in_flight: options.in_flight,
        timeout: Duration::from_secs(20),
        pad_bytes: 0,
        limit: Duration::from_secs(120),
    };
    let mut agents = duty.agents.clone();
    let calls = Campaign::new(&server.target, plan, None)?.run(&mut || agents.next())?;
    let ended = crew.ended();
    let log = crew.stop()?;
    let report = Report {
        agents: options.agents,
        miscounted: log.taken.other_than(1),
        misdelivered: log.strays,
        nonsense: log.nonsense,
        ended,
        calls,
    };
    let clean = report.calls.sent == u64::from(options.agents)
        && report.calls.is_flawless()
        && report.miscounted == 0
        && report.misdelivered == 0
        && report.nonsense == 0
        && report.ended == 0;
    if clean { Ok(report) } else { Err(format!("not every answer is right: {report:#?}")) }
}
