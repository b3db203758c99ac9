//! Why an attempt or a connection ended, in words, and what the agent does next: one table.

use std::fmt;
use std::time::Duration;

/// The longest `Retry-After` that is believed: no gateway of ours says more, and a proxy that does must not lose an agent for good.
const WAIT_MAX: Duration = Duration::from_secs(90 * 60);

/// Why an attempt to connect, or a connection, ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// No TCP connection; the text says to where and why.
    Unreachable(String),
    /// There is no token to show; the text says why.
    NoToken(String),
    /// The gateway (or a proxy before it) answered the upgrade with an HTTP status other than 101.
    Refused {
        /// The status.
        status: u16,
        /// The first line of the body, where one came with the head.
        body: String,
        /// `Retry-After`: before that nobody is let in. Zero where nothing was said.
        wait: Duration,
    },
    /// The peer does not speak WebSocket, or not as RFC 6455 says; also a broken socket.
    Broken(String),
    /// A step of the opening took longer than its deadline.
    Slow(&'static str),
    /// The gateway closed the connection.
    Closed {
        /// The close code (RFC 6455 section 7.4); 1005 when it gave none.
        code: u16,
        /// Its reason.
        reason: String,
    },
    /// Nothing was heard for this long.
    Silent(Duration),
    /// The gateway asked the agent to come back later, and all running calls are answered.
    Goaway {
        /// How much later.
        reconnect_after: Duration,
    },
    /// The agent was told to stop.
    Stopped,
}

/// What an agent does after an [`Ending`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Come back after a pause of [`super::Backoff`].
    BackOff,
    /// Come back after exactly this pause.
    After(Duration),
    /// Do not come back: it would end the same way until somebody changes something.
    Stop,
}

impl Ending {
    /// What to do next. Close codes 4500 to 4999 and HTTP client errors mean "not until something changes"; all else is
    /// weather. 408 and 429 are weather too, and proxies answer 5xx while a gateway restarts.
    #[must_use]
    pub fn next(&self) -> Next {
        match self {
            Self::Closed { code: 4500..=4999, .. } | Self::Stopped => Next::Stop,
            Self::Refused { status, .. } => match status {
                408 | 429 => Next::BackOff,
                400..=499 => Next::Stop,
                _ => Next::BackOff,
            },
            Self::Goaway { reconnect_after } => Next::After(*reconnect_after),
            _ => Next::BackOff,
        }
    }
}

impl Ending {
    /// How long coming back is for nothing, as far as the gateway has said so.
    #[must_use]
    pub fn wait(&self) -> Duration {
        match self {
            Self::Refused { wait, .. } => (*wait).min(WAIT_MAX),
            _ => Duration::ZERO,
        }
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(why) => f.write_str(why),
            Self::NoToken(why) => write!(f, "there is no token: {why}"),
            Self::Refused { status, body, .. } => {
                write!(f, "the gateway answered {status}: {}", advice(*status))?;
                if body.is_empty() { Ok(()) } else { write!(f, " (it says: {body})") }
            }
            Self::Broken(why) => write!(f, "the connection broke: {why}"),
            Self::Slow(what) => write!(f, "{what} took too long"),
            Self::Closed { code, reason } if reason.is_empty() => {
                write!(f, "the gateway closed the connection with code {code}")
            }
            Self::Closed { code, reason } => {
                write!(f, "the gateway closed the connection with code {code}: {reason}")
            }
            Self::Silent(span) => write!(f, "nothing heard from the gateway for {:.1} s", span.as_secs_f64()),
            Self::Goaway { reconnect_after } => {
                write!(f, "the gateway asked to come back in {:.1} s", reconnect_after.as_secs_f64())
            }
            Self::Stopped => f.write_str("stopped"),
        }
    }
}

fn advice(status: u16) -> &'static str {
    match status {
        401 | 403 => {
            "the token is missing, expired or not signed by a key of this gateway; `?agent=` without a token works only with `serve --dev`"
        }
        404 => "no agents are served at this path; the agents' port is 8080 and the path is /v1/agent",
        426 => "this port wants something else than a WebSocket upgrade; is it the control port?",
        503 => "it is full or stopping",
        500..=599 => "it, or a proxy before it, is in trouble",
        200..=399 => "this is no WebSocket endpoint",
        _ => "it does not like the request",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn closed(code: u16) -> Ending {
        Ending::Closed { code, reason: String::new() }
    }

    fn refused(status: u16) -> Ending {
        Ending::Refused { status, body: String::new(), wait: Duration::ZERO }
    }

    #[test]
    fn it_waits_as_long_as_it_was_told_but_not_for_ever() {
        let told = |secs| Ending::Refused { status: 503, body: String::new(), wait: Duration::from_secs(secs) }.wait();
        assert_eq!((told(0), told(7)), (Duration::ZERO, Duration::from_secs(7)));
        assert_eq!(told(1 << 40), WAIT_MAX);
        assert_eq!(Ending::Silent(Duration::from_secs(9)).wait(), Duration::ZERO);
    }

    #[test]
    fn what_comes_next() {
        let span = Duration::from_millis(7);
        for (ending, next) in [
            (closed(1000), Next::BackOff),
            (closed(1009), Next::BackOff),
            (closed(4000), Next::BackOff),
            (closed(4499), Next::BackOff),
            (closed(4500), Next::Stop),
            (closed(4999), Next::Stop),
            (refused(401), Next::Stop),
            (refused(404), Next::Stop),
            (refused(408), Next::BackOff),
            (refused(429), Next::BackOff),
            (refused(503), Next::BackOff),
            (refused(200), Next::BackOff),
            (Ending::Silent(span), Next::BackOff),
            (Ending::Broken(String::new()), Next::BackOff),
            (Ending::Unreachable(String::new()), Next::BackOff),
            (Ending::Slow("x"), Next::BackOff),
            (Ending::NoToken(String::new()), Next::BackOff),
            (Ending::Goaway { reconnect_after: span }, Next::After(span)),
            (Ending::Stopped, Next::Stop),
        ] {
            assert_eq!(ending.next(), next, "{ending:?}");
        }
    }
}
