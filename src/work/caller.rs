//! A backend that asks for something: with whose key, from where, over what, and what it may do.
//!
//! Owns no decision: `auth::permissions` rules, and who asks it turns the ruling into an answer.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::audit::Who;
use crate::auth::api_key::{Backend, Fingerprint};
use crate::auth::permissions::Permissions;
use crate::kit::ids::TenantId;

use super::call_count::Way;
use super::gate;

/// Who asks.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Whose agents it reaches.
    pub tenant: TenantId,
    /// Its key; `None` in development.
    pub key: Option<Fingerprint>,
    /// What that key stands for.
    pub backend: Arc<Backend>,
    /// The way that it asks.
    pub way: Way,
    /// Where it asks from, where that is known.
    pub peer: Option<SocketAddr>,
}

impl Caller {
    /// Somebody without a key, in development: it may do everything in this tenant.
    #[must_use]
    pub fn without_key(tenant: TenantId) -> Self {
        Self { tenant, key: None, backend: gate::anybody(), way: Way::Http, peer: None }
    }

    /// What it may do.
    #[must_use]
    pub fn permissions(&self) -> &Permissions {
        &self.backend.permissions
    }

    /// How the audit log names it.
    #[must_use]
    pub fn who(&self) -> Who {
        Who {
            over: self.way.label(),
            key: self.key.map(|_| Arc::clone(&self.backend.name)),
            tenant: Arc::clone(&self.backend.tenant),
            remote: self.peer,
        }
    }
}
