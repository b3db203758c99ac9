//! A backend's control link as a client library: many threads call agents over one WebSocket.
//!
//! It blocks, and needs no async runtime: [`Link::call`] sends and waits, one thread reads for all. It keeps to the window
//! that the gateway names by letting callers wait. It uses `wire` and `kit` alone, and has no defaults. It does not come back
//! by itself: whoever has a link that broke knows best what to do about calls whose end is unknown, and makes a new one.
//!
//! ```text
//!  link     Link: call, wait, drop          target  ws://HOST:PORT, wss://HOST:PORT
//!  connect  TCP -> upgrade -> welcome       waiting  who waits for which answer, and for room in the window
//!  reader   the thread that reads           stream   one socket for a reader and many writers
//! ```

mod connect;
mod link;
mod reader;
mod stream;
mod target;
mod waiting;

use std::fmt;
use std::time::Duration;

pub use link::Link;
pub use target::Target;

use crate::wire::client_tls::ClientTls;
pub use crate::wire::envelope::Encoding;
pub use crate::wire::envelope::link_side::Failure;

/// Everything that a link must be told. There are no defaults here: they belong to whoever makes one.
#[derive(Clone)]
pub struct Options {
    /// Where the gateway serves links.
    pub target: Target,
    /// How to speak TLS; needed for `wss://` alone.
    pub tls: Option<ClientTls>,
    /// The API key; none where the gateway runs with `--dev`.
    pub key: Option<String>,
    /// How envelopes are written.
    pub encoding: Encoding,
    /// Longest time to connect, to upgrade, and to be welcomed, each.
    pub connect_deadline: Duration,
    /// Longest time that the gateway may leave what is sent in the socket before the link counts as broken.
    pub write_deadline: Duration,
    /// Largest answer that is accepted, in bytes.
    pub message_bytes_max: usize,
}

/// A link could not be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConnectError {
    /// Nobody there, or not in time; says why.
    Unreachable(String),
    /// The gateway answered the upgrade with an HTTP error.
    Refused {
        /// The HTTP status; 401 says that the API key is not accepted.
        status: u16,
        /// What it says.
        body: String,
    },
    /// Something that is no gateway answers, or the connection broke off; says why.
    Broken(String),
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(why) | Self::Broken(why) => f.write_str(why),
            Self::Refused { status, body } => write!(f, "the gateway refused the link with {status}: {body}"),
        }
    }
}

impl std::error::Error for ConnectError {}

/// What an agent sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// Whether they are one JSON value.
    pub json: bool,
}

/// How a call ended: exactly one for each, and it is true.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// The agent answered.
    Ok(Body),
    /// The agent answered with an error.
    AgentError {
        /// Its code.
        code: i64,
        /// Its words.
        message: String,
        /// What it added.
        data: Option<Body>,
    },
    /// No answer came; says how far the call got.
    Failed(Failure),
}

/// A call has no outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallError {
    /// The gateway took it for no call, and sent nothing to an agent.
    Refused {
        /// A JSON-RPC 2.0 error code.
        code: i64,
        /// What is wrong.
        message: String,
    },
    /// The link was broken before the call was sent: nothing has run.
    NotSent(String),
    /// The link broke while the call was in flight: the outcome is unknown, it may have run. The gateway takes such calls
    /// back as far as it can.
    Unknown(String),
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { code, message } => write!(f, "the gateway refused the call ({code}): {message}"),
            Self::NotSent(why) => write!(f, "the link is broken, the call was not sent: {why}"),
            Self::Unknown(why) => write!(f, "the link broke, the outcome is unknown: {why}"),
        }
    }
}

impl std::error::Error for CallError {}
