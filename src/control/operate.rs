//! What operators and their machines ask: the node, its health, its metrics, and this API's description.
//!
//! Owns when a node counts as ready. It changes nothing.

use std::collections::BTreeMap;

use serde::Serialize;

use super::answer::{Answer, Media};
use super::problem::{Kind, Problem};
use super::setup::Shared;
use crate::kit::overload::Level;
use crate::kit::tick::{Now, millis};
use crate::work::dispatch::NodeView;
use crate::work::holdings::Holdings;

/// This API as OpenAPI 3.1. A test holds it against the table of routes.
pub const OPENAPI: &str = include_str!("openapi.json");

#[derive(Serialize)]
struct NodeJson<'a> {
    node: &'a str,
    version: &'static str,
    uptime_ms: u64,
    draining: bool,
    agents: usize,
    calls_in_flight: usize,
    connections: &'a [u32],
    connections_max: u32,
    links: u32,
    connections_max_per_loop: u32,
    longest_turn_us: Vec<u128>,
    longest_turn_cpu_us: Vec<u128>,
    overload: OverloadJson,
    memory: MemoryJson,
}

#[derive(Serialize)]
struct OverloadJson {
    memory: &'static str,
    loops: Vec<&'static str>,
    lag_ms: Vec<u64>,
}

#[derive(Serialize)]
struct MemoryJson {
    bytes: usize,
    parts: BTreeMap<&'static str, usize>,
    used: u64,
    budget: Option<u64>,
    over_budget: bool,
}

/// `GET /v1/node`.
#[must_use]
pub fn node(shared: &Shared, now: Now) -> Answer {
    let node = shared.dispatch.node(now);
    Answer::json(200, Media::Json, &node_json(&node, &holdings(shared)))
}

/// `GET /livez`: who can answer is alive.
#[must_use]
pub fn live() -> Answer {
    Answer::new(200, Media::Json, &b"{\"live\":true}"[..])
}

/// `GET /readyz`.
///
/// # Errors
/// 503 that says why no traffic should come here.
pub fn ready(shared: &Shared, now: Now) -> Result<Answer, Problem> {
    match why_not_ready(&shared.dispatch.node(now)) {
        None => Ok(Answer::new(200, Media::Json, &b"{\"ready\":true}"[..])),
        Some(why) => Err(Problem::new(Kind::NotReady).detail(why)),
    }
}

/// `GET /metrics`.
#[must_use]
pub fn metrics(shared: &Shared, now: Now) -> Answer {
    shared.count.node(&shared.dispatch.node(now));
    shared.count.memory(&holdings(shared));
    Answer::new(200, Media::Metrics, shared.metrics.render())
}

/// `GET /openapi.json`.
#[must_use]
pub fn openapi() -> Answer {
    Answer::new(200, Media::Json, OPENAPI.as_bytes())
}

fn holdings(shared: &Shared) -> Holdings {
    let control = shared.idempotency().bytes();
    shared.dispatch.holdings(control)
}

fn node_json<'a>(node: &'a NodeView, holdings: &Holdings) -> NodeJson<'a> {
    NodeJson {
        node: &node.name,
        version: env!("CARGO_PKG_VERSION"),
        uptime_ms: millis(node.uptime),
        draining: node.draining,
        agents: node.agents,
        calls_in_flight: node.calls_in_flight,
        connections: &node.connections,
        connections_max: node.connections_max,
        links: node.links,
        connections_max_per_loop: node.connections_max_per_loop,
        longest_turn_us: node.turns.iter().map(|turns| turns.longest.as_micros()).collect(),
        longest_turn_cpu_us: node.turns.iter().map(|turns| turns.longest_cpu.as_micros()).collect(),
        overload: OverloadJson {
            memory: node.memory_level.word(),
            loops: node.lags.iter().map(|(level, _)| level.word()).collect(),
            lag_ms: node.lags.iter().map(|(_, span)| millis(*span)).collect(),
        },
        memory: MemoryJson {
            bytes: holdings.sum(),
            parts: holdings.parts().collect(),
            used: holdings.used,
            budget: holdings.budget,
            over_budget: node.over_budget,
        },
    }
}

/// What is told of a node where a reason holds.
type Detail = fn(&NodeView) -> Option<String>;

