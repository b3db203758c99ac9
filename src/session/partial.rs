//! What a connection needs while something is cut in two: nothing of it exists at rest.

use crate::kit::buffer_pool::{BufferPool, Lease};
use crate::kit::tick::Tick;
use crate::wire::decoder::Decoder;

/// The pieces that came so far.
#[derive(Default)]
pub struct Partial {
    /// Between two reads, when a frame or a message is open.
    pub decoder: Decoder,
    /// The message so far.
    pub body: Option<Lease>,
    /// Since when there is a body; means nothing without one.
    pub since: Tick,
    /// Bytes that came in and were not decoded yet: a cut request head, or what was over the budget of a turn.
    pub pending: Option<Lease>,
}

impl std::fmt::Debug for Partial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let held = |lease: &Option<Lease>| lease.as_ref().map(|lease| lease.len());
        f.debug_struct("Partial").field("body", &held(&self.body)).field("pending", &held(&self.pending)).finish()
    }
}

impl Partial {
    /// Whether there is nothing to remember.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.body.is_none() && self.pending.is_none() && self.decoder.at_rest()
    }

    /// Gives the buffers back.
    pub fn recycle(self, pool: &mut BufferPool) {
        pool.give_back(self.body);
        pool.give_back(self.pending);
    }
}
