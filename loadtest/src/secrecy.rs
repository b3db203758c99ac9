//! Options that have connections speak TLS, and whom they trust then.
//!
//! Owns these options and their defaults. Certificates of gateways that are started are `certificate`'s.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use holdfast::net::tls::client::{Client, Comeback};

use crate::certificate::NAME;

/// Who speaks TLS, and how.
#[derive(Args, Clone, Debug)]
pub struct Secrecy {
    /// Agents speak TLS. A gateway that is started gets a certificate (P-256, signs itself); of one that runs, say --ca.
    #[arg(long)]
    tls: bool,
    /// PEM file with the roots that the certificate of a server that runs leads to.
    #[arg(long, requires = "tls")]
    ca: Option<PathBuf>,
    /// The name in its certificate.
    #[arg(long, requires = "tls", default_value = NAME)]
    tls_name: String,
    /// Agents come back with a ticket, where they have been there before; else each handshake is a full one.
    #[arg(long, requires = "tls")]
    resume: bool,
}

impl Secrecy {
    /// Whether agents speak TLS.
    pub fn is_on(&self) -> bool {
        self.tls
    }

    /// The same options with agents' TLS so, and nothing else of them changed.
    #[must_use]
    pub fn so(&self, tls: bool) -> Self {
        Self { tls, ..self.clone() }
    }

    /// Settings of clients that trust `roots`.
    ///
    /// # Errors
    /// The file or the name cannot be used.
    pub fn client(&self, roots: &Path) -> Result<Arc<Client>, String> {
        let comeback = if self.resume { Comeback::Resumed } else { Comeback::Full };
        Client::new(roots, &self.tls_name, comeback).map(Arc::new)
    }

    /// The same for a server that runs already; none where nobody speaks TLS.
    ///
    /// # Errors
    /// The same, or its roots were not said.
    pub fn of_running(&self) -> Result<Option<Arc<Client>>, String> {
        if !self.tls {
            return Ok(None);
        }
        let ca = self.ca.as_ref().ok_or("--tls needs --ca, the roots of the gateway's certificate")?;
        self.client(ca).map(Some)
    }
}
