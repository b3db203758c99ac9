//! The reference agent: one outgoing connection to a gateway, which answers the calls that come down it.
//!
//! A client library on one thread, without an async runtime: [`Agent::run`] waits in one `poll` for the socket, for
//! answers and for whatever the [`Handler`] watches (the pipes of its programs, say). It connects, comes back with
//! back-off, sends receipts, keeps deadlines and obeys `cancel` and `goaway`; what a call does is the handler's matter.
//! It uses `wire` and `kit` alone, and has no defaults: whoever makes an agent states every limit in [`Options`].
//!
//! ```text
//!  client   the life of the agent: connect, serve, pause, again
//!  connect  name -> TCP -> upgrade            ending   why a connection ended, and what to do about it
//!  serving  one connection, as a state        backoff  when to come back
//!  link     WebSocket messages <-> envelopes  events   poll, the waker, the handler's turn
//!  stream   the socket, with TLS or without
//!  renewal  the token, and a newer one        news     what happens, for a log
//!  handler  what answers calls                program  a handler that runs a program (child: one of them)
//! ```

mod backoff;
mod builtin;
mod child;
mod client;
mod connect;
mod ending;
mod events;
mod handler;
mod link;
mod news;
mod program;
mod renewal;
mod serving;
mod stream;
mod waker;

use std::time::Duration;

pub use backoff::Backoff;
pub use builtin::builtin;
pub use client::{Agent, Stopper};
pub use connect::Target;
pub use ending::{Ending, Next};
pub use handler::{Answer, Body, Call, Handler, Interest, Responder, Watched, fault};
pub use news::News;
pub use program::{Program, ProgramOptions};
pub use renewal::TokenSource;

use crate::wire::client_tls::ClientTls;
use crate::wire::envelope::Encoding;

/// Who the agent says that it is.
#[derive(Clone)]
pub enum Credentials {
    /// A signed token, sent as `Authorization: Bearer`; the gateway takes agent and tenant from it.
    Token(String),
    /// Nothing is said: the certificate of its TLS says who it is.
    Certificate,
    /// The newest of tokens that change, sent in the same way; a newer one is sent on the open connection before it runs out.
    Renewed(TokenSource),
    /// An agent id without proof, sent as `?agent=`: only a gateway under `serve --dev` takes it.
    Dev(String),
}

impl Credentials {
    /// The token to show now; `None` in development, and where a certificate says it. The one that is `spent` would be refused for good,
    /// so a newer one is waited for where there may be one.
    fn token(&self, spent: Option<&str>) -> Result<Option<String>, Ending> {
        match self {
            Self::Token(token) => Ok(Some(token.clone())),
            Self::Renewed(source) => match source.newest() {
                Ok(token) if Some(&*token) == spent => Err(Ending::NoToken("the newest one has run out".to_owned())),
                newest => newest.map(Some).map_err(Ending::NoToken),
            },
            Self::Certificate | Self::Dev(_) => Ok(None),
        }
    }
}

/// Everything that an agent must be told. There are no defaults here: they belong to the command line.
#[derive(Clone)]
pub struct Options {
    /// Where the gateway is.
    pub target: Target,
    /// How to speak TLS; needed for `wss://` alone.
    pub tls: Option<ClientTls>,
    /// Who the agent is.
    pub credentials: Credentials,
    /// How envelopes are written on this connection.
    pub encoding: Encoding,
    /// Longest time from the first SYN to the end of the upgrade, for one address.
    pub connect_deadline: Duration,
    /// Longest wait for the gateway's `welcome` after the upgrade.
    pub welcome_deadline: Duration,
    /// Longest wait for the gateway's side of the closing handshake.
    pub close_deadline: Duration,
    /// Longest first pause between attempts; see [`Backoff`].
    pub backoff_first: Duration,
    /// Longest pause between attempts.
    pub backoff_max: Duration,
    /// Largest message that is accepted from the gateway, in bytes.
    pub message_bytes_max: usize,
    /// Largest reply, envelope included, in bytes. A gateway closes the connection over a larger message, which would
    /// lose every other call on it, so a larger reply is turned into an error reply.
    pub reply_bytes_max: usize,
    /// Most calls that are open at once, running and waiting; one more is answered with [`fault::BUSY`].
    pub calls_open_max: usize,
}
