//! What a resting agent costs, as the kernel counts it. The agents live in another process.

use crate::gateway::{Gateway, json_of};

/// Resident bytes for an idle, authenticated agent.
const BYTES_PER_AGENT_MAX: f64 = 160.0;

/// How much of that may stay behind after a burst.
const BYTES_KEPT_MAX: f64 = 16.0;

#[test]
fn idle_agents_cost_almost_nothing_and_a_burst_is_given_back() {
    let gateway = Gateway::start("");
    let mut idle = gateway.load_at_process("idle");
    let result = json_of(idle.args(["--agents", "15000", "--hold", "0s", "--json", "-"]));
    let figures = result["figures"].as_array().expect("figures");
    let of = |name: &str| -> f64 {
        let figure = figures.iter().find(|figure| figure["name"] == name);
        figure.and_then(|figure| figure["value"].as_f64()).unwrap_or_else(|| panic!("no {name}: {result:#}"))
    };
    let before = of("process bytes for each agent at rest");
    let after = of("process bytes for each agent after a burst");
    assert!(before <= BYTES_PER_AGENT_MAX, "{result:#}");
    assert!(after <= before + BYTES_KEPT_MAX, "{result:#}");
}
