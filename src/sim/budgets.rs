//! What compressed messages may cost in a turn, on a calm kernel: while they come in, at the end of a stream, at a stop, and on their way out.

use std::cell::RefCell;
use std::rc::Rc;

use bytes::Bytes;
use fastrand::Rng;
use tungstenite::protocol::frame::coding::{Data, OpCode};

use crate::kit::delivery::Delivery;
use crate::kit::ids::{AgentSlot, CallId, ConnId};
use crate::net::event_loop::Turned;
use crate::net::intake::Event;
use crate::net::limits::{DeflateLimits, Limits};
use crate::net::mailbox::{Admission, Order};
use crate::net::tls::server::Oldest;
use crate::session::effect::Greeting;
use crate::session::expiry::Expiry;
use crate::session::reason::Reason;
use crate::session::rules::{Door, Rules};
use crate::wire::deflate::{Deflater, Window};
use crate::wire::encode;
use crate::wire::envelope::Encoding;
use crate::wire::upgrade;

use super::client::Role;
use super::faults::Odds;
use super::frames::{Reader, Said, masked};
use super::io::SharedKernel;
use super::kernel::{Kernel, SocketId, Trace};
use super::life::request;
use super::packed;
use super::secure;
use super::setup::{self, OneLoop};
use super::socket::{Piece, Read};

/// A loop with agents that are let in.
struct Scene {
    kernel: SharedKernel,
    at: OneLoop,
    rng: Rng,
    agents: Vec<Agent>,
    /// What the workers have got, in its order.
    heard: Vec<Event>,
}

struct Agent {
    socket: SocketId,
    conn: ConnId,
    /// Whether compression was agreed on.
    packs: bool,
    reader: Reader,
}

/// What changes from test to test.
struct Terms {
    seed: u64,
    /// Agents that offer compression, and that do not.
    agents: [usize; 2],
    secured: bool,
    rules: fn(&mut Rules),
    limits: fn(Limits) -> Limits,
}

impl Scene {
    fn begin(terms: &Terms) -> Self {
        let mut rng = Rng::with_seed(terms.seed);
        let kernel = Rc::new(RefCell::new(Kernel::new(rng.fork(), Odds::calm(), 1, Trace::Quiet)));
        let tls = terms.secured.then(|| secure::terms(&mut rng, Oldest::Tls13));
        kernel.borrow_mut().secured = [tls.as_ref().map(|_| secure::peers(&rustls::version::TLS13)), None];
        let at = setup::secured_loop(&kernel, [tls, None], |rules| {
            (rules.takes_deflate, rules.kept_bytes_max) = (true, 1 << 20);
            (terms.rules)(rules);
        });
        assert!(at.mailbox.offer(Order::Limits(Box::new((at.rules, (terms.limits)(at.limits))))).is_ok());
        let mut scene = Self { kernel, at, rng, agents: Vec::new(), heard: Vec::new() };
        let agents = terms.agents[0] + terms.agents[1];
        for agent in 0..agents {
            let plain = request(Role::Agent(0, Encoding::Binary));
            let words = if agent < terms.agents[0] { packed::offering(&plain, &mut scene.rng) } else { plain };
            let mut kernel = scene.kernel.borrow_mut();
            let socket = kernel.connect(0, Door::Agents).expect("it listens");
            // Whatever is sent in a test arrives at once.
            (kernel.sockets[socket].arrived_max, kernel.sockets[socket].leaving_max) = (1 << 20, 1 << 20);
            kernel.send(socket, Piece::Bytes(words.into()));
        }
        for _ in 0..10 * agents {
            let _ = scene.turn();
        }
        assert_eq!(scene.agents.len(), agents);
        (0..agents).for_each(|agent| drop(scene.said(agent)));
        scene
    }

    /// A turn; what the workers get of it.
    fn turn(&mut self) -> Turned {
        {
            let mut kernel = self.kernel.borrow_mut();
            kernel.now += 1;
            let now = kernel.now;
            for socket in &mut kernel.sockets {
                while socket.can_arrive(now) {
                    socket.arrive();
                }
            }
        }
        let timeout = self.at.body.lie_down();
        let turned = self.at.body.turn_after(timeout);
        if turned == Turned::Again {
            self.at.body.check();
        }
        for event in self.at.tray.take().into_iter().flatten() {
            match event {
                Event::Knock { conn, greeting } => self.let_in(conn, &greeting),
                event => self.heard.push(event),
            }
        }
        turned
    }

