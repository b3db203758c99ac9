//! The verb `read`: bytes of every connection that has some, within a budget for each.

use std::io;

use crate::kit::buffer_pool::{LEASE_BYTES, Purpose};
use crate::net::conn::{Conn, mark};
use crate::net::io::{Io, Ready, Token};
use crate::net::throttle::{Rest, Room};
use crate::net::tls::record::RECORD_BYTES_MAX;
use crate::session::message_purpose;
use crate::session::phase::Phase;
use crate::session::reason::Reason;
use crate::session::rules::Door;
use crate::session::websocket::Flow;
use crate::wire::proxy;

use super::carry_out::live;
use super::unseal::Unsealed;
use super::{EventLoop, SCRATCH_BYTES};

/// Frames that come with the upgrade request are read with it up to so many bytes; the rest waits in the kernel.
const EARLY_BYTES: usize = 1024;

/// Connections that are read again in one turn. The events of a turn have a bound, and those who were not done in turns before
/// must have one too: each may bring `turn_bytes`.
const AGAIN_A_TURN: usize = 256;

/// When a socket counts as read empty.
#[derive(Clone, Copy, PartialEq)]
enum Until {
    /// Less came than fits: an edge will tell of more, and there is no end of stream behind it.
    Short,
    /// The kernel said that there is no more: an edge may have been missed, or the end is behind the bytes.
    Refused,
}

/// What is behind the bytes of a read.
#[derive(Clone, Copy, PartialEq)]
enum Behind {
    /// Less came than fits.
    Nothing,
    /// Maybe more.
    More,
    /// Maybe more, and it has to wait for the next turn.
    MoreLater,
}

/// Bytes in front of the scratch.
#[derive(Clone, Copy)]
pub(super) struct InScratch {
    /// Those that had come before and were kept: under TLS they are opened already.
    pub(super) kept: usize,
    /// All of them.
    pub(super) count: usize,
}

/// How one read went.
enum Got {
    /// So many bytes lie in front of the scratch.
    Bytes { bytes: InScratch, behind: Behind },
    /// Nothing new, but so many bytes of a cut request head lie in front of the scratch.
    Head { count: usize },
    /// Nothing was there.
    Nothing,
    /// The stream is over.
    End(Reason),
}

impl<I: Io> EventLoop<I> {
    pub(super) fn read(&mut self) {
        while let Some(token) = self.throttle.rested(self.now) {
            if live(&mut self.conns, token).is_some() {
                self.throttle.wake(token.slot);
                self.read_again(token);
            }
        }
        // Those that waited since the last turn come first; whoever is not done joins the end of the list.
        for _ in 0..self.again.len().min(AGAIN_A_TURN) {
            let Some(token) = self.again.pop_front() else {
                break;
            };
            if let Some(conn) = live(&mut self.conns, token) {
                conn.session.owner_marks &= !mark::IN_AGAIN;
                self.read_conn(token, Until::Refused);
            }
        }
        let ready = std::mem::take(&mut self.ready);
        for event in &ready {
            let Ready::Conn { token, readable, ended, writable } = *event else {
                continue;
            };
            if writable {
                self.writable(token);
            }
            if readable {
                self.read_conn(token, if ended { Until::Refused } else { Until::Short });
            }
        }
        self.ready = ready;
    }

    /// Comes back to a connection next turn. It is in the list at most once.
    pub(super) fn read_again(&mut self, token: Token) {
        if let Some(conn) = live(&mut self.conns, token)
            && conn.session.owner_marks & mark::IN_AGAIN == 0
        {
            conn.session.owner_marks |= mark::IN_AGAIN;
            self.again.push_back(token);
        }
    }

    fn read_conn(&mut self, token: Token, until: Until) {
        if self.is_shaking(token) {
            return self.line_up(token);
        }
        let mut budget = self.limits.turn_bytes;
        while let Some(room) = self.may_read(token) {
            let (bytes, behind) = match self.read_once(token, room) {
                Got::Bytes { bytes, behind } => (bytes, behind),
                // It is kept again, and is no reason to come back.
                Got::Head { count } => {
                    self.receive(token, InScratch { kept: count, count }, room);
                    return;
                }
                Got::Nothing => return,
                Got::End(reason) => return self.lose(token, reason),
            };
            budget = budget.saturating_sub(bytes.count);
            let flow = self.receive(token, bytes, room);
            if self.is_shaking(token) {
                // A balancer's header was all that it could be read for here. No edge will tell of an end that was told of already: a
                // balancer that asks whether somebody is there says no more than its header.
                if until == Until::Refused {
                    self.line_up(token);
                }
                return;
            }
            if flow == Some(Flow::Budget) || budget == 0 || behind == Behind::MoreLater {
                return self.read_again(token);
            }
            if behind == Behind::Nothing && until == Until::Short {
                return;
            }
        }
    }

