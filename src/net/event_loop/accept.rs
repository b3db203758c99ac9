//! The verb `accept`: new connections, within the limits.
//!
//! One over a limit gets a clean 503 before any work. An accept that fails backs off, so that a full descriptor table
//! never makes the loop spin.

use std::io;

use crate::kit::budget::Verdict;
use crate::kit::ids::SLOTS_MAX;
use crate::kit::memory;
use crate::kit::overload::Level;
use crate::kit::tick::Now;
use crate::net::arrivals::Header;
use crate::net::conn::{Conn, mark};
use crate::net::io::{Io, Ready, Token};
use crate::session::reason::Reason;
use crate::session::rules::Door;
use crate::wire::upgrade::Refusal;

use super::EventLoop;

/// Accepts in one turn, so that a storm of them does not starve those who are in: a third of a millisecond.
const ACCEPTS_A_TURN: u32 = 64;
/// The same while others wait for their TLS handshakes: who is accepted sooner is not served sooner.
const ACCEPTS_BESIDE_A_LINE: u32 = 8;
/// Connections over a limit that may wait until their 503 has arrived; more are just closed. They come out of the
/// descriptors that are kept in reserve.
const TURNED_AWAY_MAX: u32 = 64;
/// Most connections that one loop lets in: a slot has 24 bits, and those that are turned away take some.
pub const CONNECTIONS_MAX: u32 = SLOTS_MAX as u32 - TURNED_AWAY_MAX;
/// First and longest rest after an accept that failed, in milliseconds.
const REST_MS: (u64, u64) = (10, 1000);

/// Where accepting stands.
#[derive(Debug, Default)]
pub(super) struct Accepting {
    /// The listener may have more: its last answer was not "would block".
    more: bool,
    /// Rest until then.
    resumes_at: Option<Now>,
    /// Length of the last rest, in milliseconds; zero after a success.
    rest_ms: u64,
    stopped: bool,
}

impl Accepting {
    pub(super) fn is_due(&self, now: Now) -> bool {
        self.more && self.resumes_at.is_none_or(|at| at <= now)
    }

    pub(super) fn resumes_at(&self) -> Option<Now> {
        self.resumes_at.filter(|_| self.more)
    }

    fn back_off(&mut self, now: Now) {
        self.rest_ms = (self.rest_ms * 2).clamp(REST_MS.0, REST_MS.1);
        self.resumes_at = Some(Now(now.0 + self.rest_ms));
    }

    fn worked(&mut self) {
        self.rest_ms = 0;
        self.resumes_at = None;
    }
}

impl<I: Io> EventLoop<I> {
    pub(super) fn accept(&mut self) {
        for door in Door::ALL {
            let held_back_until = self.held_back_until(door);
            let accepting = &mut self.accepting[door as usize];
            accepting.resumes_at = accepting.resumes_at.max(held_back_until);
            accepting.more |= !accepting.stopped && self.ready.contains(&Ready::Listener(door));
            if accepting.is_due(self.now) {
                self.accept_at(door);
            }
        }
    }

    fn accept_at(&mut self, door: Door) {
        for _ in 0..if self.has_line() { ACCEPTS_BESIDE_A_LINE } else { ACCEPTS_A_TURN } {
            match self.io.accept(door) {
                Ok((stream, peer)) => {
                    self.accepting[door as usize].worked();
                    self.arrive(stream, peer, door);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.accepting[door as usize].more = false;
                    return;
                }
                // The peer gave up while it waited, or a signal came: the next one may be fine.
                Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted) => {
                }
                Err(error) => {
                    self.meter.accept_errors.increment(1);
                    let accepting = &mut self.accepting[door as usize];
                    accepting.back_off(self.now);
                    tracing::warn!(%error, rest_ms = accepting.rest_ms, "cannot accept a connection; resting");
                    return;
                }
            }
        }
    }

    /// Accepts no more: connections that wait in the backlog are reset.
    pub(super) fn stop_accepting(&mut self) {
        self.io.stop_listening();
        for accepting in &mut self.accepting {
            accepting.stopped = true;
            accepting.more = false;
        }
    }

    /// Whether one more is over a limit. Agents and links count apart: neither keeps the other out.
    fn is_full(&self, door: Door) -> bool {
        let links_max = self.limits.link.connections_max;
        match door {
            Door::Agents => {
                let connections_max = self.limits.connections_max.min(CONNECTIONS_MAX - links_max);
                let agents = self.conns.len() as u32 - self.turned_away - self.links;
                agents >= connections_max || self.half_open >= self.limits.half_open_max || self.is_over_budget()
            }
            Door::Links => self.links >= links_max,
        }
    }

    pub(super) fn welcome(&mut self, stream: I::Stream, door: Door, header: Header) {
        let turn_away = self.is_full(door) || (door == Door::Agents && !self.room.take());
        // A 503 would take a handshake first.
        if turn_away && (self.turned_away == TURNED_AWAY_MAX || self.has_tls(door)) {
            self.meter.turned_away.increment(1);
            return;
        }
        let generation = self.arrivals.generations().next();
        let mut conn = Conn::new(stream, door, generation, self.now);
        if turn_away {
            conn.session.owner_marks |= mark::TURNED_AWAY;
            self.turned_away += 1;
        } else {
            self.links += u32::from(door == Door::Links);
            if header == Header::First {
                conn.session.owner_marks |= mark::AWAITS_HEADER;
            }
        }
        self.sweep.busy = true;
        let slot = self.conns.insert(conn);
        let token = Token { slot, generation };
        self.half_open += u32::from(door == Door::Agents);
        let Some(conn) = self.conns.get_mut(slot) else {
            return;
        };
        if let Err(error) = self.io.watch(&mut conn.stream, token) {
            // Out of memory or of watches it is so for every newcomer.
            if let Some(left_out) = self.sheds_logged.step(self.now) {
                tracing::warn!(%error, left_out, "cannot watch a connection");
            }
            return self.lose(token, Reason::SocketError);
        }
        if turn_away {
            self.with_session(token, |session, _, lent| session.refuse(Refusal::Unavailable, lent));
        }
    }
    /// Whether the process has taken all the memory that it may: three loads, nothing is asked of the system.
    fn is_over_budget(&self) -> bool {
        let bytes = memory::process_bytes();
        let verdict = self.budget.judge(bytes);
        let used = self.budget.used(bytes);
        match verdict {
            Verdict::NowOver => tracing::warn!(used, "over the memory budget (`limits.memory`): no more connections"),
            Verdict::BackWithin => tracing::info!(used, "within the memory budget again: connections are let in"),
            Verdict::Over | Verdict::Within => {}
        }
        verdict.is_over() || self.budget.level() >= Level::Shed
    }
}
