//! A flood from many peers at once, on a calm kernel: what turns leave over has a bound, each turn takes its share of
//! everybody, and nobody is forgotten.

use std::cell::RefCell;
use std::rc::Rc;

use fastrand::Rng;
use tungstenite::protocol::frame::coding::{Data, OpCode};

use crate::kit::buffer_pool::LEASE_BYTES;
use crate::net::event_loop::EventLoop;
use crate::session::rules::Door;

use super::client::Role;
use super::faults::Odds;
use super::frames::{Reader, Said, masked};
use super::io::{SharedKernel, SimIo};
use super::kernel::{Kernel, SocketId, Trace};
use super::life::request;
use super::setup;
use super::socket::{Piece, Read};

const PEERS: usize = 12;
const FRAMES: usize = 900;
const TURN_FRAMES: usize = 8;

/// A loop that has little room to keep what a turn leaves over.
fn event_loop(kernel: &SharedKernel, kept_bytes_max: usize) -> EventLoop<SimIo> {
    setup::one_loop(kernel, |rules| {
        (rules.turn_frames, rules.kept_bytes_max) = (TURN_FRAMES as u32, kept_bytes_max);
    })
    .body
}

/// A peer of the echo that floods: frame by frame, each with its number.
struct Flooder {
    socket: SocketId,
    reader: Reader,
    heard: usize,
}

impl Flooder {
    fn begin(kernel: &mut Kernel) -> Self {
        let socket = kernel.connect(0, Door::Agents).expect("somebody listens");
        kernel.send(socket, Piece::Bytes(request(Role::Echo).into()));
        Self { socket, reader: Reader::default(), heard: 0 }
    }

    /// Takes what came back; how many frames. The flood comes when it is let in.
    fn listen(&mut self, kernel: &mut Kernel, rng: &mut Rng) -> usize {
        let before = self.heard;
        while let Read::Bytes(bytes) = kernel.sockets[self.socket].client_read(usize::MAX) {
            for said in self.reader.feed(&bytes) {
                match said {
                    Said::Response(status) => {
                        assert_eq!(status, 101);
                        let frames = (0..FRAMES).flat_map(|n| masked(OpCode::Data(Data::Text), &word(n), rng));
                        kernel.send(self.socket, Piece::Bytes(frames.collect()));
                    }
                    other => {
                        assert_eq!(other, Said::Message(true, word(self.heard)));
                        self.heard += 1;
                    }
                }
            }
        }
        self.heard - before
    }
}

/// A short payload for each number.
fn word(number: usize) -> Vec<u8> {
    (number % 10).to_string().into_bytes()
}

#[test]
fn a_flood_waits_in_the_kernel_and_is_heard_in_the_end() {
    for kept_bytes_max in [0, LEASE_BYTES, 2 * LEASE_BYTES, 5 * LEASE_BYTES] {
        let mut rng = Rng::with_seed(7);
        let kernel = Rc::new(RefCell::new(Kernel::new(rng.fork(), Odds::calm(), 1, Trace::Quiet)));
        let mut body = event_loop(&kernel, kept_bytes_max);
        let mut peers: Vec<_> = (0..PEERS).map(|_| Flooder::begin(&mut kernel.borrow_mut())).collect();
        let mut turns = 0;
        while peers.iter().any(|peer| peer.heard < FRAMES) {
            for peer in &peers {
                kernel.borrow_mut().sockets[peer.socket].arrive();
            }
            let timeout = body.lie_down();
            let _ = body.turn_after(timeout);
            // It holds what is kept to its bound.
            body.check();
            for peer in &mut peers {
                let taken = peer.listen(&mut kernel.borrow_mut(), &mut rng);
                // The rest of what was kept, and one read of no more than that: once as one that waits, and once for an event.
                let fair = taken <= 4 * TURN_FRAMES;
                assert!(fair, "{taken} frames of one peer in turn {turns}, with room for {kept_bytes_max}");
            }
            turns += 1;
            assert!(turns < 20 * FRAMES, "somebody is forgotten, with room for {kept_bytes_max}");
        }
    }
}
