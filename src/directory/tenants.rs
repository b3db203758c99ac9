//! Tenants by number and by name.
//!
//! Owns their names and their counts of calls in flight. A tenant is never forgotten: its name comes from a key's owner
//! or a signed token, so there are only as many as the operator has customers.

use std::collections::HashMap;
use std::sync::Arc;

use crate::kit::ids::TenantId;
use crate::kit::quota::Quota;

/// All tenants seen.
pub(super) struct Tenants {
    by_name: HashMap<Arc<str>, TenantId>,
    tenants: Vec<(Arc<str>, Arc<Quota>)>,
    calls_max: u32,
    /// Bytes of names and counts.
    held: usize,
}

impl Tenants {
    /// None yet; each will have at most `calls_max` calls in flight.
    pub(super) fn new(calls_max: u32) -> Self {
        Self { by_name: HashMap::new(), tenants: Vec::new(), calls_max, held: 0 }
    }

    /// Changes the limit of those who are there and those who come.
    pub(super) fn set_calls_max(&mut self, max: u32) {
        self.calls_max = max;
        for (_, calls) in &self.tenants {
            calls.set_max(max);
        }
    }

    /// The number of a name, made when it is new.
    pub(super) fn of_name(&mut self, name: &str) -> TenantId {
        if let Some(&tenant) = self.by_name.get(name) {
            return tenant;
        }
        let tenant = TenantId(self.tenants.len() as u32);
        let name: Arc<str> = name.into();
        // Beside each of the two there are its counts of owners.
        self.held += name.len() + size_of::<Quota>() + 4 * size_of::<usize>();
        self.tenants.push((Arc::clone(&name), Quota::new(self.calls_max)));
        self.by_name.insert(name, tenant);
        tenant
    }

    /// Bytes of all of it.
    pub(super) fn bytes(&self) -> usize {
        let places = self.by_name.capacity() * size_of::<(Arc<str>, TenantId)>();
        self.held + places + self.tenants.capacity() * size_of::<(Arc<str>, Arc<Quota>)>()
    }

    /// Name and calls in flight of a tenant.
    pub(super) fn get(&self, tenant: TenantId) -> Option<&(Arc<str>, Arc<Quota>)> {
        self.tenants.get(tenant.0 as usize)
    }
}
