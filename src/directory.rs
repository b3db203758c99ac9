//! Which agent is on which connection of this node.
//!
//! Owns agent ids, tenants, labels, the methods that agents are bound to, and the closes of late. It never owns a connection and never talks to one.
//!
//! The table is cut into shards by the hash of tenant and id; an agent's slot names its shard in the high bits. Label sets
//! are cut into shards of their own; tenants and closes have a lock each. A step takes one lock after the other, never two at once.

mod closes;
mod label_sets;
mod page;
mod table;
mod tenants;
#[cfg(test)]
mod tests;
mod token_marks;

use std::hash::RandomState;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use self::closes::Closes;
use self::label_sets::{LabelSets, SetNumber};
use self::table::{Profile, Table};
pub use self::tenants::TenantLimits;
use self::tenants::Tenants;
pub use self::token_marks::TokenMark;
use crate::kit::ids::{AgentId, AgentSlot, ConnId, Generations, TenantId};
use crate::kit::lock::lock;
use crate::kit::methods::Methods;
use crate::kit::quota::Quota;
use crate::kit::tick::Now;
use crate::session::reason::Reason;
use crate::wire::envelope::Encoding;

/// Labels of an agent, sorted by key; interned, so that a fleet with equal labels stores them once.
pub type Labels = Arc<[(Box<str>, Box<str>)]>;

/// The methods that an agent may be called with, by its token; `None` for all. Interned as labels are.
pub type Callable = Option<Arc<[Methods]>>;

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

/// Why a connection did not come into the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotJoined {
    /// The agent is new, and its tenant has as many as it may.
    TenantFull,
    /// The agent is on a connection that was accepted later: this one was kept waiting, and has been replaced meanwhile.
    Older {
        /// That one.
        than: ConnId,
    },
}

/// An agent to put in.
pub struct NewAgent<'a> {
    /// Its tenant.
    pub tenant: TenantId,
    /// Its id.
    pub id: &'a str,
    /// Its labels, sorted by key.
    pub labels: &'a [(String, String)],
    /// The methods that it may be called with, sorted and each once; `None` for all.
    pub methods: Option<&'a [Methods]>,
    /// Its connection.
    pub conn: ConnId,
    /// How its envelopes are written.
    pub encoding: Encoding,
    /// What of its token is kept to find it by.
    pub token: TokenMark,
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

/// Bits of a slot that name its shard.
const SHARD_BITS: u32 = 6;
/// Parts with a lock each. Many, since a part is locked while its hash table grows, for as long as it has entries.
const SHARDS: usize = 1 << SHARD_BITS;
/// Bits of a slot that are the index in its shard.
const INDEX_BITS: u32 = u32::BITS - SHARD_BITS;

/// Agents and tenants of this node.
pub struct Directory {
    shards: Box<[Mutex<Table>]>,
    /// Keyed at random: agents choose their ids.
    hashing: RandomState,
    label_sets: LabelSets,
    tenants: Mutex<Tenants>,
    closes: Mutex<Closes>,
    len: AtomicUsize,
}

