//! What a gateway tells of itself: `GET /v1/node`.
//!
//! Owns the reading only. Figures that the kernel can tell are taken from there (`sample`), not from the one who is measured.

use std::collections::BTreeMap;
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
    /// Its memory.
    pub memory: Memory,
}

/// The part of the memory that is used here.
#[derive(Clone, Debug, Deserialize)]
pub struct Memory {
    /// Bytes by part; their sum is what the process has in RAM.
    pub parts: BTreeMap<String, u64>,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_is_read_and_the_rest_is_passed_over() {
        let text = r#"{"node":"n","longest_turn_us":[7,1500],"longest_turn_cpu_us":[],"links":3,
            "memory":{"bytes":7,"parts":{"slots":3,"ids":4},"used":12}}"#;
        let node: Node = serde_json::from_str(text).expect("as the gateway writes it");
        assert_eq!((node.longest_turn(), node.longest_turn_cpu()), (Duration::from_micros(1500), Duration::ZERO));
        assert_eq!((node.memory.parts["slots"], node.memory.parts["ids"]), (3, 4));
    }
}