    pub(super) fn receive(&mut self, token: Token, bytes: InScratch, room: Room) -> Option<Flow> {
        // What was kept of a header is no more than the beginning of what came.
        let kept = if self.awaits_header(token) { 0 } else { bytes.kept };
        let Some(count) = self.past_header(token, bytes.count) else {
            return Some(Flow::Drained);
        };
        let Some(Unsealed { plain, then }) = self.unseal(token, kept, count) else {
            self.bound_leases(token);
            return Some(Flow::Drained);
        };
        let said_before = self.meter.messages_in + self.meter.frames_out;
        // Whoever has a rate is heard as far as that goes, and no further in this turn.
        let turn_frames = self.rules.turn_frames;
        self.rules.turn_frames = turn_frames.min(room.messages);
        self.scratch_from = plain.start;
        let flow = self.with_session(token, |session, scratch, lent| session.received(&mut scratch[plain], lent));
        self.scratch_from = 0;
        self.rules.turn_frames = turn_frames;
        if room != Room::ENDLESS {
            // What it made us send counts as well: a ping asks for a pong.
            let said = self.meter.messages_in + self.meter.frames_out - said_before;
            self.throttle.sent(&self.limits.agent_rates, token.slot, self.now, said, 0);
        }
        self.follow(token, then);
        self.bound_leases(token);
        flow
    }

    /// Messages that are cut in two may together take [`Limits::lease_bytes`](crate::net::limits::Limits::lease_bytes).
    ///
    /// Above that, whoever asked for more is closed, and not merely left unread: the bytes that it sent are out of the
    /// kernel already, and those who are let wait for each other's buffers would wait for ever. The agents that hold theirs go
    /// on and finish. Who never finishes is found by the sweep, so that half-sent messages cannot keep others out for long.
    /// Agents and links have as much each, on accounts of their own: no agent may cost a backend its link, and no backend an agent
    /// its connection. Request heads do not count: strangers send them, and their number has a limit.
    fn bound_leases(&mut self, token: Token) {
        let is_over = |purpose| self.pool.lent_bytes(purpose) > self.limits.lease_bytes;
        if !is_over(Purpose::Message) && !is_over(Purpose::LinkMessage) {
            return;
        }
        let has_part = self.secured.part_since(token.slot).is_some();
        let needs_more = |conn: &mut Conn<I::Stream>| {
            is_over(message_purpose(conn.door())) && (has_part || conn.session.message_open_since().is_some())
        };
        if live(&mut self.conns, token).is_some_and(needs_more) {
            self.with_session(token, |session, _, lent| session.fail(Reason::NoBuffer, lent));
        }
    }

    /// Hears all that was read and had no budget or no worker yet: before the end, since an answer may be among it. But a connection that
    /// agreed on compression is not heard any more when what this turn has inflated comes to `inflated_max`.
    pub(super) fn hear_kept(&mut self, token: Token, inflated_max: u64) {
        loop {
            let is_spent = self.inflater.plain_bytes() >= inflated_max;
            let Some(conn) = live(&mut self.conns, token).filter(|conn| !is_spent || conn.session.window().is_none())
            else {
                return;
            };
            let count = conn.session.restore(&mut self.scratch, &mut self.pool);
            let bytes = InScratch { kept: count, count };
            if count == 0 || self.receive(token, bytes, Room::ENDLESS) != Some(Flow::Budget) {
                return;
            }
        }
    }

