//! A request on its way in: before anybody knows who sends it, and as handlers see it.
//!
//! Owns no decision: its route is known, its body is not opened yet.

use std::net::SocketAddr;

use axum::http::HeaderMap;

use super::setup::Live;
use crate::kit::tick::Now;
use crate::work::caller::Caller;

/// A request that has a route, before anybody knows who sends it.
pub struct Arrived<'a> {
    /// Its route's row in the table.
    pub row: usize,
    /// The agent's segment of the path, as it was written.
    pub agent: &'a str,
    /// Where it comes from.
    pub peer: SocketAddr,
    /// When it came.
    pub now: Now,
}

/// A request that may come in.
pub struct Admitted<'a> {
    /// Who asks.
    pub by: Caller,
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
