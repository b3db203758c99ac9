//! Why a connection ended: one table from our reason to close code, metric label and log level.

use tungstenite::protocol::frame::coding::CloseCode;

use crate::wire::rules::Violation;

/// How loud a reason is in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loudness {
    /// Ordinary weather.
    Debug,
    /// An operator may want to see it.
    Info,
    /// Somebody misbehaves or something is too small.
    Warn,
}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Reason {
    /// The peer closed with a close frame.
    PeerClosed,
    /// The peer ended TCP without a close frame.
    PeerVanished,
    /// The socket failed (reset, timed out).
    SocketError,
    /// The request was answered with an HTTP error.
    Refused,
    /// The request head did not arrive in time.
    HandshakeTimeout,
    /// The peer broke a rule of RFC 6455.
    Protocol,
    /// Text that is not UTF-8.
    BadText,
    /// A compressed message that cannot be inflated.
    BadDeflate,
    /// A message over the size limit.
    TooBig,
    /// A message of a type that the subprotocol does not use (text on binary, binary on JSON).
    WrongType,
    /// Nothing heard for the heartbeat and its time-out.
    HeartbeatLost,
    /// The peer did not take what was queued for it.
    SlowConsumer,
    /// All messages that are being received together take more memory than there is for them, and this one came last, or
    /// has been open for too long.
    NoBuffer,
    /// The token ran out; come back with a new one.
    TokenExpired,
    /// The node is stopping; come back, elsewhere or later.
    Drain,
    /// A newer connection of the same agent took over.
    Replaced,
    /// A backend or an operator disconnected the agent, which may come back.
    Disconnected,
    /// The process stopped without time to drain.
    Shutdown,
    /// The token of an agent was revoked, or the API key of a link is none any more.
    Revoked,
    /// What came first on a port of balancers was no PROXY header.
    ProxyHeader,
    /// Where it comes from too many have come.
    Shed,
    /// The TLS handshake failed.
    TlsHandshake,
    /// A TLS record against the rules, or the peer's alert that says so of one of ours.
    TlsBroken,
    /// The node is overloaded, and its queue was among the largest.
    Overloaded,
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Close code of the close frame; `None` where no frame is sent.
    pub code: Option<u16>,
    /// Metric label, and the word in the API.
    pub label: &'static str,
    /// The reason text of the close frame.
    pub text: &'static str,
    /// How loud it is.
    pub loudness: Loudness,
}

impl Reason {
    /// Every reason, in order.
    pub const ALL: [Reason; 24] = [
        Self::PeerClosed,
        Self::PeerVanished,
        Self::SocketError,
        Self::Refused,
        Self::HandshakeTimeout,
        Self::Protocol,
        Self::BadText,
        Self::BadDeflate,
        Self::TooBig,
        Self::WrongType,
        Self::HeartbeatLost,
        Self::SlowConsumer,
        Self::NoBuffer,
        Self::TokenExpired,
        Self::Drain,
        Self::Replaced,
        Self::Disconnected,
        Self::Shutdown,
        Self::Revoked,
        Self::ProxyHeader,
        Self::Shed,
        Self::TlsHandshake,
        Self::TlsBroken,
        Self::Overloaded,
    ];

    /// The row of the table: codes 4000–4499 say "come back, with back-off", 4500–4999 "not until something changes".
    #[must_use]
    pub fn row(self) -> Row {
        use Loudness::{Debug, Info, Warn};
        let (code, label, text, loudness) = match self {
            Self::PeerClosed => (Some(1000), "peer_closed", "", Debug),
            Self::PeerVanished => (None, "peer_vanished", "", Debug),
            Self::SocketError => (None, "socket_error", "", Debug),
            Self::Refused => (None, "refused", "", Debug),
            Self::HandshakeTimeout => (None, "handshake_timeout", "", Info),
            Self::Protocol => (Some(1002), "protocol", "protocol error", Info),
            Self::BadText => (Some(1007), "bad_text", "text is not UTF-8", Info),
            Self::BadDeflate => (Some(1007), "bad_deflate", "compressed message is corrupt", Info),
            Self::TooBig => (Some(1009), "too_big", "message over the size limit", Warn),
            Self::WrongType => (Some(1003), "wrong_type", "message type not of this subprotocol", Info),
            Self::HeartbeatLost => (Some(4000), "heartbeat_lost", "no heartbeat", Debug),
            Self::SlowConsumer => (Some(4001), "slow_consumer", "queue full, reader too slow", Warn),
            Self::NoBuffer => (Some(1013), "no_buffer", "no memory for this message, try again later", Warn),
            Self::TokenExpired => (Some(4002), "token_expired", "token expired, connect with a new one", Info),
            Self::Drain => (Some(4003), "drain", "node is stopping, reconnect", Debug),
            Self::Disconnected => (Some(4005), "disconnected", "disconnected by the operator", Info),
            Self::Replaced => (Some(4500), "replaced", "replaced by a newer connection", Info),
            Self::Revoked => (Some(4501), "revoked", "token or API key was revoked", Info),
            Self::ProxyHeader => (None, "proxy_header", "", Debug),
            Self::Shed => (None, "shed", "", Debug),
            Self::TlsHandshake => (None, "tls_handshake", "", Debug),
            Self::TlsBroken => (None, "tls_broken", "", Debug),
            Self::Overloaded => (Some(1013), "overloaded", "node is overloaded, try again later", Warn),
            Self::Shutdown => (Some(1001), "shutdown", "going away", Debug),
        };
        Row { code, label, text, loudness }
    }

    /// The reason that answers a broken rule.
    #[must_use]
    pub fn of(violation: Violation) -> Self {
        match (violation, violation.close_code()) {
            (Violation::BadDeflate, _) => Self::BadDeflate,
            (_, CloseCode::Invalid) => Self::BadText,
            (_, CloseCode::Size) => Self::TooBig,
            _ => Self::Protocol,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_unique_and_reasons_fit_a_close_frame() {
        let mut labels: Vec<_> = Reason::ALL.iter().map(|r| r.row().label).collect();
        labels.sort_unstable();
        labels.dedup();
        assert_eq!(labels.len(), Reason::ALL.len());
        for reason in Reason::ALL {
            assert!(reason.row().text.len() <= crate::wire::close::REASON_BYTES_MAX);
        }
    }
}
