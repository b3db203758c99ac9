//! The two halves of a smoke run as processes of their own, so that a test can kill one: agents that stay, and calls to them.
//!
//! Both are for a gateway that runs: one of its own would be of no use to the other half.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Args};

use crate::campaign::{Campaign, Plan, Tally};
use crate::crew::{Crew, Duty};
use crate::place::Known;
use crate::secrecy::Secrecy;

/// Options of `agents`.
#[derive(Args, Clone, Debug)]
#[command(group(ArgGroup::new("way in").args(["dev", "secret"]).required(true)))]
pub struct AgentsOptions {
    #[command(flatten)]
    gateway: Known,
    #[command(flatten)]
    secrecy: Secrecy,
    /// Number of the first agent.
    #[arg(long, default_value_t = 0)]
    first: u32,
    /// How many agents connect.
    #[arg(long, default_value_t = 100)]
    count: u32,
    /// How long an agent thinks before it answers, in milliseconds.
    #[arg(long, default_value_t = 0)]
    delay_ms: u64,
    /// File that gets the number of each call before the call is answered.
    #[arg(long)]
    journal: Option<PathBuf>,
}

/// Options of `calls`.
#[derive(Args, Clone, Debug)]
pub struct CallsOptions {
    #[command(flatten)]
    gateway: Known,
    /// Agents 0 up to this number are called at random.
    #[arg(long, default_value_t = 100)]
    agents: u32,
    /// How many calls are made.
    #[arg(long, default_value_t = 1000)]
    count: u32,
    /// Calls in flight.
    #[arg(long, default_value_t = 64)]
    in_flight: usize,
    /// Deadline of each call, in milliseconds.
    #[arg(long, default_value_t = 20_000)]
    timeout_ms: u64,
    /// File that gets one line a call: number, agent, outcome, microseconds.
    #[arg(long)]
    log: Option<PathBuf>,
}

/// Connects agents, says `ready`, and stays until standard input ends.
///
/// # Errors
/// An agent could not connect.
pub fn agents(options: &AgentsOptions) -> Result<(), String> {
    let mut server = options.gateway.find()?;
    server.target.tls = options.secrecy.of_running()?;
    let duty = Duty {
        delay: Duration::from_millis(options.delay_ms),
        journal: options.journal.clone(),
        ..Duty::of(options.first..options.first.saturating_add(options.count))
    };
    let crew = Crew::start(&server.target, &duty)?;
    crew.wait_ready(Duration::from_secs(60))?;
    let mut out = std::io::stdout();
    writeln!(out, "ready agents={}", options.count).and_then(|()| out.flush()).map_err(|error| error.to_string())?;
    let mut rest = Vec::new();
    std::io::stdin().read_to_end(&mut rest).map_err(|error| error.to_string())?;
    let (taken, ended) = (crew.taken(), crew.ended());
    let log = crew.stop()?;
    writeln!(out, "taken={taken} ended={ended} strays={}", log.strays).map_err(|error| error.to_string())
}

/// Calls agents at random and tells how the calls ended. Only wrong, stray and missing answers fail it.
///
/// # Errors
/// A call without exactly one answer, or with a wrong one.
pub fn calls(options: &CallsOptions) -> Result<Tally, String> {
    let timeout = Duration::from_millis(options.timeout_ms);
    let plan = Plan { in_flight: options.in_flight, timeout, pad_bytes: 0, limit: Duration::from_secs(600) };
    let mut left = options.count;
    let mut next = || {
        left = left.checked_sub(1)?;
        Some(fastrand::u32(0..options.agents.max(1)))
    };
    let server = options.gateway.find_any()?;
    let tally = Campaign::new(&server.target, plan, options.log.as_deref())?.run(&mut next)?;
    if tally.wrong + tally.lost + tally.strays > 0 {
        return Err(format!("not every call has one true outcome: {tally:#?}"));
    }
    Ok(tally)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    enum Line {
        Agents(AgentsOptions),
        Calls(CallsOptions),
    }

    #[test]
    fn agents_must_say_how_they_get_in_and_neither_half_starts_a_gateway() {
        for (line, right) in [
            (&["agents"][..], false),
            (&["agents", "--dev"], true),
            (&["agents", "--secret", "s", "--listen", "127.0.0.1:9"], true),
            (&["agents", "--dev", "--secret", "s"], false),
            (&["agents", "--dev", "--gateway", "holdfast"], false),
            (&["calls"], true),
            (&["calls", "--control", "127.0.0.1:9", "--api-key", "k"], true),
            (&["calls", "--loops", "2"], false),
        ] {
            let parsed = Line::try_parse_from([&["x"], line].concat());
            assert_eq!(parsed.is_ok(), right, "{line:?}");
            match parsed {
                Ok(Line::Agents(options)) => assert!(options.gateway.find().is_ok(), "{line:?}"),
                Ok(Line::Calls(options)) => assert!(options.gateway.find_any().is_ok(), "{line:?}"),
                Err(_) => {}
            }
        }
    }
}
