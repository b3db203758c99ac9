//! What operators and their machines ask: the node, its health, its metrics, and this API's description.
//!
//! Owns when a node counts as ready. It changes nothing.

use serde::Serialize;

use super::answer::{Answer, Media};
use super::problem::{Kind, Problem};
use super::setup::Shared;
use crate::kit::tick::{Now, millis};
use crate::work::dispatch::NodeView;

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
    links: u32,
    connections_max: u32,
    connections_max_per_loop: u32,
}

/// `GET /v1/node`.
#[must_use]
pub fn node(shared: &Shared, now: Now) -> Answer {
    let node = shared.dispatch.node(now);
    Answer::json(200, Media::Json, &node_json(&node))
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
    Answer::new(200, Media::Metrics, shared.metrics.render())
}

/// `GET /openapi.json`.
#[must_use]
pub fn openapi() -> Answer {
    Answer::new(200, Media::Json, OPENAPI.as_bytes())
}

fn node_json(node: &NodeView) -> NodeJson<'_> {
    NodeJson {
        node: &node.name,
        version: env!("CARGO_PKG_VERSION"),
        uptime_ms: millis(node.uptime),
        draining: node.draining,
        agents: node.agents,
        calls_in_flight: node.calls_in_flight,
        connections: &node.connections,
        links: node.links,
        connections_max: node.connections_max,
        connections_max_per_loop: node.connections_max_per_loop,
    }
}

/// One full loop is enough: the kernel spreads connections over the loops without asking which has room.
fn why_not_ready(node: &NodeView) -> Option<String> {
    if node.draining {
        return Some("The node is draining.".to_owned());
    }
    let max = node.connections_max;
    if node.connections.iter().map(|open| u64::from(*open)).sum::<u64>() >= u64::from(max) {
        return Some(format!("The node is at its limit of {max} connections."));
    }
    let max = node.connections_max_per_loop;
    let full = node.connections.iter().position(|open| *open >= max)?;
    Some(format!("Event loop {full} is at its limit of {max} connections."))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    fn view(connections: &[u32], draining: bool) -> NodeView {
        NodeView {
            name: "n1".to_owned(),
            connections: connections.to_vec(),
            links: 3,
            connections_max: 20,
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
    }

    #[test]
    fn a_node_is_written_whole() {
        assert_eq!(
            serde_json::to_value(node_json(&view(&[4, 5], false))).unwrap(),
            json!({
                "node": "n1", "version": env!("CARGO_PKG_VERSION"), "uptime_ms": 3000, "draining": false,
                "agents": 7, "calls_in_flight": 2, "connections": [4, 5], "links": 3, "connections_max": 20,
                "connections_max_per_loop": 10,
            })
        );
    }
}
