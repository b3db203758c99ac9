//! The list of certificates in the settings, and what becomes of `[tls]` when all its files are read.
//!
//! Owns these values alone: reading the files is `tls`'.

use std::path::PathBuf;
use std::sync::Arc;

use super::problem::Problems;
use super::schema::{Entries, Field, FieldKind, entry};
use crate::net::secured::DoorTerms;
use crate::net::tls::certificate_files::CertificateFiles;
use crate::net::tls::tickets::Tickets;

entry! {
    /// A certificate with its key. The first one answers clients that ask for none of the names that the certificates have.
    keys: RawTlsKey {
        /// PEM file: the certificate first, then what leads to a root.
        certificate: String = "gateway.pem",
        /// PEM file: its private key, not encrypted.
        key: String = "gateway.key",
        /// DER file: an OCSP response to be stapled, where there is one.
        ocsp: String = "",
    }
}

/// The certificates' files.
#[derive(Clone, Debug, Default)]
pub struct TlsKeys(pub Vec<CertificateFiles>);

impl TlsKeys {
    /// The files, as far as they are named.
    pub(super) fn resolve(raw: &[RawTlsKey], problems: &mut Problems) -> Self {
        for (index, key) in raw.iter().enumerate() {
            for (field, text) in [("certificate", &key.certificate), ("key", &key.key)] {
                if text.is_empty() {
                    let path = format!("tls.keys.{index}.{field}");
                    problems.push(Default::default(), path.as_str(), format!("`{path}` is missing"));
                }
            }
        }
        let files = |key: &RawTlsKey| CertificateFiles {
            chain: PathBuf::from(&key.certificate),
            key: PathBuf::from(&key.key),
            ocsp: named(&key.ocsp),
        };
        Self(raw.iter().map(files).collect())
    }
}

/// TLS with its files read.
#[derive(Debug)]
pub struct Secure {
    /// What each door asks of those who come.
    pub terms: DoorTerms,
    /// The names that are answered.
    pub names: Vec<String>,
    /// When the first certificate ends, in seconds since 1970.
    pub first_end: Option<u64>,
    /// What somebody should look at, in sentences.
    pub warnings: Vec<String>,
    /// Keys of this process' own, with the life of tickets in seconds.
    pub(super) own_tickets: Option<OwnTickets>,
}

pub(super) type OwnTickets = (u32, Arc<Tickets>);

/// A file that is named, where one is.
pub(super) fn named(text: &str) -> Option<PathBuf> {
    (!text.is_empty()).then(|| PathBuf::from(text))
}
