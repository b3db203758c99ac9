//! holdfast: a gateway that holds millions of idle agents and gives each command one true outcome.
//!
//! The floors, from the top: [`cli`], [`config`] and [`gateway`] assemble; [`control`] talks to backends; [`work`]
//! is where the two wings meet; [`directory`], [`calls`], [`auth`] and [`audit`] know who is there, who waits and what was done, while [`net`]
//! moves bytes; [`session`] is the life of one connection; [`wire`] and [`kit`] are values. A file imports only from
//! lower floors, and `tidy` (a test) holds it. `docs/architecture.md` is the map.

pub mod agent;
pub mod audit;
pub mod auth;
pub mod backend;
pub mod calls;
pub mod cli;
pub mod config;
pub mod control;
pub mod directory;
pub mod gateway;
pub mod kit;
pub mod net;
pub mod revocations;
pub mod session;
pub mod wire;
pub mod work;

#[cfg(test)]
mod sim;
#[cfg(test)]
mod tidy;
