//! An issuer of tokens: its name in them, its keys, and what it may say.
//!
//! Owns how an issuer's tokens are tied to its own keys: a key of one issuer vouches for no token of another.

use std::sync::Arc;

use super::claims::Rules;
use super::jws::{Header, Parts, key_of};
use super::refused::Fault;
use super::ring::Ring;

/// One issuer.
pub struct Issuer {
    /// What its tokens say in `iss`.
    pub iss: String,
    /// Its keys, as they were last fetched.
    pub ring: Arc<Ring>,
    pub(super) rules: Rules,
}

impl Issuer {
    /// `audiences`: one of them must be named in `aud`. `tenants`: those that it may speak for; none for any.
    #[must_use]
    pub fn new(iss: String, ring: Arc<Ring>, audiences: Vec<String>, tenants: Vec<String>, leeway_secs: u64) -> Self {
        Self { iss, ring, rules: Rules { audiences, tenants, leeway_secs, lifetime_max_secs: None } }
    }

    /// Whether one of its keys made the signature. A key that is not known is a reason to fetch them again.
    pub(super) fn check_signature(&self, header: &Header<'_>, parts: &Parts<'_>) -> Result<(), Fault> {
        let Some(set) = self.ring.keys() else {
            return Err(Fault::PendingKey(self.ring.name.clone()));
        };
        match key_of(&set.keys, header, parts) {
            Ok(_) => Ok(()),
            Err(Fault::UnknownKey(_)) if self.ring.is_pending() => Err(Fault::PendingKey(self.ring.name.clone())),
            // Without a `kid` a new key looks like a wrong signature.
            Err(Fault::Signature) if header.kid.is_none() && self.ring.is_pending() => {
                Err(Fault::PendingKey(self.ring.name.clone()))
            }
            Err(fault) => Err(fault),
        }
    }
}
