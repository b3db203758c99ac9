//! Tokens on live connections and a wall clock that is set, forwards and backwards, while the loop's own clock runs on.

use std::cell::RefCell;
use std::rc::Rc;

use fastrand::Rng;

use crate::kit::ids::AgentSlot;
use crate::net::intake::Event;
use crate::net::mailbox::{Admission, Order, Renewal};
use crate::session::expiry::Expiry;
use crate::session::rules::Door;
use crate::wire::envelope::Encoding;
use crate::wire::upgrade::{self, Offer};

use super::client::Role;
use super::faults::Odds;
use super::frames::{Reader, Said};
use super::io::SharedKernel;
use super::kernel::{Kernel, Trace};
use super::life::request;
use super::setup::{self, OneLoop};
use super::socket::{Piece, Read};

/// When the world began, in seconds since the UNIX epoch.
const BEGAN: u64 = 1_800_000_000;
/// How long before its end an agent is told.
const NOTICE_SECS: u32 = 60;

/// An agent that was let in, and its loop.
struct Life {
    kernel: SharedKernel,
    one: OneLoop,
    socket: usize,
    reader: Reader,
    conn: crate::kit::ids::ConnId,
}

impl Life {
    /// With a token that ends so many seconds after the world began.
    fn begin(ends_after: u64) -> Self {
        let encoding = Encoding::Json;
        let kernel = Rc::new(RefCell::new(Kernel::new(Rng::with_seed(1), Odds::calm(), 1, Trace::Quiet)));
        kernel.borrow_mut().wall_began = BEGAN;
        let one = setup::one_loop(&kernel, |rules| {
            rules.expiry_notice_secs = NOTICE_SECS;
            // Nothing but the token moves.
            (rules.heartbeat_ms, rules.heartbeat_timeout_ms) = (86_400_000, 80_000_000);
        });
        let socket = kernel.borrow_mut().connect(0, Door::Agents).expect("somebody listens");
        kernel.borrow_mut().send(socket, Piece::Bytes(request(Role::Agent(1, encoding)).into()));
        let conn = crate::kit::ids::ConnId::new(0, 0, 0);
        let mut life = Self { kernel, one, socket, reader: Reader::default(), conn };
        (0..3).for_each(|_| life.turn());
        let heard: Vec<Event> = life.one.tray.take().into_iter().flatten().collect();
        let [Event::Knock { conn, .. }] = heard[..] else {
            panic!("{heard:?}");
        };
        life.conn = conn;
        let response = upgrade::switching([b'a'; 28], Offer::Ours(encoding), None);
        let expiry = Expiry::at(Some(BEGAN + ends_after));
        let admission = Admission { conn, agent: AgentSlot::NONE, encoding, expiry, response };
        assert!(life.one.mailbox.offer(Order::Admit(Box::new(admission))).is_ok());
        (0..2).for_each(|_| life.turn());
        assert_eq!(life.said(), [Said::Response(101)]);
        life
    }

    fn turn(&mut self) {
        self.kernel.borrow_mut().sockets[self.socket].arrive();
        let timeout = self.one.body.lie_down();
        let _ = self.one.body.turn_after(timeout);
        self.one.body.check();
    }

    /// Lets the process run for so long, in steps of a tenth of a second.
    fn run(&mut self, secs: u64) -> Vec<Said> {
        let mut said = Vec::new();
        for _ in 0..secs * 10 {
            self.kernel.borrow_mut().now += 100;
            self.turn();
            said.extend(self.said());
        }
        said
    }

    /// Sets the wall.
    fn set_wall(&mut self, seconds_after_began: u64) {
        let ran = self.kernel.borrow().now / 1000;
        self.kernel.borrow_mut().wall_began = BEGAN + seconds_after_began - ran;
    }

    fn said(&mut self) -> Vec<Said> {
        let read = self.kernel.borrow_mut().sockets[self.socket].client_read(usize::MAX);
        match read {
            Read::Bytes(bytes) => self.reader.feed(&bytes),
            _ => Vec::new(),
        }
    }
}

fn told(said: &[Said]) -> Vec<String> {
    let word = |said: &Said| match said {
        Said::Message(_, text) => {
            let text = String::from_utf8_lossy(text);
            text.split(['"', ':', '}'])
                .rfind(|part| part.bytes().any(|b| b.is_ascii_digit()))
                .map_or_else(|| "?".to_owned(), |left| format!("told {left}"))
        }
        Said::Close(code) => format!("closed {}", code.unwrap_or_default()),
        other => format!("{other:?}"),
    };
    said.iter().map(word).collect()
}

#[test]
fn a_token_is_told_of_and_ends_while_the_wall_runs_as_it_should() {
    let mut life = Life::begin(100);
    assert_eq!(told(&life.run(39)), [""; 0]);
    // A sweep takes less than a second.
    assert_eq!(told(&life.run(2)), ["told 60000"]);
    assert_eq!(told(&life.run(58)), [""; 0]);
    assert_eq!(told(&life.run(2)), ["closed 4002"]);
}

#[test]
fn a_wall_that_is_set_ahead_takes_live_tokens_with_it() {
    let mut life = Life::begin(100);
    assert_eq!(told(&life.run(1)), [""; 0]);
    life.set_wall(70);
    assert_eq!(told(&life.run(1)), ["told 30000"]);
    life.set_wall(100);
    assert_eq!(told(&life.run(1)), ["closed 4002"]);
}

#[test]
fn a_wall_that_is_set_back_lets_them_live_until_their_time() {
    let mut life = Life::begin(100);
    assert_eq!(told(&life.run(42)), ["told 60000"]);
    life.set_wall(0);
    assert_eq!(told(&life.run(98)), [""; 0], "it was told, and has its time again");
    assert_eq!(told(&life.run(3)), ["closed 4002"]);
}

#[test]
fn a_newer_token_counts_from_when_it_is_shown() {
    let mut life = Life::begin(100);
    assert_eq!(told(&life.run(42)), ["told 60000"]);
    let expiry = Expiry::at(Some(BEGAN + 200));
    let renew = Order::Renew(Box::new(Renewal {
        conn: life.conn,
        expiry,
        encoding: Encoding::Json,
        id: b"1".to_vec(),
        held: Box::new(()),
    }));
    assert!(life.one.mailbox.offer(renew).is_ok());
    assert_eq!(told(&life.run(96)), ["told 158000"], "the answer");
    assert_eq!(told(&life.run(4)), ["told 60000"]);
    assert_eq!(told(&life.run(60)), ["closed 4002"]);
}
