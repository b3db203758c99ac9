//! A request that was let in, as handlers see it.
//!
//! Owns no decision: its route and its tenant are known, its body is not opened yet.

use axum::http::HeaderMap;

use super::setup::Live;
use crate::kit::tick::Now;
use crate::work::caller::Caller;

/// A request that may come in.
pub struct Asked<'a> {
    /// Who asks.
    pub by: Caller,
    /// The agent's segment of the path, as it was written.
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