/// Every reason why no traffic should come, as this API's description names it; the first that holds is told.
const REASONS: [(&str, Detail); 5] = [
    ("the node is draining", |node| node.draining.then(|| "The node is draining.".to_owned())),
    ("at its limit of connections (`limits.connections`", |node| {
        let (open, max) = (node.connections.iter().map(|open| u64::from(*open)).sum::<u64>(), node.connections_max);
        (open >= u64::from(max)).then(|| format!("The node is at its limit of {max} connections."))
    }),
    ("over its memory budget (`limits.memory`)", |node| {
        node.over_budget.then(|| "The node is over its memory budget (`limits.memory`).".to_owned())
    }),
    // By memory a node that lets nobody in is over its budget, and stays overloaded for a while after that.
    ("overloaded (`[overload]`)", |node| {
        let worst = node.lags.iter().map(|(level, _)| *level).max().unwrap_or_default();
        let by_memory = node.memory_level >= Level::Shed;
        (by_memory || worst >= Level::Refuse).then(|| {
            let (by, level) =
                if by_memory { ("memory", node.memory_level) } else { ("the lag of an event loop", worst) };
            format!("The node is overloaded by {by}: level `{}` (`[overload]`).", level.word())
        })
    }),
    // One full loop is enough: the kernel spreads connections over the loops without asking which has room.
    ("one of its event loops is at its own limit of connections", |node| {
        let max = node.connections_max_per_loop;
        let full = node.connections.iter().position(|open| *open >= max)?;
        Some(format!("Event loop {full} is at its limit of {max} connections."))
    }),
];

fn why_not_ready(node: &NodeView) -> Option<String> {
    REASONS.iter().find_map(|(_, detail)| detail(node))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::work::dispatch::TurnsView;
    use crate::work::holdings::PARTS;

    fn view(connections: &[u32], draining: bool) -> NodeView {
        NodeView {
            name: "n1".to_owned(),
            connections: connections.to_vec(),
            connections_max: 20,
            turns: vec![
                TurnsView {
                    longest: Duration::from_micros(1500),
                    longest_cpu: Duration::from_micros(700),
                    long: [1, 0, 0, 0],
                };
                connections.len()
            ],
            over_budget: false,
            memory_level: Level::Calm,
            lags: vec![(Level::Calm, Duration::from_millis(7)); connections.len()],
            links: 3,
            connections_max_per_loop: 10,
            agents: 7,
            calls_in_flight: 2,
            draining,
            uptime: Duration::from_secs(3),
        }
    }

    #[test]
    fn a_node_is_ready_until_it_drains_or_a_loop_is_full() {
        for (connections, draining, why) in [
            (&[0, 0][..], false, None),
            (&[9, 9], false, None),
            (&[], false, None),
            (&[0, 10], false, Some("loop 1")),
            (&[11, 0], false, Some("loop 0")),
            (&[8, 8, 4], false, Some("node")),
            (&[0, 0], true, Some("draining")),
        ] {
            let found = why_not_ready(&view(connections, draining));
            assert_eq!(found.is_some(), why.is_some(), "{connections:?}");
            assert!(found.unwrap_or_default().contains(why.unwrap_or_default()));
        }
        let over = NodeView { over_budget: true, ..view(&[0], false) };
        assert!(why_not_ready(&over).unwrap().contains("memory budget"));
        for (memory_level, lag, why) in [
            (Level::Refuse, Level::Calm, None),
            (Level::Shed, Level::Calm, Some("by memory: level `shed`")),
            (Level::Calm, Level::Refuse, Some("by the lag of an event loop: level `refuse`")),
            (Level::Close, Level::Refuse, Some("by memory: level `close`")),
        ] {
            let lags = vec![(Level::Calm, Duration::ZERO), (lag, Duration::ZERO)];
            let told = why_not_ready(&NodeView { memory_level, lags, ..view(&[0, 0], false) });
            assert_eq!(told.is_some(), why.is_some());
            assert!(told.unwrap_or_default().contains(why.unwrap_or_default()));
        }
    }

    #[test]
    fn the_description_names_every_reason() {
        let text: serde_json::Value = serde_json::from_str(OPENAPI).unwrap();
        let told = text["paths"]["/readyz"]["get"]["responses"]["503"]["description"].as_str().unwrap();
        for (described, _) in REASONS {
            assert!(!described.is_empty() && told.matches(described).count() == 1, "{described}: {told}");
        }
        assert_eq!(REASONS.iter().map(|(described, _)| described).collect::<BTreeSet<_>>().len(), REASONS.len());
    }

    #[test]
    fn a_node_is_written_whole() {
        let mut holdings = Holdings { used: 12, budget: Some(90), ..Holdings::default() };
        (holdings.bytes[0], holdings.bytes[PARTS.len() - 1]) = (3, 4);
        let parts: BTreeMap<_, _> = holdings.parts().collect();
        assert_eq!((parts["slots"], parts["program"], parts.len()), (3, 4, PARTS.len()));
        assert_eq!(
            serde_json::to_value(node_json(&view(&[4, 5], false), &holdings)).unwrap(),
            json!({
                "node": "n1", "version": env!("CARGO_PKG_VERSION"), "uptime_ms": 3000, "draining": false,
                "agents": 7, "calls_in_flight": 2, "connections": [4, 5], "links": 3, "connections_max": 20,
                "connections_max_per_loop": 10,
                "longest_turn_us": [1500, 1500], "longest_turn_cpu_us": [700, 700],
                "overload": {"memory": "calm", "loops": ["calm", "calm"], "lag_ms": [7, 7]},
                "memory": {"bytes": 7, "parts": parts, "used": 12, "budget": 90, "over_budget": false},
            })
        );
    }
}
