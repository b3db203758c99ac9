//! The other end: a client's handshake up to the first bytes that its server says, and the rest of its life at rest.
//!
//! For harnesses that are many clients at once; a gateway is never one. Tickets come before the first bytes, so rustls takes them in
//! and keeps them for the next connection; after that a record of this protocol is all that is understood. It never touches a socket.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::{Arc, Mutex};

use rustls::client::{ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::version::TLS13;
use rustls::{ClientConfig, ClientConnection, HandshakeKind, NamedGroup, RootCertStore};

use super::captured::Captured;
use super::failure::Failure;
use super::record::{Front, front};
use super::rest::Rest;
use crate::kit::lock::lock;

/// Tickets that clients with the same settings keep for each other.
const TICKETS_MAX: usize = 4096;

/// Whether a client may come back with a ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comeback {
    /// Each handshake is a full one.
    Full,
    /// A ticket is used where there is one.
    Resumed,
}

/// What clients of one server share.
#[derive(Clone)]
pub struct Client {
    config: ClientConfig,
    name: ServerName<'static>,
}

impl Client {
    /// Clients that trust the roots in `pem` and expect this name in the server's certificate.
    ///
    /// # Errors
    /// A sentence that says what cannot be used.
    pub fn new(pem: &Path, name: &str, comeback: Comeback) -> Result<Self, String> {
        let told = |what: &dyn std::fmt::Display| format!("{}: {what}", pem.display());
        let mut roots = RootCertStore::empty();
        for root in CertificateDer::pem_file_iter(pem).map_err(|error| told(&error))? {
            roots.add(root.map_err(|error| told(&error))?).map_err(|error| told(&error))?;
        }
        let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(&[&TLS13])
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.enable_secret_extraction = true;
        config.resumption = match comeback {
            Comeback::Full => Resumption::disabled(),
            Comeback::Resumed => Resumption::store(Arc::new(Pouch::default())),
        };
        let name = ServerName::try_from(name.to_owned()).map_err(|error| format!("`{name}`: {error}"))?;
        Ok(Self { config, name })
    }

    /// Begins a connection that says `first` as soon as it can, and appends what goes out now.
    ///
    /// # Errors
    /// The settings do not serve.
    pub fn begin(&self, first: &[u8], out: &mut Vec<u8>) -> Result<Box<Opening>, Failure> {
        let captured = Arc::new(Captured::default());
        let mut config = self.config.clone();
        config.key_log = Arc::<Captured>::clone(&captured);
        let mut connection = ClientConnection::new(Arc::new(config), self.name.clone())?;
        connection.set_buffer_limit(None);
        // A buffer without a limit takes all of it.
        connection.writer().write_all(first).map_err(|_| Failure::closed())?;
        let mut opening = Box::new(Opening { connection, captured, cut: Vec::new() });
        opening.drain(out);
        Ok(opening)
    }

    /// A connection of rustls alone with these settings, for a peer that is to break rules, or to change its keys.
    ///
    /// # Errors
    /// The settings do not serve.
    pub fn connection(&self) -> Result<ClientConnection, Failure> {
        Ok(ClientConnection::new(Arc::new(self.config.clone()), self.name.clone())?)
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Tickets of one server: each brings one client back, whoever it was that got it. rustls' own store keeps eight.
#[derive(Debug, Default)]
struct Pouch(Mutex<VecDeque<Tls13ClientSessionValue>>);

impl ClientSessionStore for Pouch {
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }

    fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {}

    fn insert_tls13_ticket(&self, _: ServerName<'static>, ticket: Tls13ClientSessionValue) {
        let mut tickets = lock(&self.0);
        if tickets.len() == TICKETS_MAX {
            tickets.pop_front();
        }
        tickets.push_back(ticket);
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        lock(&self.0).pop_back()
    }
}

/// How far a connection's opening has come.
#[derive(Debug)]
pub enum Opened {
    /// The server has to go on.
    More,
    /// These are its first words; how many of the bytes that came are taken.
    Spoke(Vec<u8>, usize),
}

/// A connection that has not heard its server yet.
pub struct Opening {
    connection: ClientConnection,
    captured: Arc<Captured>,
    /// Half a record.
    cut: Vec<u8>,
}

impl Opening {
    /// Takes bytes up to the end of the record that brings the server's first words, and appends what goes out.
    ///
    /// # Errors
    /// Why it failed; what was appended is the last to be sent.
    pub fn take(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<Opened, Failure> {
        let cut = std::mem::take(&mut self.cut);
        let before = cut.len();
        let all = [cut.as_slice(), bytes].concat();
        let mut at = 0;
        while let Front::Whole(whole) = front(&all[at..]) {
            let mut record = &all[at..at + whole];
            at += whole;
            while !record.is_empty() {
                self.connection.read_tls(&mut Read::by_ref(&mut record)).map_err(|_| Failure::too_long())?;
            }
            let state = self.connection.process_new_packets();
            self.drain(out);
            let plain_bytes = state?.plaintext_bytes_to_read();
            if plain_bytes > 0 {
                let mut plain = vec![0; plain_bytes];
                self.connection.reader().read_exact(&mut plain).map_err(|_| Failure::closed())?;
                return Ok(Opened::Spoke(plain, at - before));
            }
        }
        match front(&all[at..]) {
            Front::Refused(_) => Err(Failure::not_tls()),
            _ => {
                self.cut = all[at..].to_vec();
                Ok(Opened::More)
            }
        }
    }

    fn drain(&mut self, out: &mut Vec<u8>) {
        // Writing into a vector does not fail.
        while self.connection.wants_write() && self.connection.write_tls(out).is_ok() {}
    }

    /// Whether a ticket spared the server its signature.
    #[must_use]
    pub fn is_resumed(&self) -> bool {
        self.connection.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// Takes the secrets out and drops all else.
    ///
    /// # Errors
    /// It has not come so far, or the secrets that were caught are not those that rustls uses.
    pub fn into_rest(self: Box<Self>) -> Result<Rest, Failure> {
        let Self { connection, captured, .. } = *self;
        let (suite, extracted) = (connection.negotiated_cipher_suite(), connection.dangerous_extract_secrets()?);
        let secrets = captured.take();
        Rest::of_handshake(suite, &extracted, (&secrets.server, &secrets.client))
    }
}

impl std::fmt::Debug for Opening {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opening").field("cut", &self.cut.len()).finish_non_exhaustive()
    }
}
