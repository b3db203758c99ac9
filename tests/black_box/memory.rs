//! What a resting agent costs, as the kernel counts it. The agents live in another process.

use serde_json::Value;

use crate::budget::Crowd;
use crate::gateway::{Gateway, json_of, until};

/// Resident bytes for an idle, authenticated agent.
const BYTES_PER_AGENT_MAX: f64 = 160.0;

/// How much of that may stay behind after a burst.
const BYTES_KEPT_MAX: f64 = 16.0;

/// What the agents added, as the gateway counts it, differs from what the kernel counts by at most this part of it, and by what a
/// crowd of handshakes leaves in the allocator's pages however many come.
const TOLD_SLACK: (f64, f64) = (0.1, 768.0 * 1024.0);

/// Live memory that is in no named part, in bytes: keys, metrics, settings, HTTP connections, the threads' own.
const OTHER_MAX: f64 = 1_500_000.0;

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

/// Agents that rest while the parts are added up.
const AGENTS: u32 = 15_000;

/// Parts that are not counted but follow from what the system says.
const DIFFERENCES: [&str; 3] = ["other", "allocator", "program"];

/// Bytes of the parts that are counted where they are held.
fn counted(memory: &Value) -> f64 {
    let parts = memory["parts"].as_object().expect("parts");
    let counted = parts.iter().filter(|(name, _)| !DIFFERENCES.contains(&name.as_str()));
    counted.map(|(_, bytes)| bytes.as_f64().expect("a number")).sum()
}

/// Holds what the gateway says against the kernel's count. `before` are its counted parts and its anonymous memory without agents.
fn hold(gateway: &Gateway, when: &str, before: (f64, f64)) {
    let fits = || {
        let (memory, resident) = (gateway.memory(), gateway.resident_bytes() as f64);
        let sum = memory["bytes"].as_f64().expect("a number");
        (sum - resident).abs() <= resident / 10.0
    };
    until(fits, &format!("{when}: the parts add up to what is resident, within a tenth"));
    // What the agents brought is in the parts that are counted, and not in what is left over. Loops tell of theirs once a second,
    // and what a burst has left goes back to the system a little later.
    let told = || {
        let (grown, told) = (gateway.rollup("Anonymous:") as f64 - before.1, counted(&gateway.memory()) - before.0);
        (told - grown).abs() <= grown * TOLD_SLACK.0 + TOLD_SLACK.1
    };
    until(told, &format!("{when}: what the agents added is in the parts that are counted"));
    let memory = gateway.memory();
    let other = memory["parts"]["other"].as_f64().expect("a number");
    assert!(other <= OTHER_MAX, "{when}: {memory:#}");
}

#[test]
fn the_parts_add_up_to_what_the_kernel_counts() {
    let gateway = Gateway::start("");
    // What the first agents touch once is there before it is looked at.
    drop(Crowd::connect(&gateway, 1000));
    gateway.wait_no_agents();
    until(|| counted(&gateway.memory()) > 0.0, "loops have told of theirs");
    let before = (counted(&gateway.memory()), gateway.rollup("Anonymous:") as f64);
    let crowd = Crowd::connect(&gateway, AGENTS);
    hold(&gateway, "at rest", before);
    let slots = || gateway.memory()["parts"]["slots"].as_u64().expect("a number");
    until(|| slots() >= u64::from(AGENTS) * 64, "loops have told of all slots");
    let slots = slots();
    assert_eq!(gateway.metric("holdfast_memory_bytes", "slots"), slots);

    let node: Value = serde_json::from_str(&gateway.page("/v1/node")).expect("JSON");
    for figure in ["longest_turn_us", "longest_turn_cpu_us"] {
        let turns = node[figure].as_array().expect("one for each loop");
        let connections = node["connections"].as_array().expect("one for each loop");
        assert_eq!(turns.len(), connections.len());
        assert!(turns.iter().all(|micros| micros.as_u64() > Some(0)), "{node:#}");
    }

    let mut burst = gateway.load("calls");
    burst.args(["--agents", &AGENTS.to_string(), "--count", "30000", "--json", "-"]);
    let tally = json_of(&mut burst);
    assert_eq!(tally["right"], 30_000, "{tally:#}");
    hold(&gateway, "after a burst", before);
    drop(crowd);
}
