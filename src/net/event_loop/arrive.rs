//! Where connections come from: who is closed at the door, what a balancer says of those that it passes on, and who may log in.
//!
//! Owns what `accept`, `read` and `carry_out` do about addresses. The counts are [`Arrivals`](crate::net::arrivals::Arrivals)'.

use std::net::{IpAddr, SocketAddr};

use metrics::counter;

use crate::kit::metric;
use crate::net::arrivals::{Header, Shed};
use crate::net::conn::mark;
use crate::net::intake::Event;
use crate::net::io::{Io, Token};
use crate::session::effect::Greeting;
use crate::session::reason::Reason;
use crate::session::rules::Door;
use crate::wire::proxy;
use crate::wire::upgrade::Refusal;

use super::EventLoop;
use super::carry_out::live;

impl<I: Io> EventLoop<I> {
    /// A connection was accepted: it is closed here and now, or it is welcome.
    pub(super) fn arrive(&mut self, stream: I::Stream, peer: SocketAddr, door: Door) {
        self.meter.accepted.increment(1);
        match self.arrivals.accepted(self.now, door, peer.ip()) {
            Ok(header) => self.welcome(stream, door, header),
            Err(shed) => self.shed(shed, Some(peer)),
        }
    }

    /// Whether a connection must begin with a PROXY header, and has not.
    pub(super) fn awaits_header(&mut self, token: Token) -> bool {
        self.has_balancers
            && live(&mut self.conns, token).is_some_and(|conn| conn.session.owner_marks & mark::AWAITS_HEADER != 0)
    }

    /// Takes a PROXY header off the bytes that came in, where one is due. How many are left in front of the scratch, all of them the
    /// peer's own; `None` when there are none, or the connection is over.
    pub(super) fn past_header(&mut self, token: Token, count: usize) -> Option<usize> {
        if !self.awaits_header(token) {
            return Some(count);
        }
        match proxy::parse(&self.scratch[..count]) {
            Ok(None) => {
                self.with_session(token, |session, scratch, lent| session.put_by(&scratch[..count], lent));
                None
            }
            Ok(Some(header)) => self.passed_on(token, header, count),
            Err(broken) => {
                let peer = self.peer(token).map(tracing::field::display);
                if let Some(left_out) = self.sheds_logged.step(self.now) {
                    tracing::warn!(peer, ?broken, left_out, "not a PROXY header");
                }
                self.lose(token, Reason::ProxyHeader);
                None
            }
        }
    }

    /// The header of a connection has come: from now on it comes from where that says.
    fn passed_on(&mut self, token: Token, header: proxy::Header, count: usize) -> Option<usize> {
        let conn = live(&mut self.conns, token)?;
        conn.session.owner_marks &= !mark::AWAITS_HEADER;
        conn.bytes_in = conn.bytes_in.saturating_sub(header.bytes as u64);
        let door = conn.door();
        // A balancer that speaks for itself is one of those that were listed, and is not counted.
        if let Some(source) = header.source {
            self.sources.put(token.slot, source);
            if let Err(shed) = self.arrivals.enter(self.now, door, source.ip()) {
                self.shed(shed, Some(source));
                self.lose(token, Reason::Shed);
                return None;
            }
        }
        self.scratch.copy_within(header.bytes..count, 0);
        (count > header.bytes).then_some(count - header.bytes)
    }

    /// Where a connection comes from: what its balancer said, else what its socket says. A system call where there is no balancer.
    pub(super) fn peer(&self, token: Token) -> Option<SocketAddr> {
        let conn = self.conns.get(token.slot).filter(|conn| conn.generation == token.generation)?;
        self.sources.get(token.slot).or_else(|| self.io.peer(&conn.stream))
    }

    /// The address that limits hold a connection to account by, of which `peer` is where it comes from. `None` where its balancer speaks
    /// for itself or does not know: the balancer's own address is that of all who come through it.
    pub(super) fn held_to(&self, token: Token, peer: Option<SocketAddr>) -> Option<IpAddr> {
        let conn = self.conns.get(token.slot).filter(|conn| conn.generation == token.generation)?;
        let is_unsaid = self.arrivals.header(conn.door()) == Header::First && self.sources.get(token.slot).is_none();
        peer.filter(|_| !is_unsaid).map(|peer| peer.ip())
    }

    /// Asks the workers who this is, unless too many have failed to prove it where it comes from.
    pub(super) fn knock(&mut self, token: Token, mut greeting: Box<Greeting>) {
        greeting.peer = self.peer(token);
        greeting.held_to = self.held_to(token, greeting.peer);
        greeting.certified = self.secured.take_name(token.slot);
        let wait = greeting.held_to.and_then(|source| self.arrivals.login_wait(self.now, source));
        if let Some(wait) = wait {
            self.shed(Shed::FailedLogins, greeting.peer);
            let refusal = Refusal::TooManyFailures { wait };
            self.with_session(token, |session, _, lent| session.refuse(refusal, lent));
        } else {
            let conn = self.conn_id(token);
            self.intake.push(conn, Event::Knock { conn, greeting });
        }
    }

    /// A limit refused a connection: it is counted, and has a line in the log as far as there is room for one.
    fn shed(&mut self, shed: Shed, peer: Option<SocketAddr>) {
        counter!(metric::SHED, "limit" => shed.label()).increment(1);
        if let Some(left_out) = self.sheds_logged.step(self.now) {
            let peer = peer.map(tracing::field::display);
            tracing::info!(limit = shed.label(), peer, left_out, "connection refused by a limit");
        }
    }
}
