//! The scenarios, one a file. Each is bounded in time, stops by itself, and leaves one result.
//!
//! What they share is in `run` (server, preflight, agents, samples), `calling` (options of those that only call) and `backends` (calls on a thread
//! of their own).

pub mod call;
pub mod churn;
pub mod connect;
pub mod echo;
pub mod fanout;
pub mod idle;
pub mod million;
pub mod slow;
pub mod soak;
pub mod storm;

mod backends;
mod calling;
mod crews;
mod run;
mod trend;
mod warm;
