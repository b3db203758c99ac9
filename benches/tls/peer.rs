//! The two ends of a handshake: the certificate, rustls' client, and a server that is ours or rustls'.

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use holdfast::net::tls::handshake::{Handshake, Step};
use holdfast::net::tls::rest::Rest;
use holdfast::net::tls::server::{Oldest, Parts, Server};
use holdfast::net::tls::suite::Suite;
use holdfast::net::tls::tickets::Tickets;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{Ticketer, cipher_suite, default_provider};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{NoClientAuth, ResolvesServerCertUsingSni};
use rustls::sign::CertifiedKey;
use rustls::version::TLS13;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, SupportedCipherSuite};

use super::timed;

const NAME: &str = "agents.test";

/// A P-256 certificate that signs itself.
pub struct Identity {
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

impl Identity {
    pub fn new() -> Self {
        let made = rcgen::generate_simple_self_signed([NAME.to_owned()]).expect("it is made");
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("it is a key");
        Self { certificate: made.cert.der().clone(), key }
    }

    fn resolver(&self) -> Arc<ResolvesServerCertUsingSni> {
        let key = CertifiedKey::from_der(vec![self.certificate.clone()], self.key.clone_key(), &default_provider());
        let mut resolver = ResolvesServerCertUsingSni::new();
        resolver.add(NAME, key.expect("they fit")).expect("it is a name");
        Arc::new(resolver)
    }

    pub fn server(&self, suite: Suite) -> Arc<Server> {
        let tickets = Some(Arc::new(Tickets::random(3600).expect("there are random bytes")));
        let parts = Parts {
            certificates: self.resolver(),
            clients: Arc::new(NoClientAuth),
            suites: vec![suite],
            oldest: Oldest::Tls13,
            tickets,
            protocols: vec![b"http/1.1".to_vec()],
        };
        Arc::new(Server::new(parts).expect("the parts fit"))
    }

    /// The same choices for rustls alone.
    pub fn rustls_server(&self, suite: Suite) -> Arc<ServerConfig> {
        let mut config = ServerConfig::builder_with_provider(Arc::new(provider(suite)))
            .with_protocol_versions(&[&TLS13])
            .expect("there is a suite")
            .with_no_client_auth()
            .with_cert_resolver(self.resolver());
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.send_tls13_tickets = 1;
        config.ticketer = Ticketer::new().expect("there are random bytes");
        Arc::new(config)
    }

    pub fn client_config(&self, suite: Suite) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).expect("it is a certificate");
        let mut config = ClientConfig::builder_with_provider(Arc::new(provider(suite)))
            .with_protocol_versions(&[&TLS13])
            .expect("there is a suite")
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Arc::new(config)
    }
}

fn provider(suite: Suite) -> CryptoProvider {
    let suite: SupportedCipherSuite = match suite {
        Suite::Aes128Gcm => cipher_suite::TLS13_AES_128_GCM_SHA256,
        Suite::Aes256Gcm => cipher_suite::TLS13_AES_256_GCM_SHA384,
        Suite::ChaCha20Poly1305 => cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
    };
    CryptoProvider { cipher_suites: vec![suite], ..default_provider() }
}

pub fn connect(config: &Arc<ClientConfig>) -> ClientConnection {
    let name = ServerName::try_from(NAME).expect("it is a name");
    let mut client = ClientConnection::new(Arc::clone(config), name).expect("the settings serve");
    client.set_buffer_limit(None);
    client
}

pub fn sent(client: &mut ClientConnection) -> Vec<u8> {
    let mut bytes = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut bytes).expect("a vector takes it");
    }
    bytes
}

pub fn give(client: &mut ClientConnection, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        client.read_tls(&mut Read::by_ref(&mut bytes)).expect("a slice gives them");
        client.process_new_packets().expect("they are right");
    }
}

/// One handshake to rest, and the CPU of its server.
pub fn shake(client: &mut ClientConnection, server: &Arc<Server>) -> (Duration, Rest) {
    let (mut spent, mut handshake) = timed(|| Handshake::new(server).expect("the settings serve"));
    loop {
        let flight = sent(client);
        let (time, (out, done)) = timed(|| {
            let mut out = Vec::new();
            let done = matches!(handshake.take(&flight, &mut out).1, Step::Done);
            (out, done)
        });
        spent += time;
        give(client, &out);
        if done {
            let (time, rest) = timed(|| handshake.into_rest().expect("it is done"));
            return (spent + time, rest);
        }
    }
}

/// The same by rustls alone, which stays as it is.
pub fn shake_rustls(client: &mut ClientConnection, config: &Arc<ServerConfig>) -> (Duration, ServerConnection) {
    let (mut spent, mut server) = timed(|| ServerConnection::new(Arc::clone(config)).expect("the settings serve"));
    while client.is_handshaking() || server.is_handshaking() {
        let flight = sent(client);
        let (time, out) = timed(|| {
            let mut out = Vec::new();
            let mut bytes = flight.as_slice();
            while !bytes.is_empty() {
                server.read_tls(&mut Read::by_ref(&mut bytes)).expect("a slice gives them");
                server.process_new_packets().expect("they are right");
            }
            while server.wants_write() {
                server.write_tls(&mut out).expect("a vector takes it");
            }
            out
        });
        spent += time;
        give(client, &out);
    }
    (spent, server)
}
