//! The limits of one event loop. Values come from the settings; there are no defaults here.

use crate::kit::overload::Ladder;
use crate::session::rules::Door;

use super::throttle::AgentRates;

/// What a loop allows.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at once; one more is answered 503.
    pub connections_max: u32,
    /// Connections at once whose upgrade is not answered yet.
    pub half_open_max: u32,
    /// Bytes queued to one peer above which it is not read from, and has [`Limits::write_deadline_ms`] to catch up.
    pub queue_soft: usize,
    /// Bytes queued to one peer above which it is a slow consumer at once.
    pub queue_hard: usize,
    /// How long a peer may stay above the soft mark, in milliseconds.
    pub write_deadline_ms: u32,
    /// Bytes of all messages of agents that are cut in two, with the room that their buffers have, and as much again for links; who
    /// needs more is closed.
    pub lease_bytes: usize,
    /// Bytes read from one connection in a turn.
    pub turn_bytes: usize,
    /// TLS handshakes under way at once; who comes later waits in line.
    pub handshakes_max: u32,
    /// What is compressed on its way out; `None` where nothing is.
    pub deflate: Option<DeflateLimits>,
    /// How fast each agent may send.
    pub agent_rates: AgentRates,
    /// When it is overloaded, and what then.
    pub overload: OverloadLimits,
    /// What is other for links.
    pub link: LinkLimits,
}

/// Which messages to agents that agreed on it are compressed, and how.
#[derive(Clone, Copy, Debug)]
pub struct DeflateLimits {
    /// Bytes of the shortest one.
    pub from: usize,
    /// Bytes of the longest one: the loop does nothing else meanwhile.
    pub to: usize,
    /// Bytes of all that a loop compresses in a turn, before the next message goes out as it is.
    pub turn: u64,
    /// 1 (fast) to 9 (small).
    pub level: u32,
}

/// When a loop is overloaded, and how long it then waits for peers that are slow.
#[derive(Clone, Copy, Debug)]
pub struct OverloadLimits {
    /// By its lag, in milliseconds.
    pub lag: Ladder,
    /// Bytes behind the first frame of a queue that is worth cutting.
    pub shed_from: usize,
    /// As [`Limits::write_deadline_ms`] at the highest level, by lag or by memory.
    pub patience_ms: u32,
}

/// What a loop allows to links.
#[derive(Clone, Copy, Debug)]
pub struct LinkLimits {
    /// Links at once, those that are not let in yet too; one more is answered 503. They count apart from agents, so that
    /// neither keeps the other out.
    pub connections_max: u32,
    /// As [`Limits::queue_soft`].
    pub queue_soft: usize,
    /// As [`Limits::queue_hard`].
    pub queue_hard: usize,
}

impl Limits {
    /// The soft mark of connections that came in at `door`.
    #[must_use]
    pub fn queue_soft(&self, door: Door) -> usize {
        match door {
            Door::Agents => self.queue_soft,
            Door::Links => self.link.queue_soft,
        }
    }

    /// The hard mark of connections that came in at `door`.
    #[must_use]
    pub fn queue_hard(&self, door: Door) -> usize {
        match door {
            Door::Agents => self.queue_hard,
            Door::Links => self.link.queue_hard,
        }
    }
}
