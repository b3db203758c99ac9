//! HTTP calls to random agents, which live on a thread of this process; each answer is compared.

use std::time::Duration;

use super::Bounds;
use super::meter::{Meter, Run};
use crate::campaign::{Campaign, Plan};
use crate::crew::{Crew, Duty};
use crate::target::Target;

/// Agents that wait, and backends that call them.
pub struct Calls {
    crew: Crew,
    campaign: Campaign,
    agents: u32,
    bounds: Bounds,
}

impl Calls {
    /// Connects both.
    ///
    /// # Errors
    /// Not all could connect.
    pub fn start(target: &Target, agents: u32, bounds: Bounds) -> Result<Self, String> {
        let duty = Duty::of(0..agents);
        let crew = Crew::start(target, &duty)?;
        crew.wait_ready(Duration::from_secs(60))?;
        let plan =
            Plan { in_flight: bounds.in_flight, timeout: Duration::from_secs(10), pad_bytes: 0, limit: bounds.time };
        Ok(Self { crew, campaign: Campaign::new(target, plan, None)?, agents, bounds })
    }

    /// One run.
    ///
    /// # Errors
    /// An answer is missing or wrong.
    pub fn run(&mut self) -> Result<Run, String> {
        let mut left = self.bounds.operations;
        let meter = Meter::start(self.bounds.server_pid)?;
        let tally = self.campaign.run(&mut || {
            left = left.checked_sub(1)?;
            Some(fastrand::u32(0..self.agents.max(1)))
        })?;
        if !tally.is_flawless() {
            return Err(format!("not every answer is right: {tally:#?}"));
        }
        meter.stop(tally.right, tally.latency)
    }

    /// Lets the agents go.
    ///
    /// # Errors
    /// A thread failed.
    pub fn stop(self) -> Result<(), String> {
        self.crew.stop().map(|_| ())
    }
}
