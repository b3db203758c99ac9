//! The TLS layer against rustls' own client, in memory. Owns the client, the certificates and the pipe between the two.

use std::io::{Read, Write};
use std::sync::{Arc, OnceLock};

use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{NoClientAuth, ResolvesServerCert, ResolvesServerCertUsingSni, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, ClientConnection, RootCertStore, SupportedProtocolVersion};

use super::alert::Alert;
use super::ciphers::Ciphers;
use super::handshake::{Handshake, Step};
use super::record::{Front, front};
use super::records::{Opened, Records};
use super::rest::Rest;
use super::server::{Oldest, Parts, Server};
use super::suite::Suite;

mod files;
mod groups;
mod handshakes;
mod hostile;
mod keys;
mod resting;
mod tls12;

const NAME: &str = "agents.test";

const SUITES: [Suite; 3] = [Suite::Aes128Gcm, Suite::Aes256Gcm, Suite::ChaCha20Poly1305];

/// A certificate for [`NAME`] that signs itself, and its key.
fn identity() -> &'static (CertificateDer<'static>, PrivateKeyDer<'static>) {
    static IDENTITY: OnceLock<(CertificateDer<'static>, PrivateKeyDer<'static>)> = OnceLock::new();
    IDENTITY.get_or_init(|| {
        let made = rcgen::generate_simple_self_signed([NAME.to_owned()]).expect("it is made");
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("it is a key");
        (made.cert.der().clone(), key)
    })
}

fn roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add(identity().0.clone()).expect("it is a certificate");
    roots
}

fn resolver() -> Arc<dyn ResolvesServerCert> {
    let (certificate, key) = identity();
    let certified = CertifiedKey::from_der(vec![certificate.clone()], key.clone_key(), &default_provider());
    let mut resolver = ResolvesServerCertUsingSni::new();
    resolver.add(NAME, certified.expect("key and certificate fit")).expect("the name is a name");
    Arc::new(resolver)
}

/// A server's parts as a test starts from them.
fn parts() -> Parts {
    Parts {
        certificates: resolver(),
        clients: Arc::new(NoClientAuth),
        suites: SUITES.to_vec(),
        oldest: Oldest::Tls13,
        tickets: None,
        protocols: vec![b"http/1.1".to_vec()],
    }
}

fn server(parts: Parts) -> Arc<Server> {
    Arc::new(Server::new(parts).expect("the parts fit"))
}

/// Settings of a client that offers this one suite.
fn client_config(suite: Suite, versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
    let mut provider = default_provider();
    provider.cipher_suites.retain(|known| known.tls13().is_none() || Suite::of(known.suite()) == Some(suite));
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(versions)
        .expect("there is a suite")
        .with_root_certificates(roots())
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.resumption = Resumption::in_memory_sessions(4);
    config
}

fn client(suite: Suite) -> ClientConnection {
    connect(Arc::new(client_config(suite, &[&rustls::version::TLS13])))
}

fn connect(config: Arc<ClientConfig>) -> ClientConnection {
    ClientConnection::new(config, ServerName::try_from(NAME).expect("it is a name")).expect("the settings serve")
}

/// All that the client has to send.
fn sent(client: &mut ClientConnection) -> Vec<u8> {
    let mut bytes = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut bytes).expect("a vector takes it");
    }
    bytes
}

/// Gives the client bytes, all of which must be right.
fn give(client: &mut ClientConnection, mut bytes: &[u8]) -> Result<Vec<u8>, rustls::Error> {
    let mut data = Vec::new();
    while !bytes.is_empty() {
        client.read_tls(&mut Read::by_ref(&mut bytes)).expect("a slice gives them");
        let state = client.process_new_packets()?;
        let mut part = vec![0; state.plaintext_bytes_to_read()];
        client.reader().read_exact(&mut part).expect("so many are there");
        data.extend(part);
    }
    Ok(data)
}

/// Shakes hands, with the client's bytes cut by `cuts`; gives the handshake when it is done and what came after it.
fn shake(
    client: &mut ClientConnection,
    server: &Arc<Server>,
    cuts: impl Fn(&[u8]) -> Vec<usize>,
) -> (Box<Handshake>, Vec<u8>) {
    let mut handshake = Handshake::new(server).expect("the settings serve");
    loop {
        let flight = sent(client);
        assert!(!flight.is_empty(), "nobody has anything to say");
        let mut rest = Vec::new();
        let mut out = Vec::new();
        let mut at = 0;
        let mut done = false;
        for cut in cuts(&flight).into_iter().chain([flight.len()]) {
            let part = &flight[at..cut];
            at = cut;
            if done {
                rest.extend_from_slice(part);
                continue;
            }
            let (taken, step) = handshake.take(part, &mut out);
            rest.extend_from_slice(&part[taken..]);
            match step {
                Step::More => assert_eq!(taken, part.len()),
                Step::Done => done = true,
                Step::Failed(failure) => panic!("{failure}"),
            }
        }
        assert_eq!(give(client, &out), Ok(Vec::new()));
        if done {
            return (handshake, rest);
        }
    }
}

/// A rustls client, and a connection at rest on the other side.
struct Pair {
    client: ClientConnection,
    rest: Rest,
    ciphers: Ciphers,
    /// Bytes of the client that are no whole record yet.
    bytes: Vec<u8>,
}

impl Pair {
    fn new(suite: Suite) -> Self {
        Self::of(client(suite), &server(parts()))
    }

    fn of(mut client: ClientConnection, server: &Arc<Server>) -> Self {
        let (handshake, bytes) = shake(&mut client, server, |_| Vec::new());
        let rest = handshake.into_rest().expect("it is done");
        Self { client, rest, ciphers: Ciphers::new(2), bytes }
    }

    fn write(&mut self, data: &[u8]) {
        self.client.set_buffer_limit(None);
        self.client.writer().write_all(data).expect("there is room");
    }

    /// Takes what the client sends, and gives what each whole record was.
    fn take(&mut self) -> Vec<Taken> {
        let bytes = sent(&mut self.client);
        self.bytes.extend(bytes);
        let mut taken = Vec::new();
        while let Front::Whole(whole) = front(&self.bytes) {
            let mut record: Vec<u8> = self.bytes.drain(..whole).collect();
            taken.push(match self.rest.open(&mut self.ciphers, &mut record) {
                Opened::Data(range) => Taken::Data(record[range].to_vec()),
                other => Taken::Other(other),
            });
        }
        taken
    }

    /// Seals the fragments and gives them to the client: what it reads.
    fn seal(&mut self, fragments: &[&[u8]]) -> Vec<u8> {
        let mut out = Vec::new();
        self.rest.seal(&mut self.ciphers, fragments, &mut out).expect("it is open");
        give(&mut self.client, &out).expect("it is right")
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Taken {
    Data(Vec<u8>),
    Other(Opened),
}

fn data(bytes: &[u8]) -> Taken {
    Taken::Data(bytes.to_vec())
}
