//! What a listener's handshakes share: certificates, suites, tickets, which clients are let in. One value, swapped whole.
//!
//! Owns every choice that is made of rustls' settings. It reads no file and never changes once it is made.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{cipher_suite, default_provider};
use rustls::pki_types::CertificateDer;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, ResolvesServerCert};
use rustls::version::{TLS12, TLS13};
use rustls::{Error, ServerConfig, SupportedCipherSuite, SupportedProtocolVersion};

use super::captured::Captured;
use super::failure::Failure;
use super::resumption::Resumption;
use super::suite::Suite;
use super::tickets::Tickets;

/// The oldest version that a client may speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Oldest {
    /// TLS 1.2 (RFC 5246): such a client is kept as a live rustls session, of kilobytes.
    Tls12,
    /// TLS 1.3 (RFC 8446).
    Tls13,
}

/// What a server is made of.
#[derive(Debug)]
pub struct Parts {
    /// Who answers which name.
    pub certificates: Arc<dyn ResolvesServerCert>,
    /// Which client certificates are let in.
    pub clients: Arc<dyn ClientCertVerifier>,
    /// Suites of TLS 1.3, the best first: the server's order counts, since it decides what a resting connection costs.
    pub suites: Vec<Suite>,
    /// The oldest version.
    pub oldest: Oldest,
    /// Keys of tickets; without them nothing is resumed.
    pub tickets: Option<Arc<Tickets>>,
    /// Protocols (RFC 7301), the best first. A client that names others only is refused; one that names none is not.
    pub protocols: Vec<Vec<u8>>,
}

/// What handshakes share.
#[derive(Clone, Debug)]
pub struct Server {
    config: ServerConfig,
    clients: Arc<dyn ClientCertVerifier>,
}

/// The one crypto backend, with these suites.
fn provider(suites: &[Suite], oldest: Oldest) -> CryptoProvider {
    let mut provider = default_provider();
    provider.cipher_suites.retain(|suite| oldest == Oldest::Tls12 && suite.tls13().is_none());
    provider.cipher_suites.splice(0..0, suites.iter().map(|suite| rustls_suite(*suite)));
    provider
}

fn rustls_suite(suite: Suite) -> SupportedCipherSuite {
    match suite {
        Suite::Aes128Gcm => cipher_suite::TLS13_AES_128_GCM_SHA256,
        Suite::Aes256Gcm => cipher_suite::TLS13_AES_256_GCM_SHA384,
        Suite::ChaCha20Poly1305 => cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
    }
}

impl Server {
    /// Puts the parts together.
    ///
    /// # Errors
    ///
    /// No suite is named.
    pub fn new(parts: Parts) -> Result<Self, Failure> {
        let versions: &[&SupportedProtocolVersion] = match parts.oldest {
            Oldest::Tls12 => &[&TLS13, &TLS12],
            Oldest::Tls13 => &[&TLS13],
        };
        let mut config = ServerConfig::builder_with_provider(Arc::new(provider(&parts.suites, parts.oldest)))
            .with_protocol_versions(versions)?
            .with_client_cert_verifier(Arc::clone(&parts.clients))
            .with_cert_resolver(parts.certificates);
        config.ignore_client_order = true;
        config.alpn_protocols = parts.protocols;
        config.enable_secret_extraction = true;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        // A ticket serves one reconnect, and the next handshake brings the next.
        config.send_tls13_tickets = usize::from(parts.tickets.is_some());
        if let Some(tickets) = parts.tickets {
            let time = Arc::clone(&config.time_provider);
            config.ticketer = Arc::new(Resumption::new(tickets, &*parts.clients, time));
        }
        // Early data can be replayed by whoever saw it (RFC 8446 section 8), and would arrive before the handshake is done.
        config.max_early_data_size = 0;
        config.send_half_rtt_data = false;
        Ok(Self { config, clients: parts.clients })
    }

    /// Whether clients may show certificates.
    pub(super) fn asks_for_certificates(&self) -> bool {
        self.clients.offer_client_auth()
    }

    /// Checks again the certificates that a ticket brought with it: since it was given, they may have been revoked, or their root
    /// taken out.
    pub(super) fn check_resumed(&self, certificates: &[CertificateDer<'_>]) -> Result<(), Error> {
        match certificates {
            [] if self.clients.client_auth_mandatory() => Err(Error::NoCertificatesPresented),
            [] => Ok(()),
            [own, others @ ..] => {
                let now = self.config.time_provider.current_time().ok_or(Error::FailedToGetCurrentTime)?;
                self.clients.verify_client_cert(own, others, now).map(drop)
            }
        }
    }

    /// The settings of one handshake, which alone catches its secrets.
    pub(super) fn config(&self, captured: Arc<Captured>) -> Arc<ServerConfig> {
        let mut config = self.config.clone();
        config.key_log = captured;
        Arc::new(config)
    }
}
