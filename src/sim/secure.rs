//! TLS of simulated peers: rustls' client between a peer's plaintext and the simulated wire.
//!
//! Owns the certificates of a run and what each socket has of TLS. A peer and the judges of a run see plaintext alone; that the gateway's
//! records are right is asserted with each of them.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::{Arc, OnceLock};

use fastrand::Rng;
use rcgen::{CertificateParams, KeyPair, PKCS_ED25519};
use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, ClientConnection, Error, RootCertStore, SupportedProtocolVersion};

use crate::net::secured::{DoorTerms, Terms};
use crate::net::tls::certificate_files::{CertificateFiles, certificates, no_clients};
use crate::net::tls::server::{Oldest, Parts, Server};
use crate::net::tls::suite::Suite;
use crate::net::tls::tickets::Tickets;
use crate::wire::proxy;

const NAME: &str = "agents.test";

/// A certificate that signs itself, and its key, in PEM. Signatures of Ed25519 are all of one length, so that equal runs are equal.
fn identity() -> &'static (CertificateDer<'static>, String, String) {
    static IDENTITY: OnceLock<(CertificateDer<'static>, String, String)> = OnceLock::new();
    IDENTITY.get_or_init(|| {
        let key = KeyPair::generate_for(&PKCS_ED25519).expect("a key");
        let params = CertificateParams::new(vec![NAME.to_owned()]).expect("a name");
        let made = params.self_signed(&key).expect("it is signed");
        (made.der().clone(), made.pem(), key.serialize_pem())
    })
}

/// Terms of a gateway: its suites in some order, tickets or none.
pub(super) fn terms(rng: &mut Rng, oldest: Oldest) -> Arc<Terms> {
    let (_, certificate, key) = identity();
    let files = CertificateFiles { chain: "chain".into(), key: "key".into(), ocsp: None };
    let read = |path: &Path| Ok(if path == Path::new("key") { key } else { certificate }.clone().into_bytes());
    let mut suites = vec![Suite::Aes128Gcm, Suite::Aes256Gcm, Suite::ChaCha20Poly1305];
    rng.shuffle(&mut suites);
    let parts = Parts {
        certificates: Arc::new(certificates(&[files], &read).expect("a certificate")),
        clients: no_clients(),
        suites,
        oldest,
        tickets: if rng.bool() { Tickets::random(3600).map(Arc::new) } else { None },
        protocols: vec![b"http/1.1".to_vec()],
    };
    Arc::new(Terms { server: Arc::new(Server::new(parts).expect("parts that fit")), rule: None })
}

/// What doors ask, and how peers speak to them: one run in four has TLS, at the agents' door at least, and a few of these are of TLS 1.2.
pub(super) fn doors(rng: &mut Rng) -> (DoorTerms, Arc<ClientConfig>) {
    let old = rng.u8(..4) == 0;
    let peers = peers(if old { &rustls::version::TLS12 } else { &rustls::version::TLS13 });
    if rng.u8(..4) > 0 {
        return ([None, None], peers);
    }
    let terms = terms(rng, if old { Oldest::Tls12 } else { Oldest::Tls13 });
    ([true, rng.bool()].map(|has| has.then(|| Arc::clone(&terms))), peers)
}

/// Settings of the peers of a run; they come back with tickets.
pub(super) fn peers(version: &'static SupportedProtocolVersion) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(identity().0.clone()).expect("a certificate");
    let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[version])
        .expect("a version")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.resumption = Resumption::in_memory_sessions(32);
    Arc::new(config)
}

/// How far a peer's side is.
enum Stage {
    /// A balancer's header comes first; this is what there is of it.
    Header(Vec<u8>),
    /// TLS.
    Speaks,
    /// It speaks no TLS and never will.
    Foreign,
}

/// One socket's TLS, on the peer's side.
pub(super) struct PeerTls {
    connection: ClientConnection,
    stage: Stage,
    /// Bytes that went onto the wire.
    sent: u64,
    /// Plaintext that went into records.
    said: u64,
    /// Bytes that the gateway has said.
    heard: u64,
    /// Where records ended on the wire, and how much had been said by then.
    marks: VecDeque<(u64, u64)>,
    /// How much had been sent when its handshake was done.
    done_at: Option<u64>,
    /// It does what is against the rules, and may be told so.
    is_rude: bool,
    /// What it was told.
    told: Option<Error>,
}

impl PeerTls {
    pub(super) fn new(config: &Arc<ClientConfig>, proxied: bool) -> Self {
        let name = NAME.try_into().expect("a name");
        let mut connection = ClientConnection::new(Arc::clone(config), name).expect("settings that serve");
        connection.set_buffer_limit(None);
        let stage = if proxied { Stage::Header(Vec::new()) } else { Stage::Speaks };
        Self {
            connection,
            stage,
            sent: 0,
            said: 0,
            heard: 0,
            done_at: None,
            marks: VecDeque::new(),
            is_rude: false,
            told: None,
        }
    }

