//! A request that was let in, as handlers see it.
//!
//! Owns no decision: its route and its tenant are known, its body is not opened yet.

use axum::http::HeaderMap;

use super::setup::Live;
use crate::auth::api_key::Fingerprint;
use crate::kit::ids::TenantId;
use crate::kit::tick::Now;

/// A request that may come in.
pub struct Asked<'a> {
    /// Whose key it has.
    pub tenant: TenantId,
    /// That key; `None` in development.
    pub key: Option<Fingerprint>,
    /// The segment of the path that names an agent, or a revocation, as it was written.
    pub agent: &'a str,
    /// The query, without its question mark.
    pub query: &'a str,
    /// The fields of its head.
    pub headers: &'a HeaderMap,
    /// Keys and limits that it began with.
    pub live: &'a Live,
    /// When it came in.
    pub now: Now,
}
