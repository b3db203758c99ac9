//! The verb `shake`: TLS handshakes of newcomers, in the order in which their bytes came.
//!
//! Owns the line that they wait in. A turn does one that costs (a signature and a key exchange, some 300 µs) when all frames of
//! those who are in have been read, obeyed and written, so that these wait for one newcomer at most, however many there are. Above the cap
//! on handshakes under way newcomers stay in the line with their bytes in the kernel, and own nothing but their slot; who has waited for
//! longer than a handshake may take is closed by the sweep.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use crate::net::conn::mark;
use crate::net::io::{Io, Token};
use crate::net::secured::{DoorTerms, Kind, Shaking, Terms};
use crate::net::throttle::Room;
use crate::net::tls::failure::Failure;
use crate::net::tls::handshake::{Handshake, Step};
use crate::net::tls::subject;
use crate::session::effect::Certified;
use crate::session::phase::Phase;
use crate::session::reason::Reason;

use super::EventLoop;
use super::carry_out::live;
use super::read::InScratch;

/// Steps in a turn that cost next to nothing: pieces of a message, the client's last one.
const CHEAP_STEPS_A_TURN: u32 = 8;

/// One read of a handshake.
const READ_BYTES: usize = 16 * 1024;

/// Labels of failures that are none of the protocol's.
const VANISHED: &str = "vanished";
const TIMEOUT: &str = "timeout";

/// Those who wait for a step of their handshake.
#[derive(Default)]
pub(super) struct Line {
    /// In the order in which their bytes came.
    ready: VecDeque<Token>,
    /// Those among them that were first when there was no room for another handshake.
    over_cap: VecDeque<Token>,
}

impl Line {
    /// How many stand in it.
    pub(super) fn len(&self) -> usize {
        self.ready.len() + self.over_cap.len()
    }

    /// Bytes of its lists.
    pub(super) fn bytes(&self) -> usize {
        (self.ready.capacity() + self.over_cap.capacity()) * size_of::<Token>()
    }

    /// Gives back what a burst left behind.
    pub(super) fn trim(&mut self) {
        self.ready.shrink_to_fit();
        self.over_cap.shrink_to_fit();
    }
}

/// What a step has cost.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cost {
    Cheap,
    Dear,
}

/// How a step ended.
enum Ended {
    /// The client has to go on.
    More,
    /// It is done; what lies here in the scratch is the session's.
    Done(Range<usize>),
    Failed(Failure),
    Gone(Reason),
}

impl<I: Io> EventLoop<I> {
    /// A connection has something for its handshake. It stands in the line at most once.
    pub(super) fn line_up(&mut self, token: Token) {
        if let Some(conn) = live(&mut self.conns, token)
            && conn.session.owner_marks & mark::IN_LINE == 0
        {
            conn.session.owner_marks |= mark::IN_LINE;
            self.line.ready.push_back(token);
        }
    }

    /// Whether somebody in the line can go on.
    pub(super) fn has_line(&self) -> bool {
        !self.line.ready.is_empty() || !self.line.over_cap.is_empty() && self.may_begin()
    }

    fn may_begin(&self) -> bool {
        self.secured.shaking() < self.limits.handshakes_max as usize
    }

    pub(super) fn shake(&mut self) {
        for _ in 0..CHEAP_STEPS_A_TURN {
            let Some(token) = self.next_in_line() else {
                break;
            };
            if self.step(token) == Cost::Dear {
                break;
            }
        }
        if !self.dirty.is_empty() {
            self.flush();
        }
    }

    /// Whoever came first and may go on.
    fn next_in_line(&mut self) -> Option<Token> {
        loop {
            let may_begin = self.may_begin();
            let waited = if may_begin { self.line.over_cap.pop_front() } else { None };
            let token = match waited {
                Some(token) => token,
                None => self.line.ready.pop_front()?,
            };
            if live(&mut self.conns, token).is_none() {
                continue;
            }
            if may_begin || self.secured.kind(token.slot) != Kind::Newcomer {
                return Some(token);
            }
            self.line.over_cap.push_back(token);
        }
    }

    /// Forgets those in the line that are gone: where nobody can begin, nobody comes past them.
    pub(super) fn thin_line(&mut self) {
        let conns = &mut self.conns;
        self.line.over_cap.retain(|token| live(conns, *token).is_some());
    }

    fn step(&mut self, token: Token) -> Cost {
        let Some(conn) = live(&mut self.conns, token) else {
            return Cost::Cheap;
        };
        conn.session.owner_marks &= !mark::IN_LINE;
        let terms = self.tls[conn.door() as usize].clone();
        let (Some(terms), Phase::Handshake) = (terms, conn.session.phase()) else {
            // It was turned away meanwhile, and is read to its end.
            self.read_again(token);
            return Cost::Cheap;
        };
        let mut wire = std::mem::take(&mut self.sealing);
        wire.clear();
        let ended = match self.begin(token, &terms) {
            Ok(()) => self.feed(token, &mut wire),
            Err(failure) => Ended::Failed(failure),
        };
        let last = self.last_step(token, &ended);
        let cost = last.unwrap_or(if wire.is_empty() { Cost::Cheap } else { Cost::Dear });
        if last.is_some() && !wire.is_empty() {
            self.secured.keep_ticket(token.slot, &wire);
        } else if !wire.is_empty() {
            self.stir(token);
            if let Some(outbox) = live(&mut self.conns, token).and_then(|conn| conn.outbox.as_mut()) {
                outbox.push_wire(&wire);
            }
        }
        wire.clear();
        self.sealing = wire;
        self.sweep.busy = true;
        match ended {
            Ended::More => {}
            Ended::Done(rest) => self.shaken(token, rest),
            Ended::Failed(failure) => self.fail_handshake(token, &failure),
            Ended::Gone(reason) => {
                self.meter.handshake_failed(VANISHED);
                self.lose(token, reason);
            }
        }
        cost
    }

