//! The verb `reap`: whoever died in this turn is freed at its end, and the workers get what the turn heard.

use std::net::SocketAddr;

use crate::kit::ids::ConnId;
use crate::net::conn::mark;
use crate::net::intake::Event;
use crate::net::io::{Io, Token};
use crate::session::reason::{Loudness, Reason, Row};
use crate::session::rules::Door;

use super::carry_out::live;
use super::{EventLoop, SPARES_MAX};

/// Turns for which newcomers and those who have gone wait for company, while handshakes make the next turn come at once: a worker that
/// is woken for each one alone takes several microseconds of the loop's core for it.
const TURNS_TOGETHER: u32 = 4;

impl<I: Io> EventLoop<I> {
    pub(super) fn reap(&mut self) {
        let mut dead = std::mem::take(&mut self.dead);
        if self.stopping {
            // What the kernel has not taken by now will never be written, and whoever waits for it must know.
            let conns = self.conns.range(0, self.conns.span());
            dead.extend(conns.map(|(slot, conn)| conn.token(slot)));
        }
        for token in dead.drain(..) {
            self.free(token);
        }
        self.dead = dead;
        self.workers_behind = self.intake.is_behind();
        let in_haste = self.intake.is_pressed() || self.backed_up || self.starved || self.stopping;
        if self.turns_together < TURNS_TOGETHER && self.has_line() && !in_haste {
            self.turns_together += 1;
        } else {
            self.turns_together = 0;
            self.backed_up = !self.intake.offer() || std::mem::take(&mut self.starved);
        }
        self.publish();
        self.meter.deflated(self.inflater.take_moved(), self.deflater.take_moved());
        self.meter.flush();
    }

    /// Frees a slot. The same connection may stand in the list twice; the second time it is gone.
    fn free(&mut self, token: Token) {
        if live(&mut self.conns, token).is_none() {
            return;
        }
        self.sweep.busy = true;
        let (id, source) = (self.conn_id(token), self.sources.get(token.slot));
        self.sources.forget(token.slot);
        self.throttle.forget(token.slot);
        self.secured.forget(token.slot, &mut self.pool);
        let Some(mut conn) = self.conns.remove(token.slot) else {
            return;
        };
        if conn.session.owner_marks & mark::TURNED_AWAY != 0 {
            self.turned_away -= 1;
        } else if conn.door() == Door::Links {
            self.links -= 1;
        } else {
            self.room.give_back();
        }
        if conn.session.owner_marks & mark::REFUSED != 0 {
            self.refused -= 1;
        }
        conn.session.recycle(&mut self.pool);
        if let Some(mut outbox) = conn.outbox.take() {
            outbox.clear(|call| self.intake.push(id, Event::NotWritten { call }));
            if self.spare_outboxes.len() < SPARES_MAX {
                self.spare_outboxes.push(outbox);
            }
        }
        let reason = conn.session.reason().unwrap_or(Reason::SocketError);
        self.meter.closed(reason);
        if conn.agent.is_some() {
            self.intake.push(id, Event::Ended { conn: id, agent: conn.agent, reason });
        }
        if conn.is_linked() {
            self.intake.push(id, Event::LinkEnded { conn: id, reason });
        }
        self.log_end(id, reason, &conn.stream, source);
    }

    /// Every end is counted; in the log each has its line up to so many in a second.
    fn log_end(&mut self, id: ConnId, reason: Reason, stream: &I::Stream, source: Option<SocketAddr>) {
        let Row { label, loudness, .. } = reason.row();
        if loudness == Loudness::Debug {
            return tracing::debug!(conn = ?id, reason = label, "connection ended");
        }
        let Some(left_out) = self.ends_logged.step(self.now) else {
            return;
        };
        let peer = source.or_else(|| self.io.peer(stream)).map(tracing::field::display);
        match loudness {
            Loudness::Warn => tracing::warn!(conn = ?id, reason = label, peer, left_out, "connection ended"),
            _ => tracing::info!(conn = ?id, reason = label, peer, left_out, "connection ended"),
        }
    }
}
