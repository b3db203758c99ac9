//! Rates in virtual time: a peer that floods is heard as fast as its rate allows, to the end, and not faster.

use std::time::Duration;

use fastrand::Rng;
use tungstenite::protocol::frame::coding::{Control, OpCode};

use crate::kit::tick::millis;
use crate::kit::token_bucket::Rate;
use crate::net::limits::Limits;
use crate::net::mailbox::Order;
use crate::net::throttle::AgentRates;
use crate::session::rules::{Door, Rules};

use super::client::Role;
use super::faults::Odds;
use super::frames::{Reader, Said, masked};
use super::kernel::{SocketId, Trace};
use super::life::{header, request};
use super::socket::{Piece, Read};
use super::world::World;

/// What is read with a balancer's header and the request is not counted: 4 KiB at most.
const EARLY_PINGS: usize = 40;
const SECOND: Duration = Duration::from_secs(1);

/// A world with one loop at peace and one peer of its echo, which floods.
struct Flood {
    world: World,
    socket: SocketId,
    reader: Reader,
    pongs: usize,
}

impl Flood {
    fn begin(seed: u64, rates: AgentRates, payload: &[u8], pings: usize) -> Self {
        let mut world = World::new(seed, Trace::Quiet);
        let limits = Limits { agent_rates: rates, ..world.limits };
        // It answers no ping of ours, and is silent while it rests.
        let rules = Rules { heartbeat_ms: 60_000, heartbeat_timeout_ms: 20_000, ..world.rules };
        assert!(world.mailboxes[0].offer(Order::Limits(Box::new((rules, limits)))).is_ok());
        // They hold before the flood comes.
        let quiet = &mut world.loops[0];
        quiet.body.turn_after(Some(Duration::ZERO));
        quiet.timeout = quiet.body.lie_down();
        let mut rng = Rng::with_seed(seed);
        let mut bytes = request(Role::Echo);
        let mut kernel = world.kernel.borrow_mut();
        kernel.odds = Odds::calm();
        if kernel.proxied[Door::Agents as usize] {
            bytes = [header(&mut rng), bytes].concat();
        }
        let socket = kernel.connect(0, Door::Agents).expect("it listens");
        for _ in 0..pings {
            bytes.extend(masked(OpCode::Control(Control::Ping), payload, &mut rng));
        }
        kernel.send(socket, Piece::Bytes(bytes.into()));
        drop(kernel);
        Self { world, socket, reader: Reader::default(), pongs: 0 }
    }

    /// Lets time go on; how many pings were answered by then.
    fn pongs_at(&mut self, ms: u64) -> usize {
        loop {
            let (now, ready) = {
                let mut kernel = self.world.kernel.borrow_mut();
                let now = kernel.now;
                if kernel.sockets[self.socket].can_arrive(now) {
                    kernel.sockets[self.socket].arrive();
                }
                (now, kernel.has_ready(0))
            };
            let sleeping = &mut self.world.loops[0];
            if ready || sleeping.wakes_at.is_some_and(|at| at <= now) {
                sleeping.body.turn_after(sleeping.timeout);
                sleeping.body.check();
                sleeping.timeout = sleeping.body.lie_down();
                sleeping.wakes_at = sleeping.timeout.map(|timeout| now + millis(timeout));
                self.read();
            } else {
                let next = sleeping.wakes_at.unwrap_or(ms).min(ms);
                if now >= ms {
                    return self.pongs;
                }
                self.world.kernel.borrow_mut().now = next;
            }
        }
    }

    fn read(&mut self) {
        let read = self.world.kernel.borrow_mut().sockets[self.socket].client_read(usize::MAX);
        if let Read::Bytes(bytes) = read {
            self.pongs += self.reader.feed(&bytes).iter().filter(|said| matches!(said, Said::Pong(_))).count();
        }
    }
}

#[test]
fn a_flood_is_heard_as_fast_as_its_rate_allows() {
    // Messages, then bytes: 106 of them for each ping with 100 bytes of payload.
    let messages = AgentRates { messages: Rate::new(100, SECOND, SECOND), bytes: None };
    let bytes = AgentRates { messages: None, bytes: Rate::new(106 * 100, SECOND, SECOND) };
    // Under TLS a whole record is heard at once, which is more than such a rate allows.
    let plain = |seed: &u64| World::new(*seed, Trace::Quiet).kernel.borrow().secured[Door::Agents as usize].is_none();
    for seed in (0..).filter(plain).take(8) {
        for rates in [messages, bytes] {
            let mut flood = Flood::begin(seed, rates, &[7; 100], 900);
            for second in 1..=7 {
                let heard = flood.pongs_at(second * 1000);
                let share = 100 + 100 * second as usize;
                // What was there at the start, and each second's share. Whoever rests waits for 4 KiB, and a millisecond or two longer.
                assert!(
                    (share * 95 / 100 - EARLY_PINGS..=share + EARLY_PINGS).contains(&heard),
                    "seed {seed}: {heard} after {second} s"
                );
            }
            assert_eq!(flood.pongs_at(10_000), 900, "seed {seed}: all of them in the end");
        }
    }
}
