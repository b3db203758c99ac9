//! What goes wrong, and how often: one named probability for each fault.

use fastrand::Rng;

/// Probabilities from 0 to 1. Those of the kernel are asked at each call, those of peers at each decision.
#[derive(Clone, Debug, Default)]
pub(super) struct Odds {
    /// A write takes fewer bytes than there is room for.
    pub(super) short_write: f64,
    /// A write is refused although there is room.
    pub(super) write_refused: f64,
    /// Read, write, accept or wait is interrupted.
    pub(super) interrupted: f64,
    /// An event for a connection that has nothing.
    pub(super) spurious: f64,
    /// An event for a connection that is gone, or for the listener.
    pub(super) stale: f64,
    /// Accept finds no descriptor left.
    pub(super) accept_full: f64,
    /// The peer gave up before it was accepted.
    pub(super) accept_aborted: f64,
    /// Watching fails.
    pub(super) watch_fails: f64,
    /// Bytes are cut into small pieces on their way.
    pub(super) cut: f64,
    /// A piece is late.
    pub(super) late_bytes: f64,
    /// A worker pauses before an event: slow verification, full queues.
    pub(super) worker_pause: f64,
    /// Time jumps.
    pub(super) jump: f64,
    /// A peer resets, ends its side, or vanishes without a word, instead of its next act.
    pub(super) peer_reset: f64,
    pub(super) peer_half_close: f64,
    pub(super) peer_vanish: f64,
    /// A peer does not read, or slowly.
    pub(super) peer_deaf: f64,
    pub(super) peer_slow: f64,
    /// A peer breaks RFC 6455.
    pub(super) peer_illegal: f64,
    /// An agent sends what is no envelope.
    pub(super) garbage: f64,
    /// An agent does not answer, answers late, twice, or somebody else's call.
    pub(super) agent_mute: f64,
    pub(super) agent_late: f64,
    pub(super) agent_double: f64,
    pub(super) agent_foreign: f64,
    /// A message is cut into frames, with pings between them.
    pub(super) fragments: f64,
    /// A caller goes away.
    pub(super) caller_cancels: f64,
    /// A backend changes limits, or disconnects an agent.
    pub(super) operator: f64,
}

impl Odds {
    /// Nothing goes wrong.
    pub(super) fn calm() -> Self {
        Self::default()
    }

    /// Only what a healthy kernel does to healthy peers.
    pub(super) fn of_kernel(&self) -> Self {
        Self {
            short_write: self.short_write,
            write_refused: self.write_refused,
            interrupted: self.interrupted,
            cut: self.cut,
            late_bytes: self.late_bytes,
            ..Self::calm()
        }
    }

    /// A mix: each fault is off in half of the runs, so that one does not hide another.
    pub(super) fn mixed(rng: &mut Rng) -> Self {
        let mut up_to = |most: f64| if rng.bool() { rng.f64() * most } else { 0.0 };
        Self {
            short_write: up_to(0.4),
            write_refused: up_to(0.3),
            interrupted: up_to(0.2),
            spurious: up_to(0.1),
            stale: up_to(0.1),
            accept_full: up_to(0.3),
            accept_aborted: up_to(0.2),
            watch_fails: up_to(0.01),
            cut: up_to(0.9),
            late_bytes: up_to(0.5),
            worker_pause: up_to(0.3),
            jump: up_to(0.003),
            peer_reset: up_to(0.03),
            peer_half_close: up_to(0.08),
            peer_vanish: up_to(0.02),
            peer_deaf: up_to(0.15),
            peer_slow: up_to(0.4),
            peer_illegal: up_to(0.02),
            garbage: up_to(0.1),
            agent_mute: up_to(0.2),
            agent_late: up_to(0.2),
            agent_double: up_to(0.2),
            agent_foreign: up_to(0.2),
            fragments: up_to(0.5),
            caller_cancels: up_to(0.4),
            operator: up_to(0.1),
        }
    }
}
