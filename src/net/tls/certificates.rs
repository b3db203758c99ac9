//! Which certificate answers which name (SNI, RFC 6066 section 3). One value, swapped whole when files have changed.
//!
//! Owns the choice: an exact name first, then the wildcard of its parent, then the first certificate, as other servers do:
//! a client that asked for another name says so in words that its user understands. Of several for one name, the first
//! that the client can check (RSA beside ECDSA). It reads no file.

use std::collections::HashMap;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use webpki::EndEntityCert;

use super::subject;

/// The certificates of a listener.
#[derive(Debug)]
pub struct Certificates {
    all: Vec<Arc<CertifiedKey>>,
    /// Lower-case names, wildcards as `*.example.com`, to places in `all`.
    names: HashMap<String, Vec<usize>>,
}

impl Certificates {
    /// From certificates with their keys, the default one first. `None` if there is none.
    pub(super) fn new(all: Vec<CertifiedKey>) -> Option<Self> {
        if all.is_empty() {
            return None;
        }
        let mut names: HashMap<String, Vec<usize>> = HashMap::new();
        for (at, certified) in all.iter().enumerate() {
            for name in certified.cert.first().map(dns_names).unwrap_or_default() {
                names.entry(name).or_default().push(at);
            }
        }
        Some(Self { all: all.into_iter().map(Arc::new).collect(), names })
    }

    /// The names that are answered, in order, for logs.
    #[must_use]
    pub fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.names.keys().map(String::as_str).collect();
        names.sort_unstable();
        names
    }

    /// From when and until when each of them is valid, in seconds since 1970, in the order in which they were given.
    pub fn lives(&self) -> impl Iterator<Item = Option<(u64, u64)>> {
        let owners = self.all.iter().map(|certified| subject::read(certified.cert.first()?));
        owners.map(|owner| owner.map(|owner| (owner.not_before, owner.not_after)))
    }

    /// Whether each of them is one of an authority, which many clients do not take from a server, in the order in which they were given.
    pub fn authorities(&self) -> impl Iterator<Item = bool> {
        self.all.iter().map(|certified| certified.cert.first().is_some_and(|first| is_of_authority(first)))
    }

    /// When the first of them ends its life, in seconds since 1970: to warn of it in time.
    #[must_use]
    pub fn first_end(&self) -> Option<u64> {
        let owners = self.all.iter().filter_map(|certified| subject::read(certified.cert.first()?));
        owners.map(|owner| owner.not_after).min()
    }

    /// The certificates that fit a name, the best first; the default ones without a name, or with one that is not here.
    fn for_name(&self, name: Option<&str>) -> &[usize] {
        const FIRST: &[usize] = &[0];
        let Some(name) = name else { return FIRST };
        let name = name.to_ascii_lowercase();
        let wildcard = || {
            let (_, parent) = name.split_once('.')?;
            self.names.get(&format!("*.{parent}"))
        };
        self.names.get(&name).or_else(wildcard).map_or(FIRST, Vec::as_slice)
    }
}

/// Whether the extension basicConstraints (RFC 5280 section 4.2.1.9) says so: an OCTET STRING with a SEQUENCE, which begins with TRUE.
/// It is looked for and not parsed: a warning hangs on it, and nothing else.
fn is_of_authority(certificate: &[u8]) -> bool {
    /// OBJECT IDENTIFIER 2.5.29.19.
    const BASIC_CONSTRAINTS: [u8; 5] = [0x06, 0x03, 0x55, 0x1D, 0x13];
    const CRITICAL: [u8; 3] = [0x01, 0x01, 0xFF];
    let place = certificate.windows(BASIC_CONSTRAINTS.len()).position(|window| window == BASIC_CONSTRAINTS);
    let Some(behind) = place.and_then(|place| certificate.get(place + BASIC_CONSTRAINTS.len()..)) else {
        return false;
    };
    let value = behind.strip_prefix(&CRITICAL).unwrap_or(behind);
    matches!(value, [0x04, _, 0x30, _, 0x01, 0x01, 0xFF, ..])
}

/// The DNS names of a certificate, in lower case.
pub(super) fn dns_names(certificate: &CertificateDer<'_>) -> Vec<String> {
    let Ok(parsed) = EndEntityCert::try_from(certificate) else {
        return Vec::new();
    };
    parsed.valid_dns_names().map(str::to_ascii_lowercase).collect()
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let mut fitting = self.for_name(hello.server_name()).iter().filter_map(|at| self.all.get(*at));
        let first = fitting.clone().next()?;
        let checkable = fitting.find(|certified| certified.key.choose_scheme(hello.signature_schemes()).is_some());
        Some(Arc::clone(checkable.unwrap_or(first)))
    }
}
