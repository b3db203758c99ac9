//! How long one connection may keep us waiting: for its first request, between requests, in the middle of a body.
//!
//! Owns one word of state for each connection and the arithmetic on it. It never waits itself: `server` looks at it now and
//! then, so that a request costs two stores and no timer.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::kit::tick::Now;

/// What a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// The head of its first request, from the peer.
    FirstHead = 0,
    /// The head of a further request, or for the peer to take the last answer.
    Idle = 1,
    /// The rest of a body, from the peer.
    Body = 2,
    /// An answer, from us: the peer is not to blame.
    Us = 3,
}

/// What to do with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Nothing.
    Keep,
    /// Its body is late: the handler should answer so.
    Answer,
    /// It is idle or stalled: close it.
    Close,
}

/// The state of one connection. Only its task writes it.
#[derive(Debug)]
pub struct Patience {
    /// Milliseconds in the upper 62 bits, the [`Wait`] in the lower two.
    since: AtomicU64,
    body_is_late: AtomicBool,
}

impl Patience {
    /// A connection that was just accepted.
    #[must_use]
    pub fn new(now: Now) -> Self {
        Self { since: AtomicU64::new(now.0 << 2 | Wait::FirstHead as u64), body_is_late: AtomicBool::new(false) }
    }

    /// From `now` on it waits for something else.
    pub fn wait_for(&self, wait: Wait, now: Now) {
        self.since.store(now.0 << 2 | wait as u64, Ordering::Relaxed);
    }

    /// Whether the body did not arrive in time.
    #[must_use]
    pub fn body_is_late(&self) -> bool {
        self.body_is_late.load(Ordering::Relaxed)
    }

    /// Judges the connection: a head or a body may take `head_max`, the pause between requests `idle_max`.
    pub fn judge(&self, now: Now, head_max: Duration, idle_max: Duration) -> Fate {
        let word = self.since.load(Ordering::Relaxed);
        let waited = now.since(Now(word >> 2));
        match word & 3 {
            0 if waited >= head_max => Fate::Close,
            1 if waited >= idle_max => Fate::Close,
            2 if waited >= head_max => {
                self.body_is_late.store(true, Ordering::Relaxed);
                Fate::Answer
            }
            _ => Fate::Keep,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn each_wait_has_its_limit() {
        let (head, idle) = (Duration::from_millis(10), Duration::from_millis(75));
        for (wait, last_kept, then) in [
            (Wait::FirstHead, 1009, Fate::Close),
            (Wait::Idle, 1074, Fate::Close),
            (Wait::Body, 1009, Fate::Answer),
            (Wait::Us, u64::MAX >> 2, Fate::Keep),
        ] {
            let patience = Patience::new(Now(1));
            patience.wait_for(wait, Now(1000));
            assert_eq!(patience.judge(Now(last_kept), head, idle), Fate::Keep);
            assert!(!patience.body_is_late());
            assert_eq!(patience.judge(Now(last_kept + 1), head, idle), then);
            assert_eq!(patience.body_is_late(), then == Fate::Answer);
        }
    }

    #[test]
    fn a_new_connection_owes_its_first_request() {
        let patience = Patience::new(Now(5));
        let (head, idle) = (Duration::from_millis(10), Duration::from_millis(75));
        assert_eq!(patience.judge(Now(14), head, idle), Fate::Keep);
        assert_eq!(patience.judge(Now(15), head, idle), Fate::Close);
    }
}
