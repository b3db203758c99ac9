//! The files that `[tls]` names: reading them, and everything that can be wrong with them.
//!
//! Owns which key is to blame for what, and the warnings about files that serve all the same. What is in a file is `net::tls`' business.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use super::kind::{ClientCertificates, OldestTls, PortTls};
use super::settings::{Settings, Tls};
use super::tls_keys::{OwnTickets, Secure, named};
use crate::net::secured::Terms;
use crate::net::tls::certificate_files::{self, ClientFiles, ReadFile, Without};
use crate::net::tls::certificates::Certificates;
use crate::net::tls::identity::Rule;
use crate::net::tls::server::{Oldest, Parts, Server};
use crate::net::tls::suite::Suite;
use crate::net::tls::tickets::Tickets;

/// Suites of TLS 1.3, the best first: with the first and the last a resting connection has the shorter secrets.
const SUITES: [Suite; 3] = [Suite::Aes128Gcm, Suite::Aes256Gcm, Suite::ChaCha20Poly1305];

/// The protocol that a client may name (RFC 7301): WebSockets begin in it.
const PROTOCOL: &[u8] = b"http/1.1";

/// Who else than owner and group may do what with a file.
const OTHERS: u32 = 0o007;

/// A certificate ends soon when there is less time left than this, in seconds: a week.
const SOON_SECS: u64 = 7 * 24 * 3600;

/// A key of the settings and what is wrong with it.
pub type Wrong = (String, String);

/// Reads the files. `None` where no port has TLS. `before` is what was read the last time: tickets that were sealed with a key of this
/// process' own stay good.
///
/// # Errors
/// Everything that is wrong, with the key that is to blame.
pub fn load(settings: &Settings, before: Option<&Secure>) -> Result<Option<Arc<Secure>>, Vec<Wrong>> {
    let ports = [settings.server.tls, settings.link.tls];
    if ports == [PortTls::Off; 2] {
        return Ok(None);
    }
    let place = |path: &Path| placed(settings, path);
    let read = |path: &Path| fs::read(place(path));
    let tls = &settings.tls;
    let mut wrong = unrelated(settings);
    let mut note = |key: &str, text: String| wrong.push((key.to_owned(), format!("`{key}`: {text}")));

    let certificates = each_certificate(tls, &read, &mut note);
    let before = before.and_then(|before| before.own_tickets.clone());
    let tickets = tickets(tls, &read, before).map_err(|text| note("tls.tickets", text)).unwrap_or_default();
    let rule = match tls.client_identity.as_str() {
        "" => None,
        text => Rule::parse(text).map_err(|text| note("tls.client_identity", text)).ok(),
    };
    let clients = client_files(tls)
        .and_then(|files| certificate_files::clients(&files, &read).map_err(|text| note("tls.client_ca", text)).ok());
    let (Some(certificates), true) = (certificates, wrong.is_empty()) else {
        return Err(wrong);
    };
    let certificates = Arc::new(certificates);
    let terms = |clients, rule| {
        let parts = Parts {
            certificates: Arc::<Certificates>::clone(&certificates),
            clients,
            suites: SUITES.to_vec(),
            oldest: match tls.min_version {
                OldestTls::Tls12 => Oldest::Tls12,
                OldestTls::Tls13 => Oldest::Tls13,
            },
            tickets: tickets.as_ref().map(|(_, tickets)| Arc::clone(tickets)),
            protocols: vec![PROTOCOL.to_vec()],
        };
        let server = Server::new(parts).map_err(|failure| vec![("tls".to_owned(), failure.to_string())])?;
        Ok::<_, Vec<Wrong>>(Some(Arc::new(Terms { server: Arc::new(server), rule })))
    };
    let clients = clients.unwrap_or_else(certificate_files::no_clients);
    let agents = if ports[0] == PortTls::Required { terms(clients, rule)? } else { None };
    let links = if ports[1] == PortTls::Required { terms(certificate_files::no_clients(), None)? } else { None };
    Ok(Some(Arc::new(Secure {
        terms: [agents, links],
        names: certificates.names().into_iter().map(str::to_owned).collect(),
        first_end: certificates.first_end(),
        warnings: warnings(tls, &certificates, &place),
        own_tickets: tickets.filter(|_| tls.tickets.is_empty()),
    })))
}

/// Paths in the file are relative to the file; without a file, to where the process was started.
fn placed(settings: &Settings, path: &Path) -> PathBuf {
    let base = settings.sources.file.as_deref().and_then(Path::parent);
    base.map_or_else(|| path.to_owned(), |base| base.join(path))
}

/// Keys that need another one.
fn unrelated(settings: &Settings) -> Vec<Wrong> {
    let tls = &settings.tls;
    let asks = tls.client_certificates != ClientCertificates::Off;
    let port = if settings.server.tls == PortTls::Required { "server.tls" } else { "link.tls" };
    let rules = [
        (tls.keys.0.is_empty(), port, "needs a certificate: `[[tls.keys]]`"),
        (
            asks && tls.client_ca.is_empty(),
            "tls.client_certificates",
            "needs `tls.client_ca`: whose certificates count",
        ),
        (
            !asks && !tls.client_ca.is_empty(),
            "tls.client_ca",
            "has no effect while `tls.client_certificates` is \"off\"",
        ),
        (
            !asks && !tls.client_crl.is_empty(),
            "tls.client_crl",
            "has no effect while `tls.client_certificates` is \"off\"",
        ),
        (
            !asks && !tls.client_identity.is_empty(),
            "tls.client_identity",
            "has no effect while `tls.client_certificates` is \"off\"",
        ),
    ];
    let broken = rules.into_iter().filter(|(is_broken, ..)| *is_broken);
    broken.map(|(_, key, text)| (key.to_owned(), format!("`{key}` {text}"))).collect()
}