impl Directory {
    /// An empty directory: these limits for each tenant, the last `closes_kept` closes remembered.
    #[must_use]
    pub fn new(tenants: TenantLimits, closes_kept: usize) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::new(Table::new())).collect(),
            hashing: RandomState::new(),
            label_sets: LabelSets::new(),
            tenants: Mutex::new(Tenants::new(tenants)),
            closes: Mutex::new(Closes::new(closes_kept)),
            len: AtomicUsize::new(0),
        }
    }

    /// Changes the limits of each tenant.
    pub fn set_tenant_limits(&self, limits: TenantLimits) {
        lock(&self.tenants).set_limits(limits);
    }

    /// The id of a tenant, made when it is new.
    pub fn tenant(&self, name: &str) -> TenantId {
        lock(&self.tenants).of_name(name)
    }

    /// The name of a tenant; empty for an id that this directory never made.
    #[must_use]
    pub fn tenant_name(&self, tenant: TenantId) -> Arc<str> {
        let tenants = lock(&self.tenants);
        tenants.get(tenant).map_or_else(|| Arc::from(""), |tenant| Arc::clone(&tenant.name))
    }

    /// The count of a tenant's calls in flight; one without room for an id that this directory never made.
    #[must_use]
    pub fn tenant_calls(&self, tenant: TenantId) -> Arc<Quota> {
        let tenants = lock(&self.tenants);
        tenants.get(tenant).map_or_else(|| Quota::new(0), |tenant| Arc::clone(&tenant.calls))
    }

    /// The count of a tenant's agents; `None` for an id that this directory never made, which has no limit.
    fn tenant_agents(&self, tenant: TenantId) -> Option<Arc<Quota>> {
        lock(&self.tenants).get(tenant).map(|tenant| Arc::clone(&tenant.agents))
    }

    /// Puts an agent in, in the place of an older connection of the same agent: one that was accepted earlier, by `generations`.
    ///
    /// # Errors
    /// Why it is not in: nothing has changed.
    pub fn join(&self, agent: &NewAgent<'_>, generations: &Generations) -> Result<Joined, NotJoined> {
        let room = self.tenant_agents(agent.tenant);
        let labels = self.label_sets.hold(agent.labels, agent.methods);
        let profile = Profile::new(labels, agent.encoding);
        let name = table::hash(&self.hashing, agent.tenant, agent.id);
        let shard = shard_index(name);
        let terms = (room.as_deref(), generations);
        let put = lock(&self.shards[shard]).put(&self.hashing, name, agent, profile, terms);
        let put = put.inspect_err(|_| self.label_sets.give_back(labels))?;
        match put.before {
            None => drop(self.len.fetch_add(1, Ordering::Relaxed)),
            Some((_, profile)) => self.label_sets.give_back(profile.labels()),
        }
        let replaced = put.before.map(|(conn, _)| conn);
        Ok(Joined {
            slot: slot(shard, put.index),
            // A connection that joins twice has not been replaced by another.
            replaced: replaced.filter(|conn| *conn != agent.conn),
        })
    }

    /// The agent has shown a newer token: changes its labels, its methods and what is kept of the token. False when the agent of this name is on
    /// another connection, or on none: nothing has changed.
    pub fn renew(&self, agent: &NewAgent<'_>) -> bool {
        let labels = self.label_sets.hold(agent.labels, agent.methods);
        let profile = Profile::new(labels, agent.encoding);
        let name = table::hash(&self.hashing, agent.tenant, agent.id);
        let before = lock(&self.shards[shard_index(name)]).renew(name, agent, profile);
        // Whichever of the two sets is in use no more.
        self.label_sets.give_back(before.map_or(labels, Profile::labels));
        before.is_some()
    }

    /// Keeps marks of tokens from now on. Before the first agent joins: of those that are there nothing is known.
    pub fn keep_token_marks(&self) {
        self.shards.iter().for_each(|shard| lock(shard).keep_token_marks());
    }

    /// The connections of a tenant's agents that `is_meant`, by id and token. Looks at every agent of the node, a shard at a time: whoever
    /// joins meanwhile waits for a 64th of that.
    #[must_use]
    pub fn search(&self, tenant: TenantId, is_meant: impl Fn(&str, TokenMark) -> bool) -> Vec<ConnId> {
        let mut found = Vec::new();
        for shard in &self.shards {
            let shard = lock(shard);
            let entries = shard.from(0, u32::MAX).filter(|(_, entry)| entry.tenant == tenant);
            let meant = entries.filter(|(index, entry)| is_meant(&entry.id, shard.token_mark(*index)));
            found.extend(meant.map(|(_, entry)| entry.conn));
        }
        found
    }

    /// Takes an agent out, if it is still on this connection; remembers why. False when it has moved on.
    pub fn leave(&self, slot: AgentSlot, conn: ConnId, close: LastClose) -> bool {
        let (shard, index) = (slot.0 >> INDEX_BITS, slot.0 & (u32::MAX >> SHARD_BITS));
        let taken = lock(&self.shards[shard as usize]).take(&self.hashing, index, conn);
        let Some(entry) = taken else {
            return false;
        };
        self.len.fetch_sub(1, Ordering::Relaxed);
        self.label_sets.give_back(entry.profile.labels());
        self.tenant_agents(entry.tenant).into_iter().for_each(|agents| agents.give_back());
        lock(&self.closes).remember(entry.tenant, entry.id, close);
        true
    }

    /// Tenant and id of the agent on this connection; `None` when it has moved on.
    #[must_use]
    pub fn name(&self, slot: AgentSlot, conn: ConnId) -> Option<(TenantId, AgentId)> {
        let (shard, index) = (slot.0 >> INDEX_BITS, slot.0 & (u32::MAX >> SHARD_BITS));
        let shard = lock(&self.shards[shard as usize]);
        let entry = shard.at(index).filter(|entry| entry.conn == conn)?;
        Some((entry.tenant, entry.id.clone()))
    }

    /// Where an agent is.
    #[must_use]
    pub fn locate(&self, tenant: TenantId, id: &str) -> Option<Located> {
        let name = table::hash(&self.hashing, tenant, id);
        lock(&self.shards[shard_index(name)]).get(name, tenant, id).map(table::Entry::located)
    }

    /// Where an agent is, and what it may be called with there. Of one that is not bound nothing but its entry is looked at.
    #[must_use]
    pub fn locate_to_call(&self, tenant: TenantId, id: &str) -> Option<(Located, Callable)> {
        self.find_with(tenant, id, |set| if set.is_bound() { self.label_sets.callable(set) } else { Some(None) })
    }

    /// Where an agent is, its labels and what it may be called with: those of its token on that very connection.
    #[must_use]
    pub fn look_up(&self, tenant: TenantId, id: &str) -> Option<(Located, Labels, Callable)> {
        let (located, (labels, callable)) = self.find_with(tenant, id, |set| self.label_sets.traits(set))?;
        Some((located, labels, callable))
    }

    /// Where an agent is, and what `read` finds in its set; `None` when the agent is not there.
    fn find_with<T>(&self, tenant: TenantId, id: &str, read: impl Fn(SetNumber) -> Option<T>) -> Option<(Located, T)> {
        let name = table::hash(&self.hashing, tenant, id);
        let shard = &self.shards[shard_index(name)];
        // The set may be freed between the two locks, when the agent leaves or comes back with other labels: look again.
        loop {
            let (located, profile) = {
                let shard = lock(shard);
                let entry = shard.get(name, tenant, id)?;
                (entry.located(), entry.profile)
            };
            if let Some(found) = read(profile.labels()) {
                return Some((located, found));
            }
        }
    }

    /// Why and when its connection last ended; `None` when that is not remembered.
    #[must_use]
    pub fn last_close(&self, tenant: TenantId, id: &str) -> Option<LastClose> {
        lock(&self.closes).get(tenant, id)
    }

    /// How many agents there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What holds its memory. Takes each lock once, and looks at nothing but counts under it.
    #[must_use]
    pub fn bytes(&self) -> DirectoryBytes {
        let (mut ids, mut tables) = (0, 0);
        for shard in &self.shards {
            let shard = lock(shard);
            ids += shard.id_bytes();
            tables += shard.table_bytes();
        }
        let tenants = lock(&self.tenants).bytes();
        let closes = lock(&self.closes).bytes();
        DirectoryBytes { ids, tables, labels: self.label_sets.bytes() + tenants, closes }
    }
}

