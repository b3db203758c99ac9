//! Overload on a calm kernel: the largest queues go first and what is small stays, links and answers that cannot be dropped are closed,
//! newcomers wait, and everything comes back.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use tungstenite::protocol::frame::coding::{Data, OpCode};

use crate::kit::budget::BudgetLimit;
use crate::kit::delivery::Delivery;
use crate::kit::ids::{AgentSlot, CallId, ConnId};
use crate::kit::overload::{Ladder, Level, Mark};
use crate::net::intake::Event;
use crate::net::io::Token;
use crate::net::limits::{Limits, OverloadLimits};
use crate::net::mailbox::{Admission, Order};
use crate::net::tls::server::Oldest;
use crate::session::expiry::Expiry;
use crate::session::reason::Reason;
use crate::session::rules::Door;
use crate::wire::encode;
use crate::wire::envelope::Encoding;
use crate::wire::upgrade::{self, Offer};

use super::client::Role;
use super::faults::Odds;
use super::io::SharedKernel;
use super::kernel::{Kernel, SocketId, Trace};
use super::life::request;
use super::secure;
use super::setup::{self, OneLoop};
use super::socket::{Piece, Read};

const AGENTS: usize = 8;
/// So much that what the test's own process takes is nothing beside it.
const CONNECTION_BYTES: u64 = 1 << 40;
const SECOND_MS: u64 = 1000;

const MEMORY: Ladder = Ladder {
    marks: [Mark { enter: 1000, leave: 950 }, Mark { enter: 1050, leave: 1000 }, Mark { enter: 1200, leave: 1150 }],
    rise: Duration::ZERO,
    fall: Duration::from_secs(2),
};

const LAG: Ladder = Ladder {
    marks: [
        Mark { enter: 100, leave: 50 },
        Mark { enter: 10_000, leave: 5_000 },
        Mark { enter: 20_000, leave: 10_000 },
    ],
    rise: Duration::from_secs(2),
    fall: Duration::from_secs(2),
};

/// How its agents come.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Talk {
    Plain,
    Secured,
}

/// A loop with agents that are let in and read nothing.
struct Scene {
    kernel: SharedKernel,
    at: OneLoop,
    agents: Vec<(SocketId, ConnId)>,
    /// What the loop told the workers, but for knocks.
    heard: Vec<Event>,
    calls: u64,
}

impl Scene {
    fn begin(talk: Talk, limits: impl FnOnce(Limits) -> Limits) -> Self {
        let kernel = Rc::new(RefCell::new(Kernel::new(Rng::with_seed(5), Odds::calm(), 1, Trace::Quiet)));
        let terms = (talk == Talk::Secured).then(|| secure::terms(&mut Rng::with_seed(5), Oldest::Tls13));
        kernel.borrow_mut().secured = [terms.as_ref().map(|_| secure::peers(&rustls::version::TLS13)), None];
        let at = setup::secured_loop(&kernel, [terms, None], |rules| {
            (rules.heartbeat_ms, rules.heartbeat_timeout_ms) = (90_000_000, 9_000_000)
        });
        let limits = limits(Limits { overload: OverloadLimits { shed_from: 4096, ..at.limits.overload }, ..at.limits });
        assert!(at.mailbox.offer(Order::Limits(Box::new((at.rules, limits)))).is_ok());
        let mut scene = Self { kernel, at, agents: Vec::new(), heard: Vec::new(), calls: 0 };
        (0..AGENTS).for_each(|_| scene.come());
        // A handshake takes some turns, and a turn takes a step of one.
        scene.turns(if talk == Talk::Plain { 4 } else { 10 * AGENTS }, 0);
        assert_eq!(scene.agents.len(), AGENTS);
        scene
    }

    /// Somebody connects and asks to come in.
    fn come(&mut self) {
        let mut kernel = self.kernel.borrow_mut();
        let socket = kernel.connect(0, Door::Agents).expect("it listens");
        kernel.send(socket, Piece::Bytes(request(Role::Agent(0, Encoding::Binary)).into()));
    }

    /// What peers have on its way comes.
    fn arrive(&mut self) {
        let mut kernel = self.kernel.borrow_mut();
        let now = kernel.now;
        for socket in &mut kernel.sockets {
            while socket.can_arrive(now) {
                socket.arrive();
            }
        }
    }

    /// Turns, each of them so many milliseconds after the one before; whoever knocks is let in.
    fn turns(&mut self, turns: usize, step_ms: u64) {
        for _ in 0..turns {
            self.kernel.borrow_mut().now += step_ms;
            self.arrive();
            let timeout = self.at.body.lie_down();
            let _ = self.at.body.turn_after(timeout);
            self.at.body.check();
            for event in self.at.tray.take().into_iter().flatten() {
                let Event::Knock { conn, .. } = event else {
                    self.heard.push(event);
                    continue;
                };
                let (encoding, agent) = (Encoding::Binary, AgentSlot(self.agents.len() as u32));
                let response = upgrade::switching([b'a'; 28], Offer::Ours(encoding), None);
                let admission = Admission { conn, agent, encoding, expiry: Expiry::NEVER, response };
                assert!(self.at.mailbox.offer(Order::Admit(Box::new(admission))).is_ok());
                let token = Some(Token { slot: conn.slot(), generation: conn.generation() });
                let kernel = self.kernel.borrow();
                let socket = kernel.sockets.iter().position(|socket| socket.token == token).expect("it is watched");
                self.agents.push((socket, conn));
            }
        }
    }

