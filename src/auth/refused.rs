//! Why a token was refused, in two grains: a [`Refused`] to count, a [`Fault`] to read.
//!
//! Neither may ever reach the peer, who gets the same 401 for all of them. A `Fault` may quote the token's header, so
//! it is for the person who holds the token (`holdfast token verify`) and not for logs.

use std::fmt;

use super::algorithm::Algorithm;
use super::limits::{LABEL_BYTES_MAX, LABELS_MAX, METHODS_MAX, TOKEN_BYTES_MAX};
use crate::wire::envelope::link_side::METHOD_BYTES_MAX;

/// Why a token was refused: for the log and the metric, never for the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// No token.
    Missing,
    /// Not a token, an algorithm that no key allows, an unknown `kid`, or a bad signature.
    Unverified,
    /// `exp` has passed, or is missing.
    Expired,
    /// `nbf` has not come.
    NotYet,
    /// `aud` is not ours.
    Audience,
    /// A claim that is missing or out of form.
    Claims,
    /// The token, its agent or its tenant was revoked.
    Revoked,
    /// The webhook said no.
    Denied,
    /// Its key is not known, and where keys come from is still being asked. It may be good a little later.
    Pending,
    /// No token, and a web page of another site asked: development lets no such page in.
    Origin,
    /// A TLS certificate that names nobody, or somebody else than the token.
    Certificate,
}

impl Refused {
    /// Every reason, in the order of the checks.
    pub const ALL: [Refused; 11] = [
        Refused::Missing,
        Refused::Unverified,
        Refused::Expired,
        Refused::NotYet,
        Refused::Audience,
        Refused::Claims,
        Refused::Revoked,
        Refused::Denied,
        Refused::Pending,
        Refused::Origin,
        Refused::Certificate,
    ];

    /// Whether the token had a good signature, so that what it says of itself is true: only what is listed here is sure to be found out
    /// after that.
    #[must_use]
    pub fn is_of_a_signed_token(self) -> bool {
        matches!(self, Refused::Expired | Refused::NotYet | Refused::Audience | Refused::Claims)
    }

    /// Whether it counts against the network that it comes from. What may be good a little later does not.
    #[must_use]
    pub fn is_failed_login(self) -> bool {
        self != Refused::Pending
    }

    /// Its name in logs and as a metric label.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Refused::Missing => "missing",
            Refused::Unverified => "unverified",
            Refused::Expired => "expired",
            Refused::NotYet => "not_yet",
            Refused::Audience => "audience",
            Refused::Claims => "claims",
            Refused::Revoked => "revoked",
            Refused::Denied => "denied",
            Refused::Pending => "keys_pending",
            Refused::Origin => "origin",
            Refused::Certificate => "certificate",
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

/// Exactly what is wrong with a token. Its `Display` is one plain sentence without a full stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The empty string.
    Missing,
    /// More bytes than a token may have; here is how many.
    TooLong(usize),
    /// Not three parts with dots between.
    NotThreeParts,
    /// The header is not base64url, or not a JSON object that a JWS header can be; here is why.
    Header(String),
    /// An `alg` that no key here is pinned to (`none` included).
    Algorithm(String),
    /// A `crit` header (RFC 7515 section 4.1.11): it names extensions, and we know none.
    Critical,
    /// A `kid` that no key here has.
    UnknownKey(String),
    /// The key that `kid` names is pinned to another algorithm.
    PinnedAlgorithm {
        /// The `kid`.
        key: String,
        /// What that key is pinned to.
        pinned: Algorithm,
        /// What the token's header says.
        header: Algorithm,
    },
    /// A `kid` that is not among an issuer's keys as they were last fetched, or there are none yet; here is the issuer's name.
    /// Its source is being asked.
    PendingKey(String),
    /// No key that may check it made this signature.
    Signature,
    /// The signed part is not base64url, or not a JSON object with claims of the right types; here is why.
    Payload(String),
    /// No `exp`.
    NoExpiry,
    /// `exp` and the leeway have passed: this many seconds ago.
    Expired(u64),
    /// `nbf` is further off than the leeway: in this many seconds.
    NotYet(u64),
    /// No `aud`, or not the one that is required; here is the required one.
    Audience(String),
    /// The token is meant for somebody (`aud`), and this gateway has no name to be meant by.
    ForeignAudience,
    /// No `sub`.
    NoSubject,
    /// `sub` is not a name.
    Subject,
    /// `tenant` is not a name.
    Tenant,
    /// The key is for another tenant; here is which.
    TenantOfKey(String),
    /// The issuer may not speak for the token's tenant.
    TenantOfIssuer,
    /// No `iat`, and the settings bound how long tokens live.
    NoIssuedAt,
    /// From `iat` to `exp` are more seconds than the settings allow; here is how many.
    LivesTooLong(u64),
    /// Too many labels; here is how many.
    LabelCount(usize),
    /// A label with an empty key, or a key or value of too many bytes; here is its place by key, from 0.
    LabelSize(usize),
    /// A label that is there twice; here is its key.
    LabelTwice(String),
    /// Too many methods; here is how many different ones.
    MethodCount(usize),
    /// A method that is empty, too long, or has a star elsewhere than at its end; here is its place, from 0.
    Method(usize),
}

