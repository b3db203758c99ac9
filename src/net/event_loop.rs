//! An event loop: a few hundred thousand connections, one thread, eight verbs a turn.
//!
//! Owns its sockets, its slots, its buffers and its clock; nothing of it is shared and no lock is taken. Other threads
//! reach it through its [`Mailbox`](super::mailbox::Mailbox), it reaches them through its [`Intake`]. It is generic over
//! its [`Io`]: the same loop runs on epoll and on a simulation.
//!
//! ```text
//!  wait → accept → read → obey → expire → flush → shake → reap
//! ```

mod accept;
mod arrive;
mod carry_out;
#[cfg(test)]
pub(crate) mod check;
mod compress;
mod expire;
mod flush;
mod meter;
mod obey;
mod overload;
mod read;
mod reap;
mod seal;
mod shake;
mod status;
mod unseal;

pub use accept::CONNECTIONS_MAX;
pub use status::{LONG_TURNS_MS, LoopMemory, LoopStatus, Turns};

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;

use crate::kit::budget::Budget;
use crate::kit::buffer_pool::BufferPool;
use crate::kit::ids::ConnId;
use crate::kit::pace::Pace;
use crate::kit::quota::Quota;
use crate::kit::slots::Slots;
use crate::kit::tick::{Now, Tick};
use crate::session::effect::Effect;
use crate::session::rules::Rules;
use crate::wire::deflate::{Deflater, Inflater};

use super::arrivals::Arrivals;
use super::conn::Conn;
use super::intake::Intake;
use super::io::{Io, Ready, Token};
use super::limits::Limits;
use super::mailbox::{Letters, Order};
use super::outbox::Outbox;
use super::secured::{DoorTerms, Secured};
use super::sources::Sources;
use super::throttle::Throttle;

use accept::Accepting;
use expire::Sweep;
use meter::Meter;
use overload::Strain;
use shake::Line;

/// One read takes at most this; a message that fits is never copied inside the loop.
const SCRATCH_BYTES: usize = 64 * 1024;
/// Idle leases and outboxes that a loop keeps for the next burst.
const SPARES_MAX: usize = 16;
/// How long a loop rests when only full workers keep it from going on.
const BACKED_UP_REST: Duration = Duration::from_millis(1);

/// Ends of connections that a loop logs in a second, above the level debug: strangers can cause them.
const ENDS_LOGGED_A_SECOND: u32 = 50;

