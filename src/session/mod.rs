//! Floor 1: one connection's life. Bytes and time are arguments; there is no I/O here.
//!
//! A [`Session`] is what a resting connection owns of its protocol: 24 bytes. [`websocket`] feeds it bytes, [`heartbeat`]
//! says what time demands, and both answer in [`effect::Effect`]s that the event loop carries out.

pub mod effect;
pub mod expiry;
pub mod heartbeat;
mod measured;
pub mod partial;
pub mod phase;
pub mod reason;
pub mod rules;
pub mod websocket;

use crate::kit::buffer_pool::{BufferPool, Purpose};
use crate::kit::tick::{Now, Tick};
use crate::wire::deflate::{Inflater, Window};
use crate::wire::encode;
use crate::wire::envelope::Encoding;
use crate::wire::head::CLIENT_FRAME_BYTES_MIN;
use crate::wire::upgrade::Refusal;

use effect::Effect;
use expiry::Expiry;
use heartbeat::Asked;
use measured::Measured;
use partial::Partial;
use phase::{Event, Phase};
use reason::Reason;
use rules::{Door, Rules};

/// The protocol life of one connection.
#[derive(Debug)]
pub struct Session {
    /// What a message or a head that is cut in two needs; nothing at rest.
    partial: Option<Box<Partial>>,
    /// While open: when a byte last came in. Before and after: when the phase's deadline began to run.
    heard: Tick,
    /// Its last round trip, and whether and how its messages are compressed.
    measured: Measured,
    /// When its token runs out.
    expiry: Expiry,
    phase: Phase,
    reason: Option<Reason>,
    /// How far its heartbeat is.
    asked: Asked,
    /// One byte for whoever owns the session; it is never read here. It lies here because the slot has no other place.
    pub owner_marks: u8,
}

const _: () = assert!(size_of::<Session>() == 24, "a resting session is 24 bytes of the 64-byte slot");

/// What the functions of a session are lent for one call.
pub struct Lent<'a> {
    /// The moment of this turn.
    pub now: Now,
    /// The same by the clock on the wall, in seconds since the UNIX epoch: tokens are judged by it.
    pub unix_secs: u64,
    /// The limits in force.
    pub rules: &'a Rules,
    /// Where the connection came in.
    pub door: Door,
    /// What tells this connection from its neighbours: a part of a `Retry-After` is drawn from it.
    pub seed: u64,
    /// Buffers for what is cut.
    pub pool: &'a mut BufferPool,
    /// What inflates messages, one at a time.
    pub inflater: &'a mut Inflater,
    /// Where the effects go, in order.
    pub effects: &'a mut Vec<Effect>,
}

/// What the buffer of a cut message is lent for, of a connection that came in at `door`.
#[must_use]
pub fn message_purpose(door: Door) -> Purpose {
    match door {
        Door::Agents => Purpose::Message,
        Door::Links => Purpose::LinkMessage,
    }
}

impl Lent<'_> {
    /// Whether so many bytes may wait for a later turn.
    fn has_room_to_keep(&self, bytes: usize) -> bool {
        self.pool.lent_bytes(Purpose::Kept) + BufferPool::room_for(bytes) <= self.rules.kept_bytes_max
    }
}

impl Session {
    /// A connection that was just accepted.
    #[must_use]
    pub fn new(now: Now) -> Self {
        Self {
            partial: None,
            heard: now.tick(),
            measured: Measured::NOTHING,
            expiry: Expiry::NEVER,
            phase: Phase::Handshake,
            reason: None,
            asked: Asked::Never,
            owner_marks: 0,
        }
    }

    /// Where it is in its life.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Why it ended, or is about to.
    #[must_use]
    pub fn reason(&self) -> Option<Reason> {
        self.reason
    }

    /// The last heartbeat's round trip in milliseconds.
    #[must_use]
    pub fn round_trip_ms(&self) -> Option<u32> {
        self.measured.round_trip_ms()
    }

    /// How far compressed messages to the peer may look back; `None` where none may be compressed, either way.
    #[must_use]
    pub fn window(&self) -> Option<Window> {
        self.measured.window()
    }

    /// When a byte last came in.
    #[must_use]
    pub fn heard(&self) -> Tick {
        self.heard
    }

    /// Since when a message that is cut in two has a buffer on loan; `None` when none has.
    #[must_use]
    pub fn message_open_since(&self) -> Option<Tick> {
        self.partial.as_ref().filter(|partial| partial.body.is_some()).map(|partial| partial.since)
    }

