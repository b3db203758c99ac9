//! What a resting agent costs, as the kernel counts it. The agents live in another process.

use serde_json::Value;

use crate::gateway::{Gateway, json_of};

/// Resident bytes for an idle, authenticated agent.
const BYTES_PER_AGENT_MAX: f64 = 160.0;

/// How much of that may stay behind after a burst.
const BYTES_KEPT_MAX: f64 = 16.0;

#[test]
fn idle_agents_cost_almost_nothing_and_a_burst_is_given_back() {
    let gateway = Gateway::start("");
    let mut idle = gateway.load_at_process("idle");
    let report = json_of(idle.args(["--agents", "15000", "--json", "-"]));
    for figure in ["rss_per_agent", "pss_per_agent"] {
        let of = |when: &str| -> f64 {
            let value: &Value = &report[when][figure];
            value.as_f64().expect("a figure")
        };
        let (before, after) = (of("before_burst"), of("after_burst"));
        assert!(before <= BYTES_PER_AGENT_MAX, "{figure}: {report:#}");
        assert!(after <= before + BYTES_KEPT_MAX, "{figure}: {report:#}");
    }
}