/// Connections refused by a limit that a loop logs in a second: strangers cause them too.
const SHEDS_LOGGED_A_SECOND: u32 = 10;

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
    /// What all loops together may take.
    pub budget: Arc<Budget>,
    /// Who may come in, shared by all loops and workers of the node.
    pub arrivals: Arc<Arrivals>,
    /// What those who come in at each door are asked in TLS, where it has any.
    pub tls: DoorTerms,
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
    budget: Arc<Budget>,
    arrivals: Arc<Arrivals>,
    /// Connections at some door begin with a PROXY header: else nobody is asked for one.
    has_balancers: bool,
    /// Connections that the budget knows of.
    told_connections: u64,
    /// The moment of this turn, read once, after `wait`.
    now: Now,
    /// The wall's clock when the table was last swept: by it tokens run out.
    unix_secs: u64,
    ready: Vec<Ready>,
    conns: Slots<Conn<I::Stream>>,
    /// Where connections come from that a balancer has passed on.
    sources: Sources,
    /// Agents that sent something of late, where they have a rate.
    throttle: Throttle,
    tls: DoorTerms,
    /// What TLS connections have beside their slots.
    secured: Secured,
    /// Those who wait for their TLS handshake.
    line: Line,
    /// The buffer that frames are sealed in, empty between two writes.
    sealing: Vec<u8>,
    /// Since when the part of a record has been coming that is in front of the scratch.
    part_began: Option<Tick>,
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
    /// Where in it the bytes begin that a session is given.
    scratch_from: usize,
    pool: BufferPool,
    /// One for all its connections: no message refers to an earlier one.
    inflater: Inflater,
    deflater: Deflater,
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
    strain: Strain,
    /// The ping of this turn: all that are sent in it carry the same time.
    ping: Option<(Tick, Bytes)>,
    /// Calls and closes for connections whose admission is still on its way.
    early: Vec<Order>,
    /// Some worker took no more in this turn.
    starved: bool,
    backed_up: bool,
    /// Turns since the workers were last offered what was heard, where nothing of it is pressing.
    turns_together: u32,
    /// At the end of the last turn a worker was not done with what it had been given in earlier ones.
    workers_behind: bool,
    stopping: bool,
    /// Ends of connections that are logged.
    ends_logged: Pace,
    /// Connections refused by a limit that are logged.
    sheds_logged: Pace,
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
            budget: parts.budget,
            has_balancers: parts.arrivals.has_balancers(),
            arrivals: parts.arrivals,
            told_connections: 0,
            now: Now::default(),
            unix_secs: 0,
            ready: Vec::new(),
            conns: Slots::default(),
            sources: Sources::default(),
            throttle: Throttle::default(),
            tls: parts.tls,
            secured: Secured::default(),
            line: Line::default(),
            sealing: Vec::new(),
            part_began: None,
            half_open: 0,
            links: 0,
            turned_away: 0,
            refused: 0,
            accepting: Default::default(),
            scratch: vec![0; SCRATCH_BYTES].into_boxed_slice(),
            scratch_from: 0,
            pool: BufferPool::new(SPARES_MAX),
            inflater: Inflater::default(),
            deflater: Deflater::default(),
            effects: Vec::new(),
            again: VecDeque::new(),
            dirty: Vec::new(),
            dead: Vec::new(),
            spare_outboxes: Vec::new(),
            sweep: Sweep::default(),
            strain: Strain::default(),
            ping: None,
            early: Vec::new(),
            starved: false,
            backed_up: false,
            turns_together: 0,
            workers_behind: false,
            stopping: false,
            ends_logged: Pace::new(ENDS_LOGGED_A_SECOND),
            sheds_logged: Pace::new(SHEDS_LOGGED_A_SECOND),
            meter: Meter::new(parts.index),
        }
    }

    /// Turns until it is told to stop.
    pub fn run(mut self) {
        self.tell_memory();
        while self.turn() == Turned::Again {}
    }

    /// One turn.
    pub fn turn(&mut self) -> Turned {
        if self.workers_behind {
            self.io.give_way();
        }
        let timeout = self.lie_down();
        self.turn_after(timeout)
    }

    /// The rest of a turn, after [`EventLoop::lie_down`]: what comes in between must end the wait.
    pub(crate) fn turn_after(&mut self, timeout: Option<Duration>) -> Turned {
        self.wait(timeout);
        self.weigh();
        self.accept();
        self.read();
        self.obey();
        self.expire();
        self.flush();
        self.shake();
        self.reap();
        let took = self.io.turn_took();
        self.status.turns.note(took);
        self.strain.took(took);
        // What was heard goes to the workers first, however full they are: an answer may be among it.
        if self.stopping && !self.backed_up { Turned::Stopped } else { Turned::Again }
    }

    /// How long the next wait may last, from the moment on at which posters wake the loop.
    pub(crate) fn lie_down(&mut self) -> Option<Duration> {
        if self.letters.may_sleep() { self.rest() } else { Some(Duration::ZERO) }
    }

    fn wait(&mut self, timeout: Option<Duration>) {
        self.now = self.io.wait(timeout, &mut self.ready);
        self.letters.awake();
    }

    /// How long nothing but the system or another thread can give it work; `None` for ever.
    fn rest(&self) -> Option<Duration> {
        if self.backed_up || !self.early.is_empty() {
            return Some(BACKED_UP_REST);
        }
        if !self.again.is_empty()
            || self.has_line()
            || self.accepting.iter().any(|accepting| accepting.is_due(self.now))
        {
            return Some(Duration::ZERO);
        }
        let resumes = self.accepting.iter().filter_map(Accepting::resumes_at);
        let resumes = resumes.chain(self.throttle.next()).chain(self.next_weighing());
        resumes.chain(self.sweep.next(&self.conns)).min().map(|at| at.since(self.now))
    }

    fn conn_id(&self, token: Token) -> ConnId {
        ConnId::new(self.index, token.slot, token.generation)
    }

    fn publish(&mut self) {
        let agents = self.conns.len() as u32 - self.links;
        self.status.connections.store(agents, Ordering::Relaxed);
        self.status.links.store(self.links, Ordering::Relaxed);
        self.meter.connections(agents, self.links);
        if !self.is_plain() {
            self.meter.tls(self.secured.shaking(), self.line.len(), self.secured.established());
        }
        let connections = self.conns.len() as u64;
        if connections != self.told_connections {
            self.budget.moved(self.told_connections, connections);
            self.told_connections = connections;
        }
    }

    /// Tells what holds this loop's memory. Looks at nothing but counts.
    fn tell_memory(&self) {
        let memory = &self.status.memory;
        let beside = self.sources.bytes() + self.throttle.bytes();
        memory.slots.store(self.conns.bytes() + beside, Ordering::Relaxed);
        memory.promised.store(self.conns.promised_bytes() + self.secured.promised_bytes(), Ordering::Relaxed);
        memory.tls.store(self.secured.bytes(), Ordering::Relaxed);
        memory.leases.store(self.pool.bytes(), Ordering::Relaxed);
        let idle: usize = self.spare_outboxes.iter().map(|outbox| outbox.bytes()).sum();
        memory.outboxes.store(self.sweep.outbox_bytes + idle, Ordering::Relaxed);
        let lists = [self.again.capacity(), self.dirty.capacity(), self.dead.capacity()].iter().sum::<usize>();
        let turn = self.scratch.len()
            + self.sealing.capacity()
            + self.line.bytes()
            + lists * size_of::<Token>()
            + self.ready.capacity() * size_of::<Ready>()
            + self.effects.capacity() * size_of::<Effect>()
            + self.early.capacity() * size_of::<Order>();
        memory.turn.store(turn + self.inflater.bytes() + self.deflater.bytes(), Ordering::Relaxed);
    }
}
