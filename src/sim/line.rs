//! A storm of newcomers with TLS, on a calm kernel: whoever is in waits for one of them at most, and they are served in their order.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use fastrand::Rng;
use tungstenite::protocol::frame::coding::{Data, OpCode};

use crate::net::event_loop::EventLoop;
use crate::net::tls::server::Oldest;
use crate::session::rules::Door;

use super::client::Role;
use super::faults::Odds;
use super::frames::{Reader, Said, masked};
use super::io::{SharedKernel, SimIo};
use super::kernel::{Kernel, SocketId, Trace};
use super::life::request;
use super::secure;
use super::setup;
use super::socket::{Piece, Read};

/// Newcomers, and how many of them come with each turn.
const NEWCOMERS: usize = 36;
const AT_ONCE: usize = 3;

struct Storm {
    kernel: SharedKernel,
    body: EventLoop<SimIo>,
    rng: Rng,
}

impl Storm {
    fn begin() -> Self {
        let mut rng = Rng::with_seed(11);
        let kernel = Rc::new(RefCell::new(Kernel::new(rng.fork(), Odds::calm(), 1, Trace::Quiet)));
        kernel.borrow_mut().secured = [Some(secure::peers(&rustls::version::TLS13)), None];
        let terms = secure::terms(&mut rng, Oldest::Tls13);
        let body = setup::secured_loop(&kernel, [Some(Arc::clone(&terms)), None], |_| {}).body;
        Self { kernel, body, rng }
    }

    /// A peer of the echo, whose first bytes are on their way.
    fn peer(&mut self) -> SocketId {
        let mut kernel = self.kernel.borrow_mut();
        let socket = kernel.connect(0, Door::Agents).expect("somebody listens");
        kernel.send(socket, Piece::Bytes(request(Role::Echo).into()));
        socket
    }

    /// All that is on its way arrives, and the loop has its turn.
    fn turn(&mut self) {
        {
            let mut kernel = self.kernel.borrow_mut();
            let now = kernel.now;
            for socket in &mut kernel.sockets {
                while socket.can_arrive(now) {
                    socket.arrive();
                }
            }
        }
        let timeout = self.body.lie_down();
        let _ = self.body.turn_after(timeout);
        self.body.check();
    }

    fn said(&mut self, socket: SocketId, reader: &mut Reader) -> Vec<Said> {
        match self.kernel.borrow_mut().sockets[socket].client_read(usize::MAX) {
            Read::Bytes(bytes) => reader.feed(&bytes),
            _ => Vec::new(),
        }
    }

    /// Whether the gateway has said anything to it.
    fn is_begun(&self, socket: SocketId) -> bool {
        self.kernel.borrow().sockets[socket].tls.as_ref().is_some_and(|tls| tls.has_heard())
    }
}

#[test]
fn newcomers_are_served_in_their_order_and_keep_nobody_waiting() {
    let mut storm = Storm::begin();
    let (friend, mut reader) = (storm.peer(), Reader::default());
    while !storm.said(friend, &mut reader).contains(&Said::Response(101)) {
        storm.turn();
    }
    let (mut newcomers, mut served) = (Vec::new(), Vec::new());
    let mut turns = 0;
    while served.len() < NEWCOMERS {
        if newcomers.len() < NEWCOMERS {
            newcomers.extend((0..AT_ONCE).map(|_| storm.peer()));
        }
        let words = format!("turn {turns}").into_bytes();
        let frame = masked(OpCode::Data(Data::Text), &words, &mut storm.rng);
        storm.kernel.borrow_mut().send(friend, Piece::Bytes(frame.into()));
        // What epoll tells of is not all that there is: each has its event in the second turn at the latest.
        let mut said = Vec::new();
        for _ in 0..64 {
            storm.turn();
            said = storm.said(friend, &mut reader);
            let begun: Vec<_> =
                (0..newcomers.len()).filter(|at| !served.contains(at) && storm.is_begun(newcomers[*at])).collect();
            assert!(begun.len() <= 1, "a turn takes one costly step, not {}", begun.len());
            served.extend(begun);
            if !said.is_empty() {
                break;
            }
        }
        assert_eq!(said, [Said::Message(true, words)], "who is in is served in its turn");
        turns += 1;
        assert!(turns < 20 * NEWCOMERS, "somebody is forgotten: {served:?}");
    }
    // The kernel tells of them in any order, and of some only turns later; beyond that nobody is overtaken.
    let moved = served.iter().enumerate().map(|(place, at)| place.abs_diff(*at)).max();
    assert!(moved.is_some_and(|moved| moved <= NEWCOMERS / 2), "far from the order in which they came: {served:?}");
}
