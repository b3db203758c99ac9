//! TLS on the way in: records that lie in the scratch are opened there, and half of one waits in a lease.
//!
//! Owns what becomes of each record, and of a connection whose records are against the rules. What is in them goes to the session as bytes
//! of a connection without TLS do.

use std::ops::Range;

use crate::kit::buffer_pool::Purpose;
use crate::kit::tick::Tick;
use crate::net::conn::mark;
use crate::net::intake::Event;
use crate::net::io::{Io, Token};
use crate::net::secured::{Joined, Kind};
use crate::net::tls::alert::Alert;
use crate::net::tls::record::{Front, front};
use crate::net::tls::records::Opened;
use crate::session::message_purpose;
use crate::session::phase::Phase;
use crate::session::reason::Reason;
use crate::session::rules::Door;

use super::EventLoop;
use super::carry_out::live;

/// What a read brought for the session.
#[derive(Debug)]
pub(super) struct Unsealed {
    /// Where it lies in the scratch.
    pub(super) plain: Range<usize>,
    /// What is behind it.
    pub(super) then: Then,
}

/// What came behind the last record of data.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Then {
    /// Nothing.
    GoOn,
    /// Something is owed to the peer that is no data.
    Owes,
    /// The peer says nothing more.
    Closed,
    /// The peer has failed the connection with this alert.
    Failed(u8),
    /// The peer is against the rules.
    Refused(Alert),
}

impl<I: Io> EventLoop<I> {
    /// Whether who comes in at `door` speaks TLS.
    pub(super) fn has_tls(&self, door: Door) -> bool {
        self.tls[door as usize].is_some()
    }

    /// Whether no door has TLS.
    pub(super) fn is_plain(&self) -> bool {
        self.tls.iter().all(Option::is_none)
    }

    /// Whether a connection's TLS handshake is not done yet.
    pub(super) fn is_shaking(&self, token: Token) -> bool {
        if self.is_plain() {
            return false;
        }
        let conn = self.conns.get(token.slot).filter(|conn| conn.generation == token.generation);
        let early = conn.is_some_and(|conn| {
            let awaits_header = conn.session.owner_marks & mark::AWAITS_HEADER != 0;
            self.has_tls(conn.door()) && conn.session.phase() == Phase::Handshake && !awaits_header
        });
        early && matches!(self.secured.kind(token.slot), Kind::Newcomer | Kind::Shaking)
    }

    /// Opens the records that lie behind `kept` bytes of plaintext. `None` when there is nothing for the session.
    pub(super) fn unseal(&mut self, token: Token, kept: usize, count: usize) -> Option<Unsealed> {
        let plain = Unsealed { plain: 0..count, then: Then::GoOn };
        if self.is_plain() {
            return Some(plain);
        }
        let conn = live(&mut self.conns, token)?;
        let (door, phase) = (conn.door(), conn.session.phase());
        if !self.has_tls(door) {
            return Some(plain);
        }
        if kept == count {
            let then = if self.secured.peer_has_ended(token.slot) { Then::Closed } else { Then::GoOn };
            return Some(Unsealed { then, ..plain });
        }
        if !phase.decodes() {
            // Nobody hears it any more.
            return None;
        }
        if self.is_shaking(token) {
            self.with_session(token, |session, scratch, lent| session.put_by(&scratch[..count], lent));
            self.line_up(token);
            return None;
        }
        let purpose = if phase.is_half_open() { Purpose::Head } else { message_purpose(door) };
        Some(self.open_records(token, (kept, count), purpose))
    }

    fn open_records(&mut self, token: Token, (kept, count): (usize, usize), purpose: Purpose) -> Unsealed {
        let since = self.part_began.take().unwrap_or(self.now.tick());
        let mut joined = Joined::behind(kept);
        let mut at = kept;
        let mut then = Then::GoOn;
        let Some((records, ciphers)) = self.secured.records(token.slot) else {
            return Unsealed { plain: 0..kept, then };
        };
        while at < count {
            let whole = match front(&self.scratch[at..count]) {
                Front::Whole(whole) => whole,
                Front::Part(_) => break,
                Front::Refused(alert) => {
                    then = Then::Refused(alert);
                    break;
                }
            };
            match records.open(ciphers, &mut self.scratch[at..at + whole]) {
                Opened::Data(range) => joined.add(&mut self.scratch, at + range.start..at + range.end),
                Opened::Nothing => {}
                Opened::Closed => then = Then::Closed,
                Opened::Failed(description) => then = Then::Failed(description),
                Opened::Refused(alert) => then = Then::Refused(alert),
            }
            at += whole;
            if then != Then::GoOn {
                break;
            }
        }
        if then == Then::GoOn {
            then = if records.owes() { Then::Owes } else { then };
            self.keep_part(token, at..count, (at == kept).then_some(since), purpose);
        }
        Unsealed { plain: joined.range(), then }
    }

    /// Keeps half a record: since when its connection has been at it, if not since now.
    fn keep_part(&mut self, token: Token, part: Range<usize>, since: Option<Tick>, purpose: Purpose) {
        if !part.is_empty() {
            let since = since.unwrap_or(self.now.tick());
            self.secured.keep_part(token.slot, &self.scratch[part], since, purpose, &mut self.pool);
        }
    }

    /// Does what the end of a read asks for, when the session has what came before it.
    pub(super) fn follow(&mut self, token: Token, then: Then) {
        match then {
            Then::GoOn => {}
            Then::Owes => self.stir(token),
            Then::Closed => self.end_peer(token),
            Then::Failed(description) => {
                tracing::debug!(conn = ?self.conn_id(token), description, "the peer failed its TLS connection");
                self.lose(token, Reason::TlsBroken);
            }
            Then::Refused(alert) => self.refuse_records(token, alert),
        }
    }

    /// The peer says nothing more. What turns had no budget for is heard first, under the budgets of the next ones: an answer may be among it.
    fn end_peer(&mut self, token: Token) {
        self.secured.end_peer(token.slot);
        if live(&mut self.conns, token).is_some_and(|conn| conn.session.keeps_bytes()) {
            return self.read_again(token);
        }
        // An orderly end: what is queued still goes out, then our close_notify.
        self.with_session(token, |session, _, lent| session.fail(Reason::PeerVanished, lent));
    }

    /// A record against the rules: the peer is told by an alert, and nothing else is said or heard (RFC 8446 section 6.2).
    fn refuse_records(&mut self, token: Token, alert: Alert) {
        let id = self.conn_id(token);
        tracing::debug!(conn = ?id, alert = alert.label(), "a TLS record is refused");
        let mut bytes = self.secured.take_ticket(token.slot).map(Vec::from).unwrap_or_default();
        if let Some((records, ciphers)) = self.secured.records(token.slot) {
            records.fail(ciphers, alert, &mut bytes);
        }
        self.secured.close(token.slot);
        self.stir(token);
        if let Some(outbox) = live(&mut self.conns, token).and_then(|conn| conn.outbox.as_mut()) {
            outbox.cut_unsealed(|call| self.intake.push(id, Event::NotWritten { call }));
            outbox.push_wire(&bytes);
        }
        self.with_session(token, |session, _, lent| session.fail(Reason::TlsBroken, lent));
    }
}
