//! The phases of a connection's life, and the one function that leads from each to the next.
//!
//! ```text
//!  Handshake ──> Verifying ──> Agent, Link ┬─ CloseSent ──> Closing ──┐
//!      │  └─────────────────> Echo ────┼─ PeerClosed ─────────────┴─> Finishing ── Flushed ──> Dead
//!      └── Failed ──────────────────── ┴─ Failed ──> Lingering ── Flushed ──> Hushed ── end of stream ──> Dead
//! ```

use crate::wire::envelope::Encoding;

/// Where a connection is in its life. One byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The request head is being read.
    Handshake,
    /// A worker checks who it is; nothing is read meanwhile.
    Verifying,
    /// Open, an agent.
    Agent(Encoding),
    /// Open, a backend's control link that speaks JSON.
    LinkJson,
    /// As [`Phase::LinkJson`], binary. Two phases and not one with an encoding, which would cost the slot a second byte.
    LinkBinary,
    /// Open, every message goes back to where it came from.
    Echo,
    /// We sent a close frame and wait for the peer's.
    Closing,
    /// Both sides are done: what is queued goes out, then TCP is closed, by us first (RFC 6455 section 7.1.1).
    Finishing,
    /// We have the last word queued; what the peer still sends is thrown away.
    Lingering,
    /// As Lingering, the last word is out and our side of TCP is shut: closing now would reset it under the peer's eyes.
    Hushed,
    /// Over. The slot is freed at the end of the turn.
    Dead,
}

const _: () = assert!(size_of::<Phase>() == 1);

/// What leads from one phase to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A good request for the agents' endpoint.
    AgentAsked,
    /// A good request for the echo endpoint.
    EchoAsked,
    /// The workers let it in.
    Admitted(Encoding),
    /// The workers let it in as a link.
    LinkAdmitted(Encoding),
    /// We queued a close frame.
    CloseSent,
    /// The peer's close frame came, and ours is queued.
    PeerClosed,
    /// The last word is queued and the peer is not heard any more.
    Failed,
    /// All that was queued is with the kernel.
    Flushed,
}

impl Phase {
    /// The phase after `event`. An event that means nothing in a phase leaves it as it is.
    #[must_use]
    pub fn on(self, event: Event) -> Phase {
        match (self, event) {
            (Self::Handshake, Event::AgentAsked) => Self::Verifying,
            (Self::Handshake, Event::EchoAsked) => Self::Echo,
            (Self::Verifying, Event::Admitted(encoding)) => Self::Agent(encoding),
            (Self::Verifying, Event::LinkAdmitted(Encoding::Json)) => Self::LinkJson,
            (Self::Verifying, Event::LinkAdmitted(Encoding::Binary)) => Self::LinkBinary,
            (open, Event::CloseSent) if open.is_open() => Self::Closing,
            (open, Event::PeerClosed) if open.is_open() || open == Self::Closing => Self::Finishing,
            (early, Event::Failed) if early.is_half_open() || early.is_open() || early == Self::Closing => {
                Self::Lingering
            }
            (Self::Finishing, Event::Flushed) => Self::Dead,
            (Self::Lingering, Event::Flushed) => Self::Hushed,
            (same, _) => same,
        }
    }

    /// Before the upgrade is answered.
    #[must_use]
    pub fn is_half_open(self) -> bool {
        matches!(self, Self::Handshake | Self::Verifying)
    }

    /// Messages flow.
    #[must_use]
    pub fn is_open(self) -> bool {
        matches!(self, Self::Agent(_) | Self::LinkJson | Self::LinkBinary | Self::Echo)
    }

    /// How its envelopes are written; `None` where there are none.
    #[must_use]
    pub fn encoding(self) -> Option<Encoding> {
        match self {
            Self::Agent(encoding) => Some(encoding),
            Self::LinkJson => Some(Encoding::Json),
            Self::LinkBinary => Some(Encoding::Binary),
            _ => None,
        }
    }

    /// Whether it is an open link.
    #[must_use]
    pub fn is_link(self) -> bool {
        matches!(self, Self::LinkJson | Self::LinkBinary)
    }

    /// Bytes that come in are decoded.
    #[must_use]
    pub fn decodes(self) -> bool {
        self.is_open() || matches!(self, Self::Handshake | Self::Closing)
    }

    /// The socket should be read, if only to notice its end.
    #[must_use]
    pub fn reads(self) -> bool {
        !matches!(self, Self::Verifying | Self::Finishing | Self::Dead)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PHASES: [Phase; 12] = [
        Phase::Handshake,
        Phase::Verifying,
        Phase::Agent(Encoding::Json),
        Phase::Agent(Encoding::Binary),
        Phase::LinkJson,
        Phase::LinkBinary,
        Phase::Echo,
        Phase::Closing,
        Phase::Finishing,
        Phase::Lingering,
        Phase::Hushed,
        Phase::Dead,
    ];
    const EVENTS: [Event; 8] = [
        Event::AgentAsked,
        Event::EchoAsked,
        Event::Admitted(Encoding::Binary),
        Event::LinkAdmitted(Encoding::Binary),
        Event::CloseSent,
        Event::PeerClosed,
        Event::Failed,
        Event::Flushed,
    ];

    fn rank(phase: Phase) -> u8 {
        match phase {
            Phase::Handshake => 0,
            Phase::Verifying => 1,
            open if open.is_open() => 2,
            Phase::Closing => 3,
            Phase::Finishing | Phase::Lingering => 4,
            Phase::Hushed => 5,
            _ => 6,
        }
    }

    #[test]
    fn life_only_goes_forward() {
        for phase in PHASES {
            for event in EVENTS {
                let next = phase.on(event);
                assert!(next == phase || rank(next) > rank(phase), "{phase:?} on {event:?} gave {next:?}");
            }
            assert!(phase.on(Event::EchoAsked) == phase || phase == Phase::Handshake);
        }
    }

    #[test]
    fn nobody_is_an_agent_or_a_link_without_admission() {
        for phase in PHASES {
            for event in EVENTS {
                if matches!(phase.on(event), Phase::Agent(_)) && !matches!(phase, Phase::Agent(_)) {
                    assert!(phase == Phase::Verifying && matches!(event, Event::Admitted(_)));
                }
                if phase.on(event).is_link() && !phase.is_link() {
                    assert!(phase == Phase::Verifying && matches!(event, Event::LinkAdmitted(_)));
                }
            }
        }
    }
}
