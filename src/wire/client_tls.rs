//! What a client of ours needs to speak TLS to a gateway (`wss://`): whom it trusts, and who it is.
//!
//! Owns the choices of rustls' settings on that side. It reads no file and opens no socket: PEM and DER come in, a connection that has said
//! nothing yet comes out.

use std::fmt;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

/// Settings of a client's TLS. Clones share them, and the sessions that can be resumed.
#[derive(Clone)]
pub struct ClientTls(Arc<ClientConfig>);

/// Whom to trust.
#[derive(Clone, Copy, Debug)]
pub enum Roots<'a> {
    /// The certificates in this PEM text, all of which must be right.
    Pem(&'a [u8]),
    /// Those of the system, in DER; what cannot be used among them is passed over.
    System(&'a [Vec<u8>]),
}

/// A client's own certificate: chain and key, both in PEM.
#[derive(Clone, Copy)]
pub struct Own<'a> {
    /// The certificate, then what leads to a root.
    pub chain: &'a [u8],
    /// Its private key.
    pub key: &'a [u8],
}

impl ClientTls {
    /// Settings that speak TLS 1.3, and 1.2 where the gateway, or a proxy in front of it, knows no other.
    ///
    /// # Errors
    /// The rest of a sentence that says what cannot be used; never a byte of a key.
    pub fn new(roots: Roots<'_>, own: Option<Own<'_>>) -> Result<Self, String> {
        let mut store = RootCertStore::empty();
        match roots {
            Roots::System(all) => {
                store.add_parsable_certificates(all.iter().map(|der| CertificateDer::from_slice(der)));
            }
            Roots::Pem(pem) => {
                for root in CertificateDer::pem_slice_iter(pem) {
                    let root = root.map_err(|error| format!("the roots are damaged PEM: {error}"))?;
                    store.add(root).map_err(|error| format!("a certificate cannot be a root: {error}"))?;
                }
            }
        }
        if store.is_empty() {
            return Err("there is no root certificate to trust".to_owned());
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(store);
        let mut config = match own {
            None => builder.with_no_client_auth(),
            Some(own) => {
                let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(own.chain).collect();
                let chain = chain.map_err(|error| format!("the certificate is damaged PEM: {error}"))?;
                let key = PrivateKeyDer::from_pem_slice(own.key).map_err(|_| "the key is no private key in PEM")?;
                builder.with_client_auth_cert(chain, key).map_err(|error| format!("certificate and key: {error}"))?
            }
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self(Arc::new(config)))
    }

    /// A connection to a gateway of this name or address, which must be in its certificate.
    ///
    /// # Errors
    /// The rest of a sentence: no certificate can have this name.
    pub fn begin(&self, host: &str) -> Result<ClientConnection, String> {
        let name = ServerName::try_from(host.to_owned()).map_err(|error| format!("`{host}` is no name: {error}"))?;
        ClientConnection::new(Arc::clone(&self.0), name).map_err(|error| error.to_string())
    }
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientTls").finish_non_exhaustive()
    }
}
