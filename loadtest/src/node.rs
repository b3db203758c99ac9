//! What a gateway tells of itself: `GET /v1/node`.
//!
//! Owns the reading only. Figures that the kernel can tell are taken from there (`sample`), not from the one who is measured.

use std::time::Duration;

use serde::Deserialize;

use crate::target::Target;

/// How long the answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// The part of the answer that is used here.
#[derive(Clone, Debug, Deserialize)]
pub struct Node {
    /// The longest turn of each event loop since the start, by the clock on the wall, in microseconds.
    pub longest_turn_us: Vec<u64>,
    /// The longest time in one turn that each event loop ran on a core, at most, in microseconds.
    pub longest_turn_cpu_us: Vec<u64>,
}

impl Node {
    /// Asks.
    ///
    /// # Errors
    /// It does not answer, or in another shape.
    pub fn ask(target: &Target) -> Result<Self, String> {
        let url = format!("http://{}/v1/node", target.control);
        let told = |error: &dyn std::fmt::Display| format!("{url}: {error}");
        let agent =
            ureq::Agent::new_with_config(ureq::config::Config::builder().timeout_global(Some(PATIENCE)).build());
        let mut request = agent.get(&url);
        if let Some(key) = &target.api_key {
            request = request.header("Authorization", format!("Bearer {key}"));
        }
        let mut response = request.call().map_err(|error| told(&error))?;
        let body = response.body_mut().read_to_string().map_err(|error| told(&error))?;
        serde_json::from_str(&body).map_err(|error| told(&error))
    }

    /// The longest turn of any loop.
    pub fn longest_turn(&self) -> Duration {
        longest(&self.longest_turn_us)
    }

    /// The longest that any loop ran in one turn, at most.
    pub fn longest_turn_cpu(&self) -> Duration {
        longest(&self.longest_turn_cpu_us)
    }
}

fn longest(micros: &[u64]) -> Duration {
    Duration::from_micros(micros.iter().copied().max().unwrap_or(0))
}
