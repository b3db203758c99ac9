//! Orders for a connection whose admission is on its way: they are carried out after it.

use std::cell::RefCell;
use std::rc::Rc;

use fastrand::Rng;
use tungstenite::protocol::frame::coding::{Data, OpCode};

use crate::kit::ids::AgentSlot;
use crate::net::intake::Event;
use crate::net::mailbox::{Admission, Order};
use crate::session::expiry::Expiry;
use crate::session::rules::Door;
use crate::wire::encode;
use crate::wire::envelope::Encoding;
use crate::wire::upgrade::{self, Offer};

use super::client::Role;
use super::faults::Odds;
use super::frames::{Reader, Said};
use super::kernel::{Kernel, Trace};
use super::life::request;
use super::setup::{self, OneLoop};
use super::socket::{Piece, Read};

#[test]
fn a_frame_for_a_link_that_is_being_let_in_comes_after_its_welcome() {
    let encoding = Encoding::Binary;
    let kernel = Rc::new(RefCell::new(Kernel::new(Rng::with_seed(1), Odds::calm(), 1, Trace::Quiet)));
    let OneLoop { mut body, mailbox, tray, .. } = setup::one_loop(&kernel, |_| {});
    let socket = kernel.borrow_mut().connect(0, Door::Links).expect("somebody listens");
    kernel.borrow_mut().send(socket, Piece::Bytes(request(Role::Link(encoding)).into()));
    let mut turn = || {
        kernel.borrow_mut().sockets[socket].arrive();
        let timeout = body.lie_down();
        let _ = body.turn_after(timeout);
        body.check();
    };
    (0..3).for_each(|_| turn());
    let heard: Vec<Event> = tray.take().into_iter().flatten().collect();
    let [Event::Knock { conn, .. }] = heard[..] else {
        panic!("{heard:?}");
    };
    // The drain has begun meanwhile: the workers know the link already.
    let frame = encode::frame(OpCode::Data(Data::Binary), b"goaway");
    assert!(mailbox.offer(Order::Send { conn, frame }).is_ok());
    turn();
    assert!(!kernel.borrow().sockets[socket].has_for_client());
    let response = upgrade::switching([b'a'; 28], Offer::Ours(encoding), None);
    let admission = Admission { conn, agent: AgentSlot::NONE, encoding, expiry: Expiry::NEVER, response };
    assert!(mailbox.offer(Order::Admit(Box::new(admission))).is_ok());
    (0..2).for_each(|_| turn());
    let Read::Bytes(bytes) = kernel.borrow_mut().sockets[socket].client_read(usize::MAX) else {
        panic!("nothing was said");
    };
    let said = Reader::default().feed(&bytes);
    assert_eq!(said, [Said::Response(101), Said::Message(false, b"goaway".to_vec())]);
}
