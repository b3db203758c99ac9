//! What is told of this node.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::kit::memory;
use crate::kit::overload::Level;
use crate::kit::tick::Now;
use crate::net::event_loop::{LONG_TURNS_MS, LoopStatus};

use super::Dispatch;

/// What is known about this node.
#[derive(Clone, Debug)]
pub struct NodeView {
    /// The node's name.
    pub name: String,
    /// Open connections of each loop.
    pub connections: Vec<u32>,
    /// Most connections of the node.
    pub connections_max: u32,
    /// How long turns of each loop took.
    pub turns: Vec<TurnsView>,
    /// Whether the node takes more memory than it may, and lets nobody else in.
    pub over_budget: bool,
    /// How overloaded the node is by its memory.
    pub memory_level: Level,
    /// How overloaded each loop is, and how far it is behind.
    pub lags: Vec<(Level, Duration)>,
    /// Most connections of one loop.
    pub connections_max_per_loop: u32,
    /// Open connections at the port of control links.
    pub links: u32,
    /// Agents in the directory.
    pub agents: usize,
    /// Calls in flight.
    pub calls_in_flight: usize,
    /// Whether it drains.
    pub draining: bool,
    /// How long it runs.
    pub uptime: Duration,
}

/// How long turns of a loop took, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TurnsView {
    /// The longest, by the wall's clock.
    pub longest: Duration,
    /// The most that one kept a core.
    pub longest_cpu: Duration,
    /// How many took as long as each of [`LONG_TURNS_MS`].
    pub long: [u64; LONG_TURNS_MS.len()],
}

impl Dispatch {
    /// About this node.
    #[must_use]
    pub fn node(&self, now: Now) -> NodeView {
        NodeView {
            name: self.name.clone(),
            connections: self.loops.iter().map(|door| door.status.connections.load(Ordering::Relaxed)).collect(),
            connections_max: self.connections_max,
            turns: self.loops.iter().map(|door| TurnsView::of(&door.status)).collect(),
            over_budget: self.budget.is_over(memory::process_bytes()),
            memory_level: self.budget.level(),
            lags: self.loops.iter().map(|door| (door.status.lag.level(), door.status.lag.span())).collect(),
            connections_max_per_loop: self.connections_max_per_loop,
            links: self.loops.iter().map(|door| door.status.links.load(Ordering::Relaxed)).sum(),
            agents: self.directory.len(),
            calls_in_flight: self.calls.len(),
            draining: self.is_draining(),
            uptime: now.since(Now(0)),
        }
    }
}

impl TurnsView {
    fn of(status: &LoopStatus) -> Self {
        let turns = &status.turns;
        Self { longest: turns.longest(), longest_cpu: turns.longest_cpu(), long: turns.long() }
    }
}
