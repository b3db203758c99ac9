//! A server that sends back what it hears, one connection after the other, and tells what it saw of each. Whoever says `bye` hears
//! its close_notify.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use holdfast::net::tls::certificate_files::{CertificateFiles, certificates};
use holdfast::net::tls::ciphers::Ciphers;
use holdfast::net::tls::handshake::{Handshake, Step};
use holdfast::net::tls::record::{Front, front};
use holdfast::net::tls::records::{Opened, Records};
use holdfast::net::tls::rest::Rest;
use holdfast::net::tls::server::{Oldest, Parts, Server};
use holdfast::net::tls::suite::Suite;
use holdfast::net::tls::tickets::Tickets;
use rustls::server::NoClientAuth;

/// The name in the certificate.
pub const NAME: &str = "agents.test";

/// What a client says that wants the server to close first.
const BYE: &[u8] = b"bye";

/// No test waits longer for bytes than this.
const PATIENCE: Duration = Duration::from_secs(60);

/// What was seen of a connection.
#[derive(Debug)]
pub struct Seen {
    /// The suite agreed on.
    pub suite: Suite,
    /// Whether a ticket was used.
    pub resumed: bool,
    /// Key updates that asked for one of ours.
    pub asked: usize,
    /// Whether the client said that it closes.
    pub closed: bool,
}

/// A server that runs.
pub struct Echo {
    /// Where it listens, on loopback.
    pub port: u16,
    /// Its certificate, PEM, which signs itself.
    pub certificate: String,
    server: JoinHandle<Vec<Seen>>,
}

impl Echo {
    /// Serves so many connections.
    pub fn start(connections: usize) -> Self {
        let made = rcgen::generate_simple_self_signed([NAME.to_owned()]).expect("it is made");
        let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        let files = CertificateFiles { chain: "chain".into(), key: "key".into(), ocsp: None };
        let read =
            |path: &Path| Ok(if path == Path::new("key") { key.clone() } else { certificate.clone() }.into_bytes());
        let tickets = Tickets::random(3600).expect("there are random bytes");
        let parts = Parts {
            certificates: Arc::new(certificates(&[files], &read).expect("they are right")),
            clients: Arc::new(NoClientAuth),
            suites: vec![Suite::Aes128Gcm, Suite::ChaCha20Poly1305, Suite::Aes256Gcm],
            oldest: Oldest::Tls13,
            tickets: Some(Arc::new(tickets)),
            protocols: vec![b"http/1.1".to_vec()],
        };
        let server = Arc::new(Server::new(parts).expect("the parts fit"));
        let listener = TcpListener::bind("127.0.0.1:0").expect("there is a port");
        let port = listener.local_addr().expect("it has one").port();
        let server = thread::spawn(move || {
            let accept = || serve(listener.accept().expect("one comes").0, &server);
            (0..connections).map(|_| accept()).collect()
        });
        Self { port, certificate, server }
    }

    /// Waits for the last connection.
    pub fn end(self) -> Vec<Seen> {
        self.server.join().expect("it serves to the end")
    }
}

fn serve(mut stream: TcpStream, server: &Arc<Server>) -> Seen {
    stream.set_read_timeout(Some(PATIENCE)).expect("it can be set");
    let (mut rest, mut bytes, resumed) = shake(&mut stream, server);
    let mut ciphers = Ciphers::new(2);
    let mut seen = Seen { suite: rest.suite(), resumed, asked: 0, closed: false };
    let mut part = [0; 4096];
    loop {
        let mut out = Vec::new();
        while let Front::Whole(whole) = front(&bytes) {
            let mut record: Vec<u8> = bytes.drain(..whole).collect();
            match rest.open(&mut ciphers, &mut record) {
                Opened::Data(range) if record[range.clone()] == *BYE => rest.close(&mut ciphers, &mut out),
                Opened::Data(range) => rest.seal(&mut ciphers, &[&record[range]], &mut out).expect("it is open"),
                Opened::Nothing => seen.asked += usize::from(rest.owes()),
                Opened::Closed => seen.closed = true,
                other => panic!("{other:?}"),
            }
        }
        assert!(matches!(front(&bytes), Front::Part(_)));
        if seen.closed {
            rest.close(&mut ciphers, &mut out);
            // A client that has gone needs no goodbye.
            let _ = stream.write_all(&out);
            return seen;
        }
        if rest.owes() {
            rest.seal(&mut ciphers, &[], &mut out).expect("it is open");
        }
        stream.write_all(&out).expect("the client reads");
        let read = stream.read(&mut part).expect("the client writes");
        assert!(read > 0, "the client has gone without a word");
        bytes.extend_from_slice(&part[..read]);
    }
}

/// Shakes hands: the connection at rest, what came after the handshake, and whether it resumed another.
fn shake(stream: &mut TcpStream, server: &Arc<Server>) -> (Rest, Vec<u8>, bool) {
    let mut handshake = Handshake::new(server).expect("the settings serve");
    // Small, so that records are cut.
    let mut part = [0; 100];
    loop {
        let read = stream.read(&mut part).expect("the client writes");
        assert!(read > 0, "the client has gone in the middle of its handshake");
        let mut out = Vec::new();
        let (taken, step) = handshake.take(&part[..read], &mut out);
        stream.write_all(&out).expect("the client reads");
        match step {
            Step::More => {}
            Step::Done => {
                let resumed = handshake.client().resumed;
                let rest = handshake.into_rest().expect("it is done");
                return (rest, part[taken..read].to_vec(), resumed);
            }
            Step::Failed(failure) => panic!("{failure}"),
        }
    }
}
