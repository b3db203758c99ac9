//! Options of scenarios that only call: how many calls at once, over what, and how large.
//!
//! Owns their defaults, and what of them a result tells. Whom to call and how often is the scenario's.

use std::time::Duration;

use clap::Args;

use super::run::Run;
use crate::callers::Over;
use crate::campaign::{Campaign, Plan};

/// Deadline of each call.
const TIMEOUT: Duration = Duration::from_secs(20);

/// How a scenario calls. Its own defaults it says with `mut_arg`.
#[derive(Args, Clone, Debug)]
pub struct Calling {
    /// Calls in flight.
    #[arg(long, default_value_t = 64)]
    in_flight: usize,
    /// What carries the calls.
    #[arg(long, value_enum, default_value = "http")]
    over: Over,
    /// Bytes of padding of each call and each answer.
    #[arg(long, default_value_t = 0)]
    bytes: usize,
}

impl Calling {
    /// Notes the options in the result.
    pub fn note(&self, run: &mut Run) {
        run.draft
            .parameter("over", self.over.name())
            .parameter("in flight", self.in_flight)
            .parameter("bytes", self.bytes);
    }

    /// Connects the backends, for what is left of the run's time.
    ///
    /// # Errors
    /// Nobody serves them, or they are not let in.
    pub fn connect(&self, run: &Run) -> Result<Campaign, String> {
        let plan = Plan { in_flight: self.in_flight, timeout: TIMEOUT, pad_bytes: self.bytes, limit: run.left() };
        Ok(Campaign::over(self.over.connect(&run.server.target, plan.in_flight)?, plan))
    }
}
