//! Certificates, keys, OCSP responses and revocation lists as files: what is in them, and what is wrong with them.
//!
//! Owns the messages, each of which names the file and what to change; never a byte of a key. Files come through a function
//! that the caller gives: relative paths are its business.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoClientAuth, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys, RootCertStore};
use zeroize::Zeroizing;

use super::certificates::Certificates;

/// Most certificates of a chain: more is a bundle of roots by mistake, and every handshake sends it.
const CHAIN_MAX: usize = 10;

/// Gives the bytes of a file.
pub type ReadFile<'a> = &'a dyn Fn(&Path) -> io::Result<Vec<u8>>;

/// The files of one certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// PEM: the certificate first, then what leads to a root.
    pub chain: PathBuf,
    /// PEM: its private key, not encrypted.
    pub key: PathBuf,
    /// DER: an OCSP response (RFC 6960) to be stapled.
    pub ocsp: Option<PathBuf>,
}

/// The files that say which client certificates are let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientFiles {
    /// PEM: the roots that clients' certificates must lead to.
    pub roots: PathBuf,
    /// PEM: revocation lists, one of each issuer on the way to a root. One that is past its next update lets nobody in.
    pub revoked: Option<PathBuf>,
    /// What becomes of a client without a certificate.
    pub without: Without,
}

/// What becomes of a client without a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Without {
    /// The handshake fails.
    Refused,
    /// It is let in, and must show who it is by a token.
    LetIn,
}

/// Reads all certificates of a listener; the first one is the default.
///
/// # Errors
///
/// A sentence that names the file and says what to change.
pub fn certificates(files: &[CertificateFiles], read: ReadFile<'_>) -> Result<Certificates, String> {
    let all: Result<Vec<_>, String> = files.iter().map(|files| certificate(files, read)).collect();
    Certificates::new(all?).ok_or_else(|| "no certificate is given".to_owned())
}

/// Reads who is let in by certificate.
///
/// # Errors
///
/// A sentence that names the file and says what to change.
pub fn clients(files: &ClientFiles, read: ReadFile<'_>) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let mut roots = RootCertStore::empty();
    for root in chain(&files.roots, read)? {
        roots
            .add(root)
            .map_err(|error| told(&files.roots, &format!("a certificate in it cannot be a root: {error}")))?;
    }
    let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::new(default_provider()));
    if let Some(path) = &files.revoked {
        builder = builder.with_crls(revocation_lists(path, read)?).enforce_revocation_expiration();
    }
    if files.without == Without::LetIn {
        builder = builder.allow_unauthenticated();
    }
    let blamed = files.revoked.as_ref().unwrap_or(&files.roots);
    builder.build().map_err(|error| told(blamed, &error.to_string()))
}

/// Nobody is asked for a certificate.
#[must_use]
pub fn no_clients() -> Arc<dyn ClientCertVerifier> {
    Arc::new(NoClientAuth)
}

fn told(path: &Path, what: &str) -> String {
    format!("{}: {what}", path.display())
}

fn bytes(path: &Path, read: ReadFile<'_>) -> Result<Zeroizing<Vec<u8>>, String> {
    let bytes = read(path).map_err(|error| told(path, &format!("cannot be read: {error}")))?;
    if bytes.is_empty() {
        return Err(told(path, "is empty"));
    }
    Ok(Zeroizing::new(bytes))
}