    /// The workers let the peer in: `response` is the 101 and whatever goes with it. Nothing happens unless one was asked for.
    pub fn admit(&mut self, encoding: Encoding, expiry: Expiry, response: bytes::Bytes, lent: &mut Lent<'_>) -> bool {
        if self.phase != Phase::Verifying {
            return false;
        }
        self.phase = self.phase.on(match lent.door {
            Door::Agents => Event::Admitted(encoding),
            Door::Links => Event::LinkAdmitted(encoding),
        });
        self.expiry = expiry;
        self.heard = lent.now.tick();
        lent.effects.push(Effect::Send(response));
        true
    }

    /// The agent has shown a newer token.
    pub fn renew(&mut self, expiry: Expiry) {
        if self.phase.is_open() {
            self.expiry = expiry;
        }
    }

    /// Answers the request with an HTTP error, before the upgrade. Nothing happens after it.
    pub fn refuse(&mut self, refusal: Refusal, lent: &mut Lent<'_>) {
        if self.phase.is_half_open() {
            lent.effects.push(Effect::Send(refusal.response(lent.seed)));
            lent.effects.push(Effect::Refused(refusal.status()));
            self.end(Event::Failed, Reason::Refused, lent);
        }
    }

    /// Begins to close, for our reason: a close frame and a wait for the peer's, or an HTTP error before the upgrade.
    pub fn close(&mut self, reason: Reason, lent: &mut Lent<'_>) {
        if self.phase.is_half_open() {
            return self.refuse(Refusal::Unavailable, lent);
        }
        if self.phase.is_open() {
            push_close_frame(reason, lent);
            self.end(Event::CloseSent, reason, lent);
        }
    }

    /// Ends for a fault of the peer's: a close frame, and nothing that it sends is heard any more (RFC 6455 section 7.1.7).
    pub fn fail(&mut self, reason: Reason, lent: &mut Lent<'_>) {
        if self.phase.is_open() {
            push_close_frame(reason, lent);
        }
        self.end(Event::Failed, reason, lent);
    }

    /// The socket is at its end or broken: there is no one to talk to.
    pub fn gone(&mut self, reason: Reason) {
        self.reason.get_or_insert(reason);
        self.phase = Phase::Dead;
    }

    /// Everything that was queued is with the kernel.
    pub fn flushed(&mut self) {
        self.phase = self.phase.on(Event::Flushed);
    }

    /// Gives the buffers back; the session is over.
    pub fn recycle(&mut self, pool: &mut BufferPool) {
        if let Some(partial) = self.partial.take() {
            partial.recycle(pool);
        }
    }

    /// Buffers on loan to this session.
    #[cfg(test)]
    pub(crate) fn leases(&self) -> usize {
        let held = |partial: &Partial| usize::from(partial.body.is_some()) + usize::from(partial.pending.is_some());
        self.partial.as_deref().map_or(0, held)
    }

    /// So many bytes are decoded in one call of [`Session::received`] whatever they are: with no more than these none are kept.
    #[must_use]
    pub fn sure_bytes(&self, rules: &Rules) -> usize {
        // The first step takes what is left of an open frame, or of its head; each further one a frame.
        let open = self.partial.as_deref().map_or(0, |partial| partial.decoder.frame_bytes_left());
        let further = (rules.turn_frames.max(1) as usize - 1).saturating_mul(CLIENT_FRAME_BYTES_MIN);
        usize::try_from(open.max(1)).unwrap_or(usize::MAX).saturating_add(further)
    }

    /// Whether bytes wait here that could be decoded without more of them.
    #[must_use]
    pub fn keeps_bytes(&self) -> bool {
        let kept = self.partial.as_deref().is_some_and(|partial| partial.pending.is_some());
        kept && !self.phase.is_half_open()
    }

    fn end(&mut self, event: Event, reason: Reason, lent: &mut Lent<'_>) {
        self.reason.get_or_insert(reason);
        self.phase = self.phase.on(event);
        self.heard = lent.now.tick();
        if !self.phase.decodes() {
            self.recycle(lent.pool);
        } else if let Some(partial) = &mut self.partial {
            // Nobody will hear the rest of an open message: an agent that is replaced over and over must not leave one each time.
            lent.pool.give_back(partial.body.take());
        }
    }
}

fn push_close_frame(reason: Reason, lent: &mut Lent<'_>) {
    let row = reason.row();
    if let Some(code) = row.code {
        lent.effects.push(Effect::Send(encode::close(code.into(), row.text)));
    }
}