    /// Queues calls of so many bytes each for an agent.
    fn call(&mut self, agent: usize, calls: usize, bytes: usize) {
        let frame = encode::frame(OpCode::Data(Data::Binary), &vec![0; bytes]);
        for _ in 0..calls {
            let order = self.order(agent, &frame);
            assert!(self.at.mailbox.offer(order).is_ok());
            self.turns(1, 0);
        }
    }

    /// The same, all of them in one turn.
    fn call_at_once(&mut self, agent: usize, calls: usize, bytes: usize) {
        let frame = encode::frame(OpCode::Data(Data::Binary), &vec![0; bytes]);
        let orders = (0..calls).map(|_| self.order(agent, &frame)).collect();
        assert!(self.at.mailbox.offer(Order::Many(orders)).is_ok());
        self.turns(1, 0);
    }

    fn order(&mut self, agent: usize, frame: &Bytes) -> Order {
        self.calls += 1;
        // The agent's number is that of its calls' thousands.
        let call = CallId(agent as u64 * 1000 + self.calls);
        Order::Call { conn: self.agents[agent].1, frame: frame.clone(), call, delivery: Delivery::waiting() }
    }

    fn fill(&self, thousandths: u64) {
        let used = CONNECTION_BYTES * AGENTS as u64;
        let limit = BudgetLimit { bytes_max: used / thousandths * 1000, kernel_bytes_per_connection: CONNECTION_BYTES };
        self.at.budget.set(limit, MEMORY);
    }

    /// The agents whose calls were not written, in the order in which that was told, each with how many.
    fn shed(&mut self) -> Vec<(u64, usize)> {
        let mut order = Vec::new();
        let mut counts = BTreeMap::new();
        for event in self.heard.drain(..) {
            if let Event::NotWritten { call } = event {
                let agent = call.0 / 1000;
                if !order.contains(&agent) {
                    order.push(agent);
                }
                *counts.entry(agent).or_insert(0) += 1;
            }
        }
        order.into_iter().map(|agent| (agent, counts[&agent])).collect()
    }

    /// The agents that have ended since this was asked last.
    fn ended(&mut self) -> Vec<(ConnId, Reason)> {
        let ended = self.heard.drain(..).filter_map(|event| match event {
            Event::Ended { conn, reason, .. } => Some((conn, reason)),
            _ => None,
        });
        ended.collect()
    }

    fn read(&self, agent: usize) -> usize {
        match self.kernel.borrow_mut().sockets[self.agents[agent].0].client_read(usize::MAX) {
            Read::Bytes(bytes) => bytes.len(),
            _ => 0,
        }
    }

    /// Reads as long as something comes: a record takes some turns.
    fn read_all(&mut self, agent: usize) -> usize {
        let mut read = 0;
        for _ in 0..50 {
            self.turns(1, 1);
            read += self.read(agent);
        }
        read
    }
}

#[test]
fn the_largest_queues_go_first_and_small_ones_stay() {
    for talk in [Talk::Plain, Talk::Secured] {
        the_largest_go_first(talk);
    }
}

fn the_largest_go_first(talk: Talk) {
    let mut scene = Scene::begin(talk, |limits| limits);
    let calls = [3, 9, 5, 0, 7];
    for (agent, calls) in calls.into_iter().enumerate() {
        scene.call(agent, calls + 3, 8000);
    }
    // One that has little behind its first frame.
    scene.call(5, 1, 8000);
    scene.call(5, 3, 1000);
    scene.fill(1040);
    scene.turns(3, SECOND_MS);
    assert_eq!(
        (scene.at.budget.level(), scene.shed()),
        (Level::Refuse, vec![]),
        "nobody else is let in, and that is all"
    );
    scene.fill(1100);
    scene.turns(3, SECOND_MS);
    assert_eq!(scene.at.budget.level(), Level::Shed);
    let shed = scene.shed();
    let agents: Vec<u64> = shed.iter().map(|(agent, _)| *agent).collect();
    assert_eq!(agents, [1, 4, 2, 0, 3], "by what waits, the most first");
    // Behind the first frame, which the kernel may have a part of, and a batch that was sealed meanwhile, nothing is left; what was taken
    // before it is with the agent.
    let fixed = if talk == Talk::Plain { 2 } else { 3 };
    for (agent, dropped) in shed {
        let asked = calls[agent as usize] + 3;
        assert!((asked - fixed..asked).contains(&dropped), "{talk:?}: {dropped} of {asked} of agent {agent}");
    }
    // All of them are still there, and served.
    for agent in 0..AGENTS {
        scene.read_all(agent);
    }
    scene.call(3, 1, 100);
    scene.turns(2, 1);
    assert_eq!(scene.read(3), 102);
    assert_eq!(
        (scene.shed(), scene.at.status.connections.load(std::sync::atomic::Ordering::Relaxed)),
        (vec![], AGENTS as u32)
    );

    scene.fill(900);
    scene.turns(8, SECOND_MS);
    assert_eq!(scene.at.budget.level(), Level::Calm);
    scene.call(1, 9, 8000);
    scene.turns(3, SECOND_MS);
    assert_eq!(scene.shed(), [], "a calm node keeps what is queued");
}

