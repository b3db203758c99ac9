//! Everything there is in a run, and who goes on next.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;

use crate::audit::Writer;
use crate::kit::quota::Quota;
use crate::net::event_loop::EventLoop;
use crate::net::intake::{Event, Tray};
use crate::net::limits::Limits;
use crate::net::mailbox::Mailbox;
use crate::session::rules::Rules;
use crate::work::alarm::Sleeper;
use crate::work::caller::Caller;
use crate::work::dispatch::Dispatch;
use crate::work::drain::Drain;
use crate::work::gate::DEV_TENANT;

use super::backend::Ledger;
use super::client::{Client, Surroundings};
use super::faults::Odds;
use super::io::{SharedKernel, SimIo};
use super::kernel::{Kernel, SocketId, Trace};
use super::setup;

/// Virtual milliseconds of chaos, and the most steps of it.
const CHAOS_MS: u64 = 6_000;
const CHAOS_STEPS: u32 = 6_000;
/// Agents that there may be; one more is called and never there.
pub(super) const AGENTS: usize = 4;

/// A loop and how long it sleeps.
pub(super) struct SimLoop {
    pub(super) body: EventLoop<SimIo>,
    pub(super) timeout: Option<Duration>,
    pub(super) wakes_at: Option<u64>,
    pub(super) vain_turns: u32,
    pub(super) stopped: bool,
}

/// A worker and what it has taken off its queue.
pub(super) struct Worker {
    pub(super) tray: Tray,
    pub(super) batch: VecDeque<Event>,
    pub(super) resumes_at: u64,
}

/// Who can go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Actor {
    Loop(usize),
    Worker(usize),
    Wire(SocketId),
    Client(usize),
    Alarm,
    Caller,
    Connector,
    Canceller(u64),
    Drain,
}

/// What became of a run.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Report {
    /// A number that equal runs share.
    pub(super) digest: u64,
    /// How many calls ended in which way.
    pub(super) outcomes: BTreeMap<(&'static str, &'static str), u32>,
    /// Connections whose TLS handshake was done.
    pub(super) secured: usize,
    /// Messages that were compressed: of peers, and to them.
    pub(super) packed: [u32; 2],
    /// Calls that were dropped because of overload: of plain connections, and of those with TLS.
    pub(super) shed: [u32; 2],
}

/// A run.
pub(super) struct World {
    pub(super) kernel: SharedKernel,
    pub(super) rng: Rng,
    pub(super) ledger: Ledger,
    pub(super) clients: Vec<Client>,
    pub(super) loops: Vec<SimLoop>,
    pub(super) mailboxes: Vec<Mailbox>,
    pub(super) workers: Vec<Worker>,
    pub(super) dispatch: Arc<Dispatch>,
    /// Has the audit log's lines, which nobody writes.
    pub(super) auditor: Writer,
    pub(super) sleeper: Sleeper,
    pub(super) alarm_at: Option<u64>,
    pub(super) caller: Caller,
    pub(super) rules: Rules,
    pub(super) limits: Limits,
    pub(super) room: Arc<Quota>,
    pub(super) calls_at: Option<u64>,
    pub(super) connects_at: Option<u64>,
    pub(super) drain: Option<(Drain, u64)>,
    pub(super) drained: bool,
    /// What each connection was at the end of the last turn that saw it: open or not, and bytes read by then.
    pub(super) last_seen: BTreeMap<SocketId, (bool, u64)>,
    /// When the node was overloaded so that it cut queues, the last time.
    pub(super) shed_at: Option<u64>,
    /// As [`Report::shed`].
    pub(super) shed: [u32; 2],
}

impl World {
    pub(super) fn new(seed: u64, trace: Trace) -> Self {
        let mut rng = Rng::with_seed(seed);
        let odds = Odds::mixed(&mut rng);
        let doors = rng.usize(1..3);
        let kernel = Rc::new(RefCell::new(Kernel::new(rng.fork(), odds, doors, trace)));
        let parts = setup::gateway(&kernel, &mut rng);
        let sleeping = |mut body: EventLoop<SimIo>| {
            let timeout = body.lie_down();
            SimLoop { body, timeout, wakes_at: None, vain_turns: 0, stopped: false }
        };
        let worker = |tray| Worker { tray, batch: VecDeque::new(), resumes_at: 0 };
        Self {
            kernel,
            rng,
            ledger: Ledger::default(),
            clients: Vec::new(),
            loops: parts.loops.into_iter().map(sleeping).collect(),
            mailboxes: parts.mailboxes,
            workers: parts.trays.into_iter().map(worker).collect(),
            caller: Caller::without_key(parts.dispatch.tenant(DEV_TENANT)),
            dispatch: parts.dispatch,
            auditor: parts.auditor,
            sleeper: parts.sleeper,
            alarm_at: None,
            rules: parts.rules,
            limits: parts.limits,
            room: parts.room,
            calls_at: Some(0),
            connects_at: Some(0),
            drain: None,
            drained: false,
            last_seen: BTreeMap::new(),
            shed_at: None,
            shed: [0; 2],
        }
    }

