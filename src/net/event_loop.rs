//! An event loop: a few hundred thousand connections, one thread, seven verbs a turn.
//!
//! Owns its sockets, its slots, its buffers and its clock; nothing of it is shared and no lock is taken. Other threads
//! reach it through its [`Mailbox`](super::mailbox::Mailbox), it reaches them through its [`Intake`]. It is generic over
//! its [`Io`]: the same loop runs on epoll and on a simulation.
//!
//! ```text
//!  wait → accept → read → obey → expire → flush → reap
//! ```

mod accept;
mod carry_out;
#[cfg(test)]
pub(crate) mod check;
mod expire;
mod flush;
mod meter;
mod obey;
mod read;
mod reap;

pub use accept::CONNECTIONS_MAX;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;

use crate::kit::buffer_pool::BufferPool;
use crate::kit::ids::ConnId;
use crate::kit::pace::Pace;
use crate::kit::quota::Quota;
use crate::kit::slots::Slots;
use crate::kit::tick::{Now, Tick};
use crate::session::effect::Effect;
use crate::session::rules::Rules;

use super::conn::Conn;
use super::intake::Intake;
use super::io::{Io, Ready, Token};
use super::limits::Limits;
use super::mailbox::{Letters, Order};
use super::outbox::Outbox;

use accept::Accepting;
use expire::Sweep;
use meter::Meter;

/// One read takes at most this; a message that fits is never copied inside the loop.
const SCRATCH_BYTES: usize = 64 * 1024;
/// Idle leases and outboxes that a loop keeps for the next burst.
const SPARES_MAX: usize = 16;
/// How long a loop rests when only full workers keep it from going on.
const BACKED_UP_REST: Duration = Duration::from_millis(1);

/// Ends of connections that a loop logs in a second, above the level debug: strangers can cause them.
const ENDS_LOGGED_A_SECOND: u32 = 50;

/// A session's mark: it stands in the list of those to read again.
const IN_AGAIN: u8 = 1;
/// A session's mark: it came over a limit and only gets its 503.
const TURNED_AWAY: u8 = 2;

/// A session's mark: its request was refused, and it may linger for the answer to arrive. The next two marks are
/// `conn`'s.
const REFUSED: u8 = 4;

/// What is told about a loop while it runs.
#[derive(Debug, Default)]
pub struct LoopStatus {
    /// Open connections, without those at the door of links.
    pub connections: AtomicU32,
    /// Open connections at the door of links.
    pub links: AtomicU32,
}

/// What a loop is made of.
pub struct LoopParts<I: Io> {
    /// Its index: the first part of its connections' ids.
    pub index: u8,
    /// The system.
    pub io: I,
    /// Its end of the mailbox.
    pub letters: Letters,
    /// Its way to the workers.
    pub intake: Intake,
    /// Limits of sessions.
    pub rules: Rules,
    /// Limits of the loop.
    pub limits: Limits,
    /// Where it tells how it is.
    pub status: Arc<LoopStatus>,
    /// Room for connections, shared by all loops of the node.
    pub room: Arc<Quota>,
}

/// Whether a loop goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turned {
    /// Another turn.
    Again,
    /// It was told to stop.
    Stopped,
}

/// One event loop.
pub struct EventLoop<I: Io> {
    index: u8,
    io: I,
    letters: Letters,
    intake: Intake,
    rules: Rules,
    limits: Limits,
    status: Arc<LoopStatus>,
    room: Arc<Quota>,
    /// The moment of this turn, read once, after `wait`.
    now: Now,
    ready: Vec<Ready>,
    conns: Slots<Conn<I::Stream>>,
    /// Counts accepts: a connection's generation.
    generation: u32,
    half_open: u32,
    /// Connections at the door of links, those that are turned away not counted.
    links: u32,
    /// Connections over a limit that are being told so.
    turned_away: u32,
    /// Connections whose request was refused.
    refused: u32,
    /// By door.
    accepting: [Accepting; 2],
    /// The one read buffer, meaningless between events.
    scratch: Box<[u8]>,
    pool: BufferPool,
    effects: Vec<Effect>,
    /// Connections with something to read that this turn's budget had no room for.
    again: VecDeque<Token>,
    /// Connections with something to write.
    dirty: Vec<Token>,
    /// Connections whose life is over, freed at the end of the turn.
    dead: Vec<Token>,
    #[expect(clippy::vec_box, reason = "a slot holds the box itself, and gets it back as it is")]
    spare_outboxes: Vec<Box<Outbox>>,
    sweep: Sweep,
    /// The ping of this turn: all that are sent in it carry the same time.
    ping: Option<(Tick, Bytes)>,
    /// Calls and closes for connections whose admission is still on its way.
    early: Vec<Order>,
    /// Some worker took no more in this turn.
    starved: bool,
    backed_up: bool,
    stopping: bool,
    /// Ends of connections that are logged.
    ends_logged: Pace,
    meter: Meter,
}