impl Fault {
    /// The grain that is counted.
    #[must_use]
    pub fn refused(&self) -> Refused {
        match self {
            Fault::Missing => Refused::Missing,
            Fault::TooLong(_)
            | Fault::NotThreeParts
            | Fault::Header(_)
            | Fault::Algorithm(_)
            | Fault::Critical
            | Fault::UnknownKey(_)
            | Fault::PinnedAlgorithm { .. }
            | Fault::Signature => Refused::Unverified,
            Fault::PendingKey(_) => Refused::Pending,
            Fault::NoExpiry | Fault::Expired(_) => Refused::Expired,
            Fault::NotYet(_) => Refused::NotYet,
            Fault::Audience(_) | Fault::ForeignAudience => Refused::Audience,
            Fault::Payload(_)
            | Fault::NoSubject
            | Fault::Subject
            | Fault::Tenant
            | Fault::TenantOfKey(_)
            | Fault::TenantOfIssuer
            | Fault::NoIssuedAt
            | Fault::LivesTooLong(_)
            | Fault::LabelCount(_)
            | Fault::LabelSize(_)
            | Fault::LabelTwice(_)
            | Fault::MethodCount(_)
            | Fault::Method(_) => Refused::Claims,
        }
    }
}

impl fmt::Display for Fault {
    /// Text that comes from the token is quoted with escapes: it may hold anything, and this goes to a terminal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAME: &str = "must be 1 to 128 characters of A-Z a-z 0-9 . _ : @ -";
        match self {
            Fault::Missing => f.write_str("there is no token"),
            Fault::TooLong(bytes) => write!(f, "it has {bytes} bytes, and a token may have {}", TOKEN_BYTES_MAX),
            Fault::NotThreeParts => f.write_str("it is not a signed JWT: three parts with a dot between are expected"),
            Fault::Header(why) => write!(f, "its header cannot be read: {why}"),
            Fault::Algorithm(name) => {
                write!(f, "its algorithm is {name:?}, which no key here is for")
            }
            Fault::Critical => {
                f.write_str("its header has `crit`, which asks for an extension that holdfast does not know")
            }
            Fault::UnknownKey(kid) => write!(f, "its `kid` is {kid:?}, and no key has that id"),
            Fault::PinnedAlgorithm { key, pinned, header } => {
                write!(f, "its header says {header}, and key {key:?} is for {pinned} only")
            }
            Fault::PendingKey(issuer) => {
                write!(f, "its key is not known, and the keys of issuer {issuer:?} are still to be fetched")
            }
            Fault::Signature => {
                f.write_str("its signature is wrong: another key made it, or the token was changed or cut")
            }
            Fault::Payload(why) => write!(f, "its claims cannot be read: {why}"),
            Fault::NoExpiry => f.write_str("it has no `exp`, which is required"),
            Fault::Expired(ago) => write!(f, "it expired {ago} s ago (leeway included)"),
            Fault::NotYet(wait) => {
                write!(f, "its `nbf` is {wait} s in the future (leeway included)")
            }
            Fault::Audience(ours) => write!(f, "its `aud` does not name {ours:?}"),
            Fault::ForeignAudience => {
                f.write_str("it has an `aud`, and the settings name no auth.audience that it could match")
            }
            Fault::NoSubject => f.write_str("it has no `sub`, the agent's id"),
            Fault::Subject => write!(f, "its `sub` is no agent id: it {NAME}"),
            Fault::Tenant => write!(f, "its `tenant` is no tenant name: it {NAME}"),
            Fault::TenantOfKey(tenant) => {
                write!(f, "the key that signed it is for tenant {tenant:?} only")
            }
            Fault::TenantOfIssuer => f.write_str("its issuer may not speak for its tenant"),
            Fault::NoIssuedAt => f.write_str("it has no `iat`, which auth.lifetime_max requires"),
            Fault::LivesTooLong(life) => {
                write!(f, "it lives for {life} s, which is more than auth.lifetime_max allows")
            }
            Fault::LabelCount(count) => {
                write!(f, "it has {count} labels, and {LABELS_MAX} are allowed")
            }
            Fault::LabelSize(place) => write!(
                f,
                "label {} (sorted by key) has an empty key, or a key or value of more than {LABEL_BYTES_MAX} bytes",
                place + 1
            ),
            Fault::LabelTwice(key) => write!(f, "the label {key:?} is there twice"),
            Fault::MethodCount(count) => {
                write!(f, "it has {count} different methods, and {METHODS_MAX} are allowed")
            }
            Fault::Method(place) => write!(
                f,
                "method {} must be 1 to {METHOD_BYTES_MAX} bytes, and may have one star, at its end",
                place + 1
            ),
        }
    }
}

impl std::error::Error for Fault {}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whoever reads a metric or the audit log finds each word in `docs/operations.md`, and no other.
    #[test]
    fn each_cause_is_listed_where_operators_read() {
        let docs = include_str!("../../docs/operations.md");
        let row = docs.lines().find(|line| line.starts_with("| `holdfast_auth_failures_total`")).unwrap_or_default();
        let causes = row.split('|').nth(3).unwrap_or_default().split(';').next().unwrap_or_default();
        let listed: Vec<&str> = causes.split('`').skip(1).step_by(2).collect();
        assert_eq!(listed, Refused::ALL.map(Refused::label));
    }
}
