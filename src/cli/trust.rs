//! Flags of clients that speak TLS: whom to trust, and who this is.
//!
//! Owns where the system's roots come from. A key is read and never shown.

use std::fs;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::wire::client_tls::{ClientTls, Own, Roots};

/// The flags.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Trust {
    /// For wss://: PEM file with the roots to trust instead of the system's
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// For wss://: PEM file with a certificate to show
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// For wss://: PEM file with its private key
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
}

impl Trust {
    /// Whether a certificate says who this is.
    pub(super) fn shows_certificate(&self) -> bool {
        self.cert.is_some()
    }

    /// The settings of TLS, where `url` asks for it.
    ///
    /// # Errors
    /// As [`Trust::read`]; a flag that has no effect.
    pub(super) fn read_for(&self, url: &str) -> Result<Option<ClientTls>, String> {
        let is_secured = url.get(..6).is_some_and(|scheme| scheme.eq_ignore_ascii_case("wss://"));
        let is_asked = self.ca.is_some() || self.cert.is_some();
        match (is_secured, is_asked) {
            (true, _) => self.read().map(Some),
            (false, true) => Err("--ca, --cert and --key are for wss:// URLs".to_owned()),
            (false, false) => Ok(None),
        }
    }

    /// The settings of TLS.
    ///
    /// # Errors
    /// A sentence that names the file and what is wrong.
    fn read(&self) -> Result<ClientTls, String> {
        let own = match (&self.cert, &self.key) {
            (Some(cert), Some(key)) => Some((file(cert)?, file(key)?)),
            _ => None,
        };
        let own = own.as_ref().map(|(chain, key)| Own { chain, key });
        match &self.ca {
            Some(path) => {
                ClientTls::new(Roots::Pem(&file(path)?), own).map_err(|why| format!("{}: {why}", path.display()))
            }
            None => {
                // Where some of them cannot be read, the others serve.
                let found = rustls_native_certs::load_native_certs().certs;
                let roots: Vec<Vec<u8>> = found.iter().map(|root| root.to_vec()).collect();
                ClientTls::new(Roots::System(&roots), own).map_err(|why| format!("{why} (--ca names a file)"))
            }
        }
    }
}

fn file(path: &Path) -> Result<Zeroizing<Vec<u8>>, String> {
    fs::read(path).map(Zeroizing::new).map_err(|error| format!("{}: cannot be read: {error}", path.display()))
}