    fn let_in(&mut self, conn: ConnId, greeting: &Greeting) {
        let response = upgrade::switching(greeting.accept, greeting.offer, greeting.deflate);
        let (encoding, agent) = (Encoding::Binary, AgentSlot(self.agents.len() as u32));
        let admission = Admission { conn, agent, encoding, expiry: Expiry::NEVER, response };
        assert!(self.at.mailbox.offer(Order::Admit(Box::new(admission))).is_ok());
        let socket = self.kernel.borrow().socket_of(0, conn.slot(), conn.generation()).expect("it is watched");
        self.agents.push(Agent { socket, conn, packs: greeting.deflate.is_some(), reader: Reader::default() });
    }

    /// What an agent has been sent since this was asked last, and how much of it was compressed.
    fn said(&mut self, agent: usize) -> (Vec<Said>, u32) {
        let Agent { socket, reader, .. } = &mut self.agents[agent];
        let before = reader.packed;
        let said = match self.kernel.borrow_mut().sockets[*socket].client_read(usize::MAX) {
            Read::Bytes(bytes) => reader.feed(&bytes),
            _ => Vec::new(),
        };
        (said, reader.packed - before)
    }

    fn send(&mut self, agent: usize, bytes: Vec<u8>) {
        self.kernel.borrow_mut().send(self.agents[agent].socket, Piece::Bytes(bytes.into()));
    }

    /// A frame with so many zeros, compressed.
    fn zeros(&mut self, count: usize) -> Vec<u8> {
        let mut deflater = Deflater::default();
        let packed = deflater.deflate(&vec![0; count], Window::LARGEST, 6).expect("it gets shorter");
        let mut frame = masked(OpCode::Data(Data::Binary), packed, &mut self.rng);
        frame[0] |= 0x40;
        frame
    }

    /// Messages of an agent that the workers have got.
    fn messages(&self, agent: usize) -> usize {
        let of = |event: &&Event| matches!(event, Event::Message { conn, .. } if *conn == self.agents[agent].conn);
        self.heard.iter().filter(of).count()
    }

    /// Orders for one turn.
    fn order(&mut self, orders: Vec<Order>) {
        assert!(self.at.mailbox.offer(Order::Many(orders)).is_ok());
        let _ = self.turn();
    }

    fn frame(bytes: usize) -> Bytes {
        encode::frame(OpCode::Data(Data::Binary), &vec![7; bytes])
    }

    fn call(&self, agent: usize, number: u64, bytes: usize) -> Order {
        let (conn, frame) = (self.agents[agent].conn, Self::frame(bytes));
        Order::Call { conn, frame, call: CallId(number), delivery: Delivery::waiting() }
    }
}

#[test]
fn what_came_before_the_end_of_a_stream_is_heard_under_the_budget_of_each_turn() {
    const MESSAGES: usize = 60;
    // Some peers say that they say nothing more, others just end their side.
    for seed in 0..8 {
        let mut scene = Scene::begin(&Terms {
            seed,
            agents: [1, 0],
            secured: seed > 0,
            rules: |rules| (rules.turn_frames, rules.turn_inflated_bytes) = (1000, 5000),
            limits: |limits| limits,
        });
        let frame = scene.zeros(2000);
        scene.send(0, frame.repeat(MESSAGES));
        scene.kernel.borrow_mut().send(scene.agents[0].socket, Piece::Fin);
        let mut turns = 0;
        while scene.messages(0) < MESSAGES {
            let before = scene.messages(0);
            let _ = scene.turn();
            let heard = scene.messages(0) - before;
            // Three of them are over the budget; it may be read twice in a turn: because it waits, and for an event.
            assert!(heard <= 6, "seed {seed}: {heard} messages in turn {turns}");
            turns += 1;
            assert!(turns < 2 * MESSAGES, "seed {seed}: {} messages", scene.messages(0));
        }
        for _ in 0..4 {
            let _ = scene.turn();
        }
        let last = scene.heard.last();
        let vanished = matches!(last, Some(Event::Ended { reason: Reason::PeerVanished, .. }));
        assert!(vanished, "seed {seed}: {last:?}");
    }
}

