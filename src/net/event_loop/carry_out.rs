//! Running a session and doing what it wants, and the one door into an outbox.

use bytes::Bytes;
use tungstenite::protocol::frame::coding::{Control, OpCode};

use crate::kit::slots::Slots;
use crate::net::conn::{Conn, mark};
use crate::net::intake::Event;
use crate::net::io::{Io, Token};
use crate::net::outbox::Segment;
use crate::session::effect::{Body, Effect};
use crate::session::phase::Phase;
use crate::session::reason::Reason;
use crate::session::rules::Door;
use crate::session::{Lent, Session};
use crate::wire::encode;

use super::EventLoop;

/// What an echo connection may have queued above its largest message: the rest of one read.
const ECHO_SLACK: usize = 1 << 20;

/// Refused connections that may wait until the peer has read why; more are closed as soon as the answer is written, so
/// that a flood of bad requests does not fill the table.
const REFUSED_MAX: u32 = 1024;

/// The connection that a token names; `None` when it is gone, whoever has its slot now.
pub(super) fn live<S>(conns: &mut Slots<Conn<S>>, token: Token) -> Option<&mut Conn<S>> {
    conns.get_mut(token.slot).filter(|conn| conn.generation == token.generation)
}

impl<I: Io> EventLoop<I> {
    /// Runs one function of a session, does what it wants, and follows its phase. `None` when the connection is gone.
    pub(super) fn with_session<R>(
        &mut self,
        token: Token,
        run: impl FnOnce(&mut Session, &mut [u8], &mut Lent<'_>) -> R,
    ) -> Option<R> {
        let conn = live(&mut self.conns, token)?;
        let mut effects = std::mem::take(&mut self.effects);
        let (before, door) = (conn.session.phase(), conn.door());
        let mut lent = Lent {
            now: self.now,
            unix_secs: self.unix_secs,
            rules: &self.rules,
            door,
            seed: token.generation.into(),
            pool: &mut self.pool,
            inflater: &mut self.inflater,
            effects: &mut effects,
        };
        let result = run(&mut conn.session, &mut self.scratch, &mut lent);
        let after = conn.session.phase();
        let missed = conn.session.owner_marks & mark::PASSED_OVER != 0 || conn.session.keeps_bytes();
        if before.is_half_open() && !after.is_half_open() && door == Door::Agents {
            self.half_open -= 1;
        }
        if !after.decodes() && after != Phase::Verifying {
            self.secured.drop_part(token.slot, &mut self.pool);
        }
        if !effects.is_empty() {
            self.carry_out(token, &mut effects);
        }
        self.effects = effects;
        // Edges may have come while it was not read: a worker verified it, or too much was queued for it. Nobody tells of
        // them again. Most agents say nothing until they are let in, and a look at each would be a system call for nothing.
        let silent = before == Phase::Verifying && after.is_open() && !missed;
        if after.reads() && !silent && (!before.reads() || before.is_open() && !after.is_open()) {
            self.read_again(token);
        }
        self.settle(token);
        Some(result)
    }

    fn carry_out(&mut self, token: Token, effects: &mut Vec<Effect>) {
        let conn = self.conn_id(token);
        for effect in effects.drain(..) {
            self.sweep.busy |= !matches!(effect, Effect::Ping);
            match effect {
                Effect::Send(bytes) => {
                    let bytes = self.shorten(token, bytes);
                    self.enqueue(token, Segment { bytes, call: None });
                }
                Effect::Deliver(encoding, body) => {
                    let body = self.copy_out(body);
                    self.meter.messages_in += 1;
                    self.intake.push(conn, Event::Message { conn, encoding, body });
                }
                Effect::DeliverLink(encoding, body) => {
                    let body = self.copy_out(body);
                    self.meter.messages_in += 1;
                    self.intake.push(conn, Event::LinkMessage { conn, encoding, body });
                }
                Effect::Authenticate(greeting) => self.knock(token, greeting),
                Effect::Ping => {
                    let bytes = self.ping();
                    self.enqueue(token, Segment { bytes, call: None });
                }
                Effect::Refused(status) => self.note_refusal(token, status),
            }
        }
    }

    fn note_refusal(&mut self, token: Token, status: u16) {
        self.meter.refused(status);
        if let Some(conn) = live(&mut self.conns, token) {
            conn.session.owner_marks |= mark::REFUSED;
            self.refused += 1;
        }
    }

    fn copy_out(&mut self, body: Body) -> Bytes {
        match body {
            Body::Scratch(range) => Bytes::copy_from_slice(&self.scratch[self.scratch_from..][range]),
            Body::Leased(lease) => {
                let bytes = Bytes::copy_from_slice(&lease);
                self.pool.take_back(lease);
                bytes
            }
        }
    }

    /// Queues a frame and marks the connection for this turn's flush: the one function that does either.
    pub(super) fn enqueue(&mut self, token: Token, segment: Segment) {
        let Some(conn) = live(&mut self.conns, token) else {
            return;
        };
        let outbox = conn.outbox.get_or_insert_with(|| self.spare_outboxes.pop().unwrap_or_default());
        outbox.push(segment);
        self.meter.frames_out += 1;
        if !outbox.dirty {
            outbox.dirty = true;
            self.dirty.push(token);
        }
    }

    /// Follows what just happened: a life that is over is noted for `reap`, a last word that is out is the end of our
    /// side, and a peer with too much queued is a slow consumer.
    pub(super) fn settle(&mut self, token: Token) {
        let Some(conn) = live(&mut self.conns, token) else {
            return;
        };
        let door = conn.door();
        match conn.session.phase() {
            Phase::Dead => self.dead.push(token),
            // The last word of TLS goes out before the end of our side.
            Phase::Finishing | Phase::Lingering if conn.outbox.is_none() && self.secured.speaks(token.slot) => {
                self.stir(token);
            }
            Phase::Finishing | Phase::Lingering if conn.outbox.is_none() => {
                conn.session.flushed();
                let may_linger = conn.session.owner_marks & mark::REFUSED == 0 || self.refused <= REFUSED_MAX;
                match conn.session.phase() {
                    Phase::Hushed if may_linger => self.io.shut(&mut conn.stream),
                    Phase::Hushed => self.lose(token, Reason::Refused),
                    _ => self.dead.push(token),
                }
            }
            phase if phase.is_open() => {
                let hard = self.queue_hard(phase, door);
                if self.backlog(token) > hard {
                    // Only what the kernel does not take is the peer's slowness.
                    self.push_out(token);
                    if self.backlog(token) > hard {
                        self.slow_consumer(token);
                    }
                }
            }
            _ => {}
        }
    }

    /// Bytes that wait for the kernel.
    pub(super) fn queued(&mut self, token: Token) -> usize {
        live(&mut self.conns, token).map_or(0, |conn| conn.queued_bytes())
    }

    /// Bytes that wait behind the first frame: no peer is slow for the size of one frame.
    fn backlog(&mut self, token: Token) -> usize {
        let outbox = live(&mut self.conns, token).and_then(|conn| conn.outbox.as_ref());
        outbox.map_or(0, |outbox| outbox.backlog_bytes())
    }

    pub(super) fn queue_hard(&self, phase: Phase, door: Door) -> usize {
        match (phase, self.rules.echo_bytes_max) {
            (Phase::Echo, Some(largest)) => usize::try_from(largest).unwrap_or(usize::MAX).saturating_add(ECHO_SLACK),
            _ => self.limits.queue_hard(door),
        }
    }

    /// Drops the queue of a peer that does not read, so that the last word fits, and says why.
    pub(super) fn slow_consumer(&mut self, token: Token) {
        let id = self.conn_id(token);
        let Some(conn) = live(&mut self.conns, token) else {
            return;
        };
        if let Some(outbox) = &mut conn.outbox {
            outbox.cut(|call| self.intake.push(id, Event::NotWritten { call }));
        }
        self.with_session(token, |session, _, lent| session.fail(Reason::SlowConsumer, lent));
    }

    /// The socket is at its end: nothing more can be said.
    pub(super) fn lose(&mut self, token: Token, reason: Reason) {
        self.with_session(token, |session, _, _| session.gone(reason));
    }

    fn ping(&mut self) -> Bytes {
        let tick = self.now.tick();
        match &self.ping {
            Some((sent, frame)) if *sent == tick => frame.clone(),
            _ => {
                let frame = encode::frame(OpCode::Control(Control::Ping), &tick.0.to_le_bytes());
                self.ping = Some((tick, frame.clone()));
                frame
            }
        }
    }
}
