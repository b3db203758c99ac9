//! Agents come as fast as they can: the rate, what a handshake costs both sides, memory against connections, the longest pause.

use std::sync::atomic::Ordering;
use std::time::Duration;

use clap::Args;

use super::run::{Common, Run, steadfast};
use crate::cpu;
use crate::result::RunResult;
use crate::settle;

/// Options of `connect`.
#[derive(Args, Clone, Debug)]
pub struct Options {
    #[command(flatten)]
    common: Common,
    /// How many agents come.
    #[arg(long, default_value_t = 15_000)]
    agents: u32,
    /// Longest wait for the server's memory to settle before and after.
    #[arg(long, default_value = settle::LONGEST, value_parser = humantime::parse_duration)]
    settle: Duration,
}

/// Runs it.
///
/// # Errors
/// Agents that do not come, a server that cannot be read.
pub fn run(options: &Options) -> Result<RunResult, String> {
    let mut run = Run::begin("connect", &options.common, options.agents, &[])?;
    let pid = run.pid()?;
    let empty = run.settled(options.settle)?;
    let own = cpu::used(std::process::id())?;
    let server = cpu::used(pid)?;
    let crew = run.enlist(&steadfast(0..run.agents))?;
    let agents = u64::from(run.agents);
    run.cpu_each("server CPU for a handshake", server, agents)?;
    let own = cpu::used(std::process::id())?.saturating_sub(own);
    run.draft.figure("harness CPU for a handshake", "µs", own.as_secs_f64() * 1e6 / agents as f64).lower();
    let secs = run.noted("time to connect all");
    run.draft.figure("connections in a second", "/s", agents as f64 / secs).higher();
    run.draft.figure("longest time between two welcomes", "ms", crew.longest_gap().as_secs_f64() * 1e3).lower();
    let failed = crew.board().failed.load(Ordering::Acquire);
    run.draft.figure("attempts that failed", "", failed as f64).lower();
    let full = run.settled(options.settle)?;
    run.split("at rest", &empty, &full);
    run.dismiss(crew, None)?;
    Ok(run.finish())
}
