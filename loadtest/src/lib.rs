//! The parts of `holdfast-loadtest`: agents and backends in great numbers, what they measure, and how it is told.
//!
//! A library, so that tests can use the parts; the binary owns the command line only.

pub mod backend_link;
pub mod bench;
pub mod callers;
pub mod campaign;
pub mod certificate;
pub mod comeback;
pub mod compare;
pub mod cpu;
pub mod credentials;
pub mod crew;
pub mod dialect;
pub mod fd_table;
pub mod fleet;
pub mod frame;
pub mod hold;
pub mod http;
pub mod human;
pub mod latency;
pub mod link_caller;
pub mod median;
pub mod memory;
pub mod node;
pub mod peer;
pub mod place;
pub mod plot;
pub mod preflight;
pub mod progress;
pub mod question;
pub mod report;
pub mod result;
pub mod sample;
pub mod scenarios;
pub mod secured;
pub mod server;
pub mod settle;
pub mod shift;
pub mod smoke;
pub mod source;
pub mod stop;
pub mod table;
pub mod target;
pub mod told;
pub mod wire;
pub mod witness;