#[test]
fn what_cannot_be_dropped_is_closed_and_slow_peers_are_not_waited_for() {
    for talk in [Talk::Plain, Talk::Secured] {
        what_cannot_be_dropped_is_closed(talk);
    }
}

fn what_cannot_be_dropped_is_closed(talk: Talk) {
    let mut scene = Scene::begin(talk, |limits| Limits {
        queue_soft: 10_000,
        write_deadline_ms: 3_600_000,
        overload: OverloadLimits { patience_ms: 1000, ..limits.overload },
        ..limits
    });
    let frame: Bytes = encode::frame(OpCode::Data(Data::Binary), &[0; 8000]);
    for _ in 0..5 {
        let order = Order::Send { conn: scene.agents[0].1, frame: frame.clone() };
        assert!(scene.at.mailbox.offer(order).is_ok());
        scene.turns(1, 0);
    }
    // Above the soft mark by its first frame alone: nothing can be shed of it.
    scene.call(1, 1, 40_000);
    scene.fill(1100);
    scene.turns(3, SECOND_MS);
    assert_eq!(scene.ended(), [(scene.agents[0].1, Reason::Overloaded)]);
    // One of eight has gone, and a second one will.
    scene.fill(1800);
    scene.turns(4, SECOND_MS);
    assert_eq!(scene.at.budget.level(), Level::Close);
    assert_eq!(scene.ended(), [(scene.agents[1].1, Reason::SlowConsumer)]);
}

#[test]
fn what_is_sealed_stays_and_nobody_is_closed_for_it() {
    // The lowest soft mark there is, far below what is sealed at once.
    let patient = |limits| Limits { queue_soft: 1024, write_deadline_ms: 3_600_000, ..limits };
    let mut scene = Scene::begin(Talk::Secured, patient);
    scene.read_all(0);
    let (first, sealed, loose) = (4, 30, 10);
    scene.call(0, first, 2000);
    // They wait behind a record that the kernel has no room for, and are sealed together when it has.
    scene.call_at_once(0, sealed, 2000);
    scene.turns(1, 0);
    let mut read = scene.read(0);
    scene.turns(1, 0);
    scene.call(0, loose, 2000);
    scene.fill(1100);
    scene.turns(6, SECOND_MS);
    assert_eq!(scene.at.budget.level(), Level::Shed);
    let heard = std::mem::take(&mut scene.heard);
    let closed = heard.iter().filter(|event| matches!(event, Event::Ended { .. })).count();
    let dropped = heard.iter().filter(|event| matches!(event, Event::NotWritten { .. })).count();
    assert_eq!((closed, dropped), (0, loose), "what is sealed stays, and is no reason to close");
    read += scene.read_all(0);
    assert_eq!(read, (first + sealed) * 2004, "all of that comes");
    scene.call(0, 1, 100);
    scene.turns(2, 1);
    assert_eq!(scene.read(0), 102, "and it goes on");
}

#[test]
fn newcomers_wait_in_the_backlog_while_a_loop_lags() {
    let mut scene = Scene::begin(Talk::Plain, |limits| Limits {
        overload: OverloadLimits { lag: LAG, ..limits.overload },
        ..limits
    });
    scene.kernel.borrow_mut().turn = Duration::from_millis(400);
    scene.turns(20, 400);
    assert_eq!(scene.at.status.lag.level(), Level::Refuse);
    assert!(scene.at.status.lag.span() >= Duration::from_millis(300), "{:?}", scene.at.status.lag.span());
    scene.come();
    scene.turns(20, 400);
    assert_eq!(scene.agents.len(), AGENTS, "nobody was taken");
    // Who is in is served.
    scene.call(3, 1, 100);
    scene.turns(1, 400);
    assert!(scene.read(3) > 0);

    scene.kernel.borrow_mut().turn = Duration::from_millis(1);
    scene.turns(8, SECOND_MS);
    assert_eq!(scene.at.status.lag.level(), Level::Calm);
    assert_eq!(scene.agents.len(), AGENTS + 1, "whoever waited is let in");
}
