//! What backends can ask of this node: the one door from the control floor down to agents.

use std::net::SocketAddr;
use std::time::Duration;

use crate::calls::OnEnd;
use crate::directory::{Filter, Labels, LastClose, Page};
use crate::kit::ids::{CallId, TenantId};
use crate::kit::tick::Now;
use crate::wire::envelope::{Encoding, Payload};

/// A call as a backend asks for it.
pub struct CallRequest<'a> {
    /// Whose agent.
    pub tenant: TenantId,
    /// Which agent.
    pub agent: &'a str,
    /// What to run.
    pub method: &'a str,
    /// Its parameters.
    pub params: Payload<'a>,
    /// How long to wait, already within the limits.
    pub timeout: Duration,
}

/// What is known about a connected agent.
#[derive(Clone, Debug)]
pub struct AgentView {
    /// Its labels.
    pub labels: Labels,
    /// How its envelopes are written.
    pub encoding: Encoding,
    /// When it connected.
    pub since: Now,
    /// Where from; `None` when the socket just failed.
    pub peer: Option<SocketAddr>,
    /// Calls in flight.
    pub calls_in_flight: u32,
    /// Round trip of the last heartbeat, in microseconds; `None` before the first.
    pub round_trip_us: Option<u32>,
    /// Bytes read from it, all layers above TCP.
    pub bytes_in: u64,
    /// Bytes written to it.
    pub bytes_out: u64,
    /// When it was last heard.
    pub last_heard: Now,
}

/// What is known about this node.
#[derive(Clone, Debug)]
pub struct NodeView {
    /// The node's name.
    pub name: String,
    /// Open connections of each loop.
    pub connections: Vec<u32>,
    /// Most connections of one loop.
    pub connections_max_per_loop: u32,
    /// Agents in the directory.
    pub agents: usize,
    /// Calls in flight.
    pub calls_in_flight: usize,
    /// Whether it drains.
    pub draining: bool,
    /// How long it runs.
    pub uptime: Duration,
}

/// The door to agents. Cheap to share; every method may be called from any thread and none blocks.
pub struct Dispatch {}

impl Dispatch {
    /// The id of a tenant, made when it is new.
    pub fn tenant(&self, name: &str) -> TenantId {
        let _ = name;
        todo!()
    }

    /// Sends a call; `on_end` runs exactly once with its outcome, maybe before this returns. `None` when the call ended
    /// before it was sent.
    pub fn call(&self, now: Now, request: &CallRequest<'_>, on_end: OnEnd) -> Option<CallId> {
        let _ = (now, request, on_end);
        todo!()
    }

    /// The caller went away: ends the call as cancelled and tells the agent. Nothing happens when it has ended.
    pub fn cancel(&self, call: CallId) {
        let _ = call;
        todo!()
    }

    /// Agents of a tenant.
    #[must_use]
    pub fn agents(&self, tenant: TenantId, filter: &Filter, cursor: u64, limit: usize) -> Page {
        let _ = (tenant, filter, cursor, limit);
        todo!()
    }

    /// Asks for what is known about an agent; `on_view` runs exactly once, on a loop's thread, and must not block: `None` when it
    /// is not connected.
    pub fn describe(
        &self,
        tenant: TenantId,
        agent: &str,
        on_view: Box<dyn FnOnce(Option<AgentView>) + Send>,
    ) {
        let _ = (tenant, agent, on_view);
        todo!()
    }

    /// The last close of an agent's connection, where remembered.
    #[must_use]
    pub fn last_close(&self, tenant: TenantId, agent: &str) -> Option<LastClose> {
        let _ = (tenant, agent);
        todo!()
    }

    /// Disconnects an agent; `reason` goes into its `goaway`. False when it is not connected.
    pub fn disconnect(&self, tenant: TenantId, agent: &str, reason: &str) -> bool {
        let _ = (tenant, agent, reason);
        todo!()
    }

    /// About this node.
    #[must_use]
    pub fn node(&self, now: Now) -> NodeView {
        let _ = now;
        todo!()
    }
}
