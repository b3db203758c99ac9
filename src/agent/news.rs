//! What happens to an agent, as values for its log. Owns no words that a user reads.

use std::time::Duration;

use super::ending::Ending;

/// What happens to an agent, for its log.
#[derive(Clone, Copy, Debug)]
pub enum News<'a> {
    /// The gateway welcomed it.
    Welcomed {
        /// Name of the session.
        session: &'a str,
        /// The gateway's node.
        node: &'a str,
    },
    /// The gateway is about to close.
    Goaway {
        /// Why.
        reason: &'a str,
    },
    /// The gateway says that the token runs out.
    TokenExpiring {
        /// How soon.
        left: Duration,
    },
    /// The gateway took the newer token.
    Refreshed,
    /// The gateway did not understand the agent.
    Refused {
        /// A JSON-RPC 2.0 error code.
        code: i64,
        /// What was wrong.
        message: &'a str,
    },
    /// The gateway sent something that the agent ignored.
    Garbage(&'static str),
    /// The connection, or an attempt at one, ended, and the agent comes back after a pause.
    Ended {
        /// Why.
        ending: &'a Ending,
        /// The pause.
        pause: Duration,
    },
}
