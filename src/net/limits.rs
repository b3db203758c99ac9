//! The limits of one event loop. Values come from the settings; there are no defaults here.

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
    /// Bytes of all messages that are cut in two, with the room that their buffers have; who needs more is closed.
    pub lease_bytes: usize,
    /// Bytes read from one connection in a turn.
    pub turn_bytes: usize,
}
