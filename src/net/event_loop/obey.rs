//! The verb `obey`: orders of other threads. An order for a connection that is gone is answered now, not at a time-out.

use bytes::Bytes;

use crate::kit::delivery::Delivery;
use crate::kit::ids::{AgentSlot, CallId, ConnId};
use crate::kit::planted;
use crate::kit::tick::Now;
use crate::net::intake::Event;
use crate::net::io::{Io, Token};
use crate::net::mailbox::{Admission, Described, Order, Renewal, Undescribed};
use crate::net::outbox::Segment;
use crate::session::phase::Phase;
use crate::session::reason::Reason;
use crate::session::rules::Door;
use crate::wire::envelope::{self, Outbound, Payload};

use super::EventLoop;
use super::carry_out::live;

/// Orders in one turn, so that a flood of calls does not starve the sockets. Most lead to a write of some 5 µs at the end of
/// the turn: this many are more than a millisecond.
const ORDERS_A_TURN: usize = 256;

/// What compressed messages may come to that are heard at the very end, of all connections together: some 20 ms. Each kept no more than
/// 64 KiB of them, but those may come to a thousand times as much.
const STOP_INFLATED_BYTES: u64 = 16 << 20;

fn token(conn: ConnId) -> Token {
    Token { slot: conn.slot(), generation: conn.generation() }
}

impl<I: Io> EventLoop<I> {
    pub(super) fn obey(&mut self) {
        for order in std::mem::take(&mut self.early) {
            self.obey_one(order);
        }
        let mut obeyed = 0;
        while obeyed < ORDERS_A_TURN {
            let Some(order) = self.letters.take() else {
                return;
            };
            obeyed += match &order {
                Order::Many(orders) => orders.len(),
                _ => 1,
            };
            self.obey_one(order);
        }
    }

    fn obey_one(&mut self, order: Order) {
        self.sweep.busy = true;
        match order {
            Order::Call { conn, .. } | Order::Send { conn, .. } | Order::Close { conn, .. }
                if self.is_verifying(conn) =>
            {
                self.early.push(order);
            }
            Order::Call { conn, frame, call, delivery } => self.call(conn, frame, call, delivery),
            Order::Send { conn, frame } => self.send(token(conn), frame),
            Order::Admit(admission) => self.admit(*admission),
            Order::Refuse { conn, refusal } => {
                self.with_session(token(conn), |session, _, lent| session.refuse(refusal, lent));
            }
            Order::Close { conn, reason, last_words } => {
                last_words.into_iter().for_each(|frame| self.send(token(conn), frame));
                self.with_session(token(conn), |session, _, lent| session.close(reason, lent));
            }
            Order::Renew(renewal) => self.renew(*renewal),
            Order::Describe { conn, on_described } => {
                on_described.answer(self.describe(token(conn)).ok_or(Undescribed::Gone));
            }
            Order::Many(orders) => orders.into_iter().for_each(|order| self.obey_one(order)),
            Order::Limits(limits) => {
                (self.rules, self.limits) = *limits;
                self.measure_all();
            }
            Order::Tls(terms) => self.set_terms(terms),
            Order::StopAccepting => self.stop_accepting(),
            Order::Stop => self.stop(),
        }
    }

    /// Between the workers' knowing an agent or a link and its connection's being open a call, a frame or a close may come: it
    /// waits for the admission, which is on its way.
    fn is_verifying(&mut self, conn: ConnId) -> bool {
        live(&mut self.conns, token(conn)).is_some_and(|conn| conn.session.phase() == Phase::Verifying)
    }

    /// Queues a call. One that does not fit behind what the peer has not taken yet is refused: a backend that asks for
    /// much must not cost an agent its connection. Behind nothing every call fits.
    fn call(&mut self, conn: ConnId, bytes: Bytes, call: CallId, delivery: Delivery) {
        planted::here(planted::Place::Loop);
        let token = token(conn);
        if !live(&mut self.conns, token).is_some_and(|conn| conn.session.phase().is_open()) {
            return self.intake.push(conn, Event::NotWritten { call });
        }
        // By its length as it came: one that is refused must not have cost its compression.
        let fits = |queued: usize, hard: usize| queued == 0 || queued + bytes.len() <= hard;
        if !fits(self.queued(token), self.limits.queue_hard) {
            self.push_out(token);
            if !fits(self.queued(token), self.limits.queue_hard) {
                return self.intake.push(conn, Event::NoRoom { call });
            }
        }
        let bytes = self.shorten(token, bytes);
        self.enqueue(token, Segment { bytes, call: Some((call, delivery)) });
        self.settle(token);
    }

