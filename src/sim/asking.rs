//! A balancer that asks whether somebody is there: its header, which says that it speaks for itself, and the end, in one breath.

use std::cell::RefCell;
use std::rc::Rc;

use fastrand::Rng;

use crate::net::tls::server::Oldest;
use crate::session::rules::Door;

use super::faults::Odds;
use super::kernel::{Kernel, Trace};
use super::secure;
use super::setup;
use super::socket::Piece;

/// Version 2, LOCAL, no addresses.
const HEADER: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

#[test]
fn who_asks_whether_somebody_is_there_and_goes_is_not_waited_for() {
    for is_secured in [false, true] {
        let mut rng = Rng::with_seed(13);
        let kernel = Rc::new(RefCell::new(Kernel::new(rng.fork(), Odds::calm(), 1, Trace::Quiet)));
        kernel.borrow_mut().proxied = [true, false];
        let terms = is_secured.then(|| secure::terms(&mut rng, Oldest::Tls13));
        let mut body = setup::secured_loop(&kernel, [terms, None], |_| {}).body;
        let socket = kernel.borrow_mut().connect(0, Door::Agents).expect("somebody listens");
        for piece in [Piece::Bytes(HEADER.iter().copied().collect()), Piece::Fin] {
            let mut kernel = kernel.borrow_mut();
            kernel.sockets[socket].coming.push_back((0, piece));
            kernel.sockets[socket].arrive();
        }
        for _ in 0..4 {
            let timeout = body.lie_down();
            let _ = body.turn_after(timeout);
            body.check();
        }
        assert!(kernel.borrow().sockets[socket].dropped && body.is_idle(), "TLS: {is_secured}");
    }
}
