//! Records of TLS at a real loop: what is against the rules is answered by its alert and nothing else, what is owed is paid without
//! data, and a peer that closes hears goodbye.

use std::cell::RefCell;
use std::rc::Rc;

use fastrand::Rng;
use rustls::{AlertDescription, Error};
use tungstenite::protocol::frame::coding::{Data, OpCode};

use crate::net::tls::server::Oldest;
use crate::session::rules::Door;

use super::client::Role;
use super::faults::Odds;
use super::frames::{Reader, Said, masked};
use super::io::SharedKernel;
use super::kernel::{Kernel, SocketId, Trace};
use super::life::request;
use super::secure::{self, PeerTls};
use super::setup::{self, OneLoop};
use super::socket::{Piece, Read};

/// A peer of the echo that is in, and its loop.
struct Talk {
    kernel: SharedKernel,
    one: OneLoop,
    socket: SocketId,
    reader: Reader,
}

impl Talk {
    fn begin() -> Self {
        let mut rng = Rng::with_seed(7);
        let kernel = Rc::new(RefCell::new(Kernel::new(rng.fork(), Odds::calm(), 1, Trace::Quiet)));
        kernel.borrow_mut().secured = [Some(secure::peers(&rustls::version::TLS13)), None];
        let terms = secure::terms(&mut rng, Oldest::Tls13);
        let one = setup::secured_loop(&kernel, [Some(terms), None], |_| {});
        let socket = kernel.borrow_mut().connect(0, Door::Agents).expect("somebody listens");
        kernel.borrow_mut().send(socket, Piece::Bytes(request(Role::Echo).into()));
        let mut talk = Self { kernel, one, socket, reader: Reader::default() };
        assert_eq!(talk.hear(), ([Said::Response(101)].into(), false));
        talk
    }

    fn turn(&mut self) {
        {
            let mut kernel = self.kernel.borrow_mut();
            let now = kernel.now;
            while kernel.sockets[self.socket].can_arrive(now) {
                kernel.sockets[self.socket].arrive();
            }
        }
        let timeout = self.one.body.lie_down();
        let _ = self.one.body.turn_after(timeout);
        self.one.body.check();
    }

    /// What it hears within some turns, and whether its connection has ended then.
    fn hear(&mut self) -> (Vec<Said>, bool) {
        let mut said = Vec::new();
        for _ in 0..12 {
            self.turn();
            let read = self.kernel.borrow_mut().sockets[self.socket].client_read(usize::MAX);
            match read {
                Read::Bytes(bytes) => said.extend(self.reader.feed(&bytes)),
                Read::Nothing => {}
                Read::End | Read::Reset => return (said, true),
            }
        }
        (said, false)
    }

    fn tls<T>(&self, ask: impl FnOnce(&mut PeerTls) -> T) -> T {
        ask(self.kernel.borrow_mut().sockets[self.socket].tls.as_mut().expect("it speaks TLS"))
    }

    /// What the gateway has said since, in bytes on the wire, whatever is in them.
    fn wire_bytes(&self) -> u64 {
        self.tls(|tls| tls.heard_bytes())
    }

    fn echo(&mut self, words: &[u8]) -> Vec<u8> {
        let frame = masked(OpCode::Data(Data::Text), words, &mut Rng::with_seed(1));
        self.tls(|tls| tls.say(&frame, &mut Rng::with_seed(1)))
    }

    /// Sends bytes as they are.
    fn send_wire(&mut self, bytes: &[u8]) {
        let mut kernel = self.kernel.borrow_mut();
        let now = kernel.now;
        kernel.sockets[self.socket].coming.push_back((now, Piece::Bytes(bytes.iter().copied().collect())));
    }
}

#[test]
fn a_record_against_the_rules_is_answered_by_its_alert_and_nothing_else() {
    let sealed_by_nobody = [&[23, 3, 3, 0, 40][..], &[7; 40]].concat();
    let cases: [(&[u8], AlertDescription); 7] = [
        (&sealed_by_nobody, AlertDescription::BadRecordMac),
        (&[23, 3, 3, 0, 0], AlertDescription::BadRecordMac),
        // One byte more than a record may have: its head is enough.
        (&[23, 3, 3, 0x41, 1], AlertDescription::RecordOverflow),
        (&[23, 2, 0, 0, 1], AlertDescription::DecodeError),
        (&[99, 3, 3, 0, 1, 0], AlertDescription::UnexpectedMessage),
        // In the clear: an alert, and what a client may send before its handshake is done.
        (&[21, 3, 3, 0, 2, 1, 0], AlertDescription::UnexpectedMessage),
        (&[20, 3, 3, 0, 1, 1], AlertDescription::UnexpectedMessage),
    ];
    for (record, alert) in cases {
        for with_words in [false, true] {
            let mut talk = Talk::begin();
            talk.tls(PeerTls::be_rude);
            // What it said before in the same breath is heard, but not answered any more.
            let words = if with_words { talk.echo(b"words before") } else { Vec::new() };
            talk.send_wire(&[&words, record].concat());
            let (said, has_ended) = talk.hear();
            let told = talk.tls(|tls| tls.told().cloned());
            assert_eq!(told, Some(Error::AlertReceived(alert)), "{record:?} {with_words}");
            assert!(said.is_empty() && has_ended, "{record:?} {with_words}: {said:?}");
        }
    }
}

#[test]
fn a_key_update_that_is_asked_for_comes_without_data_to_carry_it() {
    let mut talk = Talk::begin();
    for round in 0..3 {
        let before = talk.wire_bytes();
        let update = talk.tls(PeerTls::update_keys);
        talk.send_wire(&update);
        assert_eq!(talk.hear(), (Vec::new(), false));
        // The head of a record, a KeyUpdate, its type and a tag.
        assert_eq!(talk.wire_bytes() - before, 5 + 5 + 1 + 16, "round {round}");
        let words = format!("round {round}").into_bytes();
        let frame = talk.echo(&words);
        talk.send_wire(&frame);
        assert_eq!(talk.hear(), ([Said::Message(true, words)].into(), false));
    }
}

#[test]
fn who_closes_hears_goodbye() {
    let mut talk = Talk::begin();
    let goodbye = talk.tls(PeerTls::end);
    talk.send_wire(&goodbye);
    let (_, has_ended) = talk.hear();
    assert!(
        has_ended && talk.tls(|tls| tls.is_told_of_the_end(u64::MAX)),
        "a close_notify for a close_notify, then the end"
    );
}