    fn send(&mut self, token: Token, bytes: Bytes) {
        if live(&mut self.conns, token).is_some_and(|conn| conn.session.phase().is_open()) {
            let bytes = self.shorten(token, bytes);
            self.enqueue(token, Segment { bytes, call: None });
            self.settle(token);
        }
    }

    fn admit(&mut self, admission: Admission) {
        let Admission { conn, agent, encoding, expiry, response } = admission;
        let token = token(conn);
        let admitted = self.with_session(token, |session, _, lent| session.admit(encoding, expiry, response, lent));
        if admitted == Some(true) {
            if let Some(conn) = live(&mut self.conns, token) {
                conn.agent = agent;
                if conn.door() == Door::Links {
                    conn.set_linked();
                }
            }
        } else if agent == AgentSlot::NONE {
            self.intake.push(conn, Event::LinkEnded { conn, reason: Reason::PeerVanished });
        } else {
            // It went away while it was verified, and the workers do not know.
            self.intake.push(conn, Event::Ended { conn, agent, reason: Reason::PeerVanished });
        }
    }

    /// A newer token counts from now on, as long as the client's certificate does too; the agent is told how long that is.
    fn renew(&mut self, renewal: Renewal) {
        let Renewal { conn, expiry, encoding, id, held } = renewal;
        let (token, expiry) = (token(conn), self.secured.no_later(conn.slot(), expiry));
        self.with_session(token, |session, _, _| session.renew(expiry));
        drop(held);
        let left_secs = expiry.left_secs(self.io.unix_secs(self.now));
        let left_ms = left_secs.map_or_else(|| "null".to_owned(), |secs| secs.saturating_mul(1000).to_string());
        let result = format!("{{\"expires_in_ms\":{left_ms}}}");
        let result = Payload { bytes: result.as_bytes(), json: true };
        self.send(token, envelope::encode(encoding, &Outbound::Answer { id: &id, result }));
    }

    fn describe(&mut self, token: Token) -> Option<Described> {
        let (now, peer) = (self.now, self.peer(token));
        let held_to = self.held_to(token, peer);
        let conn = live(&mut self.conns, token)?;
        Some(Described {
            agent: conn.agent,
            since: Now(u64::from(conn.since_secs) * 1000),
            peer,
            held_to,
            round_trip_ms: conn.session.round_trip_ms(),
            bytes_in: conn.bytes_in,
            bytes_out: conn.bytes_out,
            last_heard: Now(now.0.saturating_sub(u64::from(now.tick().since(conn.session.heard())))),
        })
    }

    /// The marks have moved: queues that are above the soft one now are timed, and whoever is not held back any more is
    /// read again.
    fn measure_all(&mut self) {
        let now = self.now.tick();
        for slot in 0..self.conns.span() {
            let Some(conn) = self.conns.get_mut(slot) else {
                continue;
            };
            conn.session.ask_anew();
            let (token, queue_soft) = (conn.token(slot), self.limits.queue_soft(conn.door()));
            if let Some(outbox) = conn.outbox.as_mut() {
                outbox.measure(queue_soft, now);
                self.read_again(token);
                self.settle(token);
            }
        }
    }

    /// The end without a drain: a close frame to everyone, as far as the kernel takes it.
    fn stop(&mut self) {
        self.stop_accepting();
        for slot in 0..self.conns.span() {
            let Some(token) = self.conns.get(slot).map(|conn| conn.token(slot)) else {
                continue;
            };
            self.hear_kept(token, STOP_INFLATED_BYTES);
            self.with_session(token, |session, _, lent| session.close(Reason::Shutdown, lent));
        }
        self.stopping = true;
    }
}

const _: () = assert!(size_of::<Order>() <= 72, "orders lie in the mailbox by the thousand");
