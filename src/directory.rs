//! Which agent is on which connection of this node.
//!
//! Owns agent ids, tenants, labels and the closes of late. It never owns a connection and never talks to one.

use std::sync::Arc;

use crate::kit::ids::{AgentId, AgentSlot, ConnId, TenantId};
use crate::kit::quota::Quota;
use crate::kit::tick::Now;
use crate::session::reason::Reason;
use crate::wire::envelope::Encoding;

/// Labels of an agent, sorted by key; interned, so that a fleet with equal labels stores them once.
pub type Labels = Arc<[(Box<str>, Box<str>)]>;

/// Where an agent is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Located {
    /// Its connection.
    pub conn: ConnId,
    /// How its envelopes are written.
    pub encoding: Encoding,
}

/// A connection that came into the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Joined {
    /// The agent's slot.
    pub slot: AgentSlot,
    /// The connection that it took over from, which must be closed.
    pub replaced: Option<ConnId>,
}

/// An agent to put in.
pub struct NewAgent<'a> {
    /// Its tenant.
    pub tenant: TenantId,
    /// Its id.
    pub id: &'a str,
    /// Its labels, sorted by key.
    pub labels: &'a [(String, String)],
    /// Its connection.
    pub conn: ConnId,
    /// How its envelopes are written.
    pub encoding: Encoding,
}

/// One agent, as a list shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct Listed {
    /// Its id.
    pub id: AgentId,
    /// Its labels.
    pub labels: Labels,
    /// Its connection.
    pub conn: ConnId,
    /// How its envelopes are written.
    pub encoding: Encoding,
}

/// What to list.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Ids that begin with this.
    pub prefix: String,
    /// Labels that must all be there, with these values.
    pub labels: Vec<(String, String)>,
}

/// A page of a list. Its order is that of the table: an agent that stays connected is seen exactly once.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    /// At most as many as were asked for; may be fewer although more follow.
    pub agents: Vec<Listed>,
    /// Where to go on; `None` at the end.
    pub next: Option<u64>,
}

/// The last close of an agent's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastClose {
    /// Why.
    pub reason: Reason,
    /// When.
    pub at: Now,
}

/// Agents and tenants of this node.
pub struct Directory {}

impl Directory {
    /// An empty directory: `calls_per_tenant_max` calls in flight for each tenant, the last `closes_kept` closes remembered.
    #[must_use]
    pub fn new(calls_per_tenant_max: u32, closes_kept: usize) -> Self {
        let _ = (calls_per_tenant_max, closes_kept);
        todo!()
    }

    /// Changes the limit of each tenant.
    pub fn set_calls_per_tenant_max(&self, max: u32) {
        let _ = max;
        todo!()
    }

    /// The id of a tenant, made when it is new.
    pub fn tenant(&self, name: &str) -> TenantId {
        let _ = name;
        todo!()
    }

    /// The name of a tenant.
    #[must_use]
    pub fn tenant_name(&self, tenant: TenantId) -> Arc<str> {
        let _ = tenant;
        todo!()
    }

    /// The count of a tenant's calls in flight.
    #[must_use]
    pub fn tenant_calls(&self, tenant: TenantId) -> Arc<Quota> {
        let _ = tenant;
        todo!()
    }

    /// Puts an agent in, in the place of an older connection of the same agent.
    pub fn join(&self, agent: &NewAgent<'_>) -> Joined {
        let _ = agent;
        todo!()
    }

    /// Takes an agent out, if it is still on this connection; remembers why. False when it has moved on.
    pub fn leave(&self, slot: AgentSlot, conn: ConnId, close: LastClose) -> bool {
        let _ = (slot, conn, close);
        todo!()
    }

    /// Where an agent is.
    #[must_use]
    pub fn locate(&self, tenant: TenantId, id: &str) -> Option<Located> {
        let _ = (tenant, id);
        todo!()
    }

    /// Its labels.
    #[must_use]
    pub fn labels(&self, tenant: TenantId, id: &str) -> Option<Labels> {
        let _ = (tenant, id);
        todo!()
    }

    /// Why and when its connection last ended; `None` when that is not remembered.
    #[must_use]
    pub fn last_close(&self, tenant: TenantId, id: &str) -> Option<LastClose> {
        let _ = (tenant, id);
        todo!()
    }

    /// Agents of a tenant from `cursor` (0 at the start), at most `limit`; looks at a bounded number of entries.
    #[must_use]
    pub fn page(&self, tenant: TenantId, filter: &Filter, cursor: u64, limit: usize) -> Page {
        let _ = (tenant, filter, cursor, limit);
        todo!()
    }

    /// Connections of all tenants from `cursor` on, at most `limit`, with how each is written to: for the drain.
    #[must_use]
    pub fn sweep(&self, cursor: u64, limit: usize) -> (Vec<Located>, Option<u64>) {
        let _ = (cursor, limit);
        todo!()
    }

    /// How many agents there are.
    #[must_use]
    pub fn len(&self) -> usize {
        todo!()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
