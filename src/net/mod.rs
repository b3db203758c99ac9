//! Floor 2, the io wing: event loops that hold connections. It knows bytes and sessions, and nothing of agents' names,
//! calls or tokens.

pub mod arrivals;
pub mod conn;
pub mod event_loop;
pub mod fd_table;
pub mod intake;
pub mod io;
pub mod io_mio;
pub mod limits;
pub mod listener;
pub mod mailbox;
pub mod outbox;
pub mod secured;
pub mod sources;
pub mod throttle;
pub mod tls;
pub mod wake;