    /// What the last step of a TLS 1.3 handshake has cost; `None` for every other one. All that it leaves to be sent is a ticket, for
    /// which no client waits: that goes with the answer to what it asks next. Who has shown a certificate has had it checked.
    fn last_step(&mut self, token: Token, ended: &Ended) -> Option<Cost> {
        let is_done = matches!(ended, Ended::Done(_));
        let handshake = self.secured.handshake(token.slot).filter(|handshake| is_done && !handshake.is_tls12())?;
        Some(if handshake.client().certificates.is_empty() { Cost::Cheap } else { Cost::Dear })
    }

    fn begin(&mut self, token: Token, terms: &Arc<Terms>) -> Result<(), Failure> {
        if self.secured.kind(token.slot) == Kind::Newcomer {
            let handshake = Handshake::new(&terms.server)?;
            self.secured.begin(token.slot, Shaking { handshake, terms: Arc::clone(terms) });
        }
        Ok(())
    }

    /// Gives a handshake all that is there.
    fn feed(&mut self, token: Token, wire: &mut Vec<u8>) -> Ended {
        let Some(conn) = live(&mut self.conns, token) else {
            return Ended::More;
        };
        // What came with a balancer's header.
        let mut count = conn.session.restore(&mut self.scratch, &mut self.pool);
        loop {
            if count == 0 {
                count = match self.io.read(&mut conn.stream, &mut self.scratch[..READ_BYTES]) {
                    Ok(0) => return Ended::Gone(Reason::PeerVanished),
                    Ok(count) => {
                        conn.bytes_in += count as u64;
                        self.meter.bytes_in += count as u64;
                        count
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ended::More,
                    Err(_) => return Ended::Gone(Reason::SocketError),
                };
            }
            let Some(handshake) = self.secured.handshake(token.slot) else {
                return Ended::More;
            };
            let (taken, step) = handshake.take(&self.scratch[..count], wire);
            match step {
                Step::More => count = 0,
                Step::Done => return Ended::Done(taken..count),
                Step::Failed(failure) => return Ended::Failed(failure),
            }
        }
    }

    /// A handshake is done: its secrets are all that stays, and what the client has sent with its last message is heard.
    fn shaken(&mut self, token: Token, rest: Range<usize>) {
        // The terms that it began with: a rule that was made for other certificates must not read this one.
        let Some(Shaking { handshake, terms }) = self.secured.end_handshake(token.slot) else {
            return;
        };
        let client = handshake.client();
        let resumed = client.resumed;
        let certified = terms.rule.as_ref().zip(client.certificates.first());
        let certified = certified.map(|(rule, certificate)| {
            let subject = subject::read(certificate);
            let named = subject.and_then(|subject| Some((rule.identify(&subject)?, subject.not_after)));
            named.map_or(Certified::Nameless, |(identity, expires_unix)| Certified::Named {
                agent: identity.agent,
                tenant: identity.tenant,
                expires_unix,
            })
        });
        let slot = token.slot;
        let kept = if handshake.is_tls12() {
            handshake.into_live().map(|live| self.secured.live(slot, live))
        } else {
            handshake.into_rest().map(|rest| self.secured.rest(slot, rest))
        };
        if let Err(failure) = kept {
            return self.fail_handshake(token, &failure);
        }
        if let Some(certified) = certified {
            self.secured.name(slot, certified);
        }
        let took_ms = live(&mut self.conns, token).map_or(0, |conn| self.now.tick().since(conn.session.heard()));
        self.meter.handshake_done(resumed, took_ms);
        let count = rest.len();
        self.scratch.copy_within(rest, 0);
        if count > 0 {
            self.receive(token, InScratch { kept: 0, count }, Room::ENDLESS);
        }
        // More may have come than was read.
        self.read_again(token);
    }

    /// A handshake has failed: its alert goes out, and whatever the client still sends is thrown away until it has read that.
    fn fail_handshake(&mut self, token: Token, failure: &Failure) {
        drop(self.secured.end_handshake(token.slot));
        self.meter.handshake_failed(failure.label());
        if let Some(left_out) = self.sheds_logged.step(self.now) {
            let peer = self.peer(token).map(tracing::field::display);
            tracing::info!(peer, cause = failure.label(), %failure, left_out, "TLS handshake failed");
        }
        if let Some(conn) = live(&mut self.conns, token) {
            conn.session.owner_marks |= mark::REFUSED;
            self.refused += 1;
        }
        self.with_session(token, |session, _, lent| session.fail(Reason::TlsHandshake, lent));
        self.read_again(token);
    }

    /// A handshake took too long, or waited for its turn for too long.
    pub(super) fn time_handshake_out(&mut self, token: Token) {
        self.meter.handshake_failed(TIMEOUT);
        self.lose(token, Reason::HandshakeTimeout);
    }

    /// Files have changed: newcomers get the new terms. A door stays with TLS, or without.
    pub(super) fn set_terms(&mut self, terms: DoorTerms) {
        for (old, new) in self.tls.iter_mut().zip(terms) {
            if old.is_some() && new.is_some() {
                *old = new;
            }
        }
    }
}
