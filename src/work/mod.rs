//! Floor 3: where the two wings meet. Workers take what the loops heard and apply it to calls and directory; backends
//! reach agents through [`dispatch`]. A worker never waits for an agent.

pub mod alarm;
pub mod answers;
mod call_audit;
pub mod call_count;
mod call_log;
pub mod call_request;
pub mod caller;
pub mod dispatch;
pub mod drain;
pub mod gate;
mod handlers;
pub mod holdings;
pub mod key_fetch;
mod key_rates;
pub mod links;
pub mod outside;
mod pending_logins;
pub mod pool;
mod put_off;
mod reached;
pub mod revocation_keeper;
pub mod revoking;
pub mod webhook;
pub mod webhook_office;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
