//! Floor 4: the HTTP API for backends and operators, on a port of its own.
//!
//! One thread, one current-thread tokio runtime. It parses requests once, asks [`crate::work::dispatch::Dispatch`], and
//! writes what comes back. Every outcome and every deadline is decided below; nothing here decides how a call ended.
//!
//! The way of a request: `server` (connections) → `request` (route, key, count) → one handler of `call`, `agents` or
//! `operate` → an `answer` or a `problem`.

mod admit;
mod admitted;
mod agents;
mod answer;
mod body;
mod call;
mod call_body;
mod confirm;
mod count;
mod exchange;
mod foreign;
mod idempotency;
mod keyed_call;
mod operate;
mod patience;
mod problem;
mod query;
mod reply;
mod request;
mod revocation_body;
mod revocations;
mod route;
mod server;
mod setup;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

pub use idempotency::Bounds as IdempotencyBounds;
pub use server::{Runtime, Stop};
pub use setup::{Access, Limits, Live, MetricsAccess, Setup, Shared};