/// Bytes of a [`Directory`], by what they are for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DirectoryBytes {
    /// Agents' ids: 24 bytes each, and what longer ones take beside.
    pub ids: usize,
    /// The rest of their entries, room for more, and the hash tables.
    pub tables: usize,
    /// Label sets, and tenants' names.
    pub labels: usize,
    /// The closes of late.
    pub closes: usize,
}

impl DirectoryBytes {
    /// All of them.
    #[must_use]
    pub fn sum(&self) -> usize {
        self.ids + self.tables + self.labels + self.closes
    }
}

/// The shard of a name's hash: by bits that the shard's own table does not look at, neither for the place (the lowest) nor
/// for the tag (the highest).
fn shard_index(name: u64) -> usize {
    usize::from(SHARD_OF_SHARE[(name >> 40) as usize % SHARES])
}

/// Shares of the agents, to be dealt to shards.
const SHARES: usize = 4096;

/// The shard that each share goes to. Shards differ in size, from 1 to 2 by equal steps, since a hash table doubles when it is
/// full: equal ones would all double at nearly the same number of agents, and a node with a few more than that would pay twice
/// the memory for all of them. So some shard doubles at every number, and all together are as full as the average.
const SHARD_OF_SHARE: [u8; SHARES] = {
    let mut shares = [0; SHARES];
    let mut place = 0;
    // The sizes in the unit of which the first shard has SHARDS: 64, 65 and so on to 127.
    let (mut dealt, total) = (0, SHARDS * SHARDS + SHARDS * (SHARDS - 1) / 2);
    let mut shard = 0;
    while shard < SHARDS {
        dealt += SHARDS + shard;
        while place < dealt * SHARES / total {
            shares[place] = shard as u8;
            place += 1;
        }
        shard += 1;
    }
    assert!(place == SHARES);
    shares
};

/// The slot of an index in a shard. A shard would need 2^26 agents to run over, more than a node has descriptors for.
fn slot(shard: usize, index: u32) -> AgentSlot {
    debug_assert!(index >> INDEX_BITS == 0);
    AgentSlot((shard as u32) << INDEX_BITS | index)
}