/// The certificates; one at a time first, so that each bad one is told.
fn each_certificate(tls: &Tls, read: ReadFile<'_>, note: &mut impl FnMut(&str, String)) -> Option<Certificates> {
    let mut good = true;
    for (index, files) in tls.keys.0.iter().enumerate() {
        if let Err(text) = certificate_files::certificates(std::slice::from_ref(files), read) {
            note(&format!("tls.keys.{index}"), text);
            good = false;
        }
    }
    if !good || tls.keys.0.is_empty() {
        return None;
    }
    certificate_files::certificates(&tls.keys.0, read).map_err(|text| note("tls.keys.0", text)).ok()
}

fn client_files(tls: &Tls) -> Option<ClientFiles> {
    let without = match tls.client_certificates {
        ClientCertificates::Off => return None,
        ClientCertificates::Optional => Without::LetIn,
        ClientCertificates::Required => Without::Refused,
    };
    Some(ClientFiles { roots: named(&tls.client_ca)?, revoked: named(&tls.client_crl), without })
}

/// Keys of tickets and how long these live, in seconds; `None` where nothing is to be resumed.
fn tickets(tls: &Tls, read: ReadFile<'_>, own: Option<OwnTickets>) -> Result<Option<OwnTickets>, String> {
    let lifetime = u32::try_from(tls.ticket_lifetime.as_secs()).unwrap_or(u32::MAX);
    if lifetime == 0 {
        return Ok(None);
    }
    let Some(path) = named(&tls.tickets) else {
        let own = own.filter(|(same, _)| *same == lifetime);
        return Ok(own.or_else(|| Some((lifetime, Arc::new(Tickets::random(lifetime)?)))));
    };
    let told = |what: &dyn std::fmt::Display| format!("{}: {what}", path.display());
    let text = read(&path).map_err(|error| told(&format!("cannot be read: {error}")))?;
    let text = zeroize::Zeroizing::new(String::from_utf8(text).map_err(|_| told(&"is no text"))?);
    let tickets = Tickets::read(&text, lifetime).map_err(|error| told(&error))?;
    Ok(Some((lifetime, Arc::new(tickets))))
}

/// Every file that is named, to see whether one has changed.
#[must_use]
pub fn files(settings: &Settings) -> Vec<PathBuf> {
    let tls = &settings.tls;
    let of_keys =
        tls.keys.0.iter().flat_map(|files| [Some(files.chain.clone()), Some(files.key.clone()), files.ocsp.clone()]);
    let others = [&tls.client_ca, &tls.client_crl, &tls.tickets].map(|text| named(text));
    of_keys.chain(others).flatten().map(|path| placed(settings, &path)).collect()
}

/// What serves, and should be looked at.
fn warnings(tls: &Tls, certificates: &Certificates, place: &dyn Fn(&Path) -> PathBuf) -> Vec<String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let mut warnings = Vec::new();
    for ((files, life), is_of_authority) in tls.keys.0.iter().zip(certificates.lives()).zip(certificates.authorities())
    {
        let chain = files.chain.display();
        if is_of_authority {
            warnings.push(format!(
                "{chain} is a certificate of an authority, which many clients do not take from a server: make it with `basicConstraints=CA:FALSE`"
            ));
        }
        match life {
            Some((from, _)) if now < from => warnings.push(format!("{chain} is not valid yet: clients will refuse it")),
            Some((_, to)) if now > to => warnings.push(format!("{chain} has expired: clients will refuse it")),
            Some((_, to)) if to - now < SOON_SECS => {
                warnings.push(format!("{chain} expires in {} hours", (to - now) / 3600));
            }
            _ => {}
        }
    }
    let secret = tls.keys.0.iter().map(|files| files.key.clone()).chain(named(&tls.tickets));
    for path in secret {
        let mode = fs::metadata(place(&path)).map_or(0, |file| file.permissions().mode());
        if mode & OTHERS != 0 {
            let path = path.display();
            warnings.push(format!("{path} can be read or written by everybody on this machine: `chmod o= {path}`"));
        }
    }
    warnings
}

/// What tells one state of a file from another: when a link is swapped too, as Kubernetes and certbot do, since it is followed.
pub type Stamp = Option<(u64, u64, i64, i64)>;

/// The state of each file; `None` of one that is not there.
#[must_use]
pub fn stamps(files: &[PathBuf]) -> Vec<Stamp> {
    use std::os::unix::fs::MetadataExt;
    let stamp = |file: io::Result<fs::Metadata>| {
        let file = file.ok()?;
        Some((file.dev(), file.ino(), file.size().cast_signed(), file.mtime_nsec().wrapping_add(file.mtime() << 30)))
    };
    files.iter().map(|path| stamp(fs::metadata(path))).collect()
}

#[cfg(test)]
mod tests;
