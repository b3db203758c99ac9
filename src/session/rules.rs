//! The limits that a session keeps to. Values come from the settings; there are no defaults here.

use crate::wire::upgrade::HeadLimits;

/// Which port a connection came to. Nothing that one serves is served at the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// That of agents.
    Agents,
    /// That of backends' control links.
    Links,
}

impl Door {
    /// Both, in the order of their numbers.
    pub const ALL: [Self; 2] = [Self::Agents, Self::Links];
}

/// Limits and times of every session of a node.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// On the request head.
    pub head: HeadLimits,
    /// Largest message of an agent, in bytes.
    pub message_bytes_max: u64,
    /// Largest message of a backend on a link, in bytes.
    pub link_message_bytes_max: u64,
    /// Largest message of the echo endpoint, in bytes; `None` where the endpoint is not served.
    pub echo_bytes_max: Option<u64>,
    /// Whether permessage-deflate is agreed on with agents that offer it.
    pub takes_deflate: bool,
    /// Frames that one connection may bring in a turn.
    pub turn_frames: u32,
    /// Bytes that compressed messages of one connection may come to in a turn, before the next one waits for a later turn.
    pub turn_inflated_bytes: u64,
    /// Bytes that came in over this budget and that all connections of a loop may keep for a later turn. What would be more is
    /// decoded at once.
    pub kept_bytes_max: usize,
    /// From accept to the answered upgrade, in milliseconds.
    pub handshake_ms: u32,
    /// From our close frame, or our last word, to the end, in milliseconds.
    pub close_ms: u32,
    /// Silence after which a ping is sent, in milliseconds.
    pub heartbeat_ms: u32,
    /// Silence after that ping which ends the connection, in milliseconds.
    pub heartbeat_timeout_ms: u32,
    /// How long before its token runs out an agent is told, in seconds; 0 for not at all.
    pub expiry_notice_secs: u32,
}