    /// Whether this connection may bring in more now. One whose worker is full comes again; one that does not take what
    /// is queued for it is read again when it has.
    fn may_read(&mut self, token: Token) -> Option<Room> {
        let conn = live(&mut self.conns, token)?;
        let phase = conn.session.phase();
        if !phase.reads() || (phase.is_open() && conn.queued_bytes() > self.limits.queue_soft(conn.door())) {
            conn.session.owner_marks |= mark::PASSED_OVER;
            return None;
        }
        let has_rate = phase.is_open() && conn.door() == Door::Agents && self.limits.agent_rates.any();
        let keeps_bytes = conn.session.keeps_bytes();
        if self.intake.is_full(self.conn_id(token)) {
            self.meter.workers_full.increment(1);
            self.starved = true;
            self.read_again(token);
            return None;
        }
        if !has_rate {
            return Some(Room::ENDLESS);
        }
        let mut rates = self.limits.agent_rates;
        if keeps_bytes {
            // They were counted when they were read.
            rates.bytes = None;
        }
        let room = self.throttle.room(&rates, token, self.now);
        if room == Err(Rest::Begins) {
            self.meter.slowed.increment(1);
            tracing::debug!(conn = ?self.conn_id(token), "agent is over its rate, and is read later");
        }
        room.ok()
    }

    fn read_once(&mut self, token: Token, room: Room) -> Got {
        let Some(conn) = live(&mut self.conns, token) else {
            return Got::Nothing;
        };
        let kept = conn.session.restore(&mut self.scratch, &mut self.pool);
        let (phase, door) = (conn.session.phase(), conn.door());
        let head_room = if self.tls[door as usize].is_some() { RECORD_BYTES_MAX } else { 0 };
        // Half a record stands before what comes now. It is put there when something has come.
        let part = if kept == 0 || phase == Phase::Handshake { self.secured.part_bytes(token.slot) } else { 0 };
        let awaits_header = conn.session.owner_marks & mark::AWAITS_HEADER != 0;
        let (until, then) = match phase {
            // Before the upgrade no more is taken in than a head and a little: who is not known yet owns little memory.
            Phase::Handshake => {
                let head = self.rules.head.bytes_max + EARLY_BYTES;
                let header = if awaits_header { proxy::HEADER_BYTES_MAX } else { 0 };
                ((kept + part).max(head).max(header).max(kept + part + head_room).min(SCRATCH_BYTES), Behind::More)
            }
            // What came before is heard before more is taken in: what the peer goes on to send waits in the kernel.
            _ if kept > 0 => (kept, Behind::More),
            _ => match self.rules.kept_bytes_max.saturating_sub(self.pool.lent_bytes(Purpose::Kept)) {
                SCRATCH_BYTES.. => (SCRATCH_BYTES, Behind::More),
                // No more than can be heard at once, or kept. A peer that goes on sending is held back by TCP then. Under TLS a record is
                // opened whole, so one that comes to its end here may bring more than that: it is heard to its end, whatever the budget.
                room => {
                    let room = if room < LEASE_BYTES { 0 } else { room };
                    ((part + conn.session.sure_bytes(&self.rules).max(room)).min(SCRATCH_BYTES), Behind::MoreLater)
                }
            },
        };
        // Whoever has a rate is read as far as that goes.
        let until = until.min((kept + part).saturating_add(room.bytes));
        let has_rate = room != Room::ENDLESS;
        let from = kept + part;
        let room = &mut self.scratch[from..until];
        if room.is_empty() {
            return Got::Bytes { bytes: InScratch { kept, count: kept }, behind: then };
        }
        loop {
            return match self.io.read(&mut conn.stream, room) {
                // A cut head is all that can be kept here.
                Ok(0) => Got::End(Reason::PeerVanished),
                Ok(count) => {
                    conn.bytes_in += count as u64;
                    self.meter.bytes_in += count as u64;
                    if has_rate {
                        self.throttle.sent(&self.limits.agent_rates, token.slot, self.now, 0, count as u64);
                    }
                    let behind = if count == room.len() { then } else { Behind::Nothing };
                    if part > 0 {
                        let place = &mut self.scratch[kept..from];
                        self.part_began = self.secured.restore_part(token.slot, place, &mut self.pool);
                    }
                    Got::Bytes { bytes: InScratch { kept, count: from + count }, behind }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && kept > 0 => Got::Head { count: kept },
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Got::Nothing,
                Err(_) => Got::End(Reason::SocketError),
            };
        }
    }
}