fn has(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

fn certificate(files: &CertificateFiles, read: ReadFile<'_>) -> Result<CertifiedKey, String> {
    let chain = chain(&files.chain, read)?;
    if chain.len() > CHAIN_MAX {
        return Err(told(
            &files.chain,
            &format!(
                "holds {} certificates, at most {CHAIN_MAX}: keep the server's and those between it and its root",
                chain.len()
            ),
        ));
    }
    let key = key(&files.key, read)?;
    let mut certified = pair(files, chain, key)?;
    if let Some(path) = &files.ocsp {
        certified.ocsp = Some(ocsp(path, read)?);
    }
    Ok(certified)
}

fn chain(path: &Path, read: ReadFile<'_>) -> Result<Vec<CertificateDer<'static>>, String> {
    let bytes = bytes(path, read)?;
    let found: Result<Vec<_>, PemError> = CertificateDer::pem_slice_iter(&bytes).collect();
    let found = found.map_err(|error| told(path, &format!("damaged PEM: {error}")))?;
    if !found.is_empty() {
        return Ok(found);
    }
    let what = if has(&bytes, "PRIVATE KEY-----") {
        "holds a private key and no certificate: are certificate and key mixed up?"
    } else if bytes[0] == 0x30 {
        "is DER, not PEM: make it so with `openssl x509 -inform DER -in FILE -out FILE.pem`"
    } else {
        "holds no \"-----BEGIN CERTIFICATE-----\""
    };
    Err(told(path, what))
}

fn key(path: &Path, read: ReadFile<'_>) -> Result<PrivateKeyDer<'static>, String> {
    let bytes = bytes(path, read)?;
    let encrypted = has(&bytes, "BEGIN ENCRYPTED PRIVATE KEY-----") || has(&bytes, "Proc-Type: 4,ENCRYPTED");
    if encrypted {
        return Err(told(
            path,
            "is encrypted: take the password off with `openssl pkey -in FILE -out FILE.open`, and let nobody else read that",
        ));
    }
    // What the reader says of damage could quote a line, and here a line is a piece of a key.
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| match error {
        PemError::NoItemsFound if has(&bytes, "BEGIN CERTIFICATE-----") => {
            told(path, "holds a certificate and no private key: are certificate and key mixed up?")
        }
        PemError::NoItemsFound if bytes[0] == 0x30 => {
            told(path, "is DER, not PEM: make it so with `openssl pkey -inform DER -in FILE -out FILE.pem`")
        }
        PemError::NoItemsFound => told(path, "holds no \"-----BEGIN PRIVATE KEY-----\""),
        _ => told(path, "damaged PEM"),
    })
}

/// Puts chain and key together, if the key is that of the first certificate.
fn pair(
    files: &CertificateFiles,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<CertifiedKey, String> {
    let provider = default_provider();
    let signing = provider.key_provider.load_private_key(key).map_err(|_| {
        told(
            &files.key,
            "is no key that can sign: ECDSA on P-256, P-384 or P-521, Ed25519, or RSA of 2048 bits or more",
        )
    })?;
    let fits = |certificate: &CertificateDer<'static>| {
        CertifiedKey::new(vec![certificate.clone()], Arc::clone(&signing)).keys_match()
    };
    match fits(&chain[0]) {
        Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(CertifiedKey::new(chain, signing)),
        Err(Error::InconsistentKeys(_)) => match chain.iter().position(|other| fits(other).is_ok()) {
            Some(at) => Err(told(
                &files.chain,
                &format!("the server's certificate must be the first, and it is number {}", at + 1),
            )),
            None => Err(told(&files.key, &format!("is not the key of {}", files.chain.display()))),
        },
        Err(error) => Err(told(&files.chain, &format!("its first certificate cannot be used: {error}"))),
    }
}

/// An OCSP response: one DER sequence that fills the file. Clients check the rest.
fn ocsp(path: &Path, read: ReadFile<'_>) -> Result<Vec<u8>, String> {
    let bytes = bytes(path, read)?;
    if has(&bytes, "-----BEGIN") {
        return Err(told(path, "is PEM; an OCSP response is DER, as `openssl ocsp -respout FILE` writes it"));
    }
    let length = match *bytes.as_slice() {
        [0x30, length @ 0..=0x7f, ..] => 2 + usize::from(length),
        [0x30, 0x81, length, ..] => 3 + usize::from(length),
        [0x30, 0x82, high, low, ..] => 4 + usize::from(u16::from_be_bytes([high, low])),
        _ => 0,
    };
    if length != bytes.len() {
        return Err(told(path, "is no OCSP response, or a part of one: `openssl ocsp -respout FILE` writes one"));
    }
    Ok(bytes.to_vec())
}

fn revocation_lists(path: &Path, read: ReadFile<'_>) -> Result<Vec<CertificateRevocationListDer<'static>>, String> {
    let bytes = bytes(path, read)?;
    let found: Result<Vec<_>, PemError> = CertificateRevocationListDer::pem_slice_iter(&bytes).collect();
    let found = found.map_err(|error| told(path, &format!("damaged PEM: {error}")))?;
    if found.is_empty() {
        return Err(told(
            path,
            "holds no \"-----BEGIN X509 CRL-----\": from DER with `openssl crl -inform DER -in FILE -out FILE.pem`",
        ));
    }
    Ok(found)
}
