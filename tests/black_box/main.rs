//! The gateway from outside: the real binary, real sockets, clients that are not ours.
//!
//! Each test starts a gateway of its own and stops it by its process id. One gateway runs at a time, so that one test's load is not
//! another's latency. What the tests need beside Rust (`scripts/test` installs it) is never skipped: a test without it fails.

mod agent;
mod arrivals;
mod audit;
mod backend;
mod budget;
mod causes;
mod clock;
mod deflate;
mod endings;
mod faults;
mod fleet;
mod gateway;
mod hostile;
mod identity;
mod issuers;
mod keys;
mod large;
mod link;
mod link_client;
mod linker;
mod memory;
mod network;
mod outcomes;
mod overload;
mod panics;
mod past;
mod peer;
mod permissions;
mod polyglot;
mod rates;
mod records;
mod refreshing;
mod reloading;
mod replies;
mod returning;
mod revoking;
mod scarce;
mod secured;
mod secured_clients;
mod secured_files;
mod source;
mod starting;
mod stopping;
mod webhook;
