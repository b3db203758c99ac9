//! What the fuzz targets check of the TLS layer about any bytes at all; `fuzz/` and property tests run it.
//!
//! A body panics when an invariant breaks. Nothing in the product calls it.

use std::sync::Arc;

use rustls::server::{ClientHello, NoClientAuth, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::alert::Alert;
use super::ciphers::Ciphers;
use super::handshake::{Handshake, Step};
use super::inner::{self, Inner};
use super::record::{Front, HEAD_BYTES, front};
use super::records::{Opened, Records};
use super::rest::Rest;
use super::server::{Oldest, Parts, Server};
use super::suite::Suite;

const SUITES: [Suite; 3] = [Suite::Aes128Gcm, Suite::Aes256Gcm, Suite::ChaCha20Poly1305];

/// Both ends of a connection with made-up secrets.
fn ends(suite: Suite) -> Option<[Rest; 2]> {
    let (up, down) = ([1; 48], [2; 48]);
    let (up, down) = (&up[..suite.secret_bytes()], &down[..suite.secret_bytes()]);
    Some([Rest::new(suite, (up, 0), (down, 0))?, Rest::new(suite, (down, 0), (up, 0))?])
}

/// More bytes never change what is known of a front, nothing that has not the key opens, and after a refusal nothing does.
/// The first byte is the suite.
pub fn record(bytes: &[u8]) {
    let Some((&first, stream)) = bytes.split_first() else {
        return;
    };
    let mut stream = stream.to_vec();
    let mut at = 0;
    let Some([mut server, _]) = ends(SUITES[usize::from(first) % 3]) else {
        return;
    };
    let mut ciphers = Ciphers::new(1);
    let mut refused = false;
    loop {
        let rest = &mut stream[at..];
        check_front(rest);
        let Front::Whole(whole) = front(rest) else { return };
        let opened = server.open(&mut ciphers, &mut rest[..whole]);
        match opened {
            Opened::Refused(_) => assert!(!refused, "it is refused once"),
            Opened::Closed => assert!(refused, "nobody has closed it"),
            other => panic!("opened without its key: {other:?}"),
        }
        refused = true;
        at += whole;
    }
}

/// What is said of a shorter front stays true of a longer one.
fn check_front(bytes: &[u8]) {
    let all = front(bytes);
    for cut in 0..bytes.len().min(HEAD_BYTES + 2) {
        match (front(&bytes[..cut]), all) {
            (Front::Part(known), Front::Whole(whole) | Front::Part(whole)) => assert!(cut < known && known <= whole),
            (Front::Part(known), Front::Refused(_)) => assert!(cut < known),
            (short, long) => assert_eq!(short, long),
        }
    }
    match all {
        Front::Whole(whole) => assert!(whole <= bytes.len()),
        Front::Part(whole) => assert!(whole > bytes.len()),
        Front::Refused(_) => {}
    }
}

/// Two ends talk, and either may say anything under its key: what is opened is what was sealed, and what ends it ends it.
/// The first byte is the suite; then come steps, each a byte of what is done, one of how many bytes, and those.
pub fn talk(bytes: &[u8]) {
    let Some((&first, mut script)) = bytes.split_first() else {
        return;
    };
    let Some(ends) = ends(SUITES[usize::from(first) % 3]) else {
        return;
    };
    let mut talk = Talk { ends, ciphers: Ciphers::new(2), out: Vec::new() };
    while let Some(([what, length], rest)) = script.split_first_chunk() {
        let said = &rest[..usize::from(*length).min(rest.len())];
        script = &rest[said.len()..];
        let who = usize::from(what & 1);
        let goes_on = match what >> 1 & 3 {
            0 => talk.say_anything(who, said),
            1 => talk.close(who),
            _ => talk.data(who, said),
        };
        if !goes_on {
            return;
        }
    }
}

struct Talk {
    ends: [Rest; 2],
    ciphers: Ciphers,
    out: Vec<u8>,
}

impl Talk {
    /// Opens at the other end all that this one has sealed: data joined, and what else there was.
    fn deliver(&mut self, from: usize) -> (Vec<u8>, Vec<Opened>) {
        let (mut data, mut others) = (Vec::new(), Vec::new());
        let mut at = 0;
        while let Front::Whole(whole) = front(&self.out[at..]) {
            let record = &mut self.out[at..at + whole];
            match self.ends[1 - from].open(&mut self.ciphers, record) {
                Opened::Data(range) => data.extend_from_slice(&record[range]),
                other => others.push(other),
            }
            at += whole;
        }
        assert_eq!(at, self.out.len(), "what is sealed is whole records");
        self.out.clear();
        (data, others)
    }

    /// Data in two fragments, and the key update that is owed before it.
    fn data(&mut self, from: usize, said: &[u8]) -> bool {
        let owed = self.ends[from].owes();
        let (one, two) = said.split_at(said.len() / 2);
        if self.ends[from].seal(&mut self.ciphers, &[one, two], &mut self.out).is_err() {
            assert!(self.out.is_empty());
            return true;
        }
        assert!(!self.ends[from].owes());
        let (data, others) = self.deliver(from);
        if others.contains(&Opened::Refused(Alert::UnexpectedMessage)) {
            // Idle records have run out with that update.
            return false;
        }
        assert_eq!(data, said);
        assert_eq!(others, vec![Opened::Nothing; usize::from(owed)]);
        true
    }

    fn close(&mut self, from: usize) -> bool {
        self.ends[from].close(&mut self.ciphers, &mut self.out);
        let (data, mut others) = self.deliver(from);
        assert!(data.is_empty());
        match others.pop() {
            Some(Opened::Closed) | None => others.iter().all(|other| *other == Opened::Nothing),
            Some(Opened::Refused(Alert::UnexpectedMessage)) => false,
            other => panic!("a close_notify came as {other:?}"),
        }
    }

    /// A TLSInnerPlaintext of any kind.
    fn say_anything(&mut self, from: usize, said: &[u8]) -> bool {
        let expected = inner::read(said);
        if !self.ends[from].say(&mut self.ciphers, said, &mut self.out) {
            return true;
        }
        let (data, others) = self.deliver(from);
        match (expected, others.as_slice()) {
            (_, [Opened::Refused(Alert::UnexpectedMessage)]) => return false,
            (Ok(Inner::Data(range)), []) => assert_eq!(data, said[range]),
            (Ok(Inner::Data(range)), [Opened::Nothing]) => assert!(range.is_empty()),
            (Ok(Inner::KeyUpdate { asks }), [Opened::Nothing]) => {
                assert!(!asks || self.ends[1 - from].owes() || self.is_closed(1 - from));
            }
            (Ok(Inner::UserCanceled), [Opened::Nothing]) => {}
            (Ok(Inner::CloseNotify), [Opened::Closed]) => return false,
            (Ok(Inner::Failed(told)), [Opened::Failed(heard)]) => {
                assert_eq!(told, *heard);
                assert!(self.is_closed(1 - from));
                return false;
            }
            (Err(alert), [Opened::Refused(refused)]) => {
                assert_eq!(alert, *refused);
                return false;
            }
            (expected, others) => panic!("{expected:?} came as {others:?}"),
        }
        true
    }

    fn is_closed(&mut self, who: usize) -> bool {
        let closed = self.ends[who].seal(&mut self.ciphers, &[], &mut self.out).is_err();
        // Asking may have paid what was owed: the other end must hear it, or their keys part.
        self.deliver(who);
        closed
    }
}

/// Has no certificate: a hello is read to its end, and refused.
#[derive(Debug)]
struct NoCertificate;

impl ResolvesServerCert for NoCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        None
    }
}