    /// What goes onto the wire when the peer says this.
    pub(super) fn say(&mut self, bytes: &[u8], rng: &mut Rng) -> Vec<u8> {
        let mut wire = Vec::new();
        let mut plain = bytes.to_vec();
        if let Stage::Header(held) = &mut self.stage {
            held.extend_from_slice(bytes);
            match proxy::parse(held) {
                Ok(None) => {
                    self.sent += bytes.len() as u64;
                    return plain;
                }
                Ok(Some(header)) => {
                    plain = held[header.bytes..].to_vec();
                    wire = bytes[..bytes.len() - plain.len()].to_vec();
                    self.sent += wire.len() as u64;
                    self.stage = Stage::Speaks;
                }
                Err(_) => self.stage = Stage::Foreign,
            }
        }
        if matches!(self.stage, Stage::Foreign) {
            self.sent += plain.len() as u64;
            return plain;
        }
        if !self.connection.is_handshaking() && rng.u8(..) < 10 {
            // Old versions know no such thing.
            let _ = self.connection.refresh_traffic_keys();
        }
        self.connection.writer().write_all(&plain).expect("a buffer without a limit");
        self.said += plain.len() as u64;
        wire.extend(self.flush());
        wire
    }

    /// What goes onto the wire when the peer ends its side in an orderly way.
    pub(super) fn end(&mut self) -> Vec<u8> {
        if !matches!(self.stage, Stage::Speaks) {
            return Vec::new();
        }
        self.connection.send_close_notify();
        self.flush()
    }

    /// What has to go onto the wire.
    pub(super) fn flush(&mut self) -> Vec<u8> {
        let mut wire = Vec::new();
        while self.connection.wants_write() {
            self.connection.write_tls(&mut wire).expect("a vector takes it");
        }
        self.sent += wire.len() as u64;
        if !self.connection.is_handshaking() {
            self.done_at.get_or_insert(self.sent);
            self.marks.push_back((self.sent, self.said));
        }
        wire
    }

    /// Whether the gateway has said anything.
    pub(super) fn has_heard(&self) -> bool {
        self.heard > 0
    }

    /// How many bytes it has said, on the wire.
    pub(super) fn heard_bytes(&self) -> u64 {
        self.heard
    }

    /// The gateway has written these bytes: what they say.
    pub(super) fn hear(&mut self, mut bytes: &[u8]) -> Vec<u8> {
        self.heard += bytes.len() as u64;
        if !matches!(self.stage, Stage::Speaks) {
            // Whatever a gateway says to a peer that speaks no TLS, nobody reads it.
            return Vec::new();
        }
        let mut plain = Vec::new();
        while !bytes.is_empty() {
            self.connection.read_tls(&mut Read::by_ref(&mut bytes)).expect("a slice gives them");
            let state = match self.connection.process_new_packets() {
                Ok(state) => state,
                Err(error) if self.is_rude => {
                    self.told = Some(error);
                    return plain;
                }
                Err(error) => panic!("the gateway's records are wrong: {error}"),
            };
            let mut part = vec![0; state.plaintext_bytes_to_read()];
            self.connection.reader().read_exact(&mut part).expect("so many are there");
            plain.extend(part);
        }
        plain
    }

    /// How much of what was said lies in records that were read whole, when so many bytes were read off the wire.
    pub(super) fn heard_by(&mut self, read: u64) -> u64 {
        let mut said = 0;
        while let Some(&(end, by)) = self.marks.front() {
            if end > read {
                break;
            }
            said = by;
            if self.marks.len() == 1 {
                break;
            }
            self.marks.pop_front();
        }
        said
    }

    /// What goes onto the wire when it takes its next key and asks for one of the gateway's.
    pub(super) fn update_keys(&mut self) -> Vec<u8> {
        self.connection.refresh_traffic_keys().expect("its handshake is done");
        self.flush()
    }

    /// From now on it may be told that it is against the rules.
    pub(super) fn be_rude(&mut self) {
        self.is_rude = true;
    }

    /// What it was told.
    pub(super) fn told(&self) -> Option<&Error> {
        self.told.as_ref()
    }

    /// Whether its handshake is done.
    pub(super) fn speaks(&self) -> bool {
        !self.connection.is_handshaking()
    }

    /// Whether the gateway has said that it says nothing more, or why; also where there was no handshake to say it in.
    /// A peer is done with that first: the gateway, which has read `read` bytes, is when it has that peer's last message.
    pub(super) fn is_told_of_the_end(&mut self, read: u64) -> bool {
        let is_done = self.done_at.is_some_and(|at| at <= read);
        if self.told.is_some() || !matches!(self.stage, Stage::Speaks) || !is_done {
            return true;
        }
        self.connection.process_new_packets().is_ok_and(|state| state.peer_has_closed())
    }
}
