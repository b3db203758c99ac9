//! A few agents that come first, are called, and go: what any traffic touches once (code, queues, the heaps of threads) is then
//! not counted as the resting agents'.

use std::time::Duration;

use super::run::{Outcomes, Run, steadfast};
use crate::campaign::{Campaign, Plan};
use crate::crew::Crew;

/// How many come.
pub const AGENTS: u32 = 64;

/// They come, each is called `rounds` times with `pad_bytes` of padding, and they go.
///
/// # Errors
/// They do not come, or the control port cannot be reached.
pub fn warm(run: &mut Run, rounds: u32, pad_bytes: usize) -> Result<(), String> {
    let crew = Crew::start(&run.server.target, &steadfast(0..AGENTS))?;
    crew.wait_ready(Duration::from_secs(20).min(run.left()))?;
    call_all(run, 0..AGENTS, rounds, pad_bytes)?;
    crew.stop().map(|_| ())
}

/// Calls each of `agents` so many times, 64 in flight. All must answer.
///
/// # Errors
/// The control port cannot be reached.
pub fn call_all(run: &mut Run, agents: std::ops::Range<u32>, rounds: u32, pad_bytes: usize) -> Result<(), String> {
    let plan = Plan { in_flight: 64, timeout: Duration::from_secs(20), pad_bytes, limit: run.left() };
    let mut campaign = Campaign::new(&run.server.target, plan, None)?;
    for _ in 0..rounds {
        let mut all = agents.clone();
        let tally = campaign.run(&mut || all.next())?;
        run.count(&tally, Outcomes::OnlyAnswers);
    }
    Ok(())
}