#[test]
fn a_stop_hears_no_more_than_so_much_of_what_was_compressed_and_all_that_was_not() {
    let mut scene = Scene::begin(&Terms {
        seed: 1,
        agents: [2, 1],
        secured: false,
        rules: |rules| {
            (rules.turn_frames, rules.turn_inflated_bytes, rules.message_bytes_max) = (2, 1, 1 << 20);
        },
        limits: |limits| limits,
    });
    let frame = scene.zeros(1 << 20);
    let plain = masked(OpCode::Data(Data::Binary), b"plain", &mut scene.rng);
    // The plain one comes first: where the workers are full nobody is read.
    for packs in [false, true] {
        for agent in (0..3).filter(|agent| scene.agents[*agent].packs == packs).collect::<Vec<_>>() {
            let bytes = if packs { frame.repeat(30) } else { plain.repeat(50) };
            scene.send(agent, bytes);
        }
        let _ = scene.turn();
    }
    assert!(scene.at.mailbox.offer(Order::Stop).is_ok());
    while scene.turn() == Turned::Again {}
    let heard =
        |packs| (0..3).filter(|agent| scene.agents[*agent].packs == packs).map(|agent| scene.messages(agent)).sum();
    let (packed, plain): (usize, usize) = (heard(true), heard(false));
    assert!((14..24).contains(&packed), "some 16 MiB, and what the turns before have heard: {packed}");
    assert_eq!(plain, 50);
}

#[test]
fn what_a_turn_compresses_has_a_bound_and_the_rest_goes_out_as_it_is() {
    let mut scene = Scene::begin(&Terms {
        seed: 2,
        agents: [2, 0],
        secured: false,
        rules: |_| {},
        limits: |limits| Limits {
            deflate: Some(DeflateLimits { from: 1, to: 1 << 20, turn: 1000, level: 1 }),
            ..limits
        },
    });
    for _ in 0..3 {
        // Whoever it is for, and whether it is a call: 400, 800 and 1200 bytes, and then no more.
        let sends = (0..10).map(|number| match number % 2 {
            0 => Order::Send { conn: scene.agents[number % 4 / 2].conn, frame: Scene::frame(400) },
            _ => scene.call(number % 4 / 2, number as u64, 400),
        });
        let orders = sends.collect();
        scene.order(orders);
        let (first, second) = (scene.said(0), scene.said(1));
        assert_eq!(first.1 + second.1, 3, "so many are compressed");
        let whole = Said::Message(false, vec![7; 400]);
        assert_eq!([first.0, second.0].concat(), vec![whole; 10], "all of them come");
    }
    // One that is longer than all that goes out in a turn is compressed all the same, and alone.
    let orders = [30_000, 400].map(|bytes| Order::Send { conn: scene.agents[0].conn, frame: Scene::frame(bytes) });
    scene.order(orders.into());
    let (said, packed) = scene.said(0);
    assert_eq!((said.len(), packed), (2, 1));
}

#[test]
fn a_call_that_does_not_fit_is_not_compressed_first() {
    let mut scene = Scene::begin(&Terms {
        seed: 3,
        agents: [2, 0],
        secured: false,
        rules: |_| {},
        limits: |limits| Limits {
            queue_soft: 500,
            queue_hard: 600,
            deflate: Some(DeflateLimits { from: 300, to: 1 << 20, turn: 1000, level: 1 }),
            ..limits
        },
    });
    // The first one reads nothing, and what waits for it is too short to be compressed.
    scene.kernel.borrow_mut().sockets[scene.agents[0].socket].leaving_max = 0;
    let mut orders: Vec<Order> = (0..2).map(|number| scene.call(0, number, 200)).collect();
    orders.extend((2..8).map(|number| scene.call(0, number, 400)));
    orders.push(scene.call(1, 8, 400));
    scene.order(orders);
    let refused = scene.heard.iter().filter(|event| matches!(event, Event::NoRoom { .. })).count();
    assert_eq!(refused, 6, "by their length as they came");
    assert_eq!(scene.said(1).1, 1, "they have used up nothing of the turn's budget");
}
