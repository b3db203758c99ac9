//! Calls to each agent, and the few that come first, are called, and go: what any traffic touches once (code, queues, the heaps of
//! threads) is then not counted as the resting agents'.

use std::time::Duration;

use super::run::{Outcomes, Run, steadfast};
use crate::campaign::{Campaign, Plan, Tally};
use crate::crew::Crew;
use crate::progress::Stage;

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

/// Calls each agent of the run once, under a progress bar of this name. All must answer.
///
/// # Errors
/// The campaign failed.
pub fn call_each(run: &mut Run, campaign: &mut Campaign, name: &str) -> Result<Tally, String> {
    let stage = Stage::of(name, u64::from(run.agents));
    let mut all = 0..run.agents;
    let tally = campaign.run(&mut || {
        stage.at(u64::from(all.start));
        all.next()
    })?;
    stage.done("");
    run.count(&tally, Outcomes::OnlyAnswers);
    Ok(tally)
}
