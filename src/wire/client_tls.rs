//! What a client of ours needs to speak TLS to a gateway (`wss://`): whom it trusts, and who it is.
//!
//! Owns the choices of rustls' settings on that side. It reads no file and opens no socket: PEM and DER come in, a connection that has said
//! nothing yet comes out.

use std::fmt;
use std::io;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{
    AlertDescription, CertificateError, ClientConfig, ClientConnection, Error, InvalidMessage, RootCertStore,
};

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

/// What a broken connection says of TLS, for people, as the rest of a sentence; `None` where it says nothing of it.
#[must_use]
pub fn explain(error: &io::Error) -> Option<String> {
    let error = error.get_ref()?.downcast_ref::<Error>()?;
    let certificate = "the certificate of the gateway";
    Some(match error {
        Error::InvalidCertificate(fault) => match fault {
            // A root of the same name with another key is another root.
            CertificateError::UnknownIssuer
            | CertificateError::BadSignature
            | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
                format!("{certificate} does not come from a root that is trusted here (--ca names a file with others)")
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                format!("{certificate} is not for the name in the URL: {fault}")
            }
            // What webpki says has no variant of its own.
            CertificateError::Other(fault) if fault.to_string().contains("CaUsedAsEndEntity") => format!(
                "{certificate} is one of an authority, which serves for signing others alone: make it with `basicConstraints=CA:FALSE`"
            ),
            fault => format!("{certificate} is not accepted: {fault}"),
        },
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            "what answers does not speak TLS: without it the URL begins with ws://".to_owned()
        }
        Error::AlertReceived(AlertDescription::CertificateRequired) => {
            "the gateway asks for a certificate (--cert and --key)".to_owned()
        }
        Error::AlertReceived(alert) => format!("the gateway refuses TLS: {alert:?}"),
        other => format!("TLS: {other}"),
    })
}

/// What is told where the answer to an upgrade is not HTTP.
pub const NO_HTTP: &str = "what answers does not speak HTTP: if the port has TLS, the URL begins with wss://";

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientTls").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_of_tls_are_told_with_what_to_do() {
        let told =
            |error: Error| explain(&io::Error::new(io::ErrorKind::InvalidData, error)).expect("it is one of TLS");
        for (error, words) in [
            (Error::InvalidCertificate(CertificateError::UnknownIssuer), "--ca"),
            (Error::InvalidCertificate(CertificateError::NotValidForName), "not for the name"),
            (Error::InvalidCertificate(CertificateError::Expired), "not accepted"),
            (Error::InvalidMessage(InvalidMessage::InvalidContentType), "ws://"),
            (Error::AlertReceived(AlertDescription::CertificateRequired), "--cert"),
            (Error::AlertReceived(AlertDescription::UnknownCA), "UnknownCA"),
            (Error::DecryptError, "TLS: "),
        ] {
            let found = told(error.clone());
            assert!(found.contains(words), "{error:?}: {found}");
        }
        assert_eq!(explain(&io::Error::other("no route")), None);
        assert_eq!(explain(&io::ErrorKind::ConnectionReset.into()), None);
    }
}