/// Bytes that are no handshake end one, at the same place and in the same way however they are cut. The first byte is the cut.
pub fn handshake(bytes: &[u8]) {
    let Some((&step, stream)) = bytes.split_first() else {
        return;
    };
    let parts = Parts {
        certificates: Arc::new(NoCertificate),
        clients: Arc::new(NoClientAuth),
        suites: SUITES.to_vec(),
        oldest: Oldest::Tls12,
        tickets: None,
        protocols: Vec::new(),
    };
    let Ok(server) = Server::new(parts) else { return };
    let server = Arc::new(server);
    let whole = shake(&server, [stream]);
    let cut = shake(&server, stream.chunks(usize::from(step).max(1)));
    assert_eq!(whole, cut);
}

/// How many bytes were taken, what was sent, and why it failed, if it did.
fn shake<'a>(
    server: &Arc<Server>,
    chunks: impl IntoIterator<Item = &'a [u8]>,
) -> (usize, Vec<u8>, Option<&'static str>) {
    let (mut taken, mut out) = (0, Vec::new());
    let Ok(mut handshake) = Handshake::new(server) else {
        return (0, out, None);
    };
    for chunk in chunks {
        let (part, step) = handshake.take(chunk, &mut out);
        taken += part;
        match step {
            Step::More => assert_eq!(part, chunk.len()),
            Step::Done => panic!("a handshake without a certificate"),
            Step::Failed(failure) => return (taken, out, Some(failure.label())),
        }
    }
    (taken, out, None)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use crate::kit::seeds;

    /// Steps of a talk of which many say what the protocol knows.
    fn script() -> impl Strategy<Value = Vec<u8>> {
        let known: [&[u8]; 9] = [
            &[0, 6, 24, 0, 0, 1, 1, 22],
            &[1, 6, 24, 0, 0, 1, 0, 22],
            &[0, 3, 1, 90, 21],
            &[1, 3, 2, 0, 21],
            &[0, 3, 2, 40, 21],
            &[0, 1, 23],
            &[4, 3, 1, 2, 3],
            &[5, 2, 0, 0],
            &[3, 0],
        ];
        let weights = [20, 20, 8, 1, 1, 8, 30, 30, 1];
        let known: Vec<_> = weights.into_iter().zip(known.map(|step| Just(step.to_vec()).boxed())).collect();
        let step = prop_oneof![20 => proptest::strategy::Union::new_weighted(known), 1 => vec(any::<u8>(), 0..12)];
        (any::<u8>(), vec(step, 0..60)).prop_map(|(suite, steps)| [vec![suite], steps.concat()].concat())
    }

    /// Heads of records and pieces of hellos.
    fn heads() -> impl Strategy<Value = Vec<u8>> {
        let pieces: [&[u8]; 9] = [
            &[23, 3, 3, 0, 17],
            &[22, 3, 1, 0, 5, 1, 0, 0, 1, 0],
            &[22, 3, 1, 0, 41, 1, 0, 0, 37, 3, 3],
            &[21, 3, 3, 0, 2, 1, 0],
            &[20, 3, 3, 0, 1, 1],
            &[0; 17],
            &[0; 32],
            &[0, 0, 2, 0x13, 1, 1, 0],
            &[23, 3, 3, 0x41, 1],
        ];
        let piece = prop_oneof![4 => proptest::sample::select(pieces.map(<[u8]>::to_vec).to_vec()), 1 => vec(any::<u8>(), 0..20)];
        (any::<u8>(), vec(piece, 0..12)).prop_map(|(first, pieces)| [vec![first], pieces.concat()].concat())
    }

    proptest! {
        #[test]
        fn record(bytes in heads()) {
            super::record(&bytes);
        }

        #[test]
        fn talk(bytes in script()) {
            super::talk(&bytes);
        }

        #[test]
        fn handshake(bytes in heads()) {
            super::handshake(&bytes);
        }
    }

    #[test]
    fn seeds() {
        seeds::run("tls_record", super::record);
        seeds::run("tls_talk", super::talk);
        seeds::run("tls_handshake", super::handshake);
    }
}