impl<I: Io> EventLoop<I> {
    /// A loop without connections.
    #[must_use]
    pub fn new(parts: LoopParts<I>) -> Self {
        Self {
            index: parts.index,
            io: parts.io,
            letters: parts.letters,
            intake: parts.intake,
            rules: parts.rules,
            limits: parts.limits,
            status: parts.status,
            room: parts.room,
            now: Now::default(),
            ready: Vec::new(),
            conns: Slots::default(),
            generation: 0,
            half_open: 0,
            links: 0,
            turned_away: 0,
            refused: 0,
            accepting: Default::default(),
            scratch: vec![0; SCRATCH_BYTES].into_boxed_slice(),
            pool: BufferPool::new(SPARES_MAX),
            effects: Vec::new(),
            again: VecDeque::new(),
            dirty: Vec::new(),
            dead: Vec::new(),
            spare_outboxes: Vec::new(),
            sweep: Sweep::default(),
            ping: None,
            early: Vec::new(),
            starved: false,
            backed_up: false,
            stopping: false,
            ends_logged: Pace::new(ENDS_LOGGED_A_SECOND),
            meter: Meter::new(parts.index),
        }
    }

    /// Turns until it is told to stop.
    pub fn run(mut self) {
        while self.turn() == Turned::Again {}
    }

    /// One turn.
    pub fn turn(&mut self) -> Turned {
        let timeout = self.lie_down();
        self.turn_after(timeout)
    }

    /// The rest of a turn, after [`EventLoop::lie_down`]: what comes in between must end the wait.
    pub(crate) fn turn_after(&mut self, timeout: Option<Duration>) -> Turned {
        self.wait(timeout);
        self.accept();
        self.read();
        self.obey();
        self.expire();
        self.flush();
        self.reap();
        if self.stopping { Turned::Stopped } else { Turned::Again }
    }

    /// How long the next wait may last, from the moment on at which posters wake the loop.
    pub(crate) fn lie_down(&mut self) -> Option<Duration> {
        if self.letters.may_sleep() { self.rest() } else { Some(Duration::ZERO) }
    }

    fn wait(&mut self, timeout: Option<Duration>) {
        self.now = self.io.wait(timeout, &mut self.ready);
        self.sweep.busy |= !self.ready.is_empty();
        self.letters.awake();
    }

    /// How long nothing but the system or another thread can give it work; `None` for ever.
    fn rest(&self) -> Option<Duration> {
        if self.backed_up || !self.early.is_empty() {
            return Some(BACKED_UP_REST);
        }
        if !self.again.is_empty() || self.accepting.iter().any(|accepting| accepting.is_due(self.now)) {
            return Some(Duration::ZERO);
        }
        let resumes = self.accepting.iter().filter_map(Accepting::resumes_at);
        resumes.chain(self.sweep.next(&self.conns)).min().map(|at| at.since(self.now))
    }

    fn conn_id(&self, token: Token) -> ConnId {
        ConnId::new(self.index, token.slot, token.generation)
    }

    fn publish(&self) {
        let agents = self.conns.len() as u32 - self.links;
        self.status.connections.store(agents, Ordering::Relaxed);
        self.status.links.store(self.links, Ordering::Relaxed);
        self.meter.connections(agents, self.links);
    }
}
