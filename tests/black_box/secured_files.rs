//! Certificates for the tests: an authority of their own, and what it signs.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use holdfast::wire::client_tls::{ClientTls, Roots};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use crate::gateway::fresh_folder;

/// The name of the gateway in its certificates; it resolves to this machine.
pub const NAME: &str = "localhost";

/// An authority with a folder of its own, which goes with it.
pub struct Authority {
    folder: PathBuf,
    issuer: Issuer<'static, KeyPair>,
    root: CertificateDer<'static>,
}

impl Authority {
    /// A new one, with a certificate for [`NAME`].
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "authority of the tests");
        let key = KeyPair::generate().expect("a key");
        let root = params.self_signed(&key).expect("signed");
        let (folder, der) = (fresh_folder(), root.der().clone());
        fs::write(folder.join("root.pem"), root.pem()).expect("written");
        let authority = Self { folder, issuer: Issuer::new(params, key), root: der };
        authority.issue("gateway", |_| {});
        authority
    }

    /// Signs a certificate for [`NAME`], as changed, into `<file>.pem` and `<file>.key`.
    pub fn issue(&self, file: &str, change: impl FnOnce(&mut CertificateParams)) {
        let mut params = CertificateParams::new(vec![NAME.to_owned()]).expect("a name");
        change(&mut params);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("signed");
        fs::write(self.file(&format!("{file}.pem")), certificate.pem()).expect("written");
        fs::write(self.file(&format!("{file}.key")), key.serialize_pem()).expect("written");
    }

    /// A file of its folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// A file of its folder, as TOML text.
    pub fn path(&self, name: &str) -> String {
        self.file(name).to_str().expect("text").to_owned()
    }

    /// Settings of a gateway with TLS for agents, and `more` in `[tls]`.
    pub fn settings(&self, more: &str) -> String {
        let (certificate, key) = (self.path("gateway.pem"), self.path("gateway.key"));
        format!(
            "[server]\ntls = \"required\"\n[tls]\n{more}\n[[tls.keys]]\ncertificate = \"{certificate}\"\nkey = \"{key}\"\n"
        )
    }

    /// The same, and links have TLS too.
    pub fn settings_with_links(&self) -> String {
        format!("[link]\ntls = \"required\"\n{}", self.settings(""))
    }

    /// A client's settings: it trusts this authority, and shows `<shown>.pem`.
    pub fn client(&self, shown: Option<&str>) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.clone()).expect("a root");
        let builder = ClientConfig::builder().with_root_certificates(roots);
        match shown {
            None => builder.with_no_client_auth(),
            Some(file) => {
                let certificate = CertificateDer::from_pem_file(self.file(&format!("{file}.pem"))).expect("PEM");
                let key = PrivateKeyDer::from_pem_file(self.file(&format!("{file}.key"))).expect("PEM");
                builder.with_client_auth_cert(vec![certificate], key).expect("they fit")
            }
        }
    }

    /// Settings of a client that speaks TLS 1.2 and no later version.
    pub fn old_client(&self) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.clone()).expect("a root");
        let builder = ClientConfig::builder_with_protocol_versions(&[&rustls::version::TLS12]);
        Arc::new(builder.with_root_certificates(roots).with_no_client_auth())
    }

    /// What our own clients need to trust it.
    pub fn client_tls(&self) -> ClientTls {
        let root = fs::read(self.file("root.pem")).expect("the root");
        ClientTls::new(Roots::Pem(&root), None).expect("a root")
    }

    /// The settings of [`Authority::client`], to be used more than once: sessions are resumed.
    pub fn shared_client(&self) -> Arc<ClientConfig> {
        Arc::new(self.client(None))
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Swaps a link for another, as those do who hand out certificates: nobody ever sees none.
pub fn swap_link(link: &Path, target: &Path) {
    let fresh = link.with_extension("fresh");
    std::os::unix::fs::symlink(target, &fresh).expect("a link");
    fs::rename(&fresh, link).expect("swapped");
}
