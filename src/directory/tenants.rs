//! Tenants by number and by name.
//!
//! Owns their names, and their counts of calls in flight and of agents. A tenant is never forgotten: its name comes from a key's owner
//! or a signed token, so there are only as many as the operator has customers.

use std::collections::HashMap;
use std::sync::Arc;

use crate::kit::ids::TenantId;
use crate::kit::quota::Quota;

/// What each tenant may have at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TenantLimits {
    /// Calls in flight.
    pub calls: u32,
    /// Agents.
    pub agents: u32,
}

/// One tenant.
pub(super) struct Tenant {
    pub(super) name: Arc<str>,
    pub(super) calls: Arc<Quota>,
    pub(super) agents: Arc<Quota>,
}

/// All tenants seen.
pub(super) struct Tenants {
    by_name: HashMap<Arc<str>, TenantId>,
    tenants: Vec<Tenant>,
    limits: TenantLimits,
    /// Bytes of names and counts.
    held: usize,
}

impl Tenants {
    /// None yet; each will have these limits.
    pub(super) fn new(limits: TenantLimits) -> Self {
        Self { by_name: HashMap::new(), tenants: Vec::new(), limits, held: 0 }
    }

    /// Changes the limits of those who are there and those who come.
    pub(super) fn set_limits(&mut self, limits: TenantLimits) {
        self.limits = limits;
        for tenant in &self.tenants {
            tenant.calls.set_max(limits.calls);
            tenant.agents.set_max(limits.agents);
        }
    }

    /// The number of a name, made when it is new.
    pub(super) fn of_name(&mut self, name: &str) -> TenantId {
        if let Some(&tenant) = self.by_name.get(name) {
            return tenant;
        }
        let tenant = TenantId(self.tenants.len() as u32);
        let name: Arc<str> = name.into();
        // Beside each of the three there are its counts of owners.
        self.held += name.len() + 2 * size_of::<Quota>() + 6 * size_of::<usize>();
        let (calls, agents) = (Quota::new(self.limits.calls), Quota::new(self.limits.agents));
        self.tenants.push(Tenant { name: Arc::clone(&name), calls, agents });
        self.by_name.insert(name, tenant);
        tenant
    }

    /// Bytes of all of it.
    pub(super) fn bytes(&self) -> usize {
        let places = self.by_name.capacity() * size_of::<(Arc<str>, TenantId)>();
        self.held + places + self.tenants.capacity() * size_of::<Tenant>()
    }

    /// A tenant.
    pub(super) fn get(&self, tenant: TenantId) -> Option<&Tenant> {
        self.tenants.get(tenant.0 as usize)
    }
}