    /// What became of the run.
    pub(super) fn report(&self) -> Report {
        let mut outcomes = BTreeMap::new();
        for record in self.ledger.records.values() {
            // Of a call on a link that ended nobody was told.
            let Some(outcome) = record.outcome.as_ref() else {
                continue;
            };
            let way = if record.link.is_some() { "link" } else { "http" };
            *outcomes.entry((way, outcome.label())).or_default() += 1;
        }
        let kernel = self.kernel.borrow();
        let secured = kernel.sockets.iter().filter_map(|socket| socket.tls.as_ref()).filter(|tls| tls.speaks()).count();
        let packed =
            [self.clients.iter().map(Client::packed).sum(), kernel.sockets.iter().map(|socket| socket.packed()).sum()];
        Report { digest: kernel.digest(), outcomes, secured, packed, shed: self.shed }
    }

    pub(super) fn now(&self) -> u64 {
        self.kernel.borrow().now
    }

    /// Chaos, then peace, then the end.
    pub(super) fn run(&mut self) {
        for _ in 0..CHAOS_STEPS {
            if self.now() >= CHAOS_MS || !self.step() {
                break;
            }
            self.kernel.borrow_mut().mislead();
            let jump = self.kernel.borrow().odds.jump;
            if self.chance(jump) {
                let by = self.rng.u64(100..5_000);
                self.kernel.borrow_mut().note(format_args!("time jumps by {by} ms"));
                self.kernel.borrow_mut().now += by;
            }
        }
        self.end();
    }

    pub(super) fn chance(&mut self, odds: f64) -> bool {
        odds > 0.0 && self.rng.f64() < odds
    }

    /// One actor goes on, or time does; false when nothing will ever happen again.
    pub(super) fn step(&mut self) -> bool {
        let now = self.now();
        let mut soonest = None;
        let mut able = Vec::new();
        self.each_actor(&mut |actor, at| {
            if at <= now {
                able.push(actor);
            } else {
                soonest = Some(soonest.map_or(at, |soonest: u64| soonest.min(at)));
            }
        });
        if able.is_empty() {
            let Some(soonest) = soonest else { return false };
            self.kernel.borrow_mut().now = soonest;
            return true;
        }
        let actor = able[self.rng.usize(..able.len())];
        self.go_on(actor);
        self.check_calls();
        true
    }

    /// Every actor, and when it can go on.
    fn each_actor(&self, actor: &mut impl FnMut(Actor, u64)) {
        let kernel = self.kernel.borrow();
        for (index, sleeping) in self.loops.iter().enumerate() {
            if sleeping.stopped {
                continue;
            }
            let at = if kernel.has_ready(index) { Some(0) } else { sleeping.wakes_at };
            at.into_iter().for_each(|at| actor(Actor::Loop(index), at));
        }
        let room = self.loops.is_empty() || self.mailboxes.iter().all(|mailbox| mailbox.room() >= 3);
        for (index, worker) in self.workers.iter().enumerate() {
            if room && !(worker.batch.is_empty() && worker.tray.is_empty()) {
                actor(Actor::Worker(index), worker.resumes_at);
            }
        }
        for (id, socket) in kernel.sockets.iter().enumerate() {
            if let Some((at, _)) = socket.coming.front()
                && socket.can_arrive(*at)
            {
                actor(Actor::Wire(id), *at);
            }
        }
        for (index, client) in self.clients.iter().enumerate() {
            client.next_at(&kernel).into_iter().for_each(|at| actor(Actor::Client(index), at));
        }
        for (nonce, record) in self.ledger.open_calls() {
            let at = record.cancels_at.filter(|_| !record.cancelled);
            at.into_iter().for_each(|at| actor(Actor::Canceller(*nonce), at));
        }
        let others = [
            // It posts answers to links, and would wait for room.
            (Actor::Alarm, self.alarm_at.filter(|_| room)),
            (Actor::Caller, self.calls_at),
            (Actor::Connector, self.connects_at),
            (Actor::Drain, self.drain.as_ref().map(|(_, at)| *at)),
        ];
        others.into_iter().for_each(|(each, at)| at.into_iter().for_each(|at| actor(each, at)));
    }

    fn go_on(&mut self, actor: Actor) {
        match actor {
            Actor::Loop(index) => self.turn(index),
            Actor::Worker(index) => self.work(index),
            Actor::Wire(id) => self.kernel.borrow_mut().sockets[id].arrive(),
            Actor::Client(index) => {
                let World { clients, kernel, rng, ledger, .. } = self;
                clients[index].step(&mut Surroundings { kernel: &mut kernel.borrow_mut(), rng, ledger });
            }
            Actor::Alarm => self.ring(),
            Actor::Caller => self.call(),
            Actor::Connector => self.connect(),
            Actor::Canceller(nonce) => self.cancel(nonce),
            Actor::Drain => self.drain_step(),
        }
        if self.sleeper.was_woken() {
            self.alarm_at = Some(self.now());
        }
    }
}
